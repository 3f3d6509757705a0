//! What the views show: the last snapshot, and beside it what the console read itself. The snapshot
//! is as it was received; nothing is ever written into it.

use std::ops::Deref;
use std::sync::Arc;

use super::tracebacks::Tracebacks;
use crate::domain::{DagsterPart, FailureGroup, PeekedMessage, Snapshot};

/// The data of all views. Cloning is cheap.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    snapshot: Arc<Snapshot>,
    /// The tracebacks among its log lines.
    pub tracebacks: Arc<Tracebacks>,
    /// Dead letters from the last look at their queues.
    pub dead_letters: Arc<Vec<PeekedMessage>>,
    /// Failures from the last scan, grouped by what broke.
    pub failures: Arc<Vec<FailureGroup>>,
    /// The parts of Dagster from the last look.
    pub dagster: Arc<Vec<DagsterPart>>,
}

impl Deref for Shown {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.snapshot
    }
}

impl Shown {
    /// Takes a new snapshot.
    pub fn receive(&mut self, snapshot: Arc<Snapshot>) {
        if !Arc::ptr_eq(&self.snapshot.logs, &snapshot.logs) {
            self.tracebacks = Arc::new(Tracebacks::find(&snapshot.logs));
        }
        self.snapshot = snapshot;
    }
}
