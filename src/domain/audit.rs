//! What was asked of the pool, by whom, and what came of it.

use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One line of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When it was over.
    pub time: Timestamp,
    /// User name, as the kernel knows the client.
    pub user: String,
    /// What the client calls itself, `user@host`.
    pub from: String,
    /// Host on which it was carried out (or refused).
    pub host: String,
    /// The verb.
    pub verb: String,
    /// What it was about: a worker, a task, a queue, runs.
    pub target: String,
    /// `done: …` or `failed: …`, with the reply's sentence.
    pub outcome: String,
}

impl AuditEntry {
    /// Whether it was done, and the reply's sentence.
    #[must_use]
    pub fn result(&self) -> (bool, &str) {
        match self.outcome.split_once(": ") {
            Some(("done", text)) => (true, text),
            Some(("failed", text)) => (false, text),
            _ => (false, &self.outcome),
        }
    }

    /// The archive that a drain of a queue has written, as its reply tells at its end:
    /// `…; 12 are in /path/of/the/archive.jsonl`.
    #[must_use]
    pub fn archive(&self) -> Option<&str> {
        let (_, told) = self.outcome.rsplit_once("; ")?;
        let (_, path) = told.split_once(" in ")?;
        let is_archive = Path::new(path)
            .extension()
            .is_some_and(|ending| ending == "jsonl");
        is_archive.then_some(path)
    }
}
