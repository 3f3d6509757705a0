//! The audit log: requests to the pool, their users and their outcomes.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::secrets::redact_text;

/// One line of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Time of the outcome.
    pub time: Timestamp,
    /// User name of the client, as the kernel reports it.
    pub user: String,
    /// Name that the client gives itself, `user@host`.
    pub from: String,
    /// Host on which the command was carried out or refused.
    pub host: String,
    /// The verb.
    pub verb: String,
    /// Target of the command: a worker, a task, a queue, runs.
    pub target: String,
    /// Whether the command was done.
    pub done: bool,
    /// The reply's sentence: what was done, or why it was not.
    pub text: String,
    /// The archive that a drain of a queue wrote, on `host`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<PathBuf>,
    /// The operator's reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl AuditEntry {
    /// Maximum length of a reason in the log, in characters.
    const MAX_REASON: usize = 500;

    /// Adds the operator's reason, without secrets and line breaks.
    #[must_use]
    pub fn because(self, reason: Option<&str>) -> Self {
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let reason = reason.map(|text| redact_text(&words(text)).into_owned());
        let reason = reason.map(|text| text.chars().take(Self::MAX_REASON).collect());
        Self {
            reason: reason.filter(|text: &String| !text.is_empty()),
            ..self
        }
    }
}
