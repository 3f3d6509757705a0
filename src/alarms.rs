//! Conditions that need an operator. They are judged in one place ([`judge`]), by each worker, so
//! that every console and every hook sees the same alarms.

mod facts;
pub mod history;
mod hooks;
pub mod judge;
mod silence;
mod watch;

pub use hooks::{HookError, Sender, test as test_hook};
pub use watch::{Options, State, Watch};
