//! A real Dagster: its semantics on our workers, its storages, its webserver, our Python packages.

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
