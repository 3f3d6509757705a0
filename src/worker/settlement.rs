//! Settlement of a message once its task has ended here: deleted, given back, or dead-lettered.
//!
//! The order is always: effect in Dagster's event log, result for a sender that waits for one, then
//! the message. Dying in between brings the message back, and its end is found in the log.

use std::time::Duration;

use jiff::Timestamp;
use tracing::{error, info, warn};

use super::execution::ExecutionContext;
use super::outcome::skipped;
use super::ready_queue::Task;
use crate::domain::{BackOff, Event, Reply, TaskOutcome};
use crate::fork_server::{ForkServerError, ReportKind, Reported};
use crate::queue_ops::{AnswerError, Ending};
use crate::sqs::{BrokerError, Delivery, Receives};
use crate::telemetry::metrics::metrics;

/// Settlement of a message.
pub(super) enum Settlement {
    /// Delete it: its effect is in the log.
    Delete,
    /// Hide it for this time; a worker may then retry.
    Hide(Duration),
    /// Return it at once for another worker to continue. The started attempt does not count against
    /// it.
    HandOver,
    /// Dead-letter it with this reason: no worker can run it.
    DeadLetter(String),
}

/// Maximum time until a message whose claim is held is checked again: by then the owner has either
/// ended it or is gone.
const HELD_AT_MOST: Duration = Duration::from_mins(15);

/// Time for which a message that no worker can run, and that has no dead-letter queue, stays
/// hidden.
const KEEP_HIDDEN: Duration = Duration::from_mins(15);

/// Pauses between the tries to delete a message, and their number: half a minute in all.
const DELETE_PAUSES: BackOff = BackOff {
    first: Duration::from_millis(250),
    longest: Duration::from_secs(16),
};
const DELETE_AGAIN: u32 = 7;

impl ExecutionContext {
    /// Ends tasks that are not run.
    pub fn ending(&self) -> Ending {
        Ending::new(self.broker.clone(), self.hosts.clone())
    }

    async fn report(
        &self,
        task: &Task,
        reason: &str,
        kind: ReportKind,
    ) -> Result<Reported, ForkServerError> {
        self.ending().report(&task.message, reason, kind).await
    }

    async fn answer(&self, task: &Task, outcome: &TaskOutcome) -> Result<(), AnswerError> {
        let received_at = task.delivery.received_at;
        self.ending()
            .answer(&task.message, received_at, outcome)
            .await
    }

    /// Settles a task's message and reports the task as finished.
    pub async fn finish(&self, task: &Task, outcome: TaskOutcome, settlement: Settlement) {
        let run = metrics().run_time(&task.message.task_id);
        let outcome = self.settle(task, outcome, settlement).await;
        metrics().task_ended(&task.message.task_id, &task.labels(), &outcome, run);
        self.events.send(Event::Finished {
            task_id: task.message.task_id.clone(),
            at: Timestamp::now(),
            outcome,
        });
    }

    /// Gives a task that has not started back to its queue.
    pub async fn release(&self, task: &Task, after: Duration, reason: &str) {
        let outcome = released(reason);
        self.finish(task, outcome, Settlement::Hide(after)).await;
    }

    /// Time for which a message whose claim is held stays hidden: the visibility timeout, doubled
    /// each time, since each check costs a receive.
    pub fn held_pause(&self, delivery: &Delivery) -> Duration {
        let first = self.broker.visibility();
        let longest = HELD_AT_MOST.max(first);
        BackOff { first, longest }.after(delivery.receive_count.saturating_sub(2))
    }

    /// Hides a message for a while. A message whose receives are nearly used up is replaced by a
    /// copy, which has all of them again: a dead-letter queue is for messages that cannot be run.
    pub async fn put_back(&self, delivery: &Delivery, time: Duration) {
        if delivery.is_nearly_used_up() {
            self.replace_or_hide(delivery, time, Receives::Counted)
                .await;
            return;
        }
        self.leases.release(delivery).await;
        log_result(self.broker.hide(delivery, time).await);
    }

    async fn replace_or_hide(&self, delivery: &Delivery, time: Duration, receives: Receives) {
        // The lease is kept until the copy exists: the same message received meanwhile would be one
        // too many.
        let replaced = self.broker.replace(delivery, time, receives).await;
        self.leases.release(delivery).await;
        match replaced {
            Ok(true) => return,
            Ok(false) => {}
            Err(problem) => warn!("{problem}"),
        }
        log_result(self.broker.hide(delivery, time).await);
    }

    /// Ends a held task that has not started, at an operator's request: its end is written into
    /// Dagster's log, then its message is deleted.
    pub async fn cancel_held(&self, task: &Task) -> Reply {
        let reason = "It was cancelled by an operator before it started.";
        let (outcome, settlement) = match self.report(task, reason, ReportKind::Canceled).await {
            Ok(Reported::Written { event }) => {
                info!("{} was cancelled before it started: {event}", task.name());
                (TaskOutcome::Canceled, Settlement::Delete)
            }
            Ok(Reported::Over) => (skipped("it had ended before"), Settlement::Delete),
            Ok(Reported::Held) => (
                released("another process runs it"),
                Settlement::Hide(self.held_pause(&task.delivery)),
            ),
            Ok(Reported::Missing) => {
                let reason = format!("run {} does not exist", task.message.run_id);
                let outcome = TaskOutcome::DeadLettered {
                    reason: reason.clone(),
                };
                (outcome, Settlement::DeadLetter(reason))
            }
            Err(problem) => (
                released(&problem.to_string()),
                Settlement::Hide(back_off(task.delivery.receive_count)),
            ),
        };
        let reply = match &outcome {
            TaskOutcome::Canceled => {
                Reply::Done("it had not started, and is ended as cancelled".to_owned())
            }
            TaskOutcome::Skipped { .. } => Reply::Done("it had ended before".to_owned()),
            other => Reply::Failed(format!(
                "not cancelled: {}",
                other.reason().unwrap_or(other.word())
            )),
        };
        self.finish(task, outcome, settlement).await;
        reply
    }

