//! Queues that an operator has paused for the whole deployment: nothing of them is received or
//! started, and what is held goes back. Running tasks go on.

use super::Pool;
use crate::domain::{Event, PausedQueues};
use crate::sqs::LONG_POLL;
use crate::worker::ready_queue::Task;

/// Reason with which messages of a paused queue go back. They stay hidden for as long as a long poll
/// lasts: until then another worker may still have one open.
pub(super) const QUEUE_PAUSED: &str = "its queue is paused";

impl Pool {
    /// Applies the pauses that were last read.
    pub(super) fn pause_queues(&mut self) {
        let paused: PausedQueues = self.paused.borrow_and_update().clone().unwrap_or_default();
        self.receiver.pause(&paused);
        let is_paused = |task: &Task| paused.contains_key(&task.delivery.queue.name);
        for task in self.scheduler.take_if(is_paused) {
            self.release(task, LONG_POLL, QUEUE_PAUSED);
        }
        let queues = paused;
        self.context.events.send(Event::PausedQueues { queues });
    }

    /// Whether a queue is paused.
    pub(super) fn is_paused(&self, queue: &str) -> bool {
        let paused = self.paused.borrow();
        paused
            .as_ref()
            .is_some_and(|paused| paused.contains_key(queue))
    }
}
