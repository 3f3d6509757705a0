//! SQS errors, worded so that an operator can act on them.

use aws_sdk_sqs::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use std::error::Error as StdError;
use std::path::PathBuf;
use thiserror::Error;

use super::refusal::is_final;
use crate::domain::innermost;
use crate::domain::secrets::redact_text;
use crate::telemetry::metrics::metrics;

/// A failed call to SQS.
#[derive(Debug, Error)]
pub enum BrokerError {
    /// No connection, or no answer in time.
    #[error(
        "cannot {attempt}: SQS at {endpoint} does not answer ({reason}); check that it runs and \
         that endpoint_url or DAGSTER_TASKIQ_SQS_ENDPOINT_URL is right"
    )]
    Unreachable {
        /// Action that failed, and its target.
        attempt: String,
        /// The endpoint.
        endpoint: String,
        /// The reason.
        reason: String,
    },
    /// The queue does not exist.
    #[error(
        "cannot {attempt}: SQS at {endpoint} has no such queue; create it with \
         `dagster-taskiq-tui queue create`, or correct queue_url or DAGSTER_TASKIQ_SQS_QUEUE_URL"
    )]
    NoSuchQueue {
        /// Action that failed, and its target.
        attempt: String,
        /// The endpoint.
        endpoint: String,
    },
    /// Credentials are missing, or SQS does not accept them.
    #[error(
        "cannot {attempt}: SQS at {endpoint} got no credentials it accepts ({reason}); set \
         AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or give this host a role"
    )]
    Credentials {
        /// Action that failed, and its target.
        attempt: String,
        /// The endpoint.
        endpoint: String,
        /// The message of SQS or of the SDK.
        reason: String,
    },
    /// The credentials are valid, but lack a permission.
    #[error("cannot {attempt}: access denied ({reason}){}", advice(reason))]
    Denied {
        /// Action that failed, and its target.
        attempt: String,
        /// The message of SQS.
        reason: String,
    },
    /// SQS answered with another error.
    #[error("cannot {attempt}: SQS answered {code}: {reason}")]
    Refused {
        /// Action that failed, and its target.
        attempt: String,
        /// SQS's error code.
        code: String,
        /// The message of SQS.
        reason: String,
    },
    /// S3 does not answer, or answered with a transient error.
    #[error(
        "cannot {attempt}: S3 at {endpoint} failed ({reason}); check that it runs, that \
         DAGSTER_TASKIQ_S3_ENDPOINT_URL is right and that the worker may use the bucket"
    )]
    Store {
        /// Action that failed, and its target.
        attempt: String,
        /// The endpoint.
        endpoint: String,
        /// The reason.
        reason: String,
    },
    /// The body of a message cannot be fetched from S3.
    #[error("the body of message {message_id} is not to be had: {reason}")]
    Offloaded {
        /// SQS's message id.
        message_id: String,
        /// The reason.
        reason: String,
    },
    /// The archive of a drain cannot be written.
    #[error("cannot write the archive {path}: {source}; no message that is not in it was deleted")]
    Archive {
        /// The file.
        path: PathBuf,
        /// Error reported by the operating system.
        source: std::io::Error,
    },
}

/// Error codes for invalid credentials.
const BAD_CREDENTIALS: [&str; 6] = [
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "SignatureDoesNotMatch",
    "InvalidSecurity",
    "ExpiredToken",
    "MissingAuthenticationToken",
];

/// What to do about a refusal whose reason does not say it; the embedded broker's names a flag.
fn advice(reason: &str) -> &'static str {
    if reason.contains("start the broker with") {
        ""
    } else {
        "; grant the worker that SQS permission"
    }
}

impl BrokerError {
    /// Classifies and counts an SDK error. `attempt` reads after "cannot": "receive from tasks".
    pub(super) fn new<E, R>(attempt: &str, endpoint: &str, error: &SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + StdError + 'static,
        R: std::fmt::Debug + 'static,
    {
        let error = Self::classify(attempt, endpoint, error);
        metrics().broker_failed(error.kind());
        error
    }

    /// The kind of error in a word, for metrics.
    fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::NoSuchQueue { .. } => "no_such_queue",
            Self::Credentials { .. } => "credentials",
            Self::Denied { .. } => "denied",
            Self::Refused { .. } => "refused",
            Self::Store { .. } => "store",
            Self::Offloaded { .. } | Self::Archive { .. } => "other",
        }
    }

    fn classify<E, R>(attempt: &str, endpoint: &str, error: &SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + StdError + 'static,
        R: std::fmt::Debug + 'static,
    {
        let (attempt, endpoint) = (shown(attempt), shown(endpoint));
        let Some(service) = error.as_service_error() else {
            return Self::without_answer(attempt, endpoint, error);
        };
        let code = service
            .code()
            .unwrap_or("an error without a code")
            .to_owned();
        let reason = shown(service.message().unwrap_or("no message"));
        if code.contains("QueueDoesNotExist") || code.contains("NonExistentQueue") {
            Self::NoSuchQueue { attempt, endpoint }
        } else if BAD_CREDENTIALS.iter().any(|bad| code.contains(bad)) {
            Self::Credentials {
                attempt,
                endpoint,
                reason: format!("{code}: {reason}"),
            }
        } else if code.contains("AccessDenied") {
            Self::Denied { attempt, reason }
        } else {
            Self::Refused {
                attempt,
                code,
                reason,
            }
        }
    }

    fn without_answer<E, R>(attempt: String, endpoint: String, error: &SdkError<E, R>) -> Self
    where
        E: StdError + 'static,
        R: std::fmt::Debug + 'static,
    {
        let whole = DisplayErrorContext(error).to_string();
        if whole.to_lowercase().contains("credentials") {
            let reason = "none were found in the environment, the profile or a role".to_owned();
            return Self::Credentials {
                attempt,
                endpoint,
                reason,
            };
        }
        Self::Unreachable {
            attempt,
            endpoint,
            reason: shown(&innermost(error)),
        }
    }

    /// Whether a later retry may succeed without any change by an operator.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Store { .. } => true,
            Self::Refused { code, reason, .. } => !is_final(code, reason),
            _ => false,
        }
    }

    /// Whether a permission is missing.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Denied { .. })
    }

    /// Whether the server does not support the action, or not for this queue.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        let words = [
            "Unsupported",
            "InvalidAction",
            "UnknownOperation",
            "NotImplemented",
        ];
        match self {
            Self::Refused { code, .. } => words.iter().any(|word| code.contains(word)),
            _ => false,
        }
    }

    /// Whether the queue does not exist.
    #[must_use]
    pub fn is_no_such_queue(&self) -> bool {
        matches!(self, Self::NoSuchQueue { .. })
    }
}

/// Removes secrets from a text.
pub(super) fn shown(text: &str) -> String {
    redact_text(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::BrokerError;

    #[test]
    fn a_refusal_that_names_its_remedy_gets_no_second_one() {
        let denied = |reason: &str| {
            let denied = BrokerError::Denied {
                attempt: "create the queue tasks".to_owned(),
                reason: reason.to_owned(),
            };
            denied.to_string()
        };
        assert!(
            denied("no identity-based policy").ends_with("grant the worker that SQS permission")
        );
        let host = "The broker does not answer to the host a. \
                    If clients use this host, start the broker with --allow-host a";
        assert!(!denied(host).contains("permission"), "{}", denied(host));
    }
}
