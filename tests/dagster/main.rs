//! A real Dagster: its semantics on our workers, its storages, its webserver, our Python packages.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod isolation;
mod oom;
mod package;
mod semantics;
mod semantics_older;
mod servers;
mod soak;
#[path = "../support/mod.rs"]
mod support;
mod webserver_client;
