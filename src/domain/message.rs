//! Messages and queues for an operator: the answers of a peek and of a query for a queue's
//! attributes. Secrets are redacted before a value of these types is created.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::TaskKind;

/// Maximum number of messages in one peek.
pub const MAX_PEEKED: usize = 100;

/// Maximum size of the bodies in one peek, in bytes; further bodies are marked as left out.
pub const MAX_PEEKED_BYTES: usize = 4 << 20;

/// Stage of a message's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageStage {
    /// Can be received.
    #[default]
    Waiting,
    /// Cannot be received before its delay is over.
    Delayed,
    /// Received, neither deleted nor expired. Only the embedded broker shows these.
    InFlight,
}

impl MessageStage {
    /// The word for tables.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delayed => "delayed",
            Self::InFlight => "in flight",
        }
    }
}

/// The task in a body, if it is a Taskiq message that a worker knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Taskiq's id of the task.
    pub task_id: String,
    /// Kind of the task.
    pub kind: TaskKind,
    /// The Dagster run.
    pub run_id: String,
    /// The step; absent for runs.
    pub step_key: Option<String>,
    /// Job name.
    pub job: Option<String>,
    /// Run priority plus step priority.
    pub priority: i64,
    /// Total attempt number, from 1; 0 if the sender did not set it.
    pub attempt: u32,
}

/// A message that was shown and left in its queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeekedMessage {
    /// The queue it is on.
    pub queue: String,
    /// SQS's message id.
    pub message_id: String,
    /// Stage of its life.
    #[serde(default)]
    pub stage: MessageStage,
    /// The body, secrets redacted; absent if the answer had no room for it.
    pub body: Option<String>,
    /// Length of the body in bytes.
    pub body_bytes: usize,
    /// Whether the body is an object in S3.
    #[serde(default)]
    pub offloaded: bool,
    /// `ApproximateReceiveCount`; a peek by receiving counts itself.
    pub receive_count: u32,
    /// `SentTimestamp`.
    pub sent_at: Option<Timestamp>,
    /// `MessageGroupId` of a FIFO queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Reason for which a worker dead-lettered it (`dtq_reason`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The queue it was dead-lettered from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Its other message attributes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<(String, String)>,
    /// The task in the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envelope: Option<Envelope>,
    /// Reason why the body is not a valid task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl PeekedMessage {
    /// Display name: the step key, the kind of run task, or a note that it is not a task.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.envelope {
            Some(task) => task.step_key.as_deref().unwrap_or(task.kind.spoken()),
            None => "(not a task)",
        }
    }
}

/// The answer of a peek.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peek {
    /// The queue.
    pub queue: String,
    /// Time of the peek.
    pub at: Timestamp,
    /// The messages, oldest first if the broker provides an order.
    pub messages: Vec<PeekedMessage>,
    /// Whether the messages were received: receive counts increased, and messages in flight,
    /// delayed, or behind the first ten of a FIFO group are missing.
    pub received: bool,
    /// Whether there may be more.
    pub more: bool,
}

/// Dead-letter policy of a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedrivePolicy {
    /// Name of the dead-letter queue.
    pub queue: String,
    /// `maxReceiveCount`.
    pub max_receives: u32,
}

/// A queue's attributes, tags and pairing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueDetail {
    /// Queue name.
    pub queue: String,
    /// Full URL.
    pub url: String,
    /// Time of the query.
    pub at: Timestamp,
    /// SQS's attributes, by name.
    pub attributes: Vec<(String, String)>,
    /// Tags, by key.
    pub tags: Vec<(String, String)>,
    /// Its own dead-letter queue.
    pub redrive: Option<RedrivePolicy>,
    /// The queues that use it as their dead-letter queue.
    pub sources: Vec<String>,
    /// Parts that could not be queried, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<String>,
}
