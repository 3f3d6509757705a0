//! The audit log: requests to the pool, their users and their outcomes.

use std::path::Path;

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
    /// `done: …` or `failed: …`, with the reply's sentence.
    pub outcome: String,
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

    /// Whether the command was done, and the reply's sentence.
    #[must_use]
    pub fn result(&self) -> (bool, &str) {
        match self.outcome.split_once(": ") {
            Some(("done", text)) => (true, text),
            Some(("failed", text)) => (false, text),
            _ => (false, &self.outcome),
        }
    }

    /// The archive written by a drain of a queue, taken from the end of its reply: `…; 12 are in
    /// /path/of/the/archive.jsonl`.
    #[must_use]
    pub fn archive(&self) -> Option<&str> {
        let (_, archived) = self.outcome.rsplit_once("; ")?;
        let (_, path) = archived.split_once(" in ")?;
        let is_archive = Path::new(path)
            .extension()
            .is_some_and(|ending| ending == "jsonl");
        is_archive.then_some(path)
    }
}
