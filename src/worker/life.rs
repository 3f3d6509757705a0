//! The life of one task: run on a host, then settle the message.
//!
//! If this process dies anywhere in here, the lease ends and the message comes back; the host's
//! rules then find out what happened (the claim, the event log). Nothing is deleted before its
//! effect is in Dagster's event log.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::held::Task;
use crate::broker::{Broker, BrokerError, Delivery, Leases};
use crate::domain::{Event, EventSink, LogLevel, LogLine, TaskOutcome};
use crate::host::{
    Execution, ExitKind, HostError, Hosts, Outcome, Progress, Report, StepStatus, Stream,
};

/// What a life needs; cloned into each.
#[derive(Clone)]
pub(super) struct Context {
    pub broker: Broker,
    pub leases: Leases,
    pub hosts: Hosts,
    pub events: EventSink,
}

/// What becomes of the message.
enum Settlement {
    /// Its effect is in the log.
    Delete,
    /// Somebody may try later.
    Hide(Duration),
    /// Nobody can run it.
    DeadLetter(String),
}

/// Progress notes that may wait to be folded into events: a chatty step's burst, not its whole
/// output (which is in the compute log files whatever happens here).
const PROGRESS: usize = 1024;

/// For how long a message that nobody can run, and that has no dead-letter queue, stays hidden.
const KEEP_HIDDEN: Duration = Duration::from_mins(15);

impl Context {
    /// Runs a task to its end and settles its message.
    pub async fn live(self, task: Task) -> Task {
        let task_id = task.message.task_id.clone();
        self.events.send(Event::Started {
            task_id: task_id.clone(),
            at: Timestamp::now(),
        });
        let (progress, notes) = mpsc::channel(PROGRESS);
        let execution = execution(&task);
        let (result, ()) = tokio::join!(
            self.hosts.execute(execution, progress),
            forward(notes, &task, &self.events)
        );
        let (outcome, settlement) = self.judge(&task, result);
        let outcome = self.settle(&task, outcome, settlement).await;
        self.events.send(Event::Finished {
            task_id,
            at: Timestamp::now(),
            outcome,
        });
        task
    }

    /// Gives a task that has not started back to its queue.
    pub async fn give_back(&self, task: &Task, after: Duration, reason: &str) {
        let outcome = TaskOutcome::GivenBack {
            reason: reason.to_owned(),
        };
        let outcome = self.settle(task, outcome, Settlement::Hide(after)).await;
        let task_id = task.message.task_id.clone();
        self.events.send(Event::Finished {
            task_id,
            at: Timestamp::now(),
            outcome,
        });
    }

    /// Deals with a body that is no task of ours: dead-letter queue, or kept and shown.
    pub async fn poison(&self, delivery: &Delivery, reason: &str) {
        error!(
            "message {} on {}: {reason}",
            delivery.message_id, delivery.queue.name
        );
        self.leases.release(delivery).await;
        if let Err(problem) = self.dead_letter(delivery, reason).await {
            error!("{problem}");
        }
    }

