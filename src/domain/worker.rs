//! A worker process, its slots and its warm Python hosts.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Isolation;

/// Life cycle of a worker's pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// Loading hosts, checking queues.
    Starting,
    /// Receives and runs.
    Running,
    /// Receives nothing; what runs goes on, what was held went back.
    Paused,
    /// As paused, and the process ends when the last task has.
    Draining,
    /// Interrupts what runs, then ends.
    Stopping,
    /// Over.
    Stopped,
    /// Its process is gone and did not say that it would end. No worker says so of itself: it is what
    /// others make of it.
    Lost,
}

impl WorkerState {
    /// One word for badges.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Lost => "lost",
        }
    }

    /// Whether the pool receives messages in this state.
    #[must_use]
    pub fn receives(self) -> bool {
        self == Self::Running
    }

    /// Whether its process has ended.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Stopped | Self::Lost)
    }

    /// Whether `next` may follow this state. A worker that ends never comes back; a drain may be
    /// hurried into a stop.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        use WorkerState::{Draining, Paused, Running, Starting, Stopped, Stopping};
        matches!(
            (self, next),
            (Starting | Paused, Running)
                | (Starting | Running, Paused)
                | (Starting | Running | Paused, Draining)
                | (Starting | Running | Paused | Draining, Stopping)
                | (Draining | Stopping, Stopped)
        )
    }
}

/// Slots of one kind: how many there should be, and how many are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slots {
    /// How many tasks may run at once.
    pub target: u32,
    /// How many do.
    pub busy: u32,
}

/// Phase of a warm Python host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostPhase {
    /// Importing dagster and the user's definitions.
    Loading,
    /// Forks children.
    Ready,
    /// Replaced; its last children are running.
    Draining,
    /// Could not load: the reason, in one sentence.
    Failed(String),
}

/// A warm Python host (or the ledger) as the console shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostView {
    /// Process id.
    pub pid: u32,
    /// Code location (a file or module), or `ledger`.
    pub location: String,
    /// Where it is in its life.
    pub phase: HostPhase,
    /// How long loading took, in milliseconds.
    pub load_ms: Option<u64>,
    /// Children running now.
    pub children: u32,
    /// Proportional set size in bytes, where the kernel tells.
    pub pss_bytes: Option<u64>,
    /// What kind of process its steps get; none before it is loaded, and of the ledger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
    /// Why that one, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation_reason: Option<String>,
}

/// A worker process as the console shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerView {
    /// Unique id: `<hostname>-<pid>` or the configured name.
    pub id: String,
    /// The name it was given, where workers on other hosts have the same; the id then has the host
    /// with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_name: Option<String>,
    /// Real host name.
    pub hostname: String,
    /// Process id of the worker.
    pub pid: u32,
    /// Version of the binary.
    pub version: String,
    /// State of the pool.
    pub state: WorkerState,
    /// Slots for steps.
    pub steps: Slots,
    /// Slots for run workers.
    pub runs: Slots,
    /// When the process started.
    pub started_at: Timestamp,
    /// When it last told us something.
    pub heartbeat_at: Timestamp,
    /// Seconds that the clock of its host is behind that of who looks; 0 where they agree.
    #[serde(default)]
    pub clock_behind: i64,
    /// Its Python hosts.
    pub hosts: Vec<HostView>,
    /// Names of the queues it receives from; empty where it does not say.
    #[serde(default)]
    pub queues: Vec<String>,
    /// Steps that ended since the start: succeeded, failed (counting retries).
    pub finished: u64,
    /// Steps that ended in a failure since the start.
    pub failed: u64,
    /// When what still runs is interrupted (of a draining worker) or killed (of a stopping one).
    #[serde(default)]
    pub deadline: Option<Timestamp>,
    /// Events that were dropped because its store was behind: tasks it tells of may be missing, or
    /// said to run that have ended.
    #[serde(default)]
    pub dropped_events: u64,
}

impl WorkerView {
    /// What comes next by itself, and in how many seconds.
    #[must_use]
    pub fn next_step(&self, now: Timestamp) -> Option<(&'static str, i64)> {
        let what = match self.state {
            WorkerState::Draining => "interrupts them",
            WorkerState::Stopping => "kills them",
            _ => return None,
        };
        Some((what, now.duration_until(self.deadline?).as_secs().max(0)))
    }
}
