//! All queues of the broker: one state machine, driven by one thread. Calls change the memory at
//! once. They leave behind, as [`Change`]s, what must be on disk before they may be answered.

pub mod change;
pub mod dedup;
pub mod message;
pub mod move_task;
pub mod order;
pub mod queue;
pub mod queues;
pub mod receipts;
pub mod receive_attempts;
pub mod receiving;
pub mod sending;
pub mod settings;
pub mod timers;

use std::collections::BTreeMap;
use std::sync::Arc;

use change::Change;
use message::{Message, Millis, Seq};
use move_task::MoveTask;
use queue::{Queue, QueueRecord};
use settings::Settings;
use uuid::Uuid;

use super::error::SqsError;

/// Minimum interval between retention checks, in milliseconds; the shortest retention is a minute.
const RETENTION_STEP: Millis = 1_000;

/// All queues.
#[derive(Debug, Default)]
pub struct Broker {
    queues: BTreeMap<Arc<str>, Queue>,
    tasks: Vec<MoveTask>,
    /// Times at which queues were deleted, kept while their names may not be used again. Kept in
    /// memory only: a restart ends the wait early, and nothing depends on it.
    deleted: BTreeMap<Arc<str>, Millis>,
    last_seq: Seq,
    last_store: i64,
    retention_looked_at: Millis,
    /// Offset of this broker's clock ahead of the machine's.
    ahead: Millis,
    changes: Vec<Change>,
}

impl Broker {
    /// Applies everything that is due by now: delays and visibility timeouts end, messages exceed
    /// their retention, move tasks continue.
    pub fn tick(&mut self, now: Millis) {
        self.end_timers(now);
        self.go_on_moving(now);
        if now >= self.retention_looked_at + RETENTION_STEP {
            self.retention_looked_at = now;
            self.drop_expired(now);
        }
    }

    /// Time at which [`Broker::tick`] next has something to do.
    #[must_use]
    pub fn next_wake(&self) -> Option<Millis> {
        let timers = self.queues.values().filter_map(Queue::next_timer).min();
        let expiry = self
            .queues
            .values()
            .filter_map(Queue::next_expiry)
            .min()
            .map(|at| at.max(self.retention_looked_at + RETENTION_STEP));
        [timers, expiry, self.next_move()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Offset of this broker's clock ahead of the machine's: zero unless a test moved it.
    #[must_use]
    pub fn ahead(&self) -> Millis {
        self.ahead
    }

    /// Moves the clock forward; the offset survives restarts. A message written at a later time
    /// must never meet an earlier one: it would be hidden for that much longer.
    pub fn advance(&mut self, by: Millis) {
        self.ahead = self.ahead.saturating_add(by.max(0));
        self.changes.push(Change::ClockMoved { ahead: self.ahead });
    }

    /// Restores the clock's offset from disk.
    pub fn restore_clock(&mut self, ahead: Millis) {
        self.ahead = ahead;
    }

    /// Takes the changes since the last call, which must be written.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// The queue of this name.
    ///
    /// # Errors
    /// `QueueDoesNotExist` if there is no queue of this name.
    pub fn queue(&self, name: &str) -> Result<&Queue, SqsError> {
        self.queues.get(name).ok_or_else(SqsError::no_such_queue)
    }

    /// All queues, by name.
    pub fn queues(&self) -> impl Iterator<Item = &Queue> {
        self.queues.values()
    }

    /// Restores a queue from disk.
    ///
    /// # Errors
    /// Its attributes are invalid.
    pub fn restore_queue(&mut self, record: &QueueRecord) -> Result<(), SqsError> {
        let fifo = record.name.ends_with(".fifo");
        let settings = Settings::parse(record.attributes.clone(), fifo)?;
        self.last_store = self.last_store.max(record.store);
        self.queues
            .insert(record.name.clone(), Queue::new(record, settings));
        Ok(())
    }

    /// Restores a message from disk; `false` if its queue is gone.
    pub fn restore_message(&mut self, store: i64, seq: Seq, message: Message) -> bool {
        self.last_seq = self.last_seq.max(seq);
        self.last_store = self.last_store.max(store);
        let queue = self.queues.values_mut().find(|queue| queue.store == store);
        queue.map(|queue| queue.insert(seq, message)).is_some()
    }

    /// Reserves a place that must not be used again.
    pub fn restore_place(&mut self, seq: Seq) {
        self.last_seq = self.last_seq.max(seq);
    }

    /// Restores a deduplication id from disk; calls come in the order of the expiries.
    pub fn restore_dedup(
        &mut self,
        name: &str,
        key: String,
        expires_at: Millis,
        first: (Uuid, Seq),
    ) {
        self.last_seq = self.last_seq.max(first.1);
        if let Some(queue) = self.queues.get_mut(name) {
            queue.dedup.remember(key, expires_at, first.0, first.1);
        }
    }

    /// Restores a move task from disk.
    pub fn restore_task(&mut self, task: MoveTask) {
        self.tasks.push(task);
    }

    /// Resets a message to its state on disk: in the queue of this storage id, or gone.
    pub fn put_back(&mut self, seq: Seq, on_disk: Option<(i64, Message)>) {
        for queue in self.queues.values_mut() {
            if queue.remove(seq).is_some() {
                queue.attempts.forget_receives_of(seq);
            }
        }
        if let Some((store, message)) = on_disk {
            self.restore_message(store, seq, message);
        }
    }

    /// Forgets a deduplication id that was not written.
    pub fn forget_dedup(&mut self, name: &str, key: &str) {
        if let Some(queue) = self.queues.get_mut(name) {
            queue.dedup.forget(key);
        }
    }

    /// Resets a move task to its state on disk.
    pub fn put_back_task(&mut self, id: Uuid, on_disk: Option<MoveTask>) {
        let Some(index) = self.tasks.iter().position(|task| task.id == id) else {
            return;
        };
        match on_disk {
            Some(task) => self.tasks[index] = task,
            None => drop(self.tasks.remove(index)),
        }
    }

    fn queue_mut(&mut self, name: &str) -> Result<&mut Queue, SqsError> {
        self.queues
            .get_mut(name)
            .ok_or_else(SqsError::no_such_queue)
    }

    fn next_seq(&mut self, now: Millis) -> Seq {
        self.last_seq = (self.last_seq + 1).max(now * 1_000);
        self.last_seq
    }

    fn drop_expired(&mut self, now: Millis) {
        for queue in self.queues.values_mut() {
            for seq in queue.past_retention(now) {
                queue.remove(seq);
                self.changes.push(Change::Deleted(seq));
            }
            if queue.dedup.expire(now) {
                self.changes.push(Change::DedupExpired {
                    queue: queue.name.clone(),
                    until: now,
                });
            }
        }
    }
}
