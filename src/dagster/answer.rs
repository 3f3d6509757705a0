//! Parses a GraphQL answer: the envelope, then Dagster's unions.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::DagsterError;
use crate::domain::Timestamp;
use crate::domain::secrets::redact_text;

/// Error in an envelope.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// It is not a GraphQL answer.
    NotGraphQl,
    /// It contains errors: their messages.
    Errors(String),
}

#[derive(Deserialize)]
struct Envelope {
    data: Option<Map<String, Value>>,
    #[serde(default)]
    errors: Vec<Message>,
}

#[derive(Deserialize)]
struct Message {
    message: String,
}

/// The fields of an answer's `data`; at least one.
pub(super) fn fields(body: &[u8]) -> Result<Map<String, Value>, Problem> {
    let envelope: Envelope = serde_json::from_slice(body).map_err(|_| Problem::NotGraphQl)?;
    if !envelope.errors.is_empty() {
        let messages: Vec<String> = envelope
            .errors
            .into_iter()
            .map(|error| error.message)
            .collect();
        return Err(Problem::Errors(
            redact_text(&messages.join("; ")).into_owned(),
        ));
    }
    let data = envelope.data.filter(|data| !data.is_empty());
    data.ok_or(Problem::NotGraphQl)
}

/// A union's value as its success member; any other member is a refusal.
pub(super) fn expect<T: DeserializeOwned>(value: Value, member: &str) -> Result<T, DagsterError> {
    if kind(&value) != member {
        return Err(refusal(&value));
    }
    serde_json::from_value(value).map_err(|error| DagsterError::Refused {
        kind: member.to_owned(),
        reason: format!(
            "its {member} cannot be read ({error}): this Dagster is of another version"
        ),
    })
}

/// A value that is not a union.
pub(super) fn read<T: DeserializeOwned>(value: Value) -> Result<T, DagsterError> {
    serde_json::from_value(value).map_err(|error| DagsterError::Refused {
        kind: "unreadable".to_owned(),
        reason: format!("its answer cannot be read ({error}): this Dagster is of another version"),
    })
}

/// The name of the union member that a value is.
pub(super) fn kind(value: &Value) -> &str {
    value
        .get("__typename")
        .and_then(Value::as_str)
        .unwrap_or("an unnamed answer")
}

/// A refusal with Dagster's message.
pub(super) fn refusal(value: &Value) -> DagsterError {
    let kind = kind(value).to_owned();
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    let listed: Vec<&str> = value
        .get("errors")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|error| error.get("message")?.as_str())
        .map(str::trim)
        .collect();
    let reason = if !listed.is_empty() {
        listed.join("; ")
    } else if let Some(message) = text("message") {
        message.trim().to_owned()
    } else if let Some(step) = text("invalidStepKey").or_else(|| text("stepKey")) {
        format!("the job has no such step or output: {step}")
    } else {
        kind.clone()
    };
    DagsterError::Refused {
        kind,
        reason: redact_text(&reason).into_owned(),
    }
}

/// Dagster's float seconds as a point in time.
pub(super) fn seconds(value: Option<f64>) -> Option<Timestamp> {
    let since_epoch = jiff::SignedDuration::try_from_secs_f64(value?).ok()?;
    Timestamp::from_duration(since_epoch).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_page_that_is_not_graphql_is_distinguished_from_an_error() {
        assert_eq!(fields(b"<html>"), Err(Problem::NotGraphQl));
        assert_eq!(fields(b"{}"), Err(Problem::NotGraphQl));
        let error = br#"{"errors": [{"message": "one"}, {"message": "two"}]}"#;
        assert_eq!(fields(error), Err(Problem::Errors("one; two".to_owned())));
    }

    #[test]
    fn a_refusal_carries_every_message_of_dagster() {
        let invalid = json!({
            "__typename": "RunConfigValidationInvalid",
            "errors": [{"message": "Missing x"}, {"message": "Unknown y"}],
        });
        let refused =
            expect::<Value>(invalid, "LaunchRunSuccess").map_err(|error| error.to_string());
        assert_eq!(
            refused,
            Err("Dagster refused: Missing x; Unknown y".to_owned())
        );
        let step = json!({"__typename": "InvalidStepError", "invalidStepKey": "nope"});
        assert!(refusal(&step).to_string().contains("nope"));
    }
}
