//! Log lines: the worker's own, and the output of steps.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Severity, lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

impl LogLevel {
    /// All levels, lowest first.
    pub const ALL: [Self; 5] = [
        Self::Trace,
        Self::Debug,
        Self::Info,
        Self::Warn,
        Self::Error,
    ];
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Time of the line.
    pub at: Timestamp,
    /// Severity.
    pub level: LogLevel,
    /// Module, `step`, or a host's location.
    pub target: String,
    /// The run it belongs to, if known.
    pub run_id: Option<String>,
    /// The step it belongs to, if known.
    pub step_key: Option<String>,
    /// The worker that sent it; `None` for a line of the console's own process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// The text, without its line end.
    pub message: String,
}
