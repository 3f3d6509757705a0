//! End of a delay or a visibility timeout: a message can be received again, or was received too
//! often and goes to the dead-letter queue.

use std::sync::Arc;

use super::Broker;
use super::change::Change;
use super::message::{Millis, Seq, Stage};
use super::settings::name_in_arn;
use crate::sqs_server::account;

impl Broker {
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

    /// Makes a message receivable, or dead-letters it if it was received as often as allowed.
    pub(super) fn wake(&mut self, now: Millis, name: &str, seq: Seq) {
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

    /// Moves a message to its queue's dead-letter queue; `false` if the queue has none.
    pub(super) fn dead_letter(&mut self, now: Millis, name: &str, seq: Seq) -> bool {
        let Some(queue) = self.queues.get(name) else {
            return false;
        };
        let Some(redrive) = &queue.settings.redrive else {
            return false;
        };
        let target = account::sibling(name, name_in_arn(&redrive.target_arn));
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
        message.due_at = now;
        // Its receive count continues, but it has not been received here yet.
        message.received_at = 0;
        message.source = Some(source);
        if let Some(queue) = self.queues.get_mut(target.as_str()) {
            if queue.settings.fifo {
                // On FIFO queues retention starts anew in the dead-letter queue.
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
}
