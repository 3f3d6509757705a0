//! SQS errors: one enum, from which both protocols take name, code and HTTP status.

use axum::http::StatusCode;

/// Kind of an SQS error. Names, query codes and statuses are those of the service's model; where
/// the JSON name and the query code differ, `aws-query-error` clients compare the latter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// No queue has that name.
    QueueDoesNotExist,
    /// `CreateQueue` with attributes that differ from the existing queue's.
    QueueNameExists,
    /// `CreateQueue` within 60 seconds of the deletion of a queue of that name.
    QueueDeletedRecently,
    /// A value that is out of range or of the wrong form.
    InvalidParameterValue,
    /// A required member is absent.
    MissingParameter,
    /// A member of a batch's entry is empty.
    EmptyValue,
    /// An attribute name that SQS does not know.
    InvalidAttributeName,
    /// An attribute's value is not allowed.
    InvalidAttributeValue,
    /// A body with characters SQS refuses.
    InvalidMessageContents,
    /// A string that is not a receipt handle of this queue.
    ReceiptHandleIsInvalid,
    /// A change of visibility for a message that is not in flight.
    MessageNotInflight,
    /// A batch without entries.
    EmptyBatchRequest,
    /// More than ten entries.
    TooManyEntriesInBatchRequest,
    /// Two entries with one id.
    BatchEntryIdsNotDistinct,
    /// An entry's id is malformed.
    InvalidBatchEntryId,
    /// The entries together are over the size limit.
    BatchRequestTooLong,
    /// A second purge within 60 seconds.
    PurgeQueueInProgress,
    /// Too many requests.
    RequestThrottled,
    /// More messages in flight than a standard queue may have.
    OverLimit,
    /// A move task or its queue is unknown.
    ResourceNotFound,
    /// The action cannot be done on this queue.
    UnsupportedOperation,
    /// An action name that SQS does not have.
    InvalidAction,
    /// A JSON body that cannot be read as the action's input.
    Serialization,
    /// The request is not allowed to do this, with any signature.
    AccessDenied,
    /// The request's signature is absent (query protocol).
    MissingAuthenticationToken,
    /// The request's signature lacks a part.
    IncompleteSignature,
    /// The request is signed with a key this server does not know.
    InvalidClientTokenId,
    /// The request's signature is wrong.
    SignatureDoesNotMatch,
    /// The server cannot take the request now.
    ServiceUnavailable,
    /// The server failed.
    InternalFailure,
}

