//! Commands of an operator.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::secrets::redact_in_place;
use super::{Answer, AssetKey, Instigator, JobRef, OperationResult, Query, SlotRange};

/// Risk of a command: read-only mode refuses all but `Safe`, and the console asks before
/// `Destructive`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Danger {
    /// Changes nothing outside the console.
    Safe,
    /// Changes the pool's behaviour; nothing is lost.
    Disruptive,
    /// Interrupts work or removes messages.
    Destructive,
}

/// A command to a worker, to the broker or to Dagster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Stop receiving; give back tasks that have not started; continue running ones.
    Pause,
    /// Start receiving again.
    Resume,
    /// Set the number of step slots.
    Scale {
        /// Step slots, 0 or more.
        steps: u32,
    },
    /// Let the number of step slots follow the load.
    ScaleWithin {
        /// Its bounds.
        range: SlotRange,
    },
    /// Finish running tasks, give the others back, then end the worker process.
    Drain {
        /// Seconds after which it becomes a [`Command::Stop`]; `None` waits without a limit.
        #[serde(default)]
        within: Option<u64>,
    },
    /// As [`Command::Drain`]; then the process starts again in its place, with its arguments.
    Restart {
        /// As for a drain.
        #[serde(default)]
        within: Option<u64>,
    },
    /// End the worker process and its tasks at once.
    Kill,
    /// Kill tasks that have not ended within `cancel_grace`, then end the worker process. The
    /// messages go back: another worker finds the steps lost and retries them, and resumes the
    /// runs.
    Stop,
    /// Load user code again: new work goes to new hosts.
    Reload,
    /// Start another worker on the console's host. Only a console carries this out.
    StartWorker,
    /// Interrupt one task's process.
    CancelTask {
        /// Taskiq's task id.
        task_id: String,
    },
    /// Have no worker of the deployment receive from a queue until it is resumed; running tasks go
    /// on.
    PauseQueue {
        /// Queue name.
        queue: String,
        /// `user@host` of the client.
        by: String,
        /// The operator's reason, shown beside the queue.
        #[serde(default)]
        reason: Option<String>,
    },
    /// Have the workers receive from a paused queue again.
    ResumeQueue {
        /// Queue name.
        queue: String,
    },
    /// Archive a queue's waiting messages to a JSONL file and delete them.
    DrainQueue {
        /// Queue name.
        queue: String,
        /// Keep their steps and runs waiting: the messages are to be restored.
        #[serde(default)]
        keep_waiting: bool,
    },
    /// Delete a queue's messages.
    PurgeQueue {
        /// Queue name.
        queue: String,
        /// Keep their steps and runs waiting; messages in flight or delayed are deleted too.
        #[serde(default)]
        keep_waiting: bool,
    },
    /// Show messages of a queue by receiving them and giving them back, which increases their
    /// receive counts. [`Query::Peek`] avoids this, if the broker supports it.
    PeekByReceiving {
        /// Queue name.
        queue: String,
        /// Maximum number of messages.
        limit: usize,
        /// Only the message with this SQS message id.
        #[serde(default)]
        message_id: Option<String>,
    },
    /// Send dead letters back to their source queues.
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
        /// The new body; a value redacted by a peek stands for the old value.
        body: String,
        /// Send it to this queue; by default a dead letter goes to its source, and any other
        /// message to its own queue.
        #[serde(default)]
        to: Option<String>,
    },
    /// Send an archive's messages again.
    RestoreArchive {
        /// Path of the archive on the worker's host.
        file: String,
        /// Send all to this queue; by default each goes to its own.
        #[serde(default)]
        to: Option<String>,
        /// Also send those that an earlier restore of this file has already sent.
        #[serde(default)]
        again: bool,
    },
    /// Launch a run of a job.
    LaunchRun(Launch),
    /// Run a run's job again.
    ReexecuteRun {
        /// The run.
        run_id: String,
        /// Only the failed steps, and those that depend on them.
        from_failure: bool,
        /// Leave it alone if it needs no re-execution any more: [`super::FailedRun::settled`].
        #[serde(default)]
        if_open: bool,
    },
    /// Ask Dagster to terminate runs.
    TerminateRuns {
        /// Run ids.
        run_ids: Vec<String>,
        /// Mark them as cancelled, even if their processes continue. This is the only way for a run
        /// that is still starting, for example one that waits in SQS.
        force: bool,
    },
    /// Let Dagster load a code location again.
    ReloadLocation {
        /// Its name.
        location: String,
    },
    /// Turn a schedule or sensor on or off.
    Switch {
        /// The schedule or sensor.
        instigator: Instigator,
        /// Whether it is on then.
        on: bool,
    },
    /// Give back the pool slot of a step that does not need it any more.
    FreeSlot {
        /// The step's run.
        run_id: String,
        /// The step.
        step_key: String,
    },
    /// Acknowledge an alarm in the whole deployment: it is not signalled until a time.
    AcknowledgeAlarm {
        /// The alarm's id.
        alarm: String,
        /// End of the acknowledgement; absent to withdraw it.
        until: Option<Timestamp>,
        /// `user@host` of the client.
        by: String,
    },
    /// Answer a query; changes nothing.
    #[serde(rename = "ask")]
    Query(Query),
}

