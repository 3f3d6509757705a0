//! What an operator may want to know beyond the snapshot: asked for once, answered once, bounded.
//!
//! A question is a [`super::Command`] that changes nothing; its answer is a [`super::Reply`].

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{JobRef, Launch, Peek, QueueDetail, RunStatus};

/// An asset's key, by its parts.
pub type AssetKey = Vec<String>;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "query", rename_all = "snake_case")]
pub enum Query {
    /// What must be known to launch a job.
    Job {
        /// The job.
        job: JobRef,
        /// The assets it is to be launched for; empty for all of it.
        assets: Vec<AssetKey>,
    },
    /// The run configuration that Dagster has for a partition.
    PartitionConfig {
        /// The job.
        job: JobRef,
        /// The assets it is to be launched for; empty for all of it.
        assets: Vec<AssetKey>,
        /// The partition.
        partition: String,
    },
    /// What Dagster would say against the configuration of a launch.
    CheckConfig(Box<Launch>),
    /// Older runs than those of the snapshot, which has them from then on.
    OlderRuns {
        /// Only of these statuses; empty for all.
        statuses: Vec<RunStatus>,
        /// Those before this run; `None` for those before the last page.
        before: Option<String>,
    },
    /// A run's steps, as Dagster knows them.
    Run {
        /// The run.
        run_id: String,
    },
    /// The next events of a step in Dagster's log, or of a whole run.
    StepEvents {
        /// The run.
        run_id: String,
        /// The step; `None` for every event of the run.
        step_key: Option<String>,
        /// Where the last answer ended.
        after: Option<String>,
    },
    /// The next output of a step, as Dagster captured it.
    StepOutput {
        /// The run.
        run_id: String,
        /// Dagster's key of the capture, from [`EventPage::file_key`].
        file_key: String,
        /// Where the last answer ended.
        after: Option<String>,
    },
    /// The same from the files on a worker's host, where the webserver cannot read them.
    OutputFiles {
        /// The run.
        run_id: String,
        /// Dagster's key of the capture, from [`EventPage::file_key`].
        file_key: String,
        /// Where the last answer ended; from the last [`OutputPage::MAX`] bytes on without one.
        after: Option<String>,
    },
    /// The message of a task that a worker has in hand, its secrets hidden.
    Payload {
        /// Taskiq's task id.
        task_id: String,
    },
    /// A queue's attributes, tags and dead-letter pairing.
    Queue {
        /// Its name.
        queue: String,
    },
    /// Messages of a queue as they lie; only the embedded broker can show them so.
    Peek {
        /// The queue's name.
        queue: String,
        /// At most so many.
        limit: usize,
        /// Only this one, by SQS's message id.
        message_id: Option<String>,
    },
}

impl Query {
    /// What is asked, as an error says it.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Job { .. } => "describe job",
            Self::PartitionConfig { .. } => "describe partition",
            Self::CheckConfig(_) => "check configuration",
            Self::OlderRuns { .. } => "load older runs",
            Self::Run { .. } => "describe run",
            Self::StepEvents { .. } => "read events",
            Self::StepOutput { .. } | Self::OutputFiles { .. } => "read output",
            Self::Payload { .. } => "show message",
            Self::Queue { .. } => "describe queue",
            Self::Peek { .. } => "peek",
        }
    }

    /// Whether Dagster's webserver knows the answer, rather than a worker.
    #[must_use]
    pub fn is_for_dagster(&self) -> bool {
        match self {
            Self::Job { .. }
            | Self::PartitionConfig { .. }
            | Self::CheckConfig(_)
            | Self::OlderRuns { .. }
            | Self::Run { .. }
            | Self::StepEvents { .. }
            | Self::StepOutput { .. } => true,
            Self::OutputFiles { .. }
            | Self::Payload { .. }
            | Self::Queue { .. }
            | Self::Peek { .. } => false,
        }
    }

    /// The queue it is about.
    #[must_use]
    pub fn queue(&self) -> Option<&str> {
        match self {
            Self::Queue { queue } | Self::Peek { queue, .. } => Some(queue),
            _ => None,
        }
    }
}

