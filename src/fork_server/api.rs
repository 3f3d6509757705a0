//! Types exchanged between the worker and the hosts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::domain::{ForkServerPhase, Isolation, TaskKind};
use crate::environment::packages::Unpacked;

/// Identity of this worker in events and heartbeats.
#[derive(Clone, Debug)]
pub struct WorkerIdentity {
    /// The name of this worker, unique among those that run; a restarted worker may keep it.
    pub id: String,
    /// Distinguishes this process from every other one that has or had the id.
    pub incarnation: String,
    /// The machine's host name, as an operator knows it.
    pub hostname: String,
    /// Version of this binary.
    pub version: String,
}

/// Policy for a step whose worker or host died while it ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostPolicy {
    /// Have Dagster's executor send the next attempt.
    Retry {
        /// Number of lost workers that a step may have before it fails.
        max: u32,
    },
    /// Fail the step.
    Fail,
}

/// Settings of the supervisor.
#[derive(Clone, Debug)]
pub struct ForkServerSettings {
    /// The user's Python interpreter; it must have dagster.
    pub python: PathBuf,
    /// Folder of `dagster.yaml`; `None` means the `DAGSTER_HOME` of this process.
    pub dagster_home: Option<PathBuf>,
    /// Open the `DagsterInstance` that a message names instead of this worker's own.
    pub trust_message_instance: bool,
    /// Module names and file globs that may be loaded; empty: all.
    pub allow_locations: Vec<String>,
    /// Identity of this worker.
    pub worker: WorkerIdentity,
    /// Time between SIGINT and SIGTERM for a cancelled step.
    pub cancel_grace: Duration,
    /// Policy for a step whose worker died.
    pub on_worker_lost: LostPolicy,
    /// Maximum number of executions of one attempt (of a run: its run workers); a message that
    /// still has no end then is not run again. 0: no limit.
    pub max_deliveries: u32,
    /// Time for which the steps of a code location that has begun to fail to load are given back
    /// rather than failed: it may be in the middle of a deployment.
    pub load_grace: Duration,
    /// Process isolation of steps.
    pub isolation: IsolationSettings,
    /// Folder of the unpacked embedded Python packages.
    pub packages: Unpacked,
}

/// Process isolation of steps.
#[derive(Clone, Debug, Default)]
pub struct IsolationSettings {
    /// The default mode of code locations.
    pub mode: Isolation,
    /// The mode of single code locations: by module, by file, or by the end of a file's path.
    pub by_location: BTreeMap<String, Isolation>,
    /// Number of steps that a reused process runs before it is replaced; at least 1.
    pub max_steps: u32,
    /// Maximum memory of a reused process after a step, in MiB; 0: no limit.
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

/// A message to be executed.
#[derive(Clone, Debug)]
pub struct Execution {
    /// Taskiq's `task_id`.
    pub task_id: String,
    /// Its `task_name`.
    pub kind: TaskKind,
    /// Its unchanged `kwargs`.
    pub kwargs: serde_json::Value,
    /// Total attempt of the step, from 1; 0 if the sender did not set it (it is then derived from
    /// the message's `known_state`).
    pub attempt: u32,
    /// SQS's `ApproximateReceiveCount`.
    pub receive_count: u32,
    /// SQS's `MessageId`.
    pub message_id: String,
    /// Name of the queue it came from.
    pub queue: String,
    /// Number of receives after which SQS itself moves it to the dead-letter queue, if configured.
    pub max_receives: Option<u32>,
    /// Process isolation that it requests; `None` means that of its code location.
    pub isolation: Option<Isolation>,
}

/// A run that no worker executes any more.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct LostRun {
    /// The run.
    pub run_id: String,
    /// The message that resumes it.
    pub body: String,
}

/// Output stream of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// The task's standard output.
    Stdout,
    /// The task's standard error.
    Stderr,
    /// The host's own output.
    Host,
}

/// Progress of a running task. When the receiver is slow, events are dropped;
/// [`ForkServerState::dropped`] counts them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The task's process was started.
    Forked {
        /// Its process id.
        pid: u32,
    },
    /// Dagster recorded an event.
    Event {
        /// `DagsterEventType`'s value, such as `STEP_START`.
        event_type: String,
        /// At most 500 characters.
        message: String,
    },
    /// The task wrote a line of output.
    Log {
        /// The stream.
        stream: Stream,
        /// At most 2000 characters.
        line: String,
    },
}

/// End of a task's process that did not report an outcome for its task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExitKind {
    /// It exited with this code.
    Code(i32),
    /// It was killed by this signal.
    Signal(i32),
    /// It ended with this exception, outside of user code.
    Raised(String),
}

/// End of a step or run, by its terminal event.
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

/// Resource usage of a task's process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// User and system CPU time, in milliseconds.
    pub cpu_ms: u64,
    /// Largest resident set, in KiB.
    pub max_rss_kib: u64,
}