    fn judge(&self, task: &Task, result: Result<Outcome, HostError>) -> (TaskOutcome, Settlement) {
        let name = task
            .message
            .step_key
            .as_deref()
            .unwrap_or(task.message.kind.task_name());
        let run = &task.message.run_id;
        match result {
            Ok(Outcome::Finished { status, .. }) => (finished(status), Settlement::Delete),
            Ok(Outcome::AlreadyFinished { event }) => {
                info!(run_id = %run, "{name} had ended before ({event}): not run again");
                (skipped("it had finished before"), Settlement::Delete)
            }
            Ok(Outcome::RunFinished { status }) => {
                info!(run_id = %run, "{name} not run: its run is {status}");
                (skipped(&format!("its run is {status}")), Settlement::Delete)
            }
            Ok(Outcome::ClaimHeld) => {
                let reason = "another process runs it".to_owned();
                (
                    TaskOutcome::GivenBack { reason },
                    Settlement::Hide(self.broker.visibility()),
                )
            }
            Ok(Outcome::Lost { reported }) => {
                warn!(run_id = %run, "{name}: its worker was lost; wrote {reported}");
                (
                    ended_for_it(&reported, "its worker was lost"),
                    Settlement::Delete,
                )
            }
            Ok(Outcome::Crashed { exit, reported }) => {
                let how = crash(&exit);
                warn!(run_id = %run, "{name}: {how}; wrote {reported}");
                (ended_for_it(&reported, &how), Settlement::Delete)
            }
            Ok(Outcome::Interrupted { reason }) => {
                info!(run_id = %run, "{name} was interrupted ({reason}) and goes on elsewhere");
                (
                    TaskOutcome::GivenBack { reason },
                    Settlement::Hide(Duration::ZERO),
                )
            }
            Ok(Outcome::Unrunnable { reason }) => {
                error!(run_id = %run, "{name} cannot be run: {reason}");
                let outcome = TaskOutcome::DeadLettered {
                    reason: reason.clone(),
                };
                (outcome, Settlement::DeadLetter(reason))
            }
            Err(problem) => {
                warn!(run_id = %run, "{name}: {problem}; its message goes back to the queue");
                let pause = back_off(task.delivery.receive_count);
                (
                    TaskOutcome::GivenBack {
                        reason: problem.to_string(),
                    },
                    Settlement::Hide(pause),
                )
            }
        }
    }

    async fn settle(
        &self,
        task: &Task,
        outcome: TaskOutcome,
        settlement: Settlement,
    ) -> TaskOutcome {
        let delivery = &task.delivery;
        let result = match settlement {
            Settlement::Delete => {
                // The lease is kept while the delete is tried: a message that came back in between
                // would be acknowledged all the same, but at the price of a look-up.
                let result = self.delete(delivery).await;
                self.leases.release(delivery).await;
                result
            }
            Settlement::Hide(time) => {
                self.leases.release(delivery).await;
                self.broker.hide(delivery, time).await
            }
            Settlement::DeadLetter(reason) => {
                self.leases.release(delivery).await;
                return self.end_unrunnable(task, outcome, &reason).await;
            }
        };
        if let Err(problem) = result {
            warn!("{problem}; the message will be delivered again and recognised");
        }
        outcome
    }

    /// Writes the reason into the run's log, so that nobody waits for the task, and only then puts
    /// the message away.
    async fn end_unrunnable(&self, task: &Task, outcome: TaskOutcome, reason: &str) -> TaskOutcome {
        let report = Report {
            kind: task.message.kind,
            kwargs: task.message.kwargs.clone().into(),
            attempt: task.message.attempt,
            reason: reason.to_owned(),
        };
        if let Err(problem) = self.hosts.report_unstarted(report).await {
            warn!("{problem}; the message is kept, hidden for 15 minutes");
            if let Err(problem) = self.broker.hide(&task.delivery, KEEP_HIDDEN).await {
                warn!("{problem}");
            }
            return TaskOutcome::GivenBack {
                reason: reason.to_owned(),
            };
        }
        if let Err(problem) = self.dead_letter(&task.delivery, reason).await {
            error!("{problem}");
        }
        outcome
    }

    async fn dead_letter(&self, delivery: &Delivery, reason: &str) -> Result<(), BrokerError> {
        if let Some(target) = &delivery.queue.dead_letter_url {
            return self.broker.dead_letter(delivery, target, reason).await;
        }
        warn!(
            "{} has no dead-letter queue: message {} is kept, hidden for 15 minutes",
            delivery.queue.name, delivery.message_id
        );
        self.broker.hide(delivery, KEEP_HIDDEN).await
    }

