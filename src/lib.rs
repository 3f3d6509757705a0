//! `dagster-taskiq-tui`: the worker side of Dagster over Taskiq messages on SQS.
//!
//! A layer is a folder; imports point downward only:
//! `cli → console → control → {worker, broker, dagster}`, `worker → {host, broker}`,
//! all of them → `{telemetry, wire, domain, config, environment}`. `local_broker` is used by `cli` alone and
//! speaks to the rest through HTTP; `console` is a client of `control` and never imports `worker`,
//! `broker` or `host`. `tests/cli/layers.rs` reads the `use` lines and holds this.

pub mod broker;
pub mod cli;
pub mod config;
pub mod console;
pub mod control;
pub mod dagster;
pub mod domain;
pub mod environment;
pub mod host;
pub mod local_broker;
pub mod telemetry;
pub mod wire;
pub mod worker;
