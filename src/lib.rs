//! `dagster-taskiq-tui`: the worker side of Dagster over Taskiq messages on SQS.
//!
//! A layer is a folder; imports point downward only: `cli` -> `console` -> `fleet` -> `protocol`
//! and `dagster`; `cli` -> `worker` -> `protocol`, `queue_ops`, `fork_server` and `sqs`;
//! `queue_ops` -> `fork_server` and `sqs`; all of them -> `wire`, `domain`, `config` and
//! `environment`. A worker and a console meet in `protocol` alone. `sqs_server` is used by `cli`
//! only and speaks to the rest through HTTP. `tests/cli/layers.rs` reads the `use` lines and holds
//! this.

pub mod alarms;
pub mod cli;
pub mod config;
pub mod console;
pub mod dagster;
pub mod domain;
pub mod environment;
pub mod fleet;
pub mod fork_server;
pub mod protocol;
pub mod queue_ops;
pub mod sqs;
pub mod sqs_server;
pub mod telemetry;
pub mod wire;
pub mod worker;
