//! The pool: scheduling, task life cycle, drain and shutdown.
//!
//! One actor ([`Pool`]) makes every decision: what to receive, what to start, when to end. The life
//! of one task ([`execution`]) is a future of its own; it ends with the message deleted, given back or
//! dead-lettered, never in between.

mod autoscaler;
mod breaker;
pub mod control_server;
mod cpu;
mod execution;
mod execution_set;
pub mod exporter;
pub mod fleet_model;
mod heartbeat;
mod ingest;
mod log_parser;
pub mod log_ring;
mod lost_runs;
mod noops;
mod outcome;
mod output;
mod pace;
mod pool;
mod ready_queue;
mod receiver;
mod scheduler;
mod service;
mod settlement;
mod spans;
pub mod status_store;
mod usage;
mod weighted_round_robin;

pub use autoscaler::AutoscalerOptions;
pub use pool::{Pool, PoolOptions};
