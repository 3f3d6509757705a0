//! Commands of an operator, and everything about them but their effect: name, risk, route, line in
//! the audit log, equivalent on the command line.

mod row;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::secrets::redact_in_place;
use super::{Answer, AssetKey, Instigator, JobRef, OperationResult, Query, SlotRange};
pub use row::{Danger, Route, quoted};
use row::{Row, flag, list, option};

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
    /// The row of the command. `worker` is the worker it is sent to.
    #[expect(clippy::too_many_lines, reason = "one arm a command")]
    fn row(&self, worker: &str) -> Row<'_> {
        use Danger::{Destructive, Disruptive, Safe};
        let to_worker = |verb, danger| Row::new(verb, danger, Route::Worker).about(worker);
        match self {
            Self::Pause => to_worker("worker pause", Disruptive),
            Self::Resume => to_worker("worker resume", Disruptive),
            Self::Scale { steps } => to_worker("worker scale", Disruptive)
                .about(format!("{worker} to {steps} step slots"))
                .words([&steps.to_string()]),
            Self::ScaleWithin { range } => to_worker("worker scale", Disruptive)
                .about(format!("{worker} to {range} step slots"))
                .words([&range.to_string()]),
            Self::Drain { within } => {
                to_worker("worker drain", Disruptive).words([&option("--within", within.as_ref())])
            }
            Self::Restart { within } => to_worker("worker restart", Disruptive)
                .words([&option("--within", within.as_ref())]),
            Self::Kill => to_worker("worker kill", Destructive),
            Self::Stop => to_worker("worker stop", Destructive),
            Self::Reload => to_worker("worker reload", Disruptive),
            Self::StartWorker => Row::new("worker start", Disruptive, Route::Console)
                .about("a worker on this host")
                .words(["--background"]),
            Self::CancelTask { task_id } => to_worker("worker cancel", Destructive)
                .about(format!("task {task_id} on {worker}"))
                .words([task_id]),
            Self::PauseQueue { queue, .. } => {
                Row::of_queue("queue pause", Disruptive, queue).in_storage()
            }
            Self::ResumeQueue { queue } => {
                Row::of_queue("queue resume", Disruptive, queue).in_storage()
            }
            Self::DrainQueue {
                queue,
                keep_waiting,
            } => Row::of_queue("queue drain", Destructive, queue)
                .words([queue, flag(*keep_waiting, "--keep-waiting")])
                .in_storage_if(!keep_waiting)
                .long(),
            Self::PurgeQueue {
                queue,
                keep_waiting,
            } => Row::of_queue("queue purge", Destructive, queue)
                .words([queue, flag(*keep_waiting, "--keep-waiting")])
                .in_storage_if(!keep_waiting)
                .long(),
            Self::PeekByReceiving { queue, limit, .. } => {
                Row::of_queue("queue peek", Disruptive, queue).words([
                    queue,
                    "--receive --limit",
                    &limit.to_string(),
                ])
            }
            Self::Redrive {
                queue,
                messages,
                to,
            } => {
                let (which, ids) = match messages.as_slice() {
                    [] => (String::from("all messages"), String::from("--all")),
                    ids => (
                        format!("messages {}", ids.join(", ")),
                        list("--message-id ", ids),
                    ),
                };
                Row::of_queue("queue redrive", Disruptive, queue)
                    .about(format!("{which} of queue {queue}"))
                    .words([queue, &ids, &option("--to", to.as_ref())])
                    .long()
            }
            Self::Resend {
                queue,
                message_id,
                to,
                ..
            } => Row::of_queue("queue resend", Disruptive, queue)
                .about(format!("message {message_id} of queue {queue}"))
                .words([
                    queue,
                    message_id,
                    "--body-file FILE",
                    &option("--to", to.as_ref()),
                ])
                .long(),
            Self::RestoreArchive { file, to, again } => {
                Row::new("queue restore", Disruptive, Route::Queues(None))
                    .about(format!("archive {file}"))
                    .words([
                        &quoted(file),
                        &option("--to", to.as_ref()),
                        flag(*again, "--again"),
                    ])
                    .long()
            }
            Self::LaunchRun(Launch { job, .. }) => {
                Row::new("run launch", Disruptive, Route::Dagster)
                    .about(format!(
                        "job {} of {} in {}",
                        job.job, job.repository, job.location
                    ))
                    .without_words()
            }
            Self::ReexecuteRun {
                run_id,
                from_failure,
                ..
            } => {
                let steps = if *from_failure { " from failure" } else { "" };
                Row::new("run reexecute", Disruptive, Route::Dagster)
                    .about(format!("run {run_id}{steps}"))
                    .words([run_id, flag(*from_failure, "--from-failure")])
            }
            Self::TerminateRuns { run_ids, force } => {
                let how = if *force { "marked as canceled: " } else { "" };
                Row::new("run terminate", Destructive, Route::Dagster)
                    .about(format!("{how}runs {}", run_ids.join(", ")))
                    .words([&list("", run_ids), flag(*force, "--force")])
            }
            Self::ReloadLocation { location } => Row::new("run reload", Disruptive, Route::Dagster)
                .about(format!("code location {location}"))
                .words([&quoted(location)]),
            Self::Switch { instigator, on } => {
                let verb = if *on { "dagster start" } else { "dagster stop" };
                let (name, location) = (&instigator.name, &instigator.location);
                Row::new(verb, Disruptive, Route::Dagster)
                    .about(format!("{} {name} of {location}", instigator.word()))
                    .words([&quoted(name), "--location", &quoted(location)])
            }
            Self::FreeSlot { run_id, step_key } => {
                Row::new("run free-slot", Disruptive, Route::Storage)
                    .about(format!("step {step_key} of run {run_id}"))
                    .words([run_id, &quoted(step_key)])
            }
            Self::AcknowledgeAlarm { alarm, until, .. } => {
                let until = match until {
                    Some(until) => format!("--until {until}"),
                    None => String::from("--withdraw"),
                };
                Row::new("alarm ack", Disruptive, Route::Alarms)
                    .about(format!("alarm {alarm}"))
                    .words([&quoted(alarm), &until])
            }
            Self::Query(query) => Row::new(query.verb(), Safe, query.route()).without_words(),
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

    /// Adds the operator's reason to a command whose effect shows it; of others only the audit log
    /// has it.
    pub fn give_reason(&mut self, text: &str) {
        if let Self::PauseQueue { reason, .. } = self {
            *reason = Some(text.to_owned());
        }
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
