//! Taskiq's result object, for senders that wait for one.
//!
//! The executor of Python's `dagster-taskiq` reads a step's events from it; ours reads the event
//! log. The format was captured from taskiq 0.13.0 with taskiq-aio-sqs 2.1.1.

use serde::Serialize;
use serde_json::{Map, Value, json};

/// A `TaskiqResult`, as JSON.
#[derive(Clone, Debug, Serialize)]
pub struct TaskiqResult {
    is_err: bool,
    log: Option<String>,
    return_value: Option<Vec<String>>,
    /// Seconds.
    execution_time: f64,
    labels: Map<String, Value>,
    error: Option<Value>,
}

impl TaskiqResult {
    /// Result of a task that ended. `events` are a step's `DagsterEvent`s as Dagster serializes
    /// them; those of a failed step include its `STEP_FAILURE`. A run has none.
    #[must_use]
    pub fn ended(events: Option<Vec<String>>, seconds: f64) -> Self {
        Self {
            is_err: false,
            log: None,
            return_value: events,
            execution_time: seconds,
            labels: Map::new(),
            error: None,
        }
    }

    /// Result of a task that was not run and has no event about it: the sender's wait ends with an
    /// error.
    #[must_use]
    pub fn failed(reason: &str, seconds: f64) -> Self {
        let error = json!({
            "exc_type": "RuntimeError",
            "exc_message": [reason],
            "exc_module": "builtins",
            "exc_cause": null,
            "exc_context": null,
            "exc_suppress_context": false,
        });
        Self {
            is_err: true,
            error: Some(error),
            ..Self::ended(None, seconds)
        }
    }

    /// The object's text.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_value(self).map_or_else(|_| String::new(), |value| value.to_string())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;

    fn keys(value: &Value) -> Vec<&String> {
        value.as_object().unwrap().keys().collect()
    }

    #[test]
    fn results_have_the_captured_fields() {
        let captured = r#"{"is_err":true,"log":null,"return_value":null,"execution_time":1.11,
            "labels":{},"error":{"exc_type":"CheckError","exc_message":["no run"],
            "exc_module":"m","exc_cause":null,"exc_context":null,"exc_suppress_context":false}}"#;
        let captured: Value = serde_json::from_str(captured).unwrap();
        let ours: Value =
            serde_json::from_str(&TaskiqResult::failed("no run", 1.0).to_json()).unwrap();
        assert_eq!(keys(&ours), keys(&captured));
        assert_eq!(keys(&ours["error"]), keys(&captured["error"]));
        let ended = TaskiqResult::ended(Some(vec!["{}".to_owned()]), 0.5).to_json();
        let ended: Value = serde_json::from_str(&ended).unwrap();
        assert_eq!(
            (&ended["is_err"], &ended["return_value"]),
            (&json!(false), &json!(["{}"]))
        );
    }
}
