//! Warm Python processes without a queue: what is in Dagster's event log afterwards.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod deaths;
mod hosts;
mod loading;
mod stacks;
#[path = "../support/mod.rs"]
mod support;
mod tasks;
