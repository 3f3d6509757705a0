//! The pool: scheduling, task life cycle, drain and shutdown.
//!
//! One actor ([`Pool`]) makes every decision: what to receive, what to start, when to end. The life
//! of one task ([`life`]) is a future of its own; it ends with the message deleted, given back or
//! dead-lettered, never in between.

mod breaker;
pub mod census;
mod held;
mod intake;
mod life;
mod lives;
mod noops;
pub mod operations;
mod orders;
mod output;
mod polls;
mod pool;
mod printed;
mod reporter;
mod second_net;
mod service;
mod settle;
mod turns;
mod usage;
mod words;

pub use orders::Order;
pub use pool::{Pool, PoolOptions};
