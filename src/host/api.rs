//! What a worker gives to the hosts and gets back from them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::domain::{HostPhase, Isolation, TaskKind};
use crate::environment::packages::Unpacked;

/// How this worker is named in events and heartbeats.
#[derive(Clone, Debug)]
pub struct WorkerIdentity {
    /// The name of this worker, unique among those that run; a restarted worker may keep it.
    pub id: String,
    /// Tells this process from every other one that has or had the id.
    pub incarnation: String,
    /// The host's own name, as an operator knows it.
    pub hostname: String,
    /// Version of this binary.
    pub version: String,
}

/// What happens to a step whose worker or host died while it ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostPolicy {
    /// Have Dagster's executor send the next attempt.
    Retry {
        /// How many lost workers a step may have before it fails.
        max: u32,
    },
    /// Fail the step.
    Fail,
}

/// Everything the supervisor needs to know.
#[derive(Clone, Debug)]
pub struct HostSettings {
    /// The user's Python interpreter; it must have dagster.
    pub python: PathBuf,
    /// Folder of `dagster.yaml`; none means the `DAGSTER_HOME` of this process.
    pub dagster_home: Option<PathBuf>,
    /// Open the `DagsterInstance` that a message names instead of this worker's own.
    pub trust_message_instance: bool,
    /// Module names and file globs that may be loaded; empty: all.
    pub allow_locations: Vec<String>,
    /// Who this worker is.
    pub worker: WorkerIdentity,
    /// How long a cancelled step has between SIGINT and SIGTERM.
    pub cancel_grace: Duration,
    /// What happens to a step whose worker died.
    pub on_worker_lost: LostPolicy,
    /// Executions of one attempt (of a run: its run workers) after which a message that still has
    /// no end is not run again; 0: no limit.
    pub max_deliveries: u32,
    /// How long the steps of a code location that has begun to fail to load are given back rather
    /// than failed: it may be in the middle of a deployment.
    pub load_grace: Duration,
    /// What kind of process a step gets.
    pub isolation: IsolationSettings,
    /// Where the embedded Python packages were unpacked.
    pub packages: Unpacked,
}

/// How steps are kept apart.
#[derive(Clone, Debug, Default)]
pub struct IsolationSettings {
    /// The mode of code locations that have none of their own.
    pub mode: Isolation,
    /// The mode of single code locations: by module, by file, or by the end of a file's path.
    pub by_location: BTreeMap<String, Isolation>,
    /// Steps that a reused process runs before another takes its place; at least 1.
    pub max_steps: u32,
    /// MiB that a reused process may hold after a step; 0: no limit.
    pub max_memory_mib: u32,
}

impl IsolationSettings {
    /// The mode of a code location: a module, or a file.
    pub(super) fn of(&self, target: &str) -> Isolation {
        let names = |key: &str| {
            let ends_with_it = target
                .strip_suffix(key)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('/'));
            ends_with_it || target == key
        };
        let longest = self.by_location.iter().filter(|(key, _)| names(key));
        longest
            .max_by_key(|(key, _)| key.len())
            .map_or(self.mode, |(_, mode)| *mode)
    }
}

/// One message to be executed.
#[derive(Clone, Debug)]
pub struct Execution {
    /// Taskiq's `task_id`.
    pub task_id: String,
    /// Its `task_name`.
    pub kind: TaskKind,
    /// Its `kwargs`, as they are.
    pub kwargs: serde_json::Value,
    /// Total attempt of the step, from 1; 0 where the sender did not say (it is then derived from
    /// the message's `known_state`).
    pub attempt: u32,
    /// SQS's `ApproximateReceiveCount`.
    pub receive_count: u32,
    /// SQS's `MessageId`.
    pub message_id: String,
    /// Name of the queue it came from.
    pub queue: String,
    /// After how many receives SQS itself moves it to the dead-letter queue, where it does.
    pub max_receives: Option<u32>,
    /// What kind of process it asks for; none: its code location's.
    pub isolation: Option<Isolation>,
}

/// A run that nobody has any more.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct LostRun {
    /// The run.
    pub run_id: String,
    /// The message with which it goes on.
    pub body: String,
}

/// Which output stream a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// The task's standard output.
    Stdout,
    /// The task's standard error.
    Stderr,
    /// The host's own output.
    Host,
}

