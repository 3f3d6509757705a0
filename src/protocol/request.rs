//! A command with the channel for its outcome.

use tokio::sync::oneshot;

use crate::domain::{Command, Reply};

/// A command on its way to its executor.
#[derive(Debug)]
pub struct Request {
    /// The addressed worker; `None` is every linked worker (or Dagster, by the command's kind).
    pub worker: Option<String>,
    /// The command.
    pub command: Command,
    /// The operator's reason, for the audit log.
    pub reason: Option<String>,
    /// Receiver of the outcome.
    pub reply: oneshot::Sender<Reply>,
}
