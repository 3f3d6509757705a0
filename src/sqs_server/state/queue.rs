//! One queue: a state machine over its messages. The clock is passed in, and nothing here touches
//! the disk. Changes to write are left behind as [`Change`]s.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::change::Change;
use super::dedup::Dedup;
use super::message::{Message, Millis, Seq, Stage};
use super::order::Order;
use super::receive_attempts::ReceiveAttempts;
use super::settings::Settings;

/// A queue's own record on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueRecord {
    /// The queue's name.
    pub name: Arc<str>,
    /// Id of its messages on disk; a purge gives the queue a new one.
    pub store: i64,
    /// Attributes as they were set.
    pub attributes: BTreeMap<String, String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Creation time.
    pub created_at: Millis,
    /// Time of the last change of its attributes.
    pub modified_at: Millis,
    /// Time of the last purge.
    pub purged_at: Option<Millis>,
    /// See [`Queue::deduplicates_per_group`]; absent in older records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deduplicates_per_group: Option<bool>,
}

/// Number of messages in each stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Can be received.
    pub waiting: usize,
    /// Not to be received yet.
    pub delayed: usize,
    /// Received and hidden.
    pub in_flight: usize,
}

impl Counts {
    fn of(&mut self, stage: Stage) -> &mut usize {
        match stage {
            Stage::Waiting => &mut self.waiting,
            Stage::Delayed => &mut self.delayed,
            Stage::InFlight => &mut self.in_flight,
        }
    }
}

/// A queue and its messages.
#[derive(Debug)]
pub struct Queue {
    /// The queue's name.
    pub name: Arc<str>,
    /// Id of its messages on disk and in receipt handles.
    pub store: i64,
    /// Its attributes.
    pub settings: Settings,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Creation time.
    pub created_at: Millis,
    /// Time of the last change of its attributes.
    pub modified_at: Millis,
    /// Time of the last purge.
    pub purged_at: Option<Millis>,
    /// Whether deduplication ids count within their group only. This is fixed when a queue is
    /// created: a later change of `DeduplicationScope` is answered and has no effect (recorded in
    /// `LocalStack`'s `test_fifo_change_to_*_throughput_after_creation`).
    pub deduplicates_per_group: bool,
    /// Deduplication ids in use.
    pub dedup: Dedup,
    /// Receives that can be repeated by their attempt id.
    pub attempts: ReceiveAttempts,
    /// Boxed, because the nodes of a map that grows at its end stay half empty. An empty slot then
    /// takes 8 bytes instead of a message's 88.
    messages: BTreeMap<Seq, Box<Message>>,
    order: Order,
    timers: BTreeSet<(Millis, Seq)>,
    counts: Counts,
    waiting_by_priority: BTreeMap<i32, usize>,
    /// Lower bound of the sent times of all messages.
    oldest_sent_at: Millis,
}

impl Queue {
    /// A queue without messages.
    #[must_use]
    pub fn new(record: &QueueRecord, settings: Settings) -> Self {
        Self {
            name: record.name.clone(),
            store: record.store,
            tags: record.tags.clone(),
            created_at: record.created_at,
            modified_at: record.modified_at,
            purged_at: record.purged_at,
            deduplicates_per_group: record
                .deduplicates_per_group
                .unwrap_or(settings.deduplicate_per_group),
            dedup: Dedup::default(),
            attempts: ReceiveAttempts::default(),
            messages: BTreeMap::new(),
            order: Order::new(settings.fifo),
            timers: BTreeSet::new(),
            counts: Counts::default(),
            waiting_by_priority: BTreeMap::new(),
            oldest_sent_at: Millis::MAX,
            settings,
        }
    }

    /// The change that saves the queue's own record.
    #[must_use]
    pub fn record(&self) -> Change {
        Change::QueueSaved(Arc::new(QueueRecord {
            name: self.name.clone(),
            store: self.store,
            attributes: self.settings.raw().clone(),
            tags: self.tags.clone(),
            created_at: self.created_at,
            modified_at: self.modified_at,
            purged_at: self.purged_at,
            deduplicates_per_group: self.settings.fifo.then_some(self.deduplicates_per_group),
        }))
    }

    /// Exact counts by stage.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Exact counts of waiting messages by priority.
    #[must_use]
    pub fn waiting_by_priority(&self) -> &BTreeMap<i32, usize> {
        &self.waiting_by_priority
    }

    /// The message at this place, if it is still here.
    #[must_use]
    pub fn get(&self, seq: Seq) -> Option<&Message> {
        self.messages.get(&seq).map(Box::as_ref)
    }

    /// The messages in order.
    pub fn iter(&self) -> impl Iterator<Item = (Seq, &Message)> {
        self.messages
            .iter()
            .map(|(seq, message)| (*seq, message.as_ref()))
    }

