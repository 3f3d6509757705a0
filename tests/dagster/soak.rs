//! A short soak with a fixed seed: runs under random faults, checked from the event log. A long one is
//! `cargo run --release --example soak`.

use crate::support;

use support::{binary, python_command};

#[test]
fn runs_under_faults_lose_nothing_and_do_nothing_twice() {
    let output = python_command()
        .args(["-m", "soak", "--seconds", "90", "--seed", "7"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python"))
        .env("DTQ_TEST_BINARY", binary())
        .output();
    let output = output.unwrap_or_else(|error| panic!("python: {error}"));
    let (text, faults) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    println!("{text}");
    assert!(output.status.success(), "{faults}\n{text}");
}
