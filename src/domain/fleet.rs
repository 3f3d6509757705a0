//! The workers of a deployment, on any host, as they report themselves in Dagster's storage.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Slots, WorkerState};

/// One worker's last heartbeat in Dagster's key-value store (`dagster-taskiq/worker/<id>`).
///
/// Every worker writes its own every five seconds. While it has viewers, it reads all of them every
/// ten through its instance agent; otherwise some worker does and the others read what it found,
/// which of more than 64 workers is only a part. `Snapshot::fleet` has the newest one that any linked
/// worker has read. A worker
/// that this console is linked to is in `Snapshot::workers` too, with more detail and under the
/// same id; a worker that is only here is on another host, or belongs to another user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetWorker {
    /// Unique id, as in `WorkerView::id`.
    pub id: String,
    /// Host name of the machine.
    pub hostname: String,
    /// Process id of the worker on its host.
    pub pid: Option<u32>,
    /// Version of its binary.
    pub version: String,
    /// State of its pool; `None` if it is missing or unknown to this version.
    pub state: Option<WorkerState>,
    /// Slots for steps, and steps in flight.
    pub steps: Slots,
    /// Slots for run workers, and runs in flight.
    pub runs: Slots,
    /// Names of the queues it receives from.
    pub queues: Vec<String>,
    /// Time of its report, by the clock of its host.
    pub heartbeat_at: Timestamp,
}

impl FleetWorker {
    /// Age of the last heartbeat beyond which a worker may be gone: it missed six.
    pub const SILENT_AFTER: Duration = Duration::from_secs(30);

    /// Time since its report; zero if its clock is ahead of `now`.
    #[must_use]
    pub fn age(&self, now: Timestamp) -> Duration {
        Duration::try_from(now.duration_since(self.heartbeat_at)).unwrap_or_default()
    }

    /// Whether its next report is overdue.
    #[must_use]
    pub fn is_silent(&self, now: Timestamp) -> bool {
        self.age(now) > Self::SILENT_AFTER
    }
}
