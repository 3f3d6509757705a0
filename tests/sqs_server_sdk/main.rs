//! What SQS promises, capability by capability, through AWS's own SDK for Rust and on the real
//! binary. The same is checked through boto3 in `tests/python_broker`. Rules that take minutes are
//! checked in [`aged`] on folders written by an earlier clock, and at their very moment in
//! `sqs_server/limits.rs` and `sqs_server/rules.rs`, with a clock of the tests' own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../sqs_server/certificate.rs"]
mod certificate;
#[path = "../sqs_server/clock.rs"]
mod clock;
#[path = "../sqs_server/earlier.rs"]
mod earlier;
#[path = "../sqs_server/http.rs"]
mod http;
#[path = "../sqs_server/server.rs"]
mod server;

mod accounts;
mod aged;
mod attributes;
mod batches;
mod declared;
mod fair;
mod faults;
mod fifo;
mod fifo_attempts;
mod in_flight;
mod messages;
mod moved_clock;
mod moves;
mod operations;
mod polls;
mod protocol;
mod queues;
mod receiving;
mod redrive;
mod reset;
mod sqs;
mod visibility;
