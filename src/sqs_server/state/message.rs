//! The part of a message that the broker keeps in memory; the body stays on disk.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Milliseconds since the Unix epoch, by the server's clock.
pub type Millis = i64;

/// A message's place in the broker's order: microseconds since the epoch at its arrival, made
/// unique. It is never reused, even across restarts, so an old receipt handle cannot name a newer
/// message.
pub type Seq = i64;

/// Stage of a message's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Can be received.
    Waiting,
    /// Cannot be received before its delay is over.
    Delayed,
    /// Received, and hidden until its visibility timeout.
    InFlight,
}

/// A message's mutable part and the data for decisions; around 100 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its stage.
    pub stage: Stage,
    /// Time it was sent.
    pub sent_at: Millis,
    /// While delayed or in flight: the time at which it can be received again. While waiting: the
    /// time since which it can.
    pub due_at: Millis,
    /// Time of its last receive; 0 before.
    pub received_at: Millis,
    /// Time of its first receive; 0 before.
    pub first_received_at: Millis,
    /// Number of receives.
    pub receive_count: u32,
    /// The priority label of its body; 5 without one.
    pub priority: i32,
    /// Its message group, if any.
    pub group: Option<Arc<str>>,
    /// The name of the queue it was dead-lettered from.
    pub source: Option<Arc<str>>,
}

/// The part of a message that never changes, kept on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// The id SQS clients see.
    pub message_id: Uuid,
    /// The body.
    pub body: String,
    /// The MD5 sum of the body as hex digits, if this process received it.
    pub body_md5: Option<String>,
    /// Attributes and ids, which only some messages have.
    pub extra: Option<Extra>,
}

/// Attributes and FIFO ids of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extra {
    /// User attributes by name, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<(String, AttributeValue)>,
    /// The `AWSTraceHeader` system attribute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// The message group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The deduplication id, given or computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedup: Option<String>,
    /// The FIFO sequence number it was sent with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<i64>,
}

/// A message attribute in the form of the JSON protocol.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AttributeValue {
    /// `String`, `Number` or `Binary`, with an optional label after a dot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_type: Option<String>,
    /// The value of a string or number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub string_value: Option<String>,
    /// The value of a binary, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binary_value: Option<String>,
    /// Whether a sender gave a list of texts, which SQS does not support. Never stored.
    #[serde(
        default,
        skip_serializing,
        alias = "StringListValue",
        deserialize_with = "is_filled"
    )]
    pub string_list_values: bool,
    /// The same of a list of binaries.
    #[serde(
        default,
        skip_serializing,
        alias = "BinaryListValue",
        deserialize_with = "is_filled"
    )]
    pub binary_list_values: bool,
}

/// Whether a list, of either protocol, has entries.
fn is_filled<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    let entries = value.as_array().map(Vec::len);
    Ok(entries.or(value.as_object().map(serde_json::Map::len)) > Some(0))
}

/// A message to be sent, checked for everything that does not depend on the queue.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// Its id.
    pub message_id: Uuid,
    /// The body.
    pub body: String,
    /// The MD5 sum of the body as hex digits.
    pub body_md5: String,
    /// Body and attributes in bytes, as SQS counts them.
    pub size: usize,
    /// The message's own delay, in seconds.
    pub delay: Option<i64>,
    /// User attributes by name, sorted.
    pub attributes: Vec<(String, AttributeValue)>,
    /// The `AWSTraceHeader` system attribute.
    pub trace: Option<String>,
    /// The message group.
    pub group: Option<String>,
    /// The deduplication id.
    pub dedup: Option<String>,
    /// The priority label of its body.
    pub priority: i32,
}

/// Result of a send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The message's id, or the first one's when this was a duplicate.
    pub message_id: Uuid,
    /// The place in order, on FIFO queues.
    pub sequence: Option<Seq>,
}

/// A received message, with the part held in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The queue's storage id.
    pub store: i64,
    /// The message.
    pub seq: Seq,
    /// Its state after the receive.
    pub message: Message,
}
