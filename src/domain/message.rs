//! Messages and queues as an operator looks at them: what a peek and a look at a queue's attributes
//! answer. Secrets are redacted before a value of these types is made.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::TaskKind;

/// Messages that one peek shows at most.
pub const MAX_PEEKED: usize = 100;

/// Bodies that one peek carries at most, in bytes; those beyond are left out and said to be.
pub const MAX_PEEKED_BYTES: usize = 4 << 20;

/// Where a message is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageStage {
    /// Can be received.
    #[default]
    Waiting,
    /// Not to be received before its delay is over.
    Delayed,
    /// Received, neither deleted nor expired: only the embedded broker shows such.
    InFlight,
}

impl MessageStage {
    /// For tables.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delayed => "delayed",
            Self::InFlight => "in flight",
        }
    }
}

/// What a body asks for, where it is a Taskiq message that a worker knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Taskiq's id of the task.
    pub task_id: String,
    /// What it asks for.
    pub kind: TaskKind,
    /// The Dagster run.
    pub run_id: String,
    /// The step; absent for runs.
    pub step_key: Option<String>,
    /// Job name.
    pub job: Option<String>,
    /// Run priority plus step priority.
    pub priority: i64,
    /// Total attempt number, from 1; 0 where the sender did not say.
    pub attempt: u32,
}

/// A message that was looked at and left where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeekedMessage {
    /// The queue it is on.
    pub queue: String,
    /// SQS's message id.
    pub message_id: String,
    /// Where it is in its life.
    #[serde(default)]
    pub stage: MessageStage,
    /// The body, secrets redacted; absent where the answer had no room for it.
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
    /// Why a worker dead-lettered it (`dtq_reason`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The queue it was dead-lettered from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Its other message attributes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<(String, String)>,
    /// What the body asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envelope: Option<Envelope>,
    /// Why the body cannot be read as a task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl PeekedMessage {
    /// What a person calls it: the step key, the kind of run task, or that it is no task.
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
    /// When.
    pub at: Timestamp,
    /// The messages, oldest first where the broker says so.
    pub messages: Vec<PeekedMessage>,
    /// Whether it was done by receiving: receive counts went up, and messages of a FIFO group behind
    /// its first ten, in flight or delayed are not among them.
    pub received: bool,
    /// Whether there may be more.
    pub more: bool,
}

/// Where a queue's messages go that were received too often.
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
    /// When it was asked.
    pub at: Timestamp,
    /// SQS's attributes, by name.
    pub attributes: Vec<(String, String)>,
    /// Tags, by key.
    pub tags: Vec<(String, String)>,
    /// Its own dead-letter queue.
    pub redrive: Option<RedrivePolicy>,
    /// The queues it is the dead-letter queue of.
    pub sources: Vec<String>,
    /// What could not be asked, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<String>,
}
