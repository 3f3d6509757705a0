//! Changes for the journal: the difference an action made.

use std::sync::Arc;

use uuid::Uuid;

use super::message::{Message, Millis, Payload, Seq};
use super::move_task::MoveTask;
use super::queue::QueueRecord;

/// One change, written in order within one transaction.
#[derive(Debug, Clone)]
pub enum Change {
    /// A queue is new, or its attributes, tags or storage id changed.
    QueueSaved(Arc<QueueRecord>),
    /// A queue is gone; its messages are garbage.
    QueueRemoved {
        /// The queue's name.
        name: Arc<str>,
    },
    /// These messages are garbage, to be removed gradually.
    Discarded(Vec<Seq>),
    /// A message arrived.
    Inserted {
        /// The queue's storage id.
        store: i64,
        /// Its place.
        seq: Seq,
        /// Its mutable part.
        message: Message,
        /// Its fixed part.
        payload: Arc<Payload>,
    },
    /// A message's mutable part changed.
    Updated {
        /// Its place.
        seq: Seq,
        /// Its mutable part.
        message: Message,
    },
    /// A message is gone.
    Deleted(Seq),
    /// A message went from one queue to another.
    Moved {
        /// Its place before.
        from: Seq,
        /// The storage id of the queue it is in now.
        store: i64,
        /// Its place now.
        to: Seq,
        /// Its mutable part now.
        message: Message,
        /// The new message id, if the move creates a new message.
        identity: Option<Uuid>,
    },
    /// A message was duplicated.
    Copied {
        /// The place of the message it is a copy of.
        from: Seq,
        /// The queue's storage id.
        store: i64,
        /// Its place.
        to: Seq,
        /// Its mutable part.
        message: Message,
    },
    /// A deduplication id was used.
    DedupSaved {
        /// The queue's name.
        queue: Arc<str>,
        /// The id, with its group where the scope is the group.
        key: String,
        /// Time at which it may be used again.
        expires_at: Millis,
        /// The id of the message that used it.
        message_id: Uuid,
        /// That message's place.
        seq: Seq,
    },
    /// Deduplication ids of a queue expired.
    DedupExpired {
        /// The queue's name.
        queue: Arc<str>,
        /// Time of the expiry.
        until: Millis,
    },
    /// The clock was moved.
    ClockMoved {
        /// New offset ahead of the machine's clock, in milliseconds.
        ahead: Millis,
    },
    /// A move task started, progressed or ended.
    TaskSaved(Box<MoveTask>),
}

impl Change {
    /// Size of the body that the change writes, in bytes.
    #[must_use]
    pub fn body_bytes(&self) -> usize {
        match self {
            Self::Inserted { payload, .. } => payload.body.len(),
            _ => 0,
        }
    }

    /// Whether the change leaves free space in the database.
    #[must_use]
    pub fn frees_space(&self) -> bool {
        matches!(self, Self::Deleted(_) | Self::Discarded(_))
    }
}
