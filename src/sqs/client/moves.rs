//! Moving messages between queues, and removing all of them.

use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName;

use super::{Broker, MOST_ATTRIBUTES, seconds};
use crate::sqs::attribute::{Attribute, Attributes, RECEIVES};
use crate::sqs::delivery::Delivery;
use crate::sqs::error::BrokerError;
use crate::sqs::queue_set::Queue;

/// A message to be sent.
#[derive(Clone, Debug, Default)]
pub struct Outgoing {
    /// The body.
    pub body: String,
    /// Message attributes.
    pub attributes: Attributes,
    /// The message group; needed on FIFO queues.
    pub group: Option<String>,
    /// The deduplication id, used on FIFO queues.
    pub deduplication: Option<String>,
    /// Initial delay, up to 15 minutes; not supported by FIFO queues.
    pub delay: Duration,
}

/// Maximum delay of a message in SQS.
const LONGEST_DELAY: Duration = Duration::from_mins(15);

/// Minimum receive limit of a FIFO queue whose messages are replaced by copies. Its copies cannot
/// be delayed. With fewer receives every receive would be replaced, and the copies would circulate
/// without a pause.
const FIFO_RECEIVES: u32 = 3;

/// Treatment of a message's receive count in its copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receives {
    /// The count continues: it is the same message, retried.
    Counted,
    /// The count starts anew.
    Forgotten,
}

/// Result of a move that SQS accepted.
#[derive(Debug)]
pub enum Moved {
    /// It is complete, with about this many messages.
    All(u64),
    /// SQS goes on with it. The error is why its progress cannot be queried: the permission is
    /// missing, or the server lacks the action.
    Begun(BrokerError),
}

/// Interval at which the progress of a move task is queried.
const POLL_MOVE_EVERY: Duration = Duration::from_millis(500);

impl Broker {
    /// Sends a message to the queue of this URL. `attempt` reads after "cannot".
    ///
    /// # Errors
    /// [`BrokerError`]; if SQS does not answer, the message may have been sent all the same.
    pub async fn send(
        &self,
        url: &str,
        outgoing: &Outgoing,
        attempt: &str,
    ) -> Result<(), BrokerError> {
        let mut request = self
            .client
            .send_message()
            .queue_url(url)
            .message_body(&outgoing.body);
        for (name, attribute) in &outgoing.attributes {
            if let Some(value) = attribute.to_sdk() {
                request = request.message_attributes(name, value);
            }
        }
        if std::path::Path::new(url)
            .extension()
            .is_some_and(|ending| ending == "fifo")
        {
            // Without a group of its own it does not wait for other messages.
            let group = outgoing.group.as_ref().or(outgoing.deduplication.as_ref());
            request = request
                .set_message_group_id(group.cloned())
                .set_message_deduplication_id(outgoing.deduplication.clone());
        } else if !outgoing.delay.is_zero() {
            request = request.delay_seconds(seconds(outgoing.delay.min(LONGEST_DELAY)));
        }
        request.send().await.map_err(|e| self.error(attempt, &e))?;
        Ok(())
    }

    /// Replaces a message by a copy that is hidden for `after`. The copy is sent first, then this
    /// message is deleted: a crash between the two leaves both, never none. False if it cannot be
    /// replaced.
    ///
    /// # Errors
    /// [`BrokerError`]; the message is then still there.
    pub async fn replace(
        &self,
        delivery: &Delivery,
        after: Duration,
        receives: Receives,
    ) -> Result<bool, BrokerError> {
        let queue = &delivery.queue;
        if queue.is_fifo() && queue.max_receives.is_some_and(|most| most < FIFO_RECEIVES) {
            return Ok(false);
        }
        let mut attributes = delivery.attributes.clone();
        if receives == Receives::Forgotten {
            attributes.remove(RECEIVES);
        } else if attributes.len() < MOST_ATTRIBUTES || attributes.contains_key(RECEIVES) {
            let count = Attribute::text(&delivery.receive_count.to_string());
            attributes.insert(RECEIVES.to_owned(), count);
        }
        let outgoing = Outgoing {
            body: delivery.body.clone(),
            attributes,
            group: delivery.group.clone(),
            deduplication: Some(uuid::Uuid::new_v4().simple().to_string()),
            delay: after,
        };
        let attempt = format!(
            "send message {} again to {}",
            delivery.message_id, queue.name
        );
        self.send(&queue.url, &outgoing, &attempt).await?;
        self.delete(delivery).await?;
        Ok(true)
    }

    /// Purges a queue through SQS: all messages are removed, including those in flight and delayed.
    ///
    /// # Errors
    /// [`BrokerError`]; SQS allows one purge of a queue a minute.
    pub async fn purge(&self, queue: &Queue) -> Result<(), BrokerError> {
        let request = self.client.purge_queue().queue_url(&queue.url);
        let attempt = format!("purge {}", queue.name);
        request.send().await.map_err(|e| self.error(&attempt, &e))?;
        Ok(())
    }

    /// Lets SQS move all messages of a dead-letter queue to another queue, and waits for the end if
    /// its progress can be queried. SQS continues if this process dies meanwhile.
    ///
    /// # Errors
    /// [`BrokerError`]; it is denied or unsupported only if the move was not begun.
    pub async fn move_all(&self, from: &Queue, to: &Queue) -> Result<Moved, BrokerError> {
        let (source, destination) = (self.arn(from).await?, self.arn(to).await?);
        let attempt = format!("move the messages of {} to {}", from.name, to.name);
        self.client
            .start_message_move_task()
            .source_arn(&source)
            .destination_arn(destination)
            .send()
            .await
            .map_err(|e| self.error(&attempt, &e))?;
        let follow = format!(
            "follow with sqs:ListMessageMoveTasks how SQS moves the messages of {} to {}, which it \
             has begun",
            from.name, to.name
        );
        loop {
            let answer = self
                .client
                .list_message_move_tasks()
                .source_arn(&source)
                .max_results(1)
                .send()
                .await
                .map_err(|e| self.error(&follow, &e));
            let answer = match answer {
                Ok(answer) => answer,
                Err(problem) if problem.is_denied() || problem.is_unsupported() => {
                    return Ok(Moved::Begun(problem));
                }
                Err(problem) => return Err(problem),
            };
            // The newest task comes first. It is ours, since SQS allows one at a time.
            let task = answer.results.unwrap_or_default().into_iter().next();
            let Some(task) = task else {
                return Ok(Moved::All(0));
            };
            let moved = u64::try_from(task.approximate_number_of_messages_moved).unwrap_or(0);
            match task.status.as_deref() {
                Some("RUNNING" | "CANCELLING") => tokio::time::sleep(POLL_MOVE_EVERY).await,
                Some("COMPLETED") => return Ok(Moved::All(moved)),
                other => {
                    let reason = task.failure_reason.unwrap_or_default();
                    return Err(BrokerError::Refused {
                        attempt,
                        code: other.unwrap_or("no status").to_owned(),
                        reason: format!("{moved} were moved before; {reason}"),
                    });
                }
            }
        }
    }

    pub(super) async fn arn(&self, queue: &Queue) -> Result<String, BrokerError> {
        let name = QueueAttributeName::QueueArn;
        let attempt = format!("read the ARN of {}", queue.name);
        let names = std::slice::from_ref(&name);
        let mut found = self.attributes_of(queue, names, &attempt).await?;
        found.remove(&name).ok_or_else(|| BrokerError::Refused {
            attempt,
            code: String::from("nothing"),
            reason: String::from("the answer has no QueueArn"),
        })
    }
}