/// News of a running task. When the receiver is slow, news is dropped; [`HostState::dropped`]
/// counts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The task's process exists.
    Forked {
        /// Its process id.
        pid: u32,
    },
    /// Dagster recorded an event.
    Event {
        /// `DagsterEventType`'s value, such as `STEP_START`.
        event_type: String,
        /// The step it belongs to.
        step_key: Option<String>,
        /// At most 500 characters.
        message: String,
        /// When the host passed it on, in Unix milliseconds.
        timestamp_ms: i64,
    },
    /// The task wrote a line of output.
    Log {
        /// Where to.
        stream: Stream,
        /// At most 2000 characters.
        line: String,
    },
}

/// How a task's process ended without saying what became of its task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExitKind {
    /// It left with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// It ended with this exception, outside of user code.
    Raised(String),
}

/// How a step or run ended, by its terminal event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepStatus {
    /// `STEP_SUCCESS`.
    Success,
    /// `STEP_FAILURE`.
    Failure,
    /// `STEP_UP_FOR_RETRY`.
    UpForRetry,
    /// `STEP_SKIPPED`.
    Skipped,
    /// `RESOURCE_INIT_FAILURE`: the executor writes the step's end when it reads this event.
    ResourceFailure,
    /// The run succeeded.
    RunSuccess,
    /// The run failed.
    RunFailure,
    /// The run was cancelled.
    RunCanceled,
}

/// What a task's process used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// User and system CPU time, in milliseconds.
    pub cpu_ms: u64,
    /// Largest resident set, in KiB.
    pub max_rss_kib: u64,
}

/// What became of a task: enough to decide what happens to its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It ran and its terminal event is in the log: acknowledge.
    Finished {
        /// How it ended.
        status: StepStatus,
        /// Why it failed or is to be retried, in one line, where its process told.
        reason: Option<String>,
        /// What it used.
        usage: Usage,
    },
    /// A redelivery: the attempt's terminal event was there already. Acknowledge.
    AlreadyFinished {
        /// The event's type.
        event: String,
    },
    /// The run has ended or is being cancelled; nothing was run. Acknowledge.
    RunFinished {
        /// `DagsterRunStatus`'s value, such as `CANCELED`.
        status: String,
    },
    /// Another process runs this attempt: give back with full visibility.
    ClaimHeld,
    /// Another process may run this attempt, but nothing was heard of it lately: give back.
    OwnerSilent {
        /// When to look again.
        again: Duration,
    },
    /// A worker or host died while it ran this attempt, and that was written down. Acknowledge.
    Lost {
        /// The type of the event that was written on its behalf.
        reported: String,
    },
    /// The task's process ended without a terminal event and one was written for it. Acknowledge.
    Crashed {
        /// How it ended.
        exit: ExitKind,
        /// The type of the event that was written.
        reported: String,
    },
    /// Something was in the way before the task began; nothing was run and nothing written: give
    /// back, to be tried later.
    NotStarted {
        /// Why, in one line.
        reason: String,
        /// Whether the task's code does not load; else this host or what it depends on is to blame.
        by_code: bool,
    },
    /// A run stopped before its end and is to be resumed: give back.
    Interrupted {
        /// Why.
        reason: String,
    },
    /// The run's process was stopped on purpose, since its worker ends; another goes on with it.
    HandedOver {
        /// Why it ended.
        reason: String,
    },
    /// Nothing was run and nothing written. The worker decides.
    Unrunnable {
        /// Why, in one sentence.
        reason: String,
    },
}

/// The end of a message that nobody will run any more.
#[derive(Clone, Debug)]
pub struct Report {
    /// What the message asked for.
    pub kind: TaskKind,
    /// Its `kwargs`, as they are.
    pub kwargs: serde_json::Value,
    /// As in [`Execution::attempt`].
    pub attempt: u32,
    /// Why it will not be run, in one sentence for Dagster's event log.
    pub reason: String,
    /// What happened to it.
    pub report: ReportKind,
}

/// What happened to a message that nobody will run any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportKind {
    /// It was removed: its step or run fails.
    Removed,
    /// An operator cancelled it: its step fails, its run is cancelled.
    Canceled,
}

/// What came of a [`Report`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reported {
    /// This event was written.
    Written {
        /// Its type.
        event: String,
    },
    /// The attempt or its run had an end.
    Over,
    /// Another process runs the attempt right now: nothing was written, and the message must stay.
    Held,
    /// There is no such run.
    Missing,
}

