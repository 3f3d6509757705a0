//! Content of SQS messages: Taskiq messages, labels, results.

pub mod message;
pub mod noop;
pub mod redact;
pub mod result;

pub use message::{DecodeError, TaskMessage};
pub use noop::Noop;
pub use result::TaskiqResult;
