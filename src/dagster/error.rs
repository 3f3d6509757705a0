//! Why Dagster's webserver did not do what it was asked.

use std::time::Duration;

/// One sentence each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DagsterError {
    /// The address is none.
    #[error("{url} is no address of a Dagster webserver: {reason}")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody answers.
    #[error(
        "cannot reach Dagster's webserver at {url}: {reason}; start dagster-webserver or set its URL"
    )]
    Unreachable {
        /// The address.
        url: String,
        /// Why.
        reason: String,
    },
    /// No answer in time.
    #[error("Dagster's webserver at {url} did not answer within {} s", after.as_secs())]
    Timeout {
        /// The address.
        url: String,
        /// How long was waited.
        after: Duration,
    },
    /// Something else answers.
    #[error("{url} is not a Dagster webserver: {reason}")]
    NotDagster {
        /// The address.
        url: String,
        /// What it did.
        reason: String,
    },
    /// The webserver does not know the question: its version is another one.
    #[error("Dagster's webserver at {url} answered with an error: {reason}")]
    GraphQl {
        /// The address.
        url: String,
        /// Dagster's messages.
        reason: String,
    },
    /// Dagster understood and said no.
    #[error("Dagster refused: {reason}")]
    Refused {
        /// Dagster's name for the refusal, such as `RunConfigValidationInvalid`.
        kind: String,
        /// Dagster's messages.
        reason: String,
    },
}

impl DagsterError {
    /// Whether it may be over by itself: a webserver that restarts.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::Timeout { .. } | Self::NotDagster { .. }
        )
    }
}