impl ErrorKind {
    /// The error's name in the JSON protocol (`__type`, after the `#`), its code in the query
    /// protocol and in the `x-amzn-query-error` header, and its HTTP status.
    fn facts(self) -> (&'static str, &'static str, u16) {
        match self {
            Self::QueueDoesNotExist => (
                "QueueDoesNotExist",
                "AWS.SimpleQueueService.NonExistentQueue",
                400,
            ),
            Self::QueueNameExists => ("QueueNameExists", "QueueAlreadyExists", 400),
            Self::QueueDeletedRecently => (
                "QueueDeletedRecently",
                "AWS.SimpleQueueService.QueueDeletedRecently",
                400,
            ),
            Self::InvalidParameterValue => (
                "InvalidParameterValueException",
                "InvalidParameterValue",
                400,
            ),
            Self::MissingParameter => {
                ("MissingRequiredParameterException", "MissingParameter", 400)
            }
            Self::EmptyValue => ("EmptyValue", "EmptyValue", 400),
            Self::InvalidAttributeName => ("InvalidAttributeName", "InvalidAttributeName", 400),
            Self::InvalidAttributeValue => ("InvalidAttributeValue", "InvalidAttributeValue", 400),
            Self::InvalidMessageContents => {
                ("InvalidMessageContents", "InvalidMessageContents", 400)
            }
            Self::ReceiptHandleIsInvalid => {
                // The status of AWS's answers, and of its SDK for JavaScript.
                ("ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid", 404)
            }
            Self::MessageNotInflight => (
                "MessageNotInflight",
                "AWS.SimpleQueueService.MessageNotInflight",
                400,
            ),
            Self::EmptyBatchRequest => (
                "EmptyBatchRequest",
                "AWS.SimpleQueueService.EmptyBatchRequest",
                400,
            ),
            Self::TooManyEntriesInBatchRequest => (
                "TooManyEntriesInBatchRequest",
                "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
                400,
            ),
            Self::BatchEntryIdsNotDistinct => (
                "BatchEntryIdsNotDistinct",
                "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
                400,
            ),
            Self::InvalidBatchEntryId => (
                "InvalidBatchEntryId",
                "AWS.SimpleQueueService.InvalidBatchEntryId",
                400,
            ),
            Self::BatchRequestTooLong => (
                "BatchRequestTooLong",
                "AWS.SimpleQueueService.BatchRequestTooLong",
                400,
            ),
            Self::PurgeQueueInProgress => (
                "PurgeQueueInProgress",
                "AWS.SimpleQueueService.PurgeQueueInProgress",
                403,
            ),
            Self::RequestThrottled => ("RequestThrottled", "RequestThrottled", 403),
            Self::OverLimit => ("OverLimit", "OverLimit", 403),
            Self::ResourceNotFound => (
                "ResourceNotFoundException",
                "ResourceNotFoundException",
                404,
            ),
            Self::UnsupportedOperation => (
                "UnsupportedOperation",
                "AWS.SimpleQueueService.UnsupportedOperation",
                400,
            ),
            Self::InvalidAction => ("UnknownOperationException", "InvalidAction", 400),
            Self::Serialization => ("SerializationException", "MalformedInput", 400),
            Self::AccessDenied => ("AccessDeniedException", "AccessDenied", 403),
            Self::MissingAuthenticationToken => (
                "MissingAuthenticationTokenException",
                "MissingAuthenticationToken",
                403,
            ),
            Self::IncompleteSignature => {
                ("IncompleteSignatureException", "IncompleteSignature", 400)
            }
            Self::InvalidClientTokenId => {
                ("UnrecognizedClientException", "InvalidClientTokenId", 403)
            }
            Self::SignatureDoesNotMatch => {
                ("InvalidSignatureException", "SignatureDoesNotMatch", 403)
            }
            Self::ServiceUnavailable => ("ServiceUnavailableException", "ServiceUnavailable", 503),
            Self::InternalFailure => ("InternalFailure", "InternalFailure", 500),
        }
    }

    /// The namespace of its name in the JSON protocol (`__type`, before the `#`): errors that the
    /// service's model does not have come from AWS's framework (recorded).
    #[must_use]
    pub fn namespace(self) -> &'static str {
        match self {
            Self::InvalidParameterValue
            | Self::MissingParameter
            | Self::InvalidAction
            | Self::Serialization
            | Self::AccessDenied
            | Self::MissingAuthenticationToken
            | Self::IncompleteSignature
            | Self::InvalidClientTokenId
            | Self::SignatureDoesNotMatch
            | Self::ServiceUnavailable
            | Self::InternalFailure => "com.amazon.coral.service",
            _ => "com.amazonaws.sqs",
        }
    }

    /// The error's code in the query protocol and in the `x-amzn-query-error` header.
    #[must_use]
    pub fn query_code(self) -> &'static str {
        self.facts().1
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.facts().2).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Whether the client caused the error.
    #[must_use]
    pub fn is_sender_fault(self) -> bool {
        self.facts().2 < 500
    }
}

/// An error as an SQS client sees it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", kind.query_code())]
pub struct SqsError {
    /// The kind.
    pub kind: ErrorKind,
    /// The message text.
    pub message: String,
    /// Code and status of an injected error.
    named: Option<Box<(String, u16)>>,
}

/// The kinds by which an injected error can be named.
const NAMED: [ErrorKind; 28] = [
    ErrorKind::QueueDoesNotExist,
    ErrorKind::QueueNameExists,
    ErrorKind::QueueDeletedRecently,
    ErrorKind::InvalidParameterValue,
    ErrorKind::MissingParameter,
    ErrorKind::InvalidAttributeName,
    ErrorKind::InvalidAttributeValue,
    ErrorKind::InvalidMessageContents,
    ErrorKind::ReceiptHandleIsInvalid,
    ErrorKind::MessageNotInflight,
    ErrorKind::EmptyBatchRequest,
    ErrorKind::TooManyEntriesInBatchRequest,
    ErrorKind::BatchEntryIdsNotDistinct,
    ErrorKind::InvalidBatchEntryId,
    ErrorKind::BatchRequestTooLong,
    ErrorKind::PurgeQueueInProgress,
    ErrorKind::RequestThrottled,
    ErrorKind::OverLimit,
    ErrorKind::ResourceNotFound,
    ErrorKind::UnsupportedOperation,
    ErrorKind::InvalidAction,
    ErrorKind::AccessDenied,
    ErrorKind::MissingAuthenticationToken,
    ErrorKind::IncompleteSignature,
    ErrorKind::InvalidClientTokenId,
    ErrorKind::SignatureDoesNotMatch,
    ErrorKind::ServiceUnavailable,
    ErrorKind::InternalFailure,
];

