//! A worker process, its slots and its warm Python hosts.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Isolation, SlotRange};

/// Life cycle of a worker's pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// Loading hosts, checking queues.
    Starting,
    /// Receives and runs.
    Running,
    /// Receives nothing; running tasks continue, held ones were given back.
    Paused,
    /// As paused, and the process ends when the last task has.
    Draining,
    /// Interrupts running tasks, then ends.
    Stopping,
    /// Ended.
    Stopped,
    /// Its process ended without announcing it. A worker never reports this of itself; others
    /// conclude it.
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
    /// escalated to a stop.
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

/// Slots of one kind: their target number, and the number in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slots {
    /// Maximum number of tasks running at once.
    pub target: u32,
    /// Number of running tasks.
    pub busy: u32,
    /// Bounds of the target number, if it follows the load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<SlotRange>,
}

impl Slots {
    /// A number that does not change by itself, all free.
    #[must_use]
    pub fn free(target: u32) -> Self {
        Self {
            target,
            ..Self::default()
        }
    }

    /// The bounds of the target number, which are equal if it does not follow the load.
    #[must_use]
    pub fn bounds(self) -> SlotRange {
        self.range.unwrap_or(SlotRange::fixed(self.target))
    }
}

/// Running tasks and slots, and the bounds if there are any: `5/8 (2..16)`.
impl fmt::Display for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.busy, self.target)?;
        match self.range {
            Some(range) => write!(f, " ({range})"),
            None => Ok(()),
        }
    }
}

/// Phase of a warm Python host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForkServerPhase {
    /// Importing dagster and the user's definitions.
    Loading,
    /// Ready to run tasks.
    Ready,
    /// Replaced; its last children are running.
    Draining,
    /// Could not load: the reason, in one sentence.
    Failed(String),
}

/// A warm Python host (or the instance agent) in the console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForkServerView {
    /// Process id.
    pub pid: u32,
    /// Code location (a file or module), or `instance agent`.
    pub location: String,
    /// Phase of its life.
    pub phase: ForkServerPhase,
    /// Duration of loading, in milliseconds.
    pub load_ms: Option<u64>,
    /// Children running now.
    pub children: u32,
    /// Proportional set size in bytes, if the kernel reports it.
    pub pss_bytes: Option<u64>,
    /// Kind of process that its steps get; `None` before it is loaded, and for the instance agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
    /// Reason for that kind, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation_reason: Option<String>,
}

/// A worker process in the console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerView {
    /// Unique id: `<hostname>-<pid>` or the configured name.
    pub id: String,
    /// The configured name, if workers on other hosts have the same; the id then includes the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_name: Option<String>,
    /// Host name of the machine.
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
    /// Start time of the process.
    pub started_at: Timestamp,
    /// Time of its last report.
    pub heartbeat_at: Timestamp,
    /// Seconds by which its host's clock is behind the observer's; 0 if they agree.
    #[serde(default)]
    pub clock_behind: i64,
    /// Its Python hosts.
    pub hosts: Vec<ForkServerView>,
    /// Names of the queues it receives from; empty if it does not report them.
    #[serde(default)]
    pub queues: Vec<String>,
    /// Number of steps that ended since the start: succeeded or failed (counting retries).
    pub finished: u64,
    /// Number of steps that ended in a failure since the start.
    pub failed: u64,
    /// Time at which running tasks are interrupted (draining worker) or killed (stopping worker).
    #[serde(default)]
    pub deadline: Option<Timestamp>,
    /// Number of events dropped because its store was behind: some tasks may be missing, and some
    /// ended ones may still appear as running.
    #[serde(default)]
    pub dropped_events: u64,
}

impl WorkerView {
    /// The next automatic step, and the seconds until it.
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
