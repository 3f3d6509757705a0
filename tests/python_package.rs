//! The Python package's own tests and its style, on the managed environment and this binary.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::Path;

use support::{binary, environment, python_command};

#[test]
fn the_python_package_passes_its_own_tests() {
    let output = python_command()
        .args(["-m", "pytest", "-q", "-rs", "tests/python"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("DTQ_TEST_BINARY", binary())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
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