    /// The messages that came after one, in order.
    pub fn iter_after(&self, seq: Seq) -> impl Iterator<Item = (Seq, &Message)> {
        let after = (Bound::Excluded(seq), Bound::Unbounded);
        self.messages
            .range(after)
            .map(|(seq, message)| (*seq, message.as_ref()))
    }

    /// Time at which the oldest receivable message was sent.
    #[must_use]
    pub fn oldest_sent_at(&self) -> Option<Millis> {
        let oldest = self.order.oldest()?;
        Some(self.messages.get(&oldest)?.sent_at)
    }

    /// Whether a receive would find a message.
    #[must_use]
    pub fn has_receivable(&self) -> bool {
        self.order.has_receivable()
    }

    /// The messages a receive would take, in order.
    #[must_use]
    pub fn pick(&self, max: usize) -> Vec<Seq> {
        self.order.pick(max)
    }

    /// The oldest message that can be received.
    #[must_use]
    pub fn oldest_receivable(&self) -> Option<Seq> {
        self.order.oldest()
    }

    /// Puts a message in its place.
    pub fn insert(&mut self, seq: Seq, message: Message) {
        self.enter(seq, &message);
        self.oldest_sent_at = self.oldest_sent_at.min(message.sent_at);
        self.messages.insert(seq, Box::new(message));
    }

    /// Takes a message out.
    pub fn remove(&mut self, seq: Seq) -> Option<Message> {
        let message = *self.messages.remove(&seq)?;
        self.leave(seq, &message);
        Some(message)
    }

    /// Changes a message in place and updates counts, order and timers.
    pub fn update(&mut self, seq: Seq, change: impl FnOnce(&mut Message)) -> Option<&Message> {
        let mut message = self.get(seq)?.clone();
        self.leave(seq, &message);
        change(&mut message);
        self.enter(seq, &message);
        let place = self.messages.get_mut(&seq)?;
        **place = message;
        Some(place)
    }

    /// Removes every message, and the ids that would make others their duplicates; returns their
    /// places.
    pub fn clear(&mut self) -> Vec<Seq> {
        let gone = std::mem::take(&mut self.messages).into_keys().collect();
        self.order = Order::new(self.settings.fifo);
        self.timers.clear();
        self.counts = Counts::default();
        self.waiting_by_priority.clear();
        self.oldest_sent_at = Millis::MAX;
        self.attempts = ReceiveAttempts::default();
        self.dedup = Dedup::default();
        gone
    }

    /// Time at which the next delay or visibility timeout ends.
    #[must_use]
    pub fn next_timer(&self) -> Option<Millis> {
        self.timers.first().map(|(due_at, _)| *due_at)
    }

    /// The next message whose delay or visibility timeout is over.
    #[must_use]
    pub fn due(&self, now: Millis) -> Option<Seq> {
        self.timers
            .first()
            .filter(|(due_at, _)| *due_at <= now)
            .map(|(_, seq)| *seq)
    }

    /// Whether a message has been received as often as the redrive policy allows. A message that
    /// was dead-lettered into this queue keeps its count, and is received here at least once before
    /// it moves on.
    #[must_use]
    pub fn is_exhausted(&self, message: &Message) -> bool {
        self.settings.redrive.as_ref().is_some_and(|redrive| {
            message.received_at > 0 && message.receive_count >= redrive.max_receive_count
        })
    }

    /// Time from which [`Queue::past_retention`] may find messages.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Millis> {
        (!self.messages.is_empty()).then(|| self.oldest_sent_at + self.settings.retention * 1_000)
    }

    /// The messages that are past their retention.
    pub fn past_retention(&mut self, now: Millis) -> Vec<Seq> {
        if self.next_expiry().is_none_or(|expiry| expiry > now) {
            return Vec::new();
        }
        let limit = now - self.settings.retention * 1_000;
        self.oldest_sent_at = self
            .messages
            .values()
            .map(|message| message.sent_at)
            .filter(|sent_at| *sent_at > limit)
            .min()
            .unwrap_or(Millis::MAX);
        self.iter()
            .filter(|(_, message)| message.sent_at <= limit)
            .map(|(seq, _)| seq)
            .collect()
    }

    fn enter(&mut self, seq: Seq, message: &Message) {
        *self.counts.of(message.stage) += 1;
        self.order.add(seq, message);
        if message.stage == Stage::Waiting {
            *self
                .waiting_by_priority
                .entry(message.priority)
                .or_default() += 1;
        } else {
            self.timers.insert((message.due_at, seq));
        }
    }

    fn leave(&mut self, seq: Seq, message: &Message) {
        *self.counts.of(message.stage) -= 1;
        self.order.remove(seq, message);
        if message.stage == Stage::Waiting {
            if let Some(count) = self.waiting_by_priority.get_mut(&message.priority) {
                *count -= 1;
                if *count == 0 {
                    self.waiting_by_priority.remove(&message.priority);
                }
            }
        } else {
            self.timers.remove(&(message.due_at, seq));
        }
    }
}
