//! The binary's command line, the demo, and what the repository says of itself.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod config;
mod container;
mod demo;
mod deploy;
mod doctor;
mod environment;
mod errors;
mod guard;
mod layers;
mod metrics;
mod readme;
mod secrets;
#[path = "../support/mod.rs"]
mod support;
