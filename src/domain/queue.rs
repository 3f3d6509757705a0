//! Queues as SQS counts them, and waiting messages by priority.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Trend;

/// Priority of a step whose tags say nothing (`dagster-taskiq/priority`).
pub const DEFAULT_PRIORITY: i64 = 5;

/// What a queue is for in the configured set.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueRole {
    /// The base queue; with bands it is the normal band too.
    Base,
    /// A priority band other than the base queue.
    Band(String),
    /// `execute_job` and `resume_job` messages.
    Runs,
    /// A queue named in `queues:`.
    Named(String),
    /// The dead-letter queue of another one.
    DeadLetter,
}

/// SQS's approximate counts of one queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueCounts {
    /// `ApproximateNumberOfMessages`: waiting.
    pub visible: u64,
    /// `ApproximateNumberOfMessagesNotVisible`: received, neither deleted nor expired.
    pub in_flight: u64,
    /// `ApproximateNumberOfMessagesDelayed`.
    pub delayed: u64,
}

/// A queue as the console shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueView {
    /// Name: the last part of the URL.
    pub name: String,
    /// Full URL.
    pub url: String,
    /// Its part in the queue set.
    pub role: QueueRole,
    /// Last counts, if any were read yet.
    pub counts: Option<QueueCounts>,
    /// When the counts were read.
    pub counted_at: Option<Timestamp>,
    /// When the oldest waiting message was sent: only the embedded broker can tell.
    #[serde(default)]
    pub oldest: Option<Timestamp>,
    /// Why the last reading failed, in one sentence.
    pub error: Option<String>,
    /// Waiting messages over the last hour, as a worker's store keeps them.
    #[serde(default, skip_serializing_if = "Trend::is_empty")]
    pub trend: Trend,
}

impl QueueView {
    /// Goes on with what was counted of this queue earlier.
    pub fn continue_trend(&mut self, earlier: &Trend) {
        self.trend.join(earlier);
        if let (Some(counts), Some(at)) = (self.counts, self.counted_at) {
            self.trend.note(counts.visible, at);
        }
    }
}

/// Messages of one priority on one queue. What cannot be known is `None`, never a guess.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriorityCount {
    /// Queue name.
    pub queue: String,
    /// Run priority plus step priority.
    pub priority: i64,
    /// Waiting in the queue: only the embedded broker can tell.
    pub waiting: Option<u64>,
    /// Received and waiting for a slot.
    pub held: u64,
    /// Running.
    pub running: u64,
}
