//! What a console without a linked worker has of the queues: counts and operations of its own, done
//! in its own process. The hub asks for it while no worker is linked; whoever opens the console
//! provides it.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::Request;
use crate::domain::WorkerSnapshot;

/// A desk as the hub sees it.
#[derive(Debug)]
pub struct Desk {
    /// How the queues stand; the worker in it is nobody.
    pub told: watch::Receiver<Arc<WorkerSnapshot>>,
    /// Commands about queues.
    pub requests: mpsc::Sender<Request>,
    /// Whether the queues are to be counted.
    pub wanted: watch::Sender<bool>,
}
