//! What the pool is asked to do from outside.

use tokio::sync::oneshot;

use crate::domain::{Command, Reply};

/// A command with the place for its outcome.
#[derive(Debug)]
pub struct Order {
    /// What to do.
    pub command: Command,
    /// Where the outcome goes; nobody need be listening.
    pub reply: oneshot::Sender<Reply>,
}