/// An answer, of the same name as its question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Of [`Query::Job`].
    Job(JobDetail),
    /// Of [`Query::PartitionConfig`]: YAML.
    PartitionConfig(String),
    /// Of [`Query::CheckConfig`]: what is wrong with it; empty if nothing is.
    CheckConfig(Vec<ConfigProblem>),
    /// Of [`Query::OlderRuns`].
    OlderRuns {
        /// How many there were in this page.
        count: usize,
        /// There are no more.
        last: bool,
    },
    /// Of [`Query::Run`].
    Run(RunSteps),
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
    /// Of [`Query::Peek`], where the broker can show the messages of this queue only by receiving
    /// them.
    OnlyByReceiving(String),
}

/// A job, as far as launching it goes.
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
    /// Partitions that are told of: more than anybody scrolls through, and under 1 MiB.
    pub const MAX_PARTITIONS: usize = 5_000;
    /// Assets that are told of.
    pub const MAX_ASSETS: usize = 5_000;
}

/// A run's steps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSteps {
    /// The steps of its plan and those that came up while it ran, in the plan's order; at most
    /// [`RunSteps::MAX`].
    pub steps: Vec<RunStep>,
    /// Its configuration, as YAML.
    pub config: String,
}

impl RunSteps {
    /// Steps that are told of.
    pub const MAX: usize = 5_000;
}

/// A step of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStep {
    /// Step key.
    pub key: String,
    /// `SUCCESS`, `FAILURE`, `SKIPPED`, `IN_PROGRESS`; absent before its start.
    pub status: Option<String>,
    /// When the executor sent its last attempt.
    pub sent_at: Option<Timestamp>,
    /// When that began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How many attempts began.
    pub attempts: usize,
    /// Keys of the steps whose outputs it needs.
    pub depends_on: Vec<String>,
}

/// Some events of a run's log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventPage {
    /// The events, oldest first.
    pub events: Vec<RunEvent>,
    /// Where to go on.
    pub after: String,
    /// There is more: ask again at once.
    pub has_more: bool,
}

impl EventPage {
    /// Dagster's key of the output that was captured for a step, where one of the events tells.
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
    /// When.
    pub at: Option<Timestamp>,
    /// Dagster's level: `DEBUG`, `INFO`, `WARNING`, `ERROR`, `CRITICAL`.
    pub level: String,
    /// Dagster's event type, such as `STEP_START`; absent for a plain log message.
    pub kind: Option<String>,
    /// The step.
    pub step_key: Option<String>,
    /// The message.
    pub message: String,
    /// What went wrong, where something did, and on lines of their own what caused it.
    pub error: Option<String>,
    /// Of `LOGS_CAPTURED`: Dagster's key of the capture.
    pub file_key: Option<String>,
    /// Of `LOGS_CAPTURED`: the steps whose output it is.
    pub captured: Vec<String>,
}

/// Some of a step's output.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputPage {
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
    /// Where to go on.
    pub after: Option<String>,
    /// Whoever was asked has no such capture: its files lie elsewhere.
    #[serde(default)]
    pub missing: bool,
}

impl OutputPage {
    /// Bytes of each stream that are told at once.
    pub const MAX: u32 = 65_536;

    /// Whether there is likely more at once.
    #[must_use]
    pub fn is_full(&self) -> bool {
        // A character may have been cut in half, and marks stand for what is none.
        let full = Self::MAX as usize - 4;
        self.stdout.len() >= full || self.stderr.len() >= full
    }
}

/// What is wrong with a run configuration, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigProblem {
    /// Where: `ops.greet.config`; empty for the whole.
    pub path: String,
    /// Dagster's own words.
    pub message: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Most of Dagster's messages begin with the place themselves.
        if self.path.is_empty() || self.message.contains("at path root") {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path, self.message)
        }
    }
}
