//! The worker: real steps of a real Dagster, the real binary, the embedded broker.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod alarms;
mod dead_letters;
mod drain;
mod endings;
mod execution;
mod faults;
mod fleet;
mod hostile_messages;
#[path = "../sqs_server/http.rs"]
mod http;
mod metrics;
mod queue_operations;
mod queue_pause;
mod queues;
mod receives;
mod restart;
mod scaling;
mod service;
mod stuck;
#[path = "../support/mod.rs"]
mod support;
mod traces;
mod upstream;
mod verbs;
