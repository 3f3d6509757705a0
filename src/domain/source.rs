//! Sources of the displayed data, and the health of each.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::secrets::redact_in_place;

/// A kind of source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// SQS, or the embedded broker.
    Broker,
    /// Dagster's webserver.
    Webserver,
    /// A worker's control socket.
    Worker,
    /// Another machine, through ssh.
    Host,
}

/// Health of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "health", rename_all = "snake_case")]
pub enum SourceHealth {
    /// Not configured: nothing to show, and not an error.
    Absent,
    /// No answer yet.
    Connecting,
    /// Answers as expected.
    Up,
    /// Answers with an error; the displayed data are as old as the source's `seen_at`.
    Failing {
        /// One sentence.
        reason: String,
    },
    /// Does not answer; the displayed data are as old as the source's `seen_at`.
    Down {
        /// One sentence.
        reason: String,
    },
}

impl SourceKind {
    /// Its name in a sentence.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Webserver => "webserver",
            Self::Worker => "worker",
            Self::Host => "host",
        }
    }
}

impl SourceHealth {
    /// Reason why a source is failing or down.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        match self {
            Self::Down { reason } | Self::Failing { reason } => Some(reason),
            Self::Absent | Self::Connecting | Self::Up => None,
        }
    }
}

impl Source {
    /// Hides the secrets in its address and its reason.
    pub fn redact(&mut self) {
        redact_in_place(&mut self.address);
        if let SourceHealth::Down { reason } | SourceHealth::Failing { reason } = &mut self.health {
            redact_in_place(reason);
        }
    }
}

/// One source of the snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Kind of the source.
    pub kind: SourceKind,
    /// Endpoint, address or socket, for display.
    pub address: String,
    /// Its health.
    #[serde(flatten)]
    pub health: SourceHealth,
    /// Time of its last answer.
    pub seen_at: Option<Timestamp>,
    /// Time at which an unreachable source is retried next, if known.
    #[serde(default)]
    pub retry_at: Option<Timestamp>,
}
