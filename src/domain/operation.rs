//! The result of an operation on a queue's messages.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What an operation on messages did: a drain, a purge, a redrive, a resend, a restore.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationResult {
    /// Number of messages that were processed.
    pub messages: usize,
    /// Number of messages that were left unchanged.
    pub left: usize,
    /// The archive that was written or read, on the worker's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<PathBuf>,
    /// Summary in one sentence.
    pub text: String,
    /// Whether it stopped early, or left a message that it should have processed.
    pub failed: bool,
}