/// Parameters of a launch.
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
    /// The partition. Dagster's tags for it are used, and its configuration unless one is given.
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
    /// The risk of the command.
    #[must_use]
    pub fn danger(&self) -> Danger {
        match self {
            Self::Pause
            | Self::Resume
            | Self::Scale { .. }
            | Self::ScaleWithin { .. }
            | Self::Drain { .. }
            | Self::Restart { .. }
            | Self::Reload
            | Self::StartWorker
            | Self::PauseQueue { .. }
            | Self::ResumeQueue { .. }
            | Self::PeekByReceiving { .. }
            | Self::Redrive { .. }
            | Self::Resend { .. }
            | Self::RestoreArchive { .. }
            | Self::LaunchRun(_)
            | Self::ReexecuteRun { .. }
            | Self::ReloadLocation { .. }
            | Self::Switch { .. }
            | Self::AcknowledgeAlarm { .. }
            | Self::FreeSlot { .. } => Danger::Disruptive,
            Self::Stop
            | Self::Kill
            | Self::CancelTask { .. }
            | Self::DrainQueue { .. }
            | Self::PurgeQueue { .. }
            | Self::TerminateRuns { .. } => Danger::Destructive,
            Self::Query(_) => Danger::Safe,
        }
    }

    /// Whether Dagster's webserver carries it out instead of a worker.
    #[must_use]
    pub fn is_for_dagster(&self) -> bool {
        match self {
            Self::LaunchRun(_)
            | Self::ReexecuteRun { .. }
            | Self::TerminateRuns { .. }
            | Self::ReloadLocation { .. }
            | Self::Switch { .. } => true,
            Self::Query(query) => query.is_for_dagster(),
            _ => false,
        }
    }

    /// Sets a fixed number of step slots, or lets it follow the load.
    #[must_use]
    pub fn scale(range: SlotRange) -> Self {
        if range.is_fixed() {
            Self::Scale { steps: range.min }
        } else {
            Self::ScaleWithin { range }
        }
    }

    /// Its name, for the audit log and for sentences: the words of the command line's command, and
    /// those of the console's.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Pause => "worker pause",
            Self::Resume => "worker resume",
            Self::Scale { .. } | Self::ScaleWithin { .. } => "worker scale",
            Self::Drain { .. } => "worker drain",
            Self::Restart { .. } => "worker restart",
            Self::Kill => "worker kill",
            Self::Stop => "worker stop",
            Self::Reload => "worker reload",
            Self::StartWorker => "worker start",
            Self::CancelTask { .. } => "worker cancel",
            Self::PauseQueue { .. } => "queue pause",
            Self::ResumeQueue { .. } => "queue resume",
            Self::DrainQueue { .. } => "queue drain",
            Self::PurgeQueue { .. } => "queue purge",
            Self::PeekByReceiving { .. } => "queue peek",
            Self::Redrive { .. } => "queue redrive",
            Self::Resend { .. } => "queue resend",
            Self::RestoreArchive { .. } => "queue restore",
            Self::LaunchRun(_) => "run launch",
            Self::ReexecuteRun { .. } => "run reexecute",
            Self::TerminateRuns { .. } => "run terminate",
            Self::ReloadLocation { .. } => "run reload",
            Self::Switch { on: true, .. } => "dagster start",
            Self::Switch { on: false, .. } => "dagster stop",
            Self::FreeSlot { .. } => "run free-slot",
            Self::AcknowledgeAlarm { .. } => "alarm ack",
            Self::Query(query) => query.verb(),
        }
    }

    /// Adds the operator's reason to a command whose effect shows it; of others only the audit log
    /// has it.
    pub fn give_reason(&mut self, text: &str) {
        if let Self::PauseQueue { reason, .. } = self {
            *reason = Some(text.to_owned());
        }
    }

    /// The queue it refers to.
    #[must_use]
    pub fn queue(&self) -> Option<&str> {
        match self {
            Self::PauseQueue { queue, .. }
            | Self::ResumeQueue { queue }
            | Self::DrainQueue { queue, .. }
            | Self::PurgeQueue { queue, .. }
            | Self::PeekByReceiving { queue, .. }
            | Self::Redrive { queue, .. }
            | Self::Resend { queue, .. } => Some(queue),
            Self::Query(query) => query.queue(),
            _ => None,
        }
    }

    /// Whether it refers to queues and their messages.
    #[must_use]
    pub fn is_about_queues(&self) -> bool {
        self.queue().is_some() || matches!(self, Self::RestoreArchive { .. })
    }

    /// Whether any single worker can carry it out, through Dagster's storage.
    #[must_use]
    pub fn is_about_storage(&self) -> bool {
        matches!(
            self,
            Self::FreeSlot { .. } | Self::Query(Query::Explain { .. })
        )
    }

    /// Whether any single worker can carry it out, because workers agree on alarms.
    #[must_use]
    pub fn is_about_alarms(&self) -> bool {
        matches!(
            self,
            Self::AcknowledgeAlarm { .. } | Self::Query(Query::AlarmHistory { .. })
        )
    }

    /// Whether its duration grows with the size of a queue.
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
    /// The reply with the secrets in its sentence hidden.
    #[must_use]
    pub fn redacted(mut self) -> Self {
        match &mut self {
            Self::Done(text) | Self::Failed(text) => redact_in_place(text),
            Self::Operation(result) => redact_in_place(&mut result.text),
            // The answer to a query was redacted when it was read.
            Self::Answer(_) => {}
        }
        self
    }

    /// The sentence: what was done, or why it was not; empty for an answer to a query.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Done(text) | Self::Failed(text) => text,
            Self::Operation(result) => &result.text,
            Self::Answer(_) => "",
        }
    }

    /// Why the command was refused or failed, in one sentence; `None` if it was done.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        match self {
            Self::Failed(text) => Some(text),
            Self::Operation(result) if result.failed => Some(&result.text),
            Self::Done(_) | Self::Operation(_) | Self::Answer(_) => None,
        }
    }
}

/// Result of a command: one sentence, what an operation did, or the requested data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The command was done or accepted.
    Done(String),
    /// The command was refused or failed.
    Failed(String),
    /// An operation on messages was carried out, perhaps in part.
    Operation(OperationResult),
    /// The answer to a [`Query`].
    Answer(Box<Answer>),
}
