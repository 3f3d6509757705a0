//! The frames between this process and a Python host: a 4-byte big-endian length, then JSON.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::secrets::redact_in_place;
use crate::domain::{Explanation, Isolation};

/// Version of the protocol on both sides; they come from the same binary.
pub(super) const PROTOCOL: u32 = 1;

/// Maximum size of a frame, in bytes. A Taskiq message is at most 1 MiB inline; one that was read
/// from S3 may be larger.
pub(super) const MAX_FRAME: usize = 16 * 1024 * 1024;

/// Identity of this worker in Dagster's events.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Worker {
    pub id: String,
    pub hostname: String,
    /// Process id of this process, as text.
    pub pid: String,
    /// Distinguishes this process from every other one that ever had the id.
    pub incarnation: String,
}

/// The lost-worker policy.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Lost {
    pub policy: &'static str,
    pub max: u32,
}

/// Policy for code that may be loaded; see `code_origin` on the other side.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Policy {
    /// Module names and file globs; empty: all.
    pub allow_locations: Vec<String>,
    /// Whether the instance was opened from a message.
    pub trusts_message: bool,
}

/// A task to run.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Job {
    pub id: String,
    /// Taskiq's `task_name`.
    pub task: &'static str,
    pub run_id: String,
    pub kwargs: Value,
    pub attempt: u32,
    pub receive_count: u32,
    pub message_id: String,
    pub queue: String,
    pub worker: Worker,
    pub lost: Lost,
    pub max_deliveries: u32,
    pub policy: Policy,
    pub isolation: Option<Isolation>,
    /// Whether `Stale` is a valid answer if the loaded code lacks something that the run needs.
    pub reload: bool,
    /// Whether it is run although the code has changed on disk since it was loaded.
    pub outdated: bool,
}

/// Content of a report on an attempt; see `reports.Report` on the other side.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ReportBody {
    pub run_id: String,
    pub step_key: Option<String>,
    pub attempt: u32,
    pub mode: &'static str,
    pub reason: String,
    pub retries_disabled: bool,
    pub retry_allowed: bool,
    pub retry_delay: Option<f64>,
    pub lost_policy: &'static str,
    pub lost_max: u32,
}

/// Settings by which a host runs its tasks.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Manner {
    pub isolation: Isolation,
    pub max_steps: u32,
    pub max_memory_mib: u32,
    /// Limit of open files for user code: this process's own limit before it was raised.
    pub descriptors: Option<u64>,
}

/// To a host or the instance agent.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum ToProcess {
    Load {
        origin: Value,
        /// The instance as JSON text; `None` means the worker's own.
        instance_ref: Option<String>,
        /// Settings for tasks; an instance agent runs none.
        #[serde(flatten)]
        manner: Manner,
    },
    Step(Box<Job>),
    Run(Box<Job>),
    Cancel {
        id: String,
        grace_ms: u64,
    },
    Kill {
        id: String,
    },
    /// Requests a sign of life.
    Ping,
    Stop {
        drain: bool,
    },
    Heartbeat {
        id: u64,
        worker: String,
        body: Value,
    },
    /// The deployment's workers; see `fleet_digest` on the other side.
    Fleet {
        id: u64,
        all: bool,
    },
    About {
        id: u64,
    },
    Code {
        id: u64,
        run_id: String,
        /// `JobPythonOrigin` and `InstanceRef` of the message, packed: they are only compared.
        job_origin: Value,
        instance_ref: Value,
        policy: Policy,
        /// The subject of the message, besides its run.
        step_key: Option<String>,
        attempt: u32,
    },
    EndingRuns {
        id: u64,
        run_ids: Vec<String>,
    },
    LostRuns {
        id: u64,
        worker: Worker,
        /// Seconds within which one look of any worker is enough.
        every: f64,
    },
    Report {
        id: u64,
        report: ReportBody,
    },
    CancelRun {
        id: u64,
        run_id: String,
    },
    /// A run's process has ended although the run has not.
    Release {
        id: u64,
        run_id: String,
        worker: Worker,
        pid: u32,
    },
    Capture {
        id: u64,
        run_id: String,
        file_key: String,
    },
    AttemptEvents {
        id: u64,
        run_id: String,
        step_key: String,
        attempt: u32,
    },
    /// Facts from Dagster's storage for the alarms.
    AlarmFacts {
        id: u64,
        /// Time in seconds for which a failed run counts.
        window: u64,
    },
    /// Agrees with the other workers on alarms; see `alarm_board` on the other side.
    AlarmSync {
        id: u64,
        request: Value,
    },
    AlarmAcknowledge {
        id: u64,
        alarm: String,
        /// Unix seconds.
        until: Option<f64>,
        by: String,
    },
    /// Pauses a queue in the whole deployment; see `paused_queues` on the other side.
    PauseQueue {
        id: u64,
        queue: String,
        by: String,
        reason: Option<String>,
    },
    ResumeQueue {
        id: u64,
        queue: String,
    },
    Explain {
        id: u64,
        run_id: String,
        step_key: Option<String>,
    },
    UsualTime {
        id: u64,
        run_id: String,
        step_key: String,
    },
    FreeSlot {
        id: u64,
        run_id: String,
        step_key: String,
    },
}

