//! Queries for data beyond the snapshot: sent once, answered once, bounded.
//!
//! A query is a [`super::Command`] that changes nothing; its answer is a [`super::Reply`].

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    AlarmEntry, DagsterParts, Explanation, FailedRunPage, JobRef, Launch, Peek, ProcessUsage,
    QueueDetail, Route, RunFailures, RunStatus, StackReport,
};

/// An asset's key, by its parts.
pub type AssetKey = Vec<String>;

/// A query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "query", rename_all = "snake_case")]
pub enum Query {
    /// The data needed to launch a job.
    Job {
        /// The job.
        job: JobRef,
        /// The assets of the launch; empty for the whole job.
        assets: Vec<AssetKey>,
    },
    /// Dagster's run configuration for a partition.
    PartitionConfig {
        /// The job.
        job: JobRef,
        /// The assets of the launch; empty for the whole job.
        assets: Vec<AssetKey>,
        /// The partition.
        partition: String,
    },
    /// Dagster's validation of a launch's configuration.
    CheckConfig(Box<Launch>),
    /// Runs older than those of the snapshot, which then contains them.
    OlderRuns {
        /// Only runs with these statuses; empty for all.
        statuses: Vec<RunStatus>,
        /// Runs before this one; `None` for those before the last page.
        before: Option<String>,
    },
    /// A run's steps from Dagster.
    Run {
        /// The run.
        run_id: String,
    },
    /// A page of the runs that failed since a time.
    FailedRuns {
        /// Beginning of the time.
        since: Timestamp,
        /// Runs before this one; `None` for the newest.
        before: Option<String>,
    },
    /// The failures in the logs of runs, at most [`Query::LOGS_AT_ONCE`].
    RunFailures {
        /// The runs.
        run_ids: Vec<String>,
    },
    /// Dagster's daemons, code locations, schedules, sensors and backfills.
    DagsterParts,
    /// The next events of a step in Dagster's log, or of a whole run.
    StepEvents {
        /// The run.
        run_id: String,
        /// The step; `None` for every event of the run.
        step_key: Option<String>,
        /// The position at which the last answer ended.
        after: Option<String>,
    },
    /// The next part of a step's output, as Dagster captured it.
    StepOutput {
        /// The run.
        run_id: String,
        /// Dagster's key of the capture, from [`EventPage::file_key`].
        file_key: String,
        /// The position at which the last answer ended.
        after: Option<String>,
    },
    /// The next part of a step's output from the files on a worker's host, if the webserver cannot
    /// read them.
    OutputFiles {
        /// The run.
        run_id: String,
        /// Dagster's key of the capture, from [`EventPage::file_key`].
        file_key: String,
        /// The position at which the last answer ended; without one, the last [`OutputPage::MAX`]
        /// bytes.
        after: Option<String>,
    },
    /// The message of a task that a worker holds or runs, its secrets hidden.
    Payload {
        /// Taskiq's task id.
        task_id: String,
    },
    /// A queue's attributes, tags and dead-letter pairing.
    Queue {
        /// Its name.
        queue: String,
    },
    /// Messages of a queue without receiving them; only the embedded broker supports it.
    Peek {
        /// The queue's name.
        queue: String,
        /// Maximum number of messages.
        limit: usize,
        /// Only the message with this SQS message id.
        message_id: Option<String>,
    },
    /// Read the Python stacks of a running task's process.
    Stack {
        /// Taskiq's task id.
        task_id: String,
    },
    /// Measure the resource usage of a running task's processes.
    Usage {
        /// Taskiq's task id.
        task_id: String,
    },
    /// Explain why a run or one of its steps does not start.
    Explain {
        /// The run, or the beginning of its id.
        run_id: String,
        /// The step; absent for the run itself.
        step_key: Option<String>,
    },
    /// The history of alarms on a worker's host, newest first.
    AlarmHistory {
        /// Maximum number of entries.
        limit: usize,
    },
}

