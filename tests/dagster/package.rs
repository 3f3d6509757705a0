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
    let ruff = environment().bin.join("ruff");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for words in [
        ["check", "--no-cache"].as_slice(),
        &["format", "--check", "--no-cache"],
    ] {
        let output = std::process::Command::new(&ruff)
            .args(words)
            .args(["src/python", "tests"])
            .current_dir(root)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{words:?}: {text}");
    }
}
