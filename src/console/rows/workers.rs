//! The rows of the workers view: those this console is linked to, then those known only from
//! Dagster's storage, because they are on other hosts or another user's.

use serde::Serialize;

use crate::domain::{FleetWorker, Slots, Snapshot, Timestamp, WorkerState, WorkerView};

/// A worker as a row.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(untagged)]
pub enum WorkerRow<'a> {
    /// This console is linked to it.
    Linked(&'a WorkerView),
    /// Only its heartbeat in Dagster's storage is known.
    Reported(&'a FleetWorker),
}

/// The row at a position of the workers' list.
#[must_use]
pub fn worker_at(snapshot: &Snapshot, index: usize) -> Option<WorkerRow<'_>> {
    match index.checked_sub(snapshot.workers.len()) {
        None => snapshot.workers.get(index).map(WorkerRow::Linked),
        Some(beyond) => reported(snapshot).nth(beyond).map(WorkerRow::Reported),
    }
}

/// The workers that this console is not linked to.
pub fn reported(snapshot: &Snapshot) -> impl Iterator<Item = &FleetWorker> {
    let linked = |worker: &&FleetWorker| snapshot.workers.iter().any(|known| known.id == worker.id);
    snapshot.fleet.iter().filter(move |worker| !linked(worker))
}

impl<'a> WorkerRow<'a> {
    /// Unique id.
    #[must_use]
    pub fn id(self) -> &'a str {
        match self {
            Self::Linked(worker) => &worker.id,
            Self::Reported(worker) => &worker.id,
        }
    }

    /// The host's own name.
    #[must_use]
    pub fn hostname(self) -> &'a str {
        match self {
            Self::Linked(worker) => &worker.hostname,
            Self::Reported(worker) => &worker.hostname,
        }
    }

    /// Process id on that host, if known.
    #[must_use]
    pub fn pid(self) -> Option<u32> {
        match self {
            Self::Linked(worker) => Some(worker.pid),
            Self::Reported(worker) => worker.pid,
        }
    }

    /// Version of the binary.
    #[must_use]
    pub fn version(self) -> &'a str {
        match self {
            Self::Linked(worker) => &worker.version,
            Self::Reported(worker) => &worker.version,
        }
    }

    /// Whether it runs another version than this console.
    #[must_use]
    pub fn is_other_version(self) -> bool {
        self.version() != env!("CARGO_PKG_VERSION")
    }

    /// State of the pool, if reported.
    #[must_use]
    pub fn state(self) -> Option<WorkerState> {
        match self {
            Self::Linked(worker) => Some(worker.state),
            Self::Reported(worker) => worker.state,
        }
    }

    /// The state in one word.
    #[must_use]
    pub fn state_word(self) -> &'static str {
        self.state().map_or("unknown", WorkerState::word)
    }

    /// Slots for steps.
    #[must_use]
    pub fn steps(self) -> Slots {
        match self {
            Self::Linked(worker) => worker.steps,
            Self::Reported(worker) => worker.steps,
        }
    }

    /// Slots for run workers.
    #[must_use]
    pub fn runs(self) -> Slots {
        match self {
            Self::Linked(worker) => worker.runs,
            Self::Reported(worker) => worker.runs,
        }
    }

    /// Names of the queues it receives from; empty if not reported.
    #[must_use]
    pub fn queues(self) -> &'a [String] {
        match self {
            Self::Linked(worker) => &worker.queues,
            Self::Reported(worker) => &worker.queues,
        }
    }

    /// Time of its last heartbeat.
    #[must_use]
    pub fn heartbeat_at(self) -> Timestamp {
        match self {
            Self::Linked(worker) => worker.heartbeat_at,
            Self::Reported(worker) => worker.heartbeat_at,
        }
    }

    /// Steps that ended in a failure since its start; `None` for workers that are not linked.
    #[must_use]
    pub fn failed(self) -> Option<u64> {
        match self {
            Self::Linked(worker) => Some(worker.failed),
            Self::Reported(_) => None,
        }
    }
}
