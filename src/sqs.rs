//! The SQS client: queue set, receive, send, acknowledge, lease extension.
//!
//! One [`Broker`] per process. Every error is a [`BrokerError`]: one sentence with what was tried,
//! on what, and what to do.

mod attribute;
mod client;
mod delivery;
mod embedded;
mod error;
mod lease;
mod objects;
mod queue_set;
mod refusal;

pub use attribute::{Attribute, Attributes, REASON, RECEIVES, SOURCE_QUEUE};
pub use client::{Broker, LONG_POLL, Looked, Moved, Outgoing, Permission, Receives};
pub use delivery::{Delivery, OFFLOADED, Receipt};
pub use embedded::Waiting;
pub use error::BrokerError;
pub use lease::Leases;
pub use objects::BucketAccess;
pub use queue_set::{Queue, QueueSet, sibling_url};
