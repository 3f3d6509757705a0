//! The SQS client: queue set, receive, send, acknowledge, lease extension.
//!
//! One [`Broker`] per process. Everything it can fail with is a [`BrokerError`]: one sentence that
//! says what was tried, on what, and what to do.

mod archive;
mod client;
mod delivery;
mod embedded;
mod error;
mod lease;
mod objects;
mod queue_set;

pub use archive::{Archive, Archived};
pub use client::{Broker, LONG_POLL};
pub use delivery::Delivery;
pub use error::BrokerError;
pub use lease::Leases;
pub use queue_set::{Queue, QueueSet, sibling_url};
