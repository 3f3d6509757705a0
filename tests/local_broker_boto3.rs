//! The embedded broker's behaviour as boto3 and plain HTTP requests see it, checked by the tests in
//! `tests/python_broker` against the real binary.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

#[path = "local_broker/server.rs"]
mod server;

use std::path::Path;
use std::process::Command;

use server::{Server, python};
use tempfile::TempDir;

/// Runs the tests of one Python file against a broker of its own.
fn run(file: &str) {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(python())
        .args(["-m", "pytest", "-q", "-ra"])
        .arg(root.join("tests/python_broker").join(file))
        .current_dir(root)
        .env("DTQ_TEST_BROKER_ENDPOINT", &server.endpoint)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
}

#[test]
fn both_protocols_answer_as_in_sqs() {
    run("test_protocols.py");
}

#[test]
fn the_query_protocol_does_what_the_json_protocol_does() {
    run("test_query_protocol.py");
}

#[test]
fn queues_are_as_in_sqs() {
    run("test_queues.py");
}

#[test]
fn messages_are_as_in_sqs() {
    run("test_messages.py");
}

#[test]
fn receives_are_as_in_sqs() {
    run("test_receiving.py");
}

#[test]
fn fifo_queues_are_as_in_sqs() {
    run("test_fifo.py");
}

#[test]
fn dead_letter_queues_are_as_in_sqs() {
    run("test_redrive.py");
}