impl Query {
    /// Maximum number of logs that one [`Query::RunFailures`] reads.
    pub const LOGS_AT_ONCE: usize = 4;

    /// Name of the query in an error.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Job { .. } => "describe job",
            Self::PartitionConfig { .. } => "describe partition",
            Self::CheckConfig(_) => "check configuration",
            Self::OlderRuns { .. } => "load older runs",
            Self::Run { .. } => "describe run",
            Self::FailedRuns { .. } => "list failed runs",
            Self::RunFailures { .. } => "read failures",
            Self::DagsterParts => "look at Dagster",
            Self::StepEvents { .. } => "read events",
            Self::StepOutput { .. } | Self::OutputFiles { .. } => "read output",
            Self::Payload { .. } => "show message",
            Self::Queue { .. } => "describe queue",
            Self::Peek { .. } => "peek",
            Self::Stack { .. } => "read stack",
            Self::Usage { .. } => "measure usage",
            Self::Explain { .. } => "explain",
            Self::AlarmHistory { .. } => "read the history of alarms",
        }
    }

    /// Its addressee.
    #[must_use]
    pub fn route(&self) -> Route<'_> {
        match self {
            Self::Job { .. }
            | Self::PartitionConfig { .. }
            | Self::CheckConfig(_)
            | Self::OlderRuns { .. }
            | Self::Run { .. }
            | Self::FailedRuns { .. }
            | Self::RunFailures { .. }
            | Self::DagsterParts
            | Self::StepEvents { .. }
            | Self::StepOutput { .. } => Route::Dagster,
            Self::Queue { queue } | Self::Peek { queue, .. } => Route::Queues(Some(queue)),
            Self::Explain { .. } => Route::Storage,
            Self::AlarmHistory { .. } => Route::Alarms,
            Self::OutputFiles { .. }
            | Self::Payload { .. }
            | Self::Stack { .. }
            | Self::Usage { .. } => Route::Worker,
        }
    }
}

/// An answer, named after its query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Of [`Query::Job`].
    Job(JobDetail),
    /// Of [`Query::PartitionConfig`]: YAML.
    PartitionConfig(String),
    /// Of [`Query::CheckConfig`]: the problems; empty if there are none.
    CheckConfig(Vec<ConfigProblem>),
    /// Of [`Query::OlderRuns`].
    OlderRuns {
        /// Number of runs in this page.
        count: usize,
        /// Whether this is the last page.
        last: bool,
    },
    /// Of [`Query::Run`].
    Run(RunSteps),
    /// Of [`Query::FailedRuns`].
    FailedRuns(FailedRunPage),
    /// Of [`Query::RunFailures`]; runs that Dagster does not know any more are left out.
    RunFailures(Vec<RunFailures>),
    /// Of [`Query::DagsterParts`].
    DagsterParts(DagsterParts),
    /// Of [`Query::StepEvents`].
    StepEvents(EventPage),
    /// Of [`Query::StepOutput`] and [`Query::OutputFiles`].
    StepOutput(OutputPage),
    /// Of [`Query::Payload`].
    Payload(String),
    /// Of [`Query::Queue`].
    Queue(QueueDetail),
    /// Of [`Query::Peek`], and of a peek by receiving.
    Peek(Peek),
    /// Of [`Query::Peek`], if the broker can show the messages of this queue only by receiving
    /// them.
    OnlyByReceiving(String),
    /// Of [`Query::Stack`].
    Stack(StackReport),
    /// Of [`Query::Usage`].
    Usage(ProcessUsage),
    /// Answer to [`Query::Explain`].
    Explanation(Explanation),
    /// Answer to [`Query::AlarmHistory`].
    AlarmHistory(Vec<AlarmEntry>),
}

