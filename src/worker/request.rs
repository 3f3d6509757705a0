//! Commands to the pool from outside.

use tokio::sync::oneshot;

use crate::domain::{Command, Reply};

/// A command with the channel for its outcome.
#[derive(Debug)]
pub struct PoolRequest {
    /// The command.
    pub command: Command,
    /// Receiver of the outcome, which may be gone.
    pub reply: oneshot::Sender<Reply>,
}
