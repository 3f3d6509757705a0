//! Sends messages back to their source queue, unchanged or edited: sent first, deleted after.
//!
//! Dying in between leaves a message on both queues, never on none. On a FIFO queue the second
//! attempt of a redrive has the deduplication id of the first, which SQS recognises for five
//! minutes; elsewhere the step's claim and its end in Dagster's log make the second copy harmless.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{OperationError, Operator, messages, stay};
use crate::domain::OperationResult;
use crate::sqs::{
    BrokerError, Delivery, Moved, OFFLOADED, Outgoing, Queue, REASON, RECEIVES, SOURCE_QUEUE,
};
use crate::wire::TaskMessage;
use crate::wire::redact::restore_secrets;

/// Destination of the dead letters.
struct RedriveTarget {
    /// The single queue that receives all of them.
    to: Option<Arc<Queue>>,
    /// Names of the queues this is the dead-letter queue of; empty where `to` is given.
    sources: Vec<String>,
    /// The only source queue, if there is exactly one.
    only_source: Option<Arc<Queue>>,
    from: String,
}

/// Progress so far.
#[derive(Default)]
struct RedriveProgress {
    count: usize,
    left: Vec<Delivery>,
    /// Reason why the first of them was left.
    problem: Option<String>,
}

impl Operator {
    /// Sends dead letters back: those with the given ids, or all if none is given.
    ///
    /// # Errors
    /// [`OperationError`] if nothing was done.
    pub async fn redrive(
        &self,
        queue: &Arc<Queue>,
        ids: &[String],
        to: Option<&str>,
    ) -> Result<OperationResult, OperationError> {
        let destination = self.destination(queue, to).await?;
        if ids.is_empty() {
            let target = destination
                .to
                .clone()
                .or_else(|| destination.only_source.clone());
            if let Some(target) = target.filter(|_| !queue.is_fifo())
                && let Some(moved) = self.moved_by_sqs(queue, &target).await?
            {
                return Ok(moved);
            }
            return self.redrive_all(queue, &destination).await;
        }
        let found = self.broker.find(queue, ids).await?;
        let missing = ids.len() - found.len();
        let mut moved = RedriveProgress::default();
        let result = self.redrive_batch(found, &destination, &mut moved).await;
        self.broker.release(queue, &moved.left).await?;
        if missing > 0 {
            let which = messages(missing);
            let why = format!(
                "{which} could not be received: gone, in flight, or behind others of a FIFO group"
            );
            moved.problem.get_or_insert(why);
        }
        Ok(moved.summary(queue, missing, result.err()))
    }

    /// Sends a message again with another body, in which redacted values stand for the old ones,
    /// and deletes the old message.
    ///
    /// # Errors
    /// [`OperationError`]; the old message is unchanged.
    pub async fn resend(
        &self,
        queue: &Arc<Queue>,
        message_id: &str,
        body: &str,
        to: Option<&str>,
    ) -> Result<OperationResult, OperationError> {
        let ids = [message_id.to_owned()];
        let Some(delivery) = self.broker.find(queue, &ids).await?.pop() else {
            return Err(OperationError::Refused(format!(
                "message {message_id} of {} could not be received: gone, in flight, or behind \
                 others of its FIFO group",
                queue.name
            )));
        };
        let sent = self.resend_one(queue, &delivery, body, to).await;
        if sent.is_err() {
            self.broker.release(queue, &[delivery]).await?;
        }
        let target = sent?;
        Ok(OperationResult {
            messages: 1,
            text: format!("message {message_id} was sent to {target} as edited"),
            ..OperationResult::default()
        })
    }

    async fn resend_one(
        &self,
        queue: &Arc<Queue>,
        delivery: &Delivery,
        body: &str,
        to: Option<&str>,
    ) -> Result<String, OperationError> {
        let original = self.broker.text(delivery).await?;
        let body = restore_secrets(body, &original)?;
        let destination = self.destination(queue, to).await?;
        let is_no_dead_letter = destination.sources.is_empty() && delivery.source.is_none();
        let target = if to.is_none() && is_no_dead_letter {
            Arc::clone(queue)
        } else {
            self.target(delivery, &destination)
                .await
                .map_err(OperationError::Refused)?
        };
        let mut outgoing = outgoing(delivery, uuid::Uuid::new_v4().simple().to_string());
        // A body that was fetched from S3 for editing is sent inline; SQS reports it if it is too
        // large.
        outgoing.attributes.remove(OFFLOADED);
        outgoing.body = body;
        let attempt = format!("send the edited message to {}", target.name);
        self.broker.send(&target.url, &outgoing, &attempt).await?;
        self.broker.delete(delivery).await?;
        Ok(target.name.clone())
    }

    async fn destination(
        &self,
        queue: &Arc<Queue>,
        to: Option<&str>,
    ) -> Result<RedriveTarget, OperationError> {
        let to = match to {
            Some(name) if name == queue.name || name == queue.url => {
                return Err(OperationError::Refused(format!(
                    "{name} is the queue the messages are on"
                )));
            }
            Some(name) => Some(self.queue(name).await?),
            None => None,
        };
        if to.is_some() {
            // The sources do not matter, and listing them takes a permission of its own.
            return Ok(RedriveTarget {
                to,
                sources: Vec::new(),
                only_source: None,
                from: queue.name.clone(),
            });
        }
        let sources = self.broker.dead_letter_sources(queue).await?;
        let only_source = match sources.as_slice() {
            [only] => Some(self.queue(only).await?),
            _ => None,
        };
        Ok(RedriveTarget {
            to,
            sources,
            only_source,
            from: queue.name.clone(),
        })
    }