/// The data needed to launch a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobDetail {
    /// Its default run configuration, as YAML.
    pub default_config: String,
    /// The newest of its partitions, newest first, at most [`JobDetail::MAX_PARTITIONS`].
    pub partitions: Vec<String>,
    /// The assets it materializes, at most [`JobDetail::MAX_ASSETS`].
    pub assets: Vec<AssetKey>,
}

impl JobDetail {
    /// Maximum number of partitions in an answer: more than a user scrolls through, and under 1
    /// MiB.
    pub const MAX_PARTITIONS: usize = 5_000;
    /// Maximum number of assets in an answer.
    pub const MAX_ASSETS: usize = 5_000;
}

/// A run's steps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSteps {
    /// The steps of its plan and those that were added while it ran, in the plan's order; at most
    /// [`RunSteps::MAX`].
    pub steps: Vec<RunStep>,
    /// Its configuration, as YAML.
    pub config: String,
}

impl RunSteps {
    /// Maximum number of steps in an answer.
    pub const MAX: usize = 5_000;
}

/// A step of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStep {
    /// Step key.
    pub key: String,
    /// `SUCCESS`, `FAILURE`, `SKIPPED`, `IN_PROGRESS`; absent before its start.
    pub status: Option<String>,
    /// Time at which the executor sent its last attempt.
    pub sent_at: Option<Timestamp>,
    /// Start of that attempt.
    pub started_at: Option<Timestamp>,
    /// End of that attempt.
    pub ended_at: Option<Timestamp>,
    /// Number of started attempts.
    pub attempts: usize,
    /// Keys of the steps whose outputs it needs.
    pub depends_on: Vec<String>,
}

/// Some events of a run's log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventPage {
    /// The events, oldest first.
    pub events: Vec<RunEvent>,
    /// Position of the next page.
    pub after: String,
    /// Whether there are more: query again at once.
    pub has_more: bool,
}

impl EventPage {
    /// Dagster's key of the output that was captured for a step, if one of the events contains it.
    #[must_use]
    pub fn file_key(&self, step_key: &str) -> Option<&str> {
        let newest = self.events.iter().rev();
        newest
            .filter(|event| event.captured.iter().any(|step| step == step_key))
            .find_map(|event| event.file_key.as_deref())
    }
}

/// One event of a run's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEvent {
    /// Time of the event.
    pub at: Option<Timestamp>,
    /// Dagster's level: `DEBUG`, `INFO`, `WARNING`, `ERROR`, `CRITICAL`.
    pub level: String,
    /// Dagster's event type, such as `STEP_START`; absent for a plain log message.
    pub kind: Option<String>,
    /// The step.
    pub step_key: Option<String>,
    /// The message.
    pub message: String,
    /// The error, if any, followed by its causes on lines of their own.
    pub error: Option<String>,
    /// Of `LOGS_CAPTURED`: Dagster's key of the capture.
    pub file_key: Option<String>,
    /// Of `LOGS_CAPTURED`: the steps that the output belongs to.
    pub captured: Vec<String>,
}

/// A part of a step's output.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputPage {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Position of the next page.
    pub after: Option<String>,
    /// Whether the queried process has no such capture: its files are elsewhere.
    #[serde(default)]
    pub missing: bool,
}

impl OutputPage {
    /// Maximum size of each stream in one answer, in bytes.
    pub const MAX: u32 = 65_536;

    /// Whether more output is probably available at once.
    #[must_use]
    pub fn is_full(&self) -> bool {
        // A character may have been cut in half, and invalid bytes are replaced by marks.
        let full = Self::MAX as usize - 4;
        self.stdout.len() >= full || self.stderr.len() >= full
    }
}

/// A problem of a run configuration, with its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigProblem {
    /// Path of the problem: `ops.greet.config`; empty for the whole.
    pub path: String,
    /// Dagster's message.
    pub message: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Most of Dagster's messages begin with the path already.
        if self.path.is_empty() || self.message.contains("at path root") {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path, self.message)
        }
    }
}