    async fn settle(
        &self,
        task: &Task,
        outcome: TaskOutcome,
        settlement: Settlement,
    ) -> TaskOutcome {
        let delivery = &task.delivery;
        match settlement {
            Settlement::Delete => {
                if let Err(problem) = self.answer(task, &outcome).await {
                    return self.unanswered(task, &problem).await;
                }
                // The lease is kept while the delete is tried: a message that returned in between
                // would be acknowledged all the same, but at the cost of a look-up.
                let result = self.delete(delivery).await;
                self.leases.release(delivery).await;
                log_result(result);
            }
            Settlement::Hide(time) => self.put_back(delivery, time).await,
            Settlement::HandOver => {
                self.replace_or_hide(delivery, Duration::ZERO, Receives::Forgotten)
                    .await;
            }
            Settlement::DeadLetter(reason) => {
                return self.end_unrunnable(task, outcome, &reason).await;
            }
        }
        outcome
    }

    /// Writes the reason into the run's log, so that nothing waits for the task, and only then
    /// dead-letters the message.
    async fn end_unrunnable(&self, task: &Task, outcome: TaskOutcome, reason: &str) -> TaskOutcome {
        match self.report(task, reason, ReportKind::Removed).await {
            Ok(Reported::Held) => {
                let wait = Settlement::Hide(self.held_pause(&task.delivery));
                let outcome = released("another process runs it");
                return Box::pin(self.settle(task, outcome, wait)).await;
            }
            Ok(_) => {}
            Err(problem) => {
                warn!("{problem}; the message is kept and tried again later");
                let pause = back_off(task.delivery.receive_count);
                self.put_back(&task.delivery, pause).await;
                return released(reason);
            }
        }
        if let Err(problem) = self.answer(task, &outcome).await {
            return self.unanswered(task, &problem).await;
        }
        self.leases.release(&task.delivery).await;
        self.dead_letter(&task.delivery, reason).await;
        outcome
    }

    /// Handles a result that could not be put: the message returns later, and its end is found in
    /// the log.
    async fn unanswered(&self, task: &Task, problem: &AnswerError) -> TaskOutcome {
        let pause = back_off(task.delivery.receive_count);
        error!("{problem}; trying again in {} s", pause.as_secs());
        self.put_back(&task.delivery, pause).await;
        released(&problem.to_string())
    }

    /// Dead-letters a message, or hides it for a while if that fails: it is retried then.
    pub async fn dead_letter(&self, delivery: &Delivery, reason: &str) {
        if let Err(problem) = self.move_to_dead_letters(delivery, reason).await {
            let pause = back_off(delivery.receive_count);
            error!("{problem}; trying again in {} s", pause.as_secs());
            log_result(self.broker.hide(delivery, pause).await);
        }
    }

    async fn move_to_dead_letters(
        &self,
        delivery: &Delivery,
        reason: &str,
    ) -> Result<(), BrokerError> {
        let known = delivery.queue.dead_letter_url.clone();
        let target = match known {
            Some(target) => Some(target),
            None => self.broker.dead_letter_queue(&delivery.queue).await?,
        };
        if let Some(target) = target {
            return self.broker.dead_letter(delivery, &target, reason).await;
        }
        warn!(
            "{} has no dead-letter queue: message {} is kept, hidden for 15 minutes",
            delivery.queue.name, delivery.message_id
        );
        self.broker.hide(delivery, KEEP_HIDDEN).await
    }

    /// Deletes a message, retrying for about half a minute if SQS does not answer.
    async fn delete(&self, delivery: &Delivery) -> Result<(), BrokerError> {
        let mut failures = 0;
        loop {
            match self.broker.delete(delivery).await {
                Err(problem) if problem.is_passing() && failures < DELETE_AGAIN => {
                    warn!("{problem}; trying again");
                    tokio::time::sleep(DELETE_PAUSES.after(failures)).await;
                    failures += 1;
                }
                result => return result,
            }
        }
    }
}

/// Logs a failure: an error if an operator must act, a warning if it is transient.
fn log_result(result: Result<(), BrokerError>) {
    match result {
        Ok(()) => {}
        Err(problem) if problem.is_denied() => error!(
            "{problem}; until then each message comes back when its lease ends, and is recognised"
        ),
        Err(problem) => warn!("{problem}; the message will be delivered again and recognised"),
    }
}

/// Outcome of a task whose message went back to the queue.
pub(super) fn released(reason: &str) -> TaskOutcome {
    TaskOutcome::GivenBack {
        reason: reason.to_owned(),
    }
}

/// Back-off of 2, 4, 8 … 60 seconds by receive count, less up to a fifth at random: many messages
/// that failed together return at different times.
pub(super) fn back_off(receive_count: u32) -> Duration {
    let whole = BackOff {
        first: Duration::from_secs(2),
        longest: Duration::from_mins(1),
    };
    let whole = whole.after(receive_count.saturating_sub(1));
    whole.mul_f64(1.0 - 0.2 * fastrand::f64())
}
