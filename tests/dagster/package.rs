//! The Python package's own tests and its style, on the managed environment and this binary.

use crate::support;

use std::path::Path;

use support::{environment, pytest};

#[test]
fn the_python_package_passes_its_own_tests() {
    // Those of the semantics and of isolation are tests of their own.
    pytest(&[
        "tests/python",
        "--ignore-glob=*/test_semantics*",
        "--ignore-glob=*/test_isolation*",
    ]);
}

#[test]
fn the_python_sources_are_clean_for_ruff() {
    for words in [
        ["check", "--no-cache"].as_slice(),
        &["format", "--check", "--no-cache"],
    ] {
        passes("ruff", &[words, &["src/python", "tests"]].concat());
    }
}

#[test]
fn the_python_packages_are_clean_for_mypy() {
    passes("mypy", &["--cache-dir=/dev/null"]);
}

/// Runs a tool of the tests' environment on the repository.
fn passes(tool: &str, words: &[&str]) {
    let output = std::process::Command::new(environment().bin.join(tool))
        .args(words)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool} {words:?}: {text}{errors}");
}