impl SqsError {
    /// An error of this kind with this text.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            named: None,
        }
    }

    /// Builds an injected error: an SQS error by its name in either protocol, or any other code.
    /// The status defaults to 500.
    #[must_use]
    pub fn named(code: &str, status: Option<u16>, message: String) -> Self {
        let is_it = |kind: &ErrorKind| {
            let (shape, query_code, _) = kind.facts();
            shape == code || query_code == code
        };
        let known = NAMED.into_iter().find(is_it);
        let kind = known.unwrap_or(ErrorKind::InternalFailure);
        let named = match (known, status) {
            (Some(_), None) => None,
            (Some(kind), Some(status)) => Some((kind.facts().1.to_owned(), status)),
            (None, status) => Some((code.to_owned(), status.unwrap_or(500))),
        };
        Self {
            named: named.map(Box::new),
            ..Self::new(kind, message)
        }
    }

    /// The error's name in the JSON protocol (`__type`, after the `#`).
    #[must_use]
    pub fn shape(&self) -> &str {
        match &self.named {
            // An SQS error with another status keeps its name.
            Some(named) if named.0 != self.kind.query_code() => &named.0,
            _ => self.kind.facts().0,
        }
    }

    /// The error's code in the query protocol and in the `x-amzn-query-error` header.
    #[must_use]
    pub fn query_code(&self) -> &str {
        self.named
            .as_ref()
            .map_or_else(|| self.kind.query_code(), |named| &named.0)
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.named
            .as_ref()
            .and_then(|named| StatusCode::from_u16(named.1).ok())
            .unwrap_or_else(|| self.kind.status())
    }

    /// Whether the client caused the error.
    #[must_use]
    pub fn is_sender_fault(&self) -> bool {
        self.status().as_u16() < 500
    }

    /// No queue has that name.
    #[must_use]
    pub fn no_such_queue() -> Self {
        Self::new(
            ErrorKind::QueueDoesNotExist,
            "The specified queue does not exist.",
        )
    }

    /// An action that SQS does not have, or does not have at this address.
    #[must_use]
    pub fn unknown_action(action: &str) -> Self {
        Self::new(
            ErrorKind::InvalidAction,
            format!("The action {action} is not valid for this endpoint."),
        )
    }

    /// A required member is absent.
    #[must_use]
    pub fn missing(parameter: &str) -> Self {
        Self::new(
            ErrorKind::MissingParameter,
            format!("The request must contain the parameter {parameter}."),
        )
    }

    /// A value that is out of range or of the wrong form, in the usual wording of SQS.
    pub fn invalid(parameter: &str, value: impl std::fmt::Display, reason: &str) -> Self {
        Self::new(
            ErrorKind::InvalidParameterValue,
            format!("Value {value} for parameter {parameter} is invalid. Reason: {reason}"),
        )
    }

    /// An attribute's value is not allowed.
    #[must_use]
    pub fn invalid_attribute(name: &str) -> Self {
        Self::new(
            ErrorKind::InvalidAttributeValue,
            format!("Invalid value for the parameter {name}."),
        )
    }

    /// An attribute that SQS does not know.
    #[must_use]
    pub fn unknown_attribute(name: &str) -> Self {
        Self::new(
            ErrorKind::InvalidAttributeName,
            format!("Unknown Attribute {name}."),
        )
    }

    /// The storage failed during a request; the client may retry.
    #[must_use]
    pub fn storage(detail: &str) -> Self {
        Self::new(
            ErrorKind::ServiceUnavailable,
            format!("The broker could not write to its data folder: {detail}"),
        )
    }
}