/// What Dagster's log holds of one attempt of a step.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct AttemptEvents {
    /// The attempt's `DagsterEvent`s, oldest first, as Dagster serializes them.
    pub events: Vec<String>,
    /// Whether they tell how the attempt ended.
    pub ended: bool,
}

/// Where a step's output lies on this host.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capture {
    /// In these files, which may not be there (yet).
    Files {
        /// Of standard output.
        stdout: std::path::PathBuf,
        /// Of standard error.
        stderr: std::path::PathBuf,
    },
    /// With a compute log manager of this class, which keeps them elsewhere.
    Elsewhere(String),
}

/// What the worker's Python and `DagsterInstance` are.
#[derive(Clone, Debug, Deserialize)]
pub struct About {
    /// Version of Python.
    pub python: String,
    /// Version of dagster.
    pub dagster: String,
    /// Version of the installed `dagster_taskiq`; none where only this binary carries it.
    pub dagster_taskiq: Option<String>,
    /// `sqlite`, `postgresql`, `mysql` or `other`: the event log's database.
    pub storage: String,
    /// Class of the run launcher.
    pub run_launcher: String,
    /// Whether another claim was taken and given back.
    pub claims: bool,
}

/// News of the hosts themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostNotice {
    /// A host has loaded its code location.
    Ready {
        /// The code location.
        location: String,
        /// Its process id.
        pid: u32,
        /// How long loading took.
        loaded_ms: u64,
    },
    /// What kind of process the steps of a code location get.
    Isolation {
        /// The code location.
        location: String,
        /// The mode, never `auto`.
        mode: Isolation,
        /// Why that one, in a sentence.
        reason: String,
    },
    /// A code location does not load.
    LoadFailed {
        /// The code location.
        location: String,
        /// The exception's last line.
        reason: String,
    },
    /// A host or the ledger died; its tasks are being resolved.
    Died {
        /// The code location, or `ledger`.
        location: String,
        /// Its process id.
        pid: u32,
    },
    /// A line on a host's own output.
    Line {
        /// The code location, or `ledger`.
        location: String,
        /// The line.
        line: String,
    },
    /// The host's Python has a `dagster_taskiq` of another version than this binary.
    VersionDiffers {
        /// The code location.
        location: String,
        /// The installed version.
        installed: String,
    },
    /// A task is being interrupted because its run has ended or is being cancelled.
    Canceling {
        /// Taskiq's `task_id`.
        task_id: String,
        /// The run's status.
        status: String,
    },
    /// Cancelled runs cannot be noticed for now: Dagster's storage does not answer.
    LedgerError {
        /// What went wrong.
        reason: String,
    },
}

/// One host, as the console shows it.
#[derive(Clone, Debug)]
pub struct HostState {
    /// Process id; 0 while there is none.
    pub pid: u32,
    /// The code location.
    pub location: String,
    /// Where it is in its life.
    pub phase: HostPhase,
    /// How long loading took, in milliseconds; 0 before.
    pub loaded_ms: u64,
    /// How many tasks it runs.
    pub children: u32,
    /// Proportional set size of the host process itself, in KiB.
    pub pss_kib: u64,
    /// Events and log lines that were dropped because nobody took them.
    pub dropped: u64,
    /// What kind of process its steps get, and why, in a sentence; none before it is loaded.
    pub isolation: Option<(Isolation, String)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_location_is_named_by_its_module_its_file_or_the_end_of_its_path() {
        let settings = IsolationSettings {
            mode: Isolation::Auto,
            by_location: [
                ("etl.defs", Isolation::Fresh),
                ("defs.py", Isolation::Reuse),
                ("ml/defs.py", Isolation::Fork),
            ]
            .map(|(key, mode)| (key.to_owned(), mode))
            .into(),
            ..IsolationSettings::default()
        };
        assert_eq!(settings.of("etl.defs"), Isolation::Fresh);
        assert_eq!(settings.of("/srv/sales/defs.py"), Isolation::Reuse);
        assert_eq!(settings.of("/srv/ml/defs.py"), Isolation::Fork);
        assert_eq!(settings.of("/srv/other_defs.py"), Isolation::Auto);
        assert_eq!(settings.of("defs"), Isolation::Auto);
    }
}
