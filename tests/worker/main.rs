//! The worker: real steps of a real Dagster, the real binary, the embedded broker.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod drain;
mod endings;
mod faults;
mod fleet;
mod hostile_messages;
#[path = "../local_broker/http.rs"]
mod http;
mod life;
mod metrics;
mod queue_operations;
mod queues;
mod receives;
mod service;
#[path = "../support/mod.rs"]
mod support;
mod upstream;
mod verbs;
