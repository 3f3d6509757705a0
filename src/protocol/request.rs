//! A command with the channel for its outcome.

use tokio::sync::oneshot;

use crate::domain::{Command, Reply};

/// A command on its way to its executor: from a console through the aggregator, a link and the
/// worker's socket to the pool.
#[derive(Debug)]
pub struct Request {
    /// The addressed worker; `None` is every linked worker (or Dagster, by the command's kind), or
    /// the receiver itself.
    pub worker: Option<String>,
    /// The command.
    pub command: Command,
    /// The operator's reason, for the audit log.
    pub reason: Option<String>,
    /// Receiver of the outcome, which may be gone.
    pub reply: oneshot::Sender<Reply>,
}

impl Request {
    /// Creates a request to its receiver itself; also returns the outcome.
    #[must_use]
    pub fn new(command: Command) -> (Self, oneshot::Receiver<Reply>) {
        let (reply, outcome) = oneshot::channel();
        let request = Self {
            worker: None,
            command,
            reason: None,
            reply,
        };
        (request, outcome)
    }
}
