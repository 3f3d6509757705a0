//! The embedded broker's behaviour as boto3 and plain HTTP requests see it, checked by the tests in
//! `tests/python_broker` against the real binary.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

#[path = "local_broker/clock.rs"]
mod clock;
#[path = "local_broker/earlier.rs"]
mod earlier;
#[path = "local_broker/server.rs"]
mod server;
mod support;

use server::Server;
use support::{pytest_on, python};
use tempfile::TempDir;

/// Runs the tests of one Python file against a broker of its own.
fn run(file: &str) {
    run_on(&TempDir::new().unwrap(), file);
}

/// As [`run`], on a folder with something in it.
fn run_on(folder: &TempDir, file: &str) {
    let server = Server::start(folder.path());
    let file = format!("tests/python_broker/{file}");
    let endpoint = ("DTQ_TEST_BROKER_ENDPOINT", server.endpoint.as_str());
    pytest_on(python(), &[file], &[endpoint]);
}

#[test]
fn both_protocols_answer_as_in_sqs() {
    run("test_protocols.py");
}

#[test]
fn answers_have_the_shapes_of_the_service_model() {
    run("test_model.py");
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

#[test]
fn what_takes_minutes_or_days_or_120000_messages_is_as_in_sqs() {
    let folder = earlier::folder(&[
        earlier::sent,
        earlier::deduplicated,
        earlier::purged,
        earlier::hidden,
        earlier::full,
    ]);
    run_on(&folder, "test_earlier.py");
}
