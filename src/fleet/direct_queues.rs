//! Queue access of a console without a linked worker: counts and operations in its own process. The
//! aggregator uses it while no worker is linked; the opener of the console provides it.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::domain::WorkerSnapshot;
use crate::protocol::Request;

/// A direct access to the queues, from the aggregator's side.
#[derive(Debug)]
pub struct DirectQueues {
    /// State of the queues; the worker in it is empty.
    pub snapshots: watch::Receiver<Arc<WorkerSnapshot>>,
    /// Commands about queues.
    pub requests: mpsc::Sender<Request>,
    /// Whether the queues are to be counted.
    pub demand: watch::Sender<bool>,
}
