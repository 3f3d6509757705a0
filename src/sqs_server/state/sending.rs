//! Sending messages.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::change::Change;
use super::message::{Extra, Message, Millis, NewMessage, Payload, Sent, Stage};
use super::queue::Queue;
use super::{Broker, dedup};
use crate::sqs_server::error::{ErrorKind, SqsError};

/// Error message for a parameter of the other kind of queue.
pub const WRONG_TYPE: &str = "The request include parameter that is not valid for this queue type.";

impl Broker {
    /// Puts a message into a queue. On a FIFO queue a message whose deduplication id was used
    /// within five minutes is not put in; the first message is returned instead.
    ///
    /// # Errors
    /// The queue does not exist, or refuses the size, delay, group or deduplication id.
    pub fn send(&mut self, now: Millis, name: &str, new: NewMessage) -> Result<Sent, SqsError> {
        let queue = self.queue(name)?;
        check(queue, &new)?;
        let fifo = queue.settings.fifo;
        let dedup_id = fifo.then(|| new.dedup.clone().unwrap_or_else(|| hash_of(&new.body)));
        let key = dedup_id.as_ref().map(|id| match &new.group {
            Some(group) if queue.deduplicates_per_group => format!("{group}\n{id}"),
            _ => id.clone(),
        });
        let seq = self.next_seq(now);
        let queue = self.queue_mut(name)?;
        let store = queue.store;
        if let Some(key) = key {
            if let Some((message_id, sequence)) = queue.dedup.first_use(now, &key) {
                return Ok(Sent {
                    message_id,
                    sequence: Some(sequence),
                });
            }
            let expires_at = now + dedup::WINDOW;
            queue
                .dedup
                .remember(key.clone(), expires_at, new.message_id, seq);
            let message_id = new.message_id;
            let queue = queue.name.clone();
            self.changes.push(Change::DedupSaved {
                queue,
                key,
                expires_at,
                message_id,
                seq,
            });
        }
        let queue = self.queue_mut(name)?;
        let message = first_state(queue, &new, now);
        queue.insert(seq, message.clone());
        let sequence = fifo.then_some(seq);
        let message_id = new.message_id;
        let extra = Extra {
            attributes: new.attributes,
            trace: new.trace,
            group: new.group,
            dedup: dedup_id,
            sequence,
        };
        let extra = (extra != Extra::default()).then_some(extra);
        let payload = Arc::new(Payload {
            message_id,
            body: new.body,
            body_md5: Some(new.body_md5),
            extra,
        });
        self.changes.push(Change::Inserted {
            store,
            seq,
            message,
            payload,
        });
        Ok(Sent {
            message_id,
            sequence,
        })
    }
}

fn first_state(queue: &Queue, new: &NewMessage, now: Millis) -> Message {
    // On FIFO queues a message's own delay can only be 0, which stands for the queue's delay.
    let delay = match new.delay {
        Some(delay) if !queue.settings.fifo => delay,
        _ => queue.settings.delay,
    };
    Message {
        stage: if delay > 0 {
            Stage::Delayed
        } else {
            Stage::Waiting
        },
        sent_at: now,
        due_at: now + delay * 1_000,
        received_at: 0,
        first_received_at: 0,
        receive_count: 0,
        priority: new.priority,
        group: new.group.as_deref().map(Arc::from),
        source: None,
    }
}

fn check(queue: &Queue, new: &NewMessage) -> Result<(), SqsError> {
    let settings = &queue.settings;
    if new.size > settings.max_message_bytes {
        return Err(SqsError::new(
            ErrorKind::InvalidParameterValue,
            format!(
                "One or more parameters are invalid. Reason: Message must be shorter than {} bytes.",
                settings.max_message_bytes
            ),
        ));
    }
    match foreign(queue, new) {
        Some((parameter, value)) => Err(SqsError::invalid(parameter, value, WRONG_TYPE)),
        None => fifo_ids(queue, new),
    }
}

/// A parameter that belongs to the other kind of queue, with its value.
#[must_use]
pub fn foreign(queue: &Queue, new: &NewMessage) -> Option<(&'static str, String)> {
    if queue.settings.fifo {
        let delay = new.delay.filter(|delay| *delay > 0);
        delay.map(|delay| ("DelaySeconds", delay.to_string()))
    } else {
        let id = new.dedup.clone();
        id.map(|id| ("MessageDeduplicationId", id))
    }
}

/// Checks that a message has the ids its queue needs: a FIFO queue needs a group, and a
/// deduplication id unless it is computed from the body.
///
/// # Errors
/// The missing id.
pub fn fifo_ids(queue: &Queue, new: &NewMessage) -> Result<(), SqsError> {
    let settings = &queue.settings;
    if !settings.fifo {
        return Ok(());
    }
    if new.group.is_none() {
        return Err(SqsError::missing("MessageGroupId"));
    }
    if new.dedup.is_none() && !settings.content_based_deduplication {
        return Err(SqsError::new(
            ErrorKind::InvalidParameterValue,
            "The queue should either have ContentBasedDeduplication enabled or \
             MessageDeduplicationId provided explicitly",
        ));
    }
    Ok(())
}

fn hash_of(body: &str) -> String {
    hex::encode(Sha256::digest(body))
}
