//! Errors of Dagster's webserver.

use std::time::Duration;

/// Error of Dagster's webserver; each message is one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DagsterError {
    /// The address is invalid.
    #[error("{url} is no address of a Dagster webserver: {reason}")]
    Url {
        /// The given address.
        url: String,
        /// The reason.
        reason: String,
    },
    /// The webserver cannot be reached.
    #[error(
        "cannot reach Dagster's webserver at {url}: {reason}; start dagster-webserver or set its URL"
    )]
    Unreachable {
        /// The address.
        url: String,
        /// The reason.
        reason: String,
    },
    /// No answer in time.
    #[error("Dagster's webserver at {url} did not answer within {} s", after.as_secs())]
    Timeout {
        /// The address.
        url: String,
        /// The timeout.
        after: Duration,
    },
    /// Another kind of server answers.
    #[error("{url} is not a Dagster webserver: {reason}")]
    NotDagster {
        /// The address.
        url: String,
        /// Description of its answer.
        reason: String,
    },
    /// The webserver rejects the query: its version differs.
    #[error("Dagster's webserver at {url} answered with an error: {reason}")]
    GraphQl {
        /// The address.
        url: String,
        /// Dagster's messages.
        reason: String,
    },
    /// Dagster refused the request.
    #[error("Dagster refused: {reason}")]
    Refused {
        /// Dagster's name for the refusal, such as `RunConfigValidationInvalid`.
        kind: String,
        /// Dagster's messages.
        reason: String,
    },
}

impl DagsterError {
    /// Whether a later retry may succeed, for example because the webserver restarts.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::Timeout { .. } | Self::NotDagster { .. }
        )
    }
}
