//! Taking messages out: receive, visibility, delete, and what happens when a visibility timeout
//! ends.

use std::sync::Arc;

use super::Broker;
use super::change::Change;
use super::message::{Message, Millis, Received, Seq, Stage};
use super::queue::Queue;
use super::settings::{MAX_VISIBILITY_SECONDS, name_in_arn};
use crate::local_broker::error::{ErrorKind, SqsError};
use crate::local_broker::receipt::Receipt;

/// Messages that may be in flight in one queue.
pub const IN_FLIGHT_LIMIT: usize = 120_000;

/// What a receive asks for.
#[derive(Debug, Clone, Default)]
pub struct ReceiveAsk {
    /// At most so many, 1 to 10.
    pub max: usize,
    /// Hidden for so many seconds; the queue's own timeout when absent.
    pub visibility: Option<i64>,
    /// Names the receive, so that it can be repeated (FIFO).
    pub attempt: Option<String>,
}

impl Broker {
    /// Takes messages, oldest first. Those received too often go to the dead-letter queue
    /// instead and block nobody.
    ///
    /// # Errors
    /// No such queue; `OverLimit` when a standard queue has its limit in flight.
    pub fn receive(
        &mut self,
        now: Millis,
        name: &str,
        ask: &ReceiveAsk,
    ) -> Result<Vec<Received>, SqsError> {
        let queue = self.queue_mut(name)?;
        if let Some(again) = repeat_attempt(queue, now, ask) {
            return Ok(self.note_updates(again));
        }
        let room = IN_FLIGHT_LIMIT.saturating_sub(queue.counts().in_flight);
        if room == 0 && !queue.settings.fifo {
            return Err(SqsError::new(
                ErrorKind::OverLimit,
                "Too many messages in flight: the limit of this queue is 120000.",
            ));
        }
        let max = ask.max.min(room);
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
                } else if let Some(received) = take(queue, seq, now, ask.visibility) {
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
                    .filter_map(|seq| take(queue, *seq, now, ask.visibility));
                taken.extend(kept.collect::<Vec<_>>());
            }
            if moved == 0 || taken.len() >= max {
                break;
            }
        }
        if let Some(attempt) = &ask.attempt
            && !taken.is_empty()
        {
            let pairs = taken
                .iter()
                .map(|one| (one.seq, one.message.receive_count))
                .collect();
            self.queue_mut(name)?
                .attempts
                .remember(attempt.clone(), pairs, now);
        }
        Ok(self.note_updates(taken))
    }

    /// Deletes by receipt. A message that is gone is no error; a FIFO message whose visibility
    /// timeout ended, or that was received again since, is.
    ///
    /// # Errors
    /// No such queue; a handle of another queue; an expired FIFO handle.
    pub fn delete(&mut self, now: Millis, name: &str, receipt: Receipt) -> Result<(), SqsError> {
        self.check_receipt(name, receipt)?;
        let queue = self.queue_mut(name)?;
        let Some(message) = queue.get(receipt.seq) else {
            return Ok(());
        };
        if queue.settings.fifo && !is_held(message, receipt, now) {
            return Err(SqsError::new(
                ErrorKind::InvalidParameterValue,
                "Value for parameter ReceiptHandle is invalid. Reason: The receipt handle has \
                 expired.",
            ));
        }
        queue.remove(receipt.seq);
        self.changes.push(Change::Deleted(receipt.seq));
        Ok(())
    }

    /// Hides a received message for `seconds` from now, 0 to 43,200.
    ///
    /// # Errors
    /// No such queue; a message that is gone, is not in flight, or would be hidden for more than
    /// 12 hours after its receive.
    pub fn change_visibility(
        &mut self,
        now: Millis,
        name: &str,
        receipt: Receipt,
        seconds: i64,
    ) -> Result<(), SqsError> {
        self.check_receipt(name, receipt)?;
        let queue = self.queue_mut(name)?;
        let Some(message) = queue.get(receipt.seq) else {
            return Err(SqsError::new(
                ErrorKind::InvalidParameterValue,
                "Value for parameter ReceiptHandle is invalid. Reason: Message does not exist or \
                 is not available for visibility timeout change.",
            ));
        };
        if message.stage != Stage::InFlight
            || message.due_at <= now
            || (queue.settings.fifo && message.receive_count != receipt.receive)
        {
            return Err(SqsError::new(
                ErrorKind::MessageNotInflight,
                "The specified message isn't in flight.",
            ));
        }
        if (now - message.received_at) / 1_000 + seconds > MAX_VISIBILITY_SECONDS {
            return Err(SqsError::invalid(
                "VisibilityTimeout",
                seconds,
                "Total VisibilityTimeout for the message is beyond the limit [43200 seconds]",
            ));
        }
        self.hide_until(name, receipt.seq, now + seconds * 1_000, now)
    }

    /// Takes back a receive whose answer reached nobody: the messages wait again and the receive
    /// does not count.
    pub fn give_back(&mut self, now: Millis, name: &str, receipts: &[Receipt]) {
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
            let message = queue.update(receipt.seq, |message| {
                message.stage = Stage::Waiting;
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

    /// Ends the delays and visibility timeouts that are over by now.
    pub(super) fn end_timers(&mut self, now: Millis) {
        let due: Vec<Arc<str>> = self
            .queues
            .values()
            .filter(|queue| queue.next_timer().is_some_and(|at| at <= now))
            .map(|queue| queue.name.clone())
            .collect();
        for name in due {
            while let Some(seq) = self.queues.get(&name).and_then(|queue| queue.due(now)) {
                self.wake(now, &name, seq);
            }
        }
    }

    /// Makes a message receivable, or dead-letters it when it was received as often as allowed.
    fn wake(&mut self, now: Millis, name: &str, seq: Seq) {
        let Some(queue) = self.queues.get_mut(name) else {
            return;
        };
        // Nothing to write: on disk the message's time is over as well.
        let exhausted = queue
            .update(seq, |message| message.stage = Stage::Waiting)
            .is_some_and(|message| message.receive_count > 0)
            && queue
                .get(seq)
                .is_some_and(|message| queue.is_exhausted(message));
        if exhausted {
            self.dead_letter(now, name, seq);
        }
    }

    fn hide_until(
        &mut self,
        name: &str,
        seq: Seq,
        due_at: Millis,
        now: Millis,
    ) -> Result<(), SqsError> {
        let queue = self.queue_mut(name)?;
        if let Some(message) = queue
            .update(seq, |message| message.due_at = due_at)
            .cloned()
        {
            self.changes.push(Change::Updated { seq, message });
        }
        if due_at <= now {
            self.wake(now, name, seq);
        }
        Ok(())
    }

    /// Moves a message to its queue's dead-letter queue; `false` when there is none.
    fn dead_letter(&mut self, now: Millis, name: &str, seq: Seq) -> bool {
        let Some(queue) = self.queues.get(name) else {
            return false;
        };
        let Some(redrive) = &queue.settings.redrive else {
            return false;
        };
        let target = name_in_arn(&redrive.target_arn).to_owned();
        let source = queue.name.clone();
        if *target == *source || !self.queues.contains_key(target.as_str()) {
            return false;
        }
        let to = self.next_seq(now);
        let Some(mut message) = self
            .queues
            .get_mut(name)
            .and_then(|queue| queue.remove(seq))
        else {
            return false;
        };
        message.stage = Stage::Waiting;
        message.source = Some(source);
        if let Some(queue) = self.queues.get_mut(target.as_str()) {
            if queue.settings.fifo {
                // On FIFO queues the dead-letter queue's retention starts anew.
                message.sent_at = now;
            }
            queue.insert(to, message.clone());
            let store = queue.store;
            self.changes.push(Change::Moved {
                from: seq,
                store,
                to,
                message,
                identity: None,
            });
        }
        true
    }

    /// A handle must be of this queue. One from before a purge is of this queue still; it just
    /// names nothing any more.
    fn check_receipt(&self, name: &str, receipt: Receipt) -> Result<(), SqsError> {
        let queue = self.queue(name)?;
        let foreign = receipt.store != queue.store
            && self
                .queues
                .values()
                .any(|other| other.store == receipt.store);
        if foreign {
            return Err(SqsError::new(
                ErrorKind::ReceiptHandleIsInvalid,
                "The input receipt handle is invalid: it is of another queue.",
            ));
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

/// The messages an attempt got before, hidden anew, as long as one of them is still held.
fn repeat_attempt(queue: &mut Queue, now: Millis, ask: &ReceiveAsk) -> Option<Vec<Received>> {
    let id = ask.attempt.as_ref().filter(|_| queue.settings.fifo)?;
    let taken = queue.attempts.taken(id, now)?.to_vec();
    let store = queue.store;
    let due_at = now + ask.visibility.unwrap_or(queue.settings.visibility) * 1_000;
    let mut again = Vec::new();
    for (seq, receive) in taken {
        let receipt = Receipt {
            store,
            seq,
            receive,
        };
        if queue
            .get(seq)
            .is_some_and(|message| is_held(message, receipt, now))
            && let Some(message) = queue.update(seq, |message| message.due_at = due_at)
        {
            again.push(Received {
                store,
                seq,
                message: message.clone(),
            });
        }
    }
    (!again.is_empty()).then_some(again)
}

fn is_held(message: &Message, receipt: Receipt, now: Millis) -> bool {
    message.stage == Stage::InFlight
        && message.receive_count == receipt.receive
        && message.due_at > now
}
