//! Receiving messages, and giving back those that reached no client.

use super::Broker;
use super::change::Change;
use super::message::{Millis, Received, Seq, Stage};
use super::queue::Queue;
use super::receipts::is_held;
use super::receive_attempts::Taken;
use crate::sqs_server::error::{ErrorKind, SqsError};
use crate::sqs_server::receipt::Receipt;

/// Maximum number of messages in flight in one queue.
pub const IN_FLIGHT_LIMIT: usize = 120_000;

/// Parameters of a receive.
#[derive(Debug, Clone, Default)]
pub struct ReceiveRequest {
    /// Maximum number of messages, 1 to 10.
    pub max: usize,
    /// Visibility timeout in seconds; the queue's own when absent.
    pub visibility: Option<i64>,
    /// Attempt id, by which the receive can be repeated (FIFO).
    pub attempt: Option<String>,
    /// Keeps received messages in a standard queue as well, to be delivered once more.
    pub duplicate: bool,
}

impl Broker {
    /// Takes messages, oldest first. Those received too often go to the dead-letter queue instead,
    /// so they do not block others.
    ///
    /// # Errors
    /// The queue does not exist; `OverLimit` if a standard queue has its limit in flight; a
    /// repeated attempt whose messages were deleted or had their visibility changed since.
    pub fn receive(
        &mut self,
        now: Millis,
        name: &str,
        request: &ReceiveRequest,
    ) -> Result<Vec<Received>, SqsError> {
        let queue = self.queue_mut(name)?;
        if let Some(again) = repeat_attempt(queue, now, request)? {
            return Ok(self.note_updates(again));
        }
        let room = IN_FLIGHT_LIMIT.saturating_sub(queue.counts().in_flight);
        if room == 0 && !queue.settings.fifo {
            return Err(SqsError::new(
                ErrorKind::OverLimit,
                "Too many messages in flight: the limit of this queue is 120000.",
            ));
        }
        let max = request.max.min(room);
        let mut taken = Vec::new();
        loop {
            let queue = self.queue_mut(name)?;
            let picked = queue.pick(max - taken.len());
            let mut exhausted = Vec::new();
            for seq in picked {
                let is_exhausted = queue
                    .get(seq)
                    .is_some_and(|message| queue.is_exhausted(message));
                if is_exhausted {
                    exhausted.push(seq);
                } else if let Some(received) = take(queue, seq, now, request.visibility) {
                    taken.push(received);
                }
            }
            let moved = exhausted
                .iter()
                .filter(|seq| self.dead_letter(now, name, **seq))
                .count();
            if moved < exhausted.len() {
                // The dead-letter queue is gone: its messages are received as if there were none.
                let queue = self.queue_mut(name)?;
                let kept = exhausted
                    .iter()
                    .filter_map(|seq| take(queue, *seq, now, request.visibility));
                taken.extend(kept.collect::<Vec<_>>());
            }
            if moved == 0 || taken.len() >= max {
                break;
            }
        }
        let queue = self.queue_mut(name)?;
        if let Some(attempt) = request.attempt.as_ref().filter(|_| queue.settings.fifo)
            && !taken.is_empty()
        {
            remember_attempt(queue, now, attempt, &taken);
        }
        let taken = self.note_updates(taken);
        if request.duplicate {
            self.copy(now, name, &taken)?;
        }
        Ok(taken)
    }

    /// Takes back a receive whose answer reached no client: the messages wait again and the receive
    /// does not count.
    pub fn release(&mut self, now: Millis, name: &str, receipts: &[Receipt]) {
        for receipt in receipts {
            let Some(queue) = self.queues.get_mut(name) else {
                return;
            };
            let held = queue.store == receipt.store
                && queue
                    .get(receipt.seq)
                    .is_some_and(|message| is_held(message, *receipt, now));
            if !held {
                continue;
            }
            queue.attempts.forget_receives_of(receipt.seq);
            let message = queue.update(receipt.seq, |message| {
                message.stage = Stage::Waiting;
                // Restores the original place, as if the message had never left it.
                message.due_at = message.sent_at;
                message.receive_count -= 1;
                if message.receive_count == 0 {
                    message.first_received_at = 0;
                }
            });
            if let Some(message) = message.cloned() {
                self.changes.push(Change::Updated {
                    seq: receipt.seq,
                    message,
                });
            }
        }
    }