    /// `None` if SQS does not do it: it may not be allowed, or the server lacks the action.
    async fn moved_by_sqs(
        &self,
        queue: &Arc<Queue>,
        target: &Queue,
    ) -> Result<Option<OperationResult>, OperationError> {
        match self.broker.move_all(queue, target).await {
            Ok(Moved::Begun(problem)) => Ok(Some(OperationResult {
                text: format!(
                    "SQS has begun to move all messages of {} to {}, and goes on by itself; how \
                     many cannot be told: {problem}",
                    queue.name, target.name
                ),
                ..OperationResult::default()
            })),
            Ok(Moved::All(moved)) => Ok(Some(OperationResult {
                messages: usize::try_from(moved).unwrap_or(usize::MAX),
                text: format!(
                    "~{moved} messages of {} went to {}",
                    queue.name, target.name
                ),
                ..OperationResult::default()
            })),
            Err(problem) if problem.is_denied() || problem.is_unsupported() => {
                tracing::info!("{problem}: moving the messages one by one");
                Ok(None)
            }
            Err(problem) => Err(problem.into()),
        }
    }

    /// Redrives the messages that were present at the start: one that no worker can run is
    /// dead-lettered again at once, and would go round for ever.
    async fn redrive_all(
        &self,
        queue: &Arc<Queue>,
        destination: &RedriveTarget,
    ) -> Result<OperationResult, OperationError> {
        let begun = Timestamp::now();
        let mut moved = RedriveProgress::default();
        let mut newer = Vec::new();
        let result = loop {
            let second = Duration::from_secs(1);
            let (new, old): (Vec<_>, Vec<_>) = match self.broker.receive(queue, 10, second).await {
                Ok(batch) => batch
                    .into_iter()
                    .partition(|one| one.sent_at.is_some_and(|at| at > begun)),
                Err(problem) => break Err(problem),
            };
            newer.extend(new);
            if old.is_empty() {
                break Ok(());
            }
            if let Err(problem) = self.redrive_batch(old, destination, &mut moved).await {
                break Err(problem);
            }
        };
        // The remaining messages were kept hidden, so that no receive found them again.
        for delivery in &moved.left {
            self.leases.release(delivery).await;
        }
        self.broker.release(queue, &moved.left).await?;
        self.broker.release(queue, &newer).await?;
        Ok(moved.summary(queue, 0, result.err()))
    }

    async fn redrive_batch(
        &self,
        batch: Vec<Delivery>,
        destination: &RedriveTarget,
        moved: &mut RedriveProgress,
    ) -> Result<(), BrokerError> {
        let mut batch = batch.into_iter();
        while let Some(delivery) = batch.next() {
            let result = match self.target(&delivery, destination).await {
                Ok(target) => self.redrive_one(&delivery, &target).await,
                Err(problem) => {
                    moved.problem.get_or_insert(problem);
                    self.leases.register(&delivery);
                    moved.left.push(delivery);
                    continue;
                }
            };
            if let Err(problem) = result {
                moved.left.push(delivery);
                moved.left.extend(batch);
                return Err(problem);
            }
            moved.count += 1;
        }
        Ok(())
    }

    async fn redrive_one(&self, delivery: &Delivery, target: &Queue) -> Result<(), BrokerError> {
        // The old message's id is unique, and the same when this is tried again.
        let outgoing = outgoing(delivery, format!("redrive-{}", delivery.message_id));
        let attempt = format!("send message {} to {}", delivery.message_id, target.name);
        self.broker.send(&target.url, &outgoing, &attempt).await?;
        self.broker.delete(delivery).await
    }

    async fn target(
        &self,
        delivery: &Delivery,
        destination: &RedriveTarget,
    ) -> Result<Arc<Queue>, String> {
        if let Some(queue) = &destination.to {
            return Ok(Arc::clone(queue));
        }
        // The sender may have written that, too: it counts only if the queues themselves agree.
        let source = delivery.source.as_ref();
        if let Some(name) = source.filter(|name| destination.sources.contains(name)) {
            return self.queue(name).await.map_err(|error| error.to_string());
        }
        if let Some(queue) = &destination.only_source {
            return Ok(Arc::clone(queue));
        }
        // Fall back to the queue that the sender addressed: the message may have left it on a path
        // that is not recorded.
        let addressed = TaskMessage::addressed_to(&delivery.body);
        if let Some(name) = addressed.filter(|name| destination.sources.contains(name)) {
            return self.queue(&name).await.map_err(|error| error.to_string());
        }
        Err(format!(
            "message {} does not say where it came from, and {} is not the dead-letter queue of \
             exactly one queue: name the queue it shall go to (--to QUEUE, or :redrive QUEUE)",
            delivery.message_id, destination.from
        ))
    }
}

/// The message as it was before it became a dead letter.
fn outgoing(delivery: &Delivery, deduplication: String) -> Outgoing {
    let mut attributes = delivery.attributes.clone();
    attributes.retain(|name, _| ![REASON, SOURCE_QUEUE, RECEIVES].contains(&name.as_str()));
    Outgoing {
        body: delivery.body.clone(),
        attributes,
        group: delivery.group.clone(),
        deduplication: Some(deduplication),
        delay: Duration::ZERO,
    }
}

impl RedriveProgress {
    fn summary(
        self,
        queue: &Queue,
        missing: usize,
        failed: Option<BrokerError>,
    ) -> OperationResult {
        let left = self.left.len() + missing;
        let mut text = format!("{}: {} sent back", queue.name, messages(self.count));
        let problem = failed.map(|problem| problem.to_string()).or(self.problem);
        if let Some(problem) = &problem {
            text = format!("{text}; {}: {problem}", stay(left));
        }
        OperationResult {
            messages: self.count,
            left,
            archive: None,
            text,
            failed: problem.is_some(),
        }
    }
}
