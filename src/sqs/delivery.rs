//! A received message.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_sqs::types::{Message, MessageSystemAttributeName};
use jiff::Timestamp;

use super::attribute::{Attribute, Attributes, RECEIVES, SOURCE_QUEUE};
use super::queue_set::Queue;
use crate::domain::MessageStage;

/// The handle of the newest receive of a message that this worker knows. Clones share it: if a
/// message in progress is received again, the new handle replaces the old one everywhere.
#[derive(Clone, Debug, Default)]
pub struct Receipt(Arc<Mutex<Received>>);

/// A receive and its message id. A message that is sent again has a different id.
#[derive(Clone, Debug, Default)]
struct Received {
    message_id: String,
    handle: String,
}

impl Receipt {
    /// Creates the receipt of a receive of this message.
    #[must_use]
    pub fn new(message_id: String, handle: String) -> Self {
        Self(Arc::new(Mutex::new(Received { message_id, handle })))
    }

    /// The handle.
    #[must_use]
    pub fn handle(&self) -> String {
        self.received().handle
    }

    /// Whether both are receives of the same message.
    #[must_use]
    pub fn is_of_message_of(&self, other: &Self) -> bool {
        self.received().message_id == other.received().message_id
    }

    pub(super) fn adopt(&self, newer: &Self) {
        let newer = newer.received();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = newer;
    }

    fn received(&self) -> Received {
        // Every statement leaves the data consistent, so a panic elsewhere does no harm.
        let received = self.0.lock();
        received.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One receive of one message.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The queue it came from.
    pub queue: Arc<Queue>,
    /// SQS's message id.
    pub message_id: String,
    /// Handle of this receive, or of a later one of the same message.
    pub receipt: Receipt,
    /// The body as SQS delivered it; for an offloaded message only its location in S3.
    pub body: String,
    /// Whether the message itself is an object in S3 (attribute `s3_extended_message`).
    pub offloaded: bool,
    /// Number of receives, from 1: its `ApproximateReceiveCount`, plus those of the messages that
    /// it is a copy of.
    pub receive_count: u32,
    /// `SentTimestamp`.
    pub sent_at: Option<Timestamp>,
    /// Time of this receive here.
    pub received_at: Timestamp,
    /// `MessageGroupId` of a FIFO queue.
    pub group: Option<String>,
    /// Its message attributes.
    pub attributes: Attributes,
    /// Name of the queue it was dead-lettered from, by SQS or by a worker.
    pub source: Option<String>,
    /// Stage of the message.
    pub stage: MessageStage,
}

/// Attribute by which taskiq-aio-sqs marks a message whose body is in S3.
pub const OFFLOADED: &str = "s3_extended_message";

impl Delivery {
    /// Whether SQS moves the message to the dead-letter queue at its next receive but one, or
    /// sooner.
    #[must_use]
    pub fn is_nearly_used_up(&self) -> bool {
        let own = self.receive_count.saturating_sub(earlier(&self.attributes));
        let most = self.queue.max_receives;
        most.is_some_and(|most| own.saturating_add(1) >= most)
    }

    /// Converts a message of the SDK. SQS guarantees id, handle and body, so a missing one becomes
    /// empty and decoding the body reports the fault.
    pub(super) fn new(queue: &Arc<Queue>, message: Message) -> Self {
        let attribute = |name: &MessageSystemAttributeName| {
            message.attributes.as_ref().and_then(|all| all.get(name))
        };
        let own_count: u32 = attribute(&MessageSystemAttributeName::ApproximateReceiveCount)
            .and_then(|text| text.parse().ok())
            .unwrap_or(1);
        let sent_at = attribute(&MessageSystemAttributeName::SentTimestamp)
            .and_then(|text| text.parse().ok())
            .and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let group = attribute(&MessageSystemAttributeName::MessageGroupId).cloned();
        let arn = attribute(&MessageSystemAttributeName::DeadLetterQueueSourceArn).cloned();
        let attributes: Attributes = message
            .message_attributes
            .iter()
            .flatten()
            .map(|(name, value)| (name.clone(), Attribute::from(value)))
            .collect();
        let message_id = message.message_id.unwrap_or_default();
        let handle = message.receipt_handle.unwrap_or_default();
        Self {
            receive_count: own_count.saturating_add(earlier(&attributes)),
            offloaded: attributes.contains_key(OFFLOADED),
            source: source(&attributes, arn.as_deref()),
            attributes,
            stage: MessageStage::Waiting,
            queue: Arc::clone(queue),
            receipt: Receipt::new(message_id.clone(), handle),
            message_id,
            body: message.body.unwrap_or_default(),
            sent_at,
            received_at: Timestamp::now(),
            group,
        }
    }
}

/// Number of receives of the messages that this one is a copy of.
fn earlier(attributes: &Attributes) -> u32 {
    let recorded = attributes.get(RECEIVES).map(Attribute::shown);
    recorded.and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// The source queue of a message. The attribute of a worker takes precedence, because SQS does not
/// know of copies that a worker made.
pub(super) fn source(attributes: &Attributes, arn: Option<&str>) -> Option<String> {
    let recorded = attributes.get(SOURCE_QUEUE).map(Attribute::shown);
    let moved = arn.and_then(|arn| arn.rsplit(':').next());
    recorded.or(moved).map(str::to_owned)
}