    /// Deletes, trying for about half a minute where SQS does not answer.
    async fn delete(&self, delivery: &Delivery) -> Result<(), BrokerError> {
        let mut pause = Duration::from_millis(250);
        loop {
            match self.broker.delete(delivery).await {
                Err(problem) if problem.is_passing() && pause < Duration::from_secs(20) => {
                    warn!("{problem}; trying again");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                result => return result,
            }
        }
    }
}

fn execution(task: &Task) -> Execution {
    Execution {
        task_id: task.message.task_id.clone(),
        kind: task.message.kind,
        kwargs: task.message.kwargs.clone().into(),
        attempt: task.message.attempt,
        receive_count: task.delivery.receive_count,
        message_id: task.delivery.message_id.clone(),
        queue: task.delivery.queue.name.clone(),
    }
}

/// 2, 4, 8 … 60 seconds by receive count, less a fifth at random: many messages that failed
/// together come back apart.
fn back_off(receive_count: u32) -> Duration {
    let whole = Duration::from_secs(2 << receive_count.saturating_sub(1).min(5));
    let whole = whole.min(Duration::from_mins(1));
    whole.mul_f64(1.0 - 0.2 * jitter())
}

/// A number in [0, 1).
pub(super) fn jitter() -> f64 {
    f64::from(uuid::Uuid::new_v4().as_fields().0) / (f64::from(u32::MAX) + 1.0)
}

fn skipped(reason: &str) -> TaskOutcome {
    TaskOutcome::Skipped {
        reason: reason.to_owned(),
    }
}

fn finished(status: StepStatus) -> TaskOutcome {
    let failure = |reason: &str| TaskOutcome::Failure {
        reason: reason.to_owned(),
    };
    match status {
        StepStatus::Success | StepStatus::RunSuccess => TaskOutcome::Success,
        StepStatus::Failure => failure("the step failed: see its event"),
        StepStatus::ResourceFailure => failure("a resource did not start: see its event"),
        StepStatus::RunFailure => failure("the run failed: see its log"),
        StepStatus::UpForRetry => TaskOutcome::UpForRetry,
        StepStatus::Skipped => skipped("nothing to do"),
        StepStatus::RunCanceled => TaskOutcome::Canceled,
    }
}

/// What the event that was written on a dead process's behalf means for its task.
fn ended_for_it(event: &str, reason: &str) -> TaskOutcome {
    if event == "STEP_UP_FOR_RETRY" {
        TaskOutcome::UpForRetry
    } else {
        TaskOutcome::Failure {
            reason: reason.to_owned(),
        }
    }
}

fn crash(exit: &ExitKind) -> String {
    match exit {
        ExitKind::Code(code) => format!("its process left with code {code}"),
        ExitKind::Signal(signal) => format!("signal {signal} ended its process"),
        ExitKind::Raised(exception) => format!("its process ended with {exception}"),
    }
}

/// Turns a host's notes into events until the host has no more.
async fn forward(mut notes: mpsc::Receiver<Progress>, task: &Task, events: &EventSink) {
    while let Some(note) = notes.recv().await {
        let (level, target, text) = match note {
            Progress::Forked { pid } => {
                events.send(Event::Forked {
                    task_id: task.message.task_id.clone(),
                    pid,
                });
                continue;
            }
            Progress::Event {
                event_type,
                message,
                ..
            } => (
                LogLevel::Debug,
                "dagster",
                format!("{event_type} {message}"),
            ),
            Progress::Log {
                stream: Stream::Stderr,
                line,
            } => (LogLevel::Info, "stderr", line),
            Progress::Log {
                stream: Stream::Stdout,
                line,
            } => (LogLevel::Info, "stdout", line),
            Progress::Log {
                stream: Stream::Host,
                line,
            } => (LogLevel::Info, "host", line),
        };
        let line = LogLine {
            at: Timestamp::now(),
            level,
            target: target.to_owned(),
            run_id: Some(task.message.run_id.clone()),
            step_key: task.message.step_key.clone(),
            message: text,
        };
        events.send(Event::Log { line });
    }
}
