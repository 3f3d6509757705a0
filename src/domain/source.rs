//! Where the figures on the screen come from, and how each source fares.

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
    /// Another host, through ssh.
    Host,
}

/// How a source fares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "health", rename_all = "snake_case")]
pub enum SourceHealth {
    /// Not configured: there is nothing to show and nothing wrong.
    Absent,
    /// No answer yet.
    Connecting,
    /// Answers.
    Up,
    /// Answers, and not with what was asked for; what is shown is as old as the source's `seen_at`.
    Failing {
        /// One sentence.
        reason: String,
    },
    /// Does not answer; what is shown is as old as the source's `seen_at`.
    Down {
        /// One sentence.
        reason: String,
    },
}

impl SourceHealth {
    /// Why nothing is told, of a source that is known not to tell.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        match self {
            Self::Down { reason } | Self::Failing { reason } => Some(reason),
            Self::Absent | Self::Connecting | Self::Up => None,
        }
    }
}

impl Source {
    /// Hides the secrets in its address and in what it says.
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
    /// Which.
    pub kind: SourceKind,
    /// Endpoint, address or socket, for people.
    pub address: String,
    /// How it fares.
    #[serde(flatten)]
    pub health: SourceHealth,
    /// When it last answered.
    pub seen_at: Option<Timestamp>,
    /// Of one that does not tell: when it is asked again, where that is known.
    #[serde(default)]
    pub retry_at: Option<Timestamp>,
}
