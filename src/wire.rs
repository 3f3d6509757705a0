//! What crosses SQS: Taskiq messages, labels, results.

pub mod message;

pub use message::{DecodeError, TaskMessage};
