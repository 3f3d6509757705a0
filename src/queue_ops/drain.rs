//! Removes a queue's waiting messages: archive (for a drain), report to Dagster, delete, in this
//! order.
//!
//! Dying after the archive leaves the message in the queue; dying after the report leaves a message
//! whose step has ended, which the next receive acknowledges.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{OperationError, Operator, messages, stay};
use crate::domain::{OperationResult, TaskOutcome};
use crate::fork_server::{ReportKind, Reported};
use crate::queue_ops::Archive;
use crate::queue_ops::ending::Ending;
use crate::sqs::{Delivery, Queue};
use crate::wire::TaskMessage;

/// Settings and progress of a removal.
struct Removal {
    archive: Option<Archive>,
    /// Ends their steps and runs.
    ending: Option<Ending>,
    removed: usize,
    /// Number of messages whose step or run is running in another process.
    held: usize,
}

impl Operator {
    /// Archives and deletes every waiting message of a queue. Unless `keep_waiting`, its step or
    /// run ends with the reason in the run's log, so that nothing waits for a removed message.
    ///
    /// # Errors
    /// [`OperationError`] if nothing was done.
    pub async fn drain(
        &self,
        queue: &Arc<Queue>,
        keep_waiting: bool,
    ) -> Result<OperationResult, OperationError> {
        let stamp = Timestamp::now().strftime("%Y%m%dT%H%M%S%.3f");
        let file = self.archives.join(format!("{}-{stamp}.jsonl", queue.name));
        let mut removal = Removal::new(Some(Archive::new(file)), self.ending(keep_waiting)?);
        let result = self.remove(queue, &mut removal).await;
        let archive = removal
            .archive
            .as_ref()
            .filter(|archive| !archive.is_empty());
        let place = archive.map_or_else(String::new, |archive| {
            format!(
                "; {} in {}",
                match archive.len() {
                    1 => String::from("1 is"),
                    more => format!("{more} are"),
                },
                archive.path().display()
            )
        });
        let mut summary = removal.summary(queue, "drained", &result);
        summary.text.push_str(&place);
        summary.archive = archive.map(|archive| archive.path().to_owned());
        Ok(summary)
    }

    /// Deletes every waiting message of a queue after its step or run was ended. With
    /// `keep_waiting` it is SQS's own purge: it also removes delayed messages and those in flight,
    /// and reports nothing.
    ///
    /// # Errors
    /// [`OperationError`] if nothing was done.
    pub async fn purge(
        &self,
        queue: &Arc<Queue>,
        keep_waiting: bool,
    ) -> Result<OperationResult, OperationError> {
        let Some(ending) = self.ending(keep_waiting)? else {
            let counts = self.broker.counts(queue).await?;
            self.broker.purge(queue).await?;
            let gone = counts.visible + counts.in_flight + counts.delayed;
            return Ok(OperationResult {
                messages: usize::try_from(gone).unwrap_or(usize::MAX),
                text: format!(
                    "{} purged: ~{gone} messages are gone, and their steps and runs go on waiting",
                    queue.name
                ),
                ..OperationResult::default()
            });
        };
        let mut removal = Removal::new(None, Some(ending));
        let result = self.remove(queue, &mut removal).await;
        Ok(removal.summary(queue, "purged", &result))
    }

    fn ending(&self, keep_waiting: bool) -> Result<Option<Ending>, OperationError> {
        if keep_waiting {
            return Ok(None);
        }
        let ending = self.ending.clone().map(Some);
        ending.ok_or_else(|| {
            OperationError::Refused(String::from(
                "there is no Dagster instance to tell that the messages are gone; keep their steps \
                 waiting explicitly instead",
            ))
        })
    }

    /// Ends at the first receive that finds nothing; messages in flight elsewhere stay.
    async fn remove(
        &self,
        queue: &Arc<Queue>,
        removal: &mut Removal,
    ) -> Result<(), OperationError> {
        loop {
            // One second lets SQS query all of its servers; zero could miss messages.
            let batch = self
                .broker
                .receive(queue, 10, Duration::from_secs(1))
                .await?;
            if batch.is_empty() {
                return Ok(());
            }
            // The reports of a batch may take longer than a lease.
            for delivery in &batch {
                self.leases.register(delivery);
            }
            let result = self.remove_batch(&batch, removal).await;
            for delivery in &batch {
                self.leases.release(delivery).await;
            }
            result?;
        }
    }

    async fn remove_batch(
        &self,
        batch: &[Delivery],
        removal: &mut Removal,
    ) -> Result<(), OperationError> {
        let mut reason = String::from("Its message was purged from its queue by an operator.");
        if let Some(archive) = &mut removal.archive {
            archive.append(batch)?;
            reason = format!("Its message was drained to {}.", archive.path().display());
        }
        for delivery in batch {
            let may_go = match &removal.ending {
                Some(ending) => end(ending, delivery, &reason).await?,
                None => true,
            };
            if may_go {
                self.broker.delete(delivery).await?;
                removal.removed += 1;
            } else {
                let pause = self.broker.visibility();
                self.broker.hide(delivery, pause).await?;
                removal.held += 1;
            }
        }
        Ok(())
    }
}

impl Removal {
    fn new(archive: Option<Archive>, ending: Option<Ending>) -> Self {
        Self {
            archive,
            ending,
            removed: 0,
            held: 0,
        }
    }

    fn summary(
        &self,
        queue: &Queue,
        done: &str,
        result: &Result<(), OperationError>,
    ) -> OperationResult {
        let mut text = match (result, self.removed) {
            (Ok(()), 0) if self.held == 0 => format!("{} was empty", queue.name),
            (Ok(()), removed) => format!("{}: {} {done}", queue.name, messages(removed)),
            (Err(problem), removed) => {
                format!(
                    "{}: {} {done}, then it failed: {problem}",
                    queue.name,
                    messages(removed)
                )
            }
        };
        if self.held > 0 {
            let held = stay(self.held);
            text = format!("{text}; {held}: other processes run what they ask for");
        }
        OperationResult {
            messages: self.removed,
            left: self.held,
            archive: None,
            text,
            failed: result.is_err(),
        }
    }
}

/// Ends the step or run; returns whether its message may be deleted. It may not while another
/// process runs the step or run: if that process dies, the message is what brings it back.
async fn end(ending: &Ending, delivery: &Delivery, reason: &str) -> Result<bool, OperationError> {
    let text = match ending.broker().text(delivery).await {
        Ok(text) => text,
        Err(problem) if problem.is_passing() => return Err(problem.into()),
        // The message refers to a body that is gone, so there is no one to notify.
        Err(_) => return Ok(true),
    };
    let Ok(message) = TaskMessage::decode(&text) else {
        return Ok(true);
    };
    let reported = ending.report(&message, reason, ReportKind::Removed).await?;
    if matches!(reported, Reported::Held) {
        return Ok(false);
    }
    let reason = reason.to_owned();
    let outcome = TaskOutcome::Failure { reason };
    ending
        .answer(&message, delivery.received_at, &outcome)
        .await?;
    Ok(true)
}
