//! What an operator may ask for.

use serde::{Deserialize, Serialize};

use super::secrets::redact_in_place;
use super::{Answer, AssetKey, JobRef, Query};

/// How much a command can hurt: read-only mode refuses all but `Safe`, the console asks before
/// `Destructive`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Danger {
    /// Changes nothing outside the console.
    Safe,
    /// Changes what the pool does; nothing is lost.
    Disruptive,
    /// Interrupts work or removes messages.
    Destructive,
}

/// A command to a worker, to the broker or to Dagster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Stop receiving; give back what has not started; go on with what runs.
    Pause,
    /// Receive again.
    Resume,
    /// Set the number of step slots.
    Scale {
        /// Step slots, 0 or more.
        steps: u32,
    },
    /// Finish what runs, give the rest back, then end the worker process.
    Drain {
        /// Seconds after which it becomes a [`Command::Stop`]; none is as long as it takes.
        #[serde(default)]
        within: Option<u64>,
    },
    /// End the worker process at once, and with it what runs.
    Kill,
    /// Kill what has not ended within `cancel_grace`, then end the worker process. The messages go
    /// back: another worker finds the steps lost and lets them go on, and resumes the runs.
    Stop,
    /// Load user code again: new hosts for new work.
    Reload,
    /// Start another worker on the console's host. Nobody but a console does that.
    StartWorker,
    /// Interrupt one task's process.
    CancelTask {
        /// Taskiq's task id.
        task_id: String,
    },
    /// Archive a queue's waiting messages to a JSONL file and delete them.
    DrainQueue {
        /// Queue name.
        queue: String,
        /// Leave their steps and runs waiting: the messages are to be restored.
        #[serde(default)]
        keep_waiting: bool,
    },
    /// Delete a queue's messages.
    PurgeQueue {
        /// Queue name.
        queue: String,
        /// Leave their steps and runs waiting; messages in flight or delayed go too.
        #[serde(default)]
        keep_waiting: bool,
    },
    /// Show messages of a queue by receiving them and giving them back, which raises their receive
    /// counts; [`Query::Peek`] does without, where the broker can.
    PeekByReceiving {
        /// Queue name.
        queue: String,
        /// At most so many.
        limit: usize,
        /// Only this one, by SQS's message id.
        #[serde(default)]
        message_id: Option<String>,
    },
    /// Send dead letters back to where they came from.
    Redrive {
        /// The dead-letter queue's name.
        queue: String,
        /// SQS's message ids; empty for all.
        messages: Vec<String>,
        /// Send them to this queue instead.
        #[serde(default)]
        to: Option<String>,
    },
    /// Send a message again with another body, and delete the old one.
    Resend {
        /// The queue it is on.
        queue: String,
        /// SQS's message id.
        message_id: String,
        /// The new body; what a peek redacted in it stands for the old value.
        body: String,
        /// Send it to this queue; otherwise where a dead letter came from, or the queue it is on.
        #[serde(default)]
        to: Option<String>,
    },
    /// Send an archive's messages again.
    RestoreArchive {
        /// Path of the archive on the worker's host.
        file: String,
        /// Send all to this queue; otherwise each to its own.
        #[serde(default)]
        to: Option<String>,
        /// Send those too that an earlier restore of this file has sent.
        #[serde(default)]
        again: bool,
    },
    /// Launch a run of a job.
    LaunchRun(Launch),
    /// Run a run's job again.
    ReexecuteRun {
        /// The run.
        run_id: String,
        /// Only the steps that failed, and those after them.
        from_failure: bool,
    },
    /// Ask Dagster to terminate runs.
    TerminateRuns {
        /// Run ids.
        run_ids: Vec<String>,
        /// Mark them as cancelled, whatever their processes do: the only way for a run that is still
        /// starting, such as one that waits in SQS.
        force: bool,
    },
    /// Have Dagster load a code location again.
    ReloadLocation {
        /// Its name.
        location: String,
    },
    /// Tell something; changes nothing.
    Ask(Query),
}