/// Answer of the instance agent about a run or step that may not exist.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Explained {
    Missing { missing: String },
    Found(Box<Explanation>),
}

/// Outcome of freeing a pool slot.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Freed {
    Done(String),
    Refused(String),
}

/// Whether a crashed step's own `RetryPolicy` has an attempt left.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Retry {
    pub allowed: bool,
    pub delay: Option<f64>,
}

/// Report of a task's process before it ended; see `outcomes` on the other side.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub(super) enum TaskReport {
    Finished {
        status: String,
        reason: Option<String>,
    },
    AlreadyFinished {
        event: String,
    },
    RunFinished {
        status: String,
    },
    ClaimHeld,
    OwnerSilent {
        again_s: f64,
    },
    Lost {
        reported: String,
    },
    NotStarted {
        reason: String,
    },
    Raised {
        reason: String,
    },
    Interrupted {
        reason: String,
    },
    Unrunnable {
        reason: String,
    },
}

/// Result of a look-up of a run's code in Dagster's storage.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub(super) enum RunCode {
    /// There is no such run.
    Missing { reason: String },
    /// The run has ended.
    Finished { status: String },
    /// Its code must not be loaded here.
    Refused { reason: String },
    /// Its code.
    Code(RunOrigin),
}

/// Location of a run's code.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct RunOrigin {
    /// `RepositoryPythonOrigin` in Dagster's packed form.
    pub origin: Value,
    /// Display name of the code location.
    pub location: String,
    /// The difference, if the message names other code.
    pub difference: Option<String>,
}

/// A task's process was reaped.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Exit {
    pub id: String,
    pub pid: u32,
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub outcome: Option<TaskReport>,
    pub retry: Option<Retry>,
    /// Whether the task had begun: its claim was held and its start was in Dagster's log.
    pub begun: bool,
    /// Whether it was being cancelled.
    pub canceled: bool,
    /// Whether its host sent it SIGKILL.
    pub killed: bool,
    pub cpu_ms: u64,
    pub max_rss_kib: u64,
    /// Number of bytes of output that were not shown.
    pub skipped: u64,
    /// Frames the host has dropped since it started.
    pub dropped: u64,
}

/// Message from a host or the instance agent.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum FromProcess {
    Hello {
        protocol: u32,
        dagster_taskiq: Option<String>,
        #[serde(default)]
        dagster_warning: Option<String>,
    },
    Ready {
        load_ms: u64,
        /// Empty from an instance agent.
        isolation: String,
        why: String,
    },
    /// The mode has changed.
    Isolation {
        isolation: String,
        why: String,
    },
    LoadError {
        reason: String,
        /// Whether the cause is transient and not the code, such as Dagster's storage.
        #[serde(default)]
        passing: bool,
    },
    /// The user's code has changed on disk since it was loaded, or (then with a reason) lacks
    /// something that the run needs: nothing was started.
    Stale {
        id: String,
        #[serde(default)]
        reason: Option<String>,
    },
    /// The answer to a ping.
    Pong,
    /// A process for the task cannot be started; the task has not begun.
    CannotStart {
        id: String,
        reason: String,
    },
    Forked {
        id: String,
        pid: u32,
    },
    /// The task's claim is held and its start is in Dagster's log.
    Begun {
        id: String,
    },
    /// A run worker that another one can replace if it is stopped.
    Resumable {
        id: String,
    },
    Event {
        id: String,
        event_type: String,
        message: String,
    },
    Log {
        id: String,
        stream: String,
        line: String,
    },
    Exit(Box<Exit>),
    Answer {
        id: u64,
        value: Option<Value>,
        error: Option<String>,
    },
}

impl FromProcess {
    /// Hides secrets in texts from user code, Dagster and libraries: from here on they are shown,
    /// logged and written into Dagster's events. Requested values stay unchanged.
    pub fn redact(&mut self) {
        match self {
            Self::LoadError { reason, .. }
            | Self::CannotStart { reason, .. }
            | Self::Stale {
                reason: Some(reason),
                ..
            } => redact_in_place(reason),
            // The reason may name the peers of open connections.
            Self::Ready { why, .. } | Self::Isolation { why, .. } => redact_in_place(why),
            Self::Event { message, .. } => redact_in_place(message),
            Self::Log { line, .. } => redact_in_place(line),
            Self::Exit(exit) => {
                if let Some(
                    TaskReport::NotStarted { reason }
                    | TaskReport::Raised { reason }
                    | TaskReport::Interrupted { reason }
                    | TaskReport::Unrunnable { reason }
                    | TaskReport::Finished {
                        reason: Some(reason),
                        ..
                    },
                ) = &mut exit.outcome
                {
                    redact_in_place(reason);
                }
            }
            Self::Answer { error, .. } => error.iter_mut().for_each(redact_in_place),
            Self::Hello { .. }
            | Self::Stale { .. }
            | Self::Forked { .. }
            | Self::Begun { .. }
            | Self::Pong
            | Self::Resumable { .. } => {}
        }
    }
}