/// Outcome of a task, which decides how its message is settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It ran and its terminal event is in the log: acknowledge.
    Finished {
        /// Status of the terminal event.
        status: StepStatus,
        /// Reason of a failure or retry, in one line, if its process reported it.
        reason: Option<String>,
        /// Resource usage.
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
    /// Another process may run this attempt, but has not reported lately: give back.
    OwnerSilent {
        /// Time until the next check.
        again: Duration,
    },
    /// A worker or host died while it ran this attempt, and the loss was written to the log.
    /// Acknowledge.
    Lost {
        /// The type of the event that was written on its behalf.
        reported: String,
    },
    /// The task's process ended without a terminal event and one was written for it. Acknowledge.
    Crashed {
        /// End of the process.
        exit: ExitKind,
        /// The type of the event that was written.
        reported: String,
    },
    /// The task could not begin; nothing was run and nothing written: give back, to be retried
    /// later.
    NotStarted {
        /// The reason, in one line.
        reason: String,
        /// Whether the task's code fails to load; otherwise the cause is this host or a service it
        /// depends on.
        by_code: bool,
    },
    /// A run stopped before its end and is to be resumed: give back.
    Interrupted {
        /// The reason.
        reason: String,
    },
    /// The run's process was stopped on purpose because its worker ends; another worker resumes it.
    HandedOver {
        /// The reason.
        reason: String,
    },
    /// Nothing was run and nothing written. The worker decides.
    Unrunnable {
        /// The reason, in one sentence.
        reason: String,
    },
}

/// The end of a message that no worker will run any more.
#[derive(Clone, Debug)]
pub struct Report {
    /// Kind of the message's task.
    pub kind: TaskKind,
    /// Its unchanged `kwargs`.
    pub kwargs: serde_json::Value,
    /// As in [`Execution::attempt`].
    pub attempt: u32,
    /// The reason, in one sentence for Dagster's event log.
    pub reason: String,
    /// Cause of the end.
    pub report: ReportKind,
}

/// Cause of the end of a message that no worker will run any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportKind {
    /// It was removed: its step or run fails.
    Removed,
    /// An operator cancelled it: its step fails, its run is cancelled.
    Canceled,
}

/// Result of a [`Report`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reported {
    /// This event was written.
    Written {
        /// Its type.
        event: String,
    },
    /// The attempt or its run already had an end.
    Over,
    /// Another process is running the attempt: nothing was written, and the message must stay.
    Held,
    /// There is no such run.
    Missing,
}

/// Events of one attempt of a step in Dagster's log.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct AttemptEvents {
    /// The attempt's `DagsterEvent`s, oldest first, as Dagster serializes them.
    pub events: Vec<String>,
    /// Whether they include the end of the attempt.
    pub ended: bool,
}

/// Location of a step's captured output.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capture {
    /// In these files on this machine, which may not exist (yet).
    Files {
        /// Of standard output.
        stdout: std::path::PathBuf,
        /// Of standard error.
        stderr: std::path::PathBuf,
    },
    /// Managed elsewhere by a compute log manager of this class.
    Elsewhere(String),
}

/// Properties of the worker's Python and `DagsterInstance`.
#[derive(Clone, Debug, Deserialize)]
pub struct Diagnostics {
    /// Version of Python.
    pub python: String,
    /// Version of dagster.
    pub dagster: String,
    /// A sentence on a dagster outside of the tested range.
    pub dagster_warning: Option<String>,
    /// Version of the installed `dagster_taskiq`; `None` if only this binary carries it.
    pub dagster_taskiq: Option<String>,
    /// `sqlite`, `postgresql`, `mysql` or `other`: the event log's database.
    pub storage: String,
    /// Class of the run launcher.
    pub run_launcher: String,
    /// Whether a claim was taken and given back.
    pub claims: bool,
    /// The executor and, if it is ours, the run launcher.
    pub senders: Vec<SenderView>,
}

/// An executor or run launcher, as `dagster.yaml` and the environment have it.
#[derive(Clone, Debug, Deserialize)]
pub struct SenderView {
    /// Its name in Python.
    pub name: String,
    /// The name of the base queue it sends to, or what is wrong with its configuration.
    pub queue: Result<String, String>,
}

/// Events of the hosts themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForkServerNotice {
    /// A host has loaded its code location.
    Ready {
        /// The code location.
        location: String,
        /// Its process id.
        pid: u32,
        /// Duration of loading, in milliseconds.
        loaded_ms: u64,
    },
    /// Process isolation of the steps of a code location.
    Isolation {
        /// The code location.
        location: String,
        /// The mode, never `auto`.
        mode: Isolation,
        /// Reason for the mode, in a sentence.
        reason: String,
    },
    /// A code location fails to load.
    LoadFailed {
        /// The code location.
        location: String,
        /// The exception's last line.
        reason: String,
    },
    /// A host or the instance agent died; its tasks are being resolved.
    Died {
        /// The code location, or `instance agent`.
        location: String,
        /// Its process id.
        pid: u32,
    },
    /// A line on a host's own output.
    Line {
        /// The code location, or `instance agent`.
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
    /// The worker's Dagster is outside of the tested range.
    DagsterUntested {
        /// The sentence.
        warning: String,
    },
    /// A task is being interrupted because its run has ended or is being cancelled.
    Canceling {
        /// Taskiq's `task_id`.
        task_id: String,
        /// The run's status.
        status: String,
    },
    /// Cancelled runs cannot be detected for now: Dagster's storage does not answer.
    InstanceAgentError {
        /// The reason.
        reason: String,
    },
}

/// State of one host, for the console.
#[derive(Clone, Debug)]
pub struct ForkServerState {
    /// Process id; 0 while there is no process.
    pub pid: u32,
    /// The code location.
    pub location: String,
    /// Phase of its life.
    pub phase: ForkServerPhase,
    /// Duration of loading, in milliseconds; 0 before.
    pub loaded_ms: u64,
    /// Number of tasks it runs.
    pub children: u32,
    /// Proportional set size of the host process itself, in KiB.
    pub pss_kib: u64,
    /// Number of events and log lines that were dropped because the receiver was slow.
    pub dropped: u64,
    /// Process isolation of its steps, and the reason in a sentence; `None` before it is loaded.
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