    /// Puts copies of the received messages into a standard queue, with the same ids and in their
    /// earlier state, so that they use up no receive.
    fn copy(&mut self, now: Millis, name: &str, taken: &[Received]) -> Result<(), SqsError> {
        if self.queue(name)?.settings.fifo {
            return Ok(());
        }
        for one in taken {
            let to = self.next_seq(now);
            let mut message = one.message.clone();
            message.stage = Stage::Waiting;
            message.due_at = now;
            message.receive_count -= 1;
            if message.receive_count == 0 {
                message.received_at = 0;
                message.first_received_at = 0;
            }
            self.queue_mut(name)?.insert(to, message.clone());
            self.changes.push(Change::Copied {
                from: one.seq,
                store: one.store,
                to,
                message,
            });
        }
        Ok(())
    }

    fn note_updates(&mut self, received: Vec<Received>) -> Vec<Received> {
        self.changes
            .extend(received.iter().map(|one| Change::Updated {
                seq: one.seq,
                message: one.message.clone(),
            }));
        received
    }
}

fn take(queue: &mut Queue, seq: Seq, now: Millis, visibility: Option<i64>) -> Option<Received> {
    let store = queue.store;
    let due_at = now + visibility.unwrap_or(queue.settings.visibility) * 1_000;
    let message = queue.update(seq, |message| {
        message.stage = Stage::InFlight;
        message.due_at = due_at;
        message.received_at = now;
        message.receive_count += 1;
        if message.first_received_at == 0 {
            message.first_received_at = now;
        }
    })?;
    Some(Received {
        store,
        seq,
        message: message.clone(),
    })
}

/// Returns the messages of an earlier attempt and hides them anew. `None` if the attempt is a new
/// receive; it is one again once the visibility timeout of its messages is over.
fn repeat_attempt(
    queue: &mut Queue,
    now: Millis,
    request: &ReceiveRequest,
) -> Result<Option<Vec<Received>>, SqsError> {
    let Some(id) = request.attempt.as_ref().filter(|_| queue.settings.fifo) else {
        return Ok(None);
    };
    let taken = queue.attempts.taken(id, now).unwrap_or_default().to_vec();
    let was_modified = |one: &Taken| {
        queue.get(one.seq).is_none_or(|message| {
            message.receive_count == one.receive && message.due_at != one.due_at
        })
    };
    if taken.iter().any(was_modified) {
        return Err(SqsError::invalid(
            "ReceiveRequestAttemptId",
            id,
            "The receiveRequestAttemptId is not valid anymore since the receive call is not \
             retryable.",
        ));
    }
    let store = queue.store;
    let is_still_held = |one: &Taken| {
        let receipt = Receipt {
            store,
            seq: one.seq,
            receive: one.receive,
        };
        queue
            .get(one.seq)
            .is_some_and(|message| is_held(message, receipt, now))
    };
    if taken.is_empty() || !taken.iter().all(is_still_held) {
        return Ok(None);
    }
    let due_at = now + request.visibility.unwrap_or(queue.settings.visibility) * 1_000;
    let again: Vec<_> = taken
        .iter()
        .filter_map(|one| {
            let message = queue.update(one.seq, |message| message.due_at = due_at)?;
            Some(Received {
                store,
                seq: one.seq,
                message: message.clone(),
            })
        })
        .collect();
    remember_attempt(queue, now, id, &again);
    Ok(Some(again))
}

fn remember_attempt(queue: &mut Queue, now: Millis, id: &str, received: &[Received]) {
    let taken = received
        .iter()
        .map(|one| Taken::of(one.seq, &one.message))
        .collect();
    queue.attempts.remember(id.to_owned(), taken, now);
}
