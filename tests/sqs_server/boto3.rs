//! The embedded broker's behaviour as boto3 and plain HTTP requests see it, checked by the tests in
//! `tests/python_broker` against the real binary.

use crate::certificate::certificate;
use crate::earlier;
use crate::server;
use crate::support;

use std::path::Path;

use server::Server;
use support::{pytest_on, python, query_environment};
use tempfile::TempDir;

/// Runs the tests of one Python file against a broker of its own.
fn run(file: &str) {
    run_on(&TempDir::new().unwrap(), file);
}

/// As [`run`], on a folder with something in it.
fn run_on(folder: &TempDir, file: &str) {
    run_against(python(), &Server::start(folder.path()), &[file]);
}

/// Runs the tests of Python files against a broker.
fn run_against(python: &Path, server: &Server, files: &[&str]) {
    let path = |file: &&str| format!("tests/python_broker/{file}");
    let files: Vec<_> = files.iter().map(path).collect();
    let endpoint = ("DTQ_TEST_BROKER_ENDPOINT", server.endpoint.as_str());
    pytest_on(python, &files, &[endpoint]);
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
fn answers_are_as_recorded_from_aws() {
    let folder = TempDir::new().unwrap();
    let files = [
        "test_recorded.py",
        "test_recorded_queues.py",
        "test_recorded_fifo.py",
        "test_recorded_raw.py",
    ];
    run_against(python(), &Server::start(folder.path()), &files);
}

#[test]
fn a_client_of_the_query_protocol_gets_the_recorded_answers_and_the_models_elements() {
    let folder = TempDir::new().unwrap();
    let files = [
        "test_query_model.py",
        "test_recorded_queues.py",
        "test_recorded.py",
        "test_recorded_fifo.py",
    ];
    let python = &query_environment().python;
    run_against(python, &Server::start(folder.path()), &files);
}

#[test]
fn presigned_urls_are_checked_and_served() {
    let folder = TempDir::new().unwrap();
    let keys = ["--access-key", "team", "--secret-key", "s3cret"];
    let server = Server::start_on(folder.path(), "127.0.0.1:0", &keys);
    run_against(&query_environment().python, &server, &["test_presigned.py"]);
}

#[test]
fn proxies_health_checks_and_people_are_answered() {
    run("test_operations.py");
}

#[test]
fn tests_get_accounts_faults_a_look_and_a_fresh_start() {
    run("test_development.py");
}

#[test]
fn encrypted_connections_are_as_clients_want_them() {
    let folder = TempDir::new().unwrap();
    let [cert, key] = certificate(folder.path());
    let flags = ["--tls-cert", &cert, "--tls-key", &key];
    let server = Server::start_on(&folder.path().join("data"), "127.0.0.1:0", &flags);
    let environment = [
        ("DTQ_TEST_BROKER_ENDPOINT", server.endpoint.as_str()),
        ("DTQ_TEST_BROKER_CA", cert.as_str()),
    ];
    let file = "tests/python_broker/test_tls.py".to_owned();
    pytest_on(python(), &[file], &environment);
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
