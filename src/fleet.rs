//! The console's side of control: links to workers and other hosts, and Dagster's webserver, merged
//! into one snapshot.
//!
//! A console holds a [`Handle`]: the latest [`Snapshot`] and a way to send [`Command`]s. Behind it
//! is an aggregator that links worker sockets and Dagster's webserver, which the console does not
//! distinguish.

pub mod aggregator;
pub mod client;
mod dagster_commands;
pub mod direct_queues;
mod dispatcher;
mod link;
mod merge;
pub mod proxy;
pub mod ssh;
mod ssh_host;
mod state;
mod webserver;

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

pub use aggregator::{Aggregator, AggregatorOptions};
pub use client::{WorkerSocket, discover, wait_for_socket};
pub use direct_queues::DirectQueues;

use crate::domain::{Command, Reply, Snapshot};
use crate::protocol::Request;

/// A console's end of the control layer. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Handle {
    snapshot: watch::Receiver<Arc<Snapshot>>,
    requests: mpsc::Sender<Request>,
}

impl Handle {
    /// Creates a handle over a snapshot channel and a request queue. The queue's 64 requests are
    /// more than a user sends before an answer; a full queue refuses at once.
    #[must_use]
    pub fn new(snapshot: watch::Receiver<Arc<Snapshot>>, requests: mpsc::Sender<Request>) -> Self {
        Self { snapshot, requests }
    }

    /// The latest snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.borrow())
    }

    /// A receiver that wakes at each new snapshot.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshot.clone()
    }

    /// Sends a command without waiting; the outcome arrives on the returned channel.
    #[must_use = "the outcome is shown to the operator"]
    pub fn request(&self, worker: Option<String>, command: Command) -> oneshot::Receiver<Reply> {
        self.request_because(worker, command, None)
    }

    /// As [`Handle::request`], with the operator's reason for the audit log.
    #[must_use = "the outcome is shown to the operator"]
    pub fn request_because(
        &self,
        worker: Option<String>,
        command: Command,
        reason: Option<String>,
    ) -> oneshot::Receiver<Reply> {
        let (request, outcome) = Request::new(command);
        let request = Request {
            worker,
            reason,
            ..request
        };
        if let Err(error) = self.requests.try_send(request) {
            let (mpsc::error::TrySendError::Full(request)
            | mpsc::error::TrySendError::Closed(request)) = error;
            let verb = request.command.verb();
            let text = format!("{verb} was not sent: the control layer is busy or gone; try again");
            // The receiver is held by this function, so it still exists.
            let _ = request.reply.send(Reply::Failed(text));
        }
        outcome
    }
}
