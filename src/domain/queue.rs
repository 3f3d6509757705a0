//! Queues with the counts of SQS, and waiting messages by priority.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Trend;

/// Priority of a step without a priority tag (`dagster-taskiq/priority`).
pub const DEFAULT_PRIORITY: i64 = 5;

/// Role of a queue in the configured set.
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

/// A queue in the console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueView {
    /// Name: the last part of the URL.
    pub name: String,
    /// Full URL.
    pub url: String,
    /// Its role in the queue set.
    pub role: QueueRole,
    /// Last counts, if any were read yet.
    pub counts: Option<QueueCounts>,
    /// Time at which the counts were read.
    pub counted_at: Option<Timestamp>,
    /// Sent time of the oldest waiting message, which only the embedded broker provides.
    #[serde(default)]
    pub oldest: Option<Timestamp>,
    /// Reason of the last failed reading, in one sentence.
    pub error: Option<String>,
    /// Whether that reason is that the broker does not answer, which says nothing about the queue.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unreachable: bool,
    /// Waiting messages over the last hour, from a worker's store.
    #[serde(default, skip_serializing_if = "Trend::is_empty")]
    pub trend: Trend,
}

impl QueueView {
    /// Continues the trend of earlier counts of this queue.
    pub fn continue_trend(&mut self, earlier: &Trend) {
        self.trend.join(earlier);
        if let (Some(counts), Some(at)) = (self.counts, self.counted_at) {
            self.trend.note(counts.visible, at);
        }
    }
}

/// Pause of a queue in the whole deployment: no worker receives from it until it is resumed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuePause {
    /// `user@host` of the operator.
    pub by: String,
    /// Begin of the pause.
    pub at: Timestamp,
    /// The operator's reason.
    #[serde(default)]
    pub reason: Option<String>,
}

/// The paused queues, by name.
pub type PausedQueues = BTreeMap<String, QueuePause>;

/// Messages of one priority on one queue. Unknown counts are `None`, never a guess.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriorityCount {
    /// Queue name.
    pub queue: String,
    /// Run priority plus step priority.
    pub priority: i64,
    /// Waiting in the queue, which only the embedded broker provides.
    pub waiting: Option<u64>,
    /// Received and waiting for a slot.
    pub held: u64,
    /// Running.
    pub running: u64,
}