/// What to launch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// The job.
    pub job: JobRef,
    /// Run configuration as YAML; empty for the job's own default.
    #[serde(default)]
    pub run_config: String,
    /// Run tags.
    #[serde(default)]
    pub tags: Vec<(String, String)>,
    /// The partition, with the tags and, unless one is given, the configuration that Dagster has
    /// for it.
    #[serde(default)]
    pub partition: Option<String>,
    /// Only these assets; empty for all.
    #[serde(default)]
    pub assets: Vec<AssetKey>,
}

impl Launch {
    /// A whole job with its own default configuration.
    #[must_use]
    pub fn job(job: JobRef) -> Self {
        Self {
            job,
            run_config: String::new(),
            tags: Vec::new(),
            partition: None,
            assets: Vec::new(),
        }
    }
}

impl Command {
    /// How much it can hurt.
    #[must_use]
    pub fn danger(&self) -> Danger {
        match self {
            Self::Pause
            | Self::Resume
            | Self::Scale { .. }
            | Self::Drain { .. }
            | Self::Reload
            | Self::StartWorker
            | Self::PeekByReceiving { .. }
            | Self::Redrive { .. }
            | Self::Resend { .. }
            | Self::RestoreArchive { .. }
            | Self::LaunchRun(_)
            | Self::ReexecuteRun { .. }
            | Self::ReloadLocation { .. } => Danger::Disruptive,
            Self::Stop
            | Self::Kill
            | Self::CancelTask { .. }
            | Self::DrainQueue { .. }
            | Self::PurgeQueue { .. }
            | Self::TerminateRuns { .. } => Danger::Destructive,
            Self::Ask(_) => Danger::Safe,
        }
    }

    /// Whether Dagster's webserver carries it out, rather than a worker.
    #[must_use]
    pub fn is_for_dagster(&self) -> bool {
        match self {
            Self::LaunchRun(_)
            | Self::ReexecuteRun { .. }
            | Self::TerminateRuns { .. }
            | Self::ReloadLocation { .. } => true,
            Self::Ask(query) => query.is_for_dagster(),
            _ => false,
        }
    }

    /// The verb, as the audit log and toasts name it.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Scale { .. } => "scale",
            Self::Drain { .. } => "drain",
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Reload => "reload",
            Self::StartWorker => "start worker",
            Self::CancelTask { .. } => "cancel step",
            Self::DrainQueue { .. } => "drain queue",
            Self::PurgeQueue { .. } => "purge queue",
            Self::PeekByReceiving { .. } => "peek",
            Self::Redrive { .. } => "redrive",
            Self::Resend { .. } => "resend",
            Self::RestoreArchive { .. } => "restore",
            Self::LaunchRun(_) => "launch run",
            Self::ReexecuteRun { .. } => "re-execute run",
            Self::TerminateRuns { .. } => "terminate runs",
            Self::ReloadLocation { .. } => "reload code location",
            Self::Ask(query) => query.verb(),
        }
    }

    /// The queue it is about.
    #[must_use]
    pub fn queue(&self) -> Option<&str> {
        match self {
            Self::DrainQueue { queue, .. }
            | Self::PurgeQueue { queue, .. }
            | Self::PeekByReceiving { queue, .. }
            | Self::Redrive { queue, .. }
            | Self::Resend { queue, .. } => Some(queue),
            Self::Ask(query) => query.queue(),
            _ => None,
        }
    }

    /// Whether it is about queues and their messages.
    #[must_use]
    pub fn is_about_queues(&self) -> bool {
        self.queue().is_some() || matches!(self, Self::RestoreArchive { .. })
    }

    /// Whether it may take as long as a queue is full.
    #[must_use]
    pub fn takes_long(&self) -> bool {
        matches!(
            self,
            Self::DrainQueue { .. }
                | Self::PurgeQueue { .. }
                | Self::Redrive { .. }
                | Self::Resend { .. }
                | Self::RestoreArchive { .. }
        )
    }
}

impl Reply {
    /// The same with the secrets in its sentence hidden.
    #[must_use]
    pub fn redacted(mut self) -> Self {
        match &mut self {
            Self::Done(text) | Self::Failed(text) => redact_in_place(text),
            // What answers a question was redacted when it was read.
            Self::Answer(_) => {}
        }
        self
    }
}

/// What came of a command: one sentence, or what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Done, or accepted.
    Done(String),
    /// Refused or failed.
    Failed(String),
    /// The answer to a [`Query`].
    Answer(Box<Answer>),
}
