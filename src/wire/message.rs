//! Taskiq's JSON message, as a sender puts it into an SQS body.
//!
//! Rust reads what it needs to schedule a task and never builds or unpacks Dagster's own values:
//! `kwargs` goes to the Python host as it came. The form was captured from taskiq 0.13.0 with
//! taskiq-aio-sqs 2.1.1 and Dagster 1.13.27.

use serde::Deserialize;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::domain::{DEFAULT_PRIORITY, Isolation, TaskKind};

/// Why a body is not a task of ours. Such a message is poison: it is never dropped silently.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// Not JSON, or not an object with Taskiq's fields.
    #[error("the body is not a Taskiq message: {0}")]
    NotTaskiq(String),
    /// A task that no Dagster worker knows.
    #[error(
        "the body asks for the task {0:?}, which this worker does not know \
         (it knows execute_plan, execute_job and resume_job)"
    )]
    UnknownTask(String),
    /// The Dagster part is missing or has another shape.
    #[error("the {task} message lacks {missing}")]
    Incomplete {
        /// The `task_name`.
        task: &'static str,
        /// Path of what is missing.
        missing: &'static str,
    },
}

/// A decoded message.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskMessage {
    /// Taskiq's id of this task.
    pub task_id: String,
    /// What it asks for.
    pub kind: TaskKind,
    /// The Dagster run.
    pub run_id: String,
    /// The step; absent for runs.
    pub step_key: Option<String>,
    /// Job name.
    pub job: Option<String>,
    /// Run priority plus step priority; 5 for a step whose sender did not say, 0 for a run.
    pub priority: i64,
    /// Total attempt number, from 1; 0 where the sender did not say.
    pub attempt: u32,
    /// Whether our own executor or launcher sent it (label `dtq`). Others wait for a result.
    pub ours: bool,
    /// What kind of process the step asks for, by its own tag or its run's (label `isolation`).
    pub isolation: Option<Isolation>,
    /// The keyword arguments as they came, for the Python host.
    pub kwargs: Map<String, Value>,
}

#[derive(Deserialize)]
struct Envelope {
    task_id: String,
    task_name: String,
    #[serde(default)]
    labels: Option<Map<String, Value>>,
    #[serde(default)]
    kwargs: Map<String, Value>,
}

impl TaskMessage {
    /// Decodes an SQS body.
    ///
    /// # Errors
    /// [`DecodeError`] says what is wrong with the body, in words fit for a dead-letter reason.
    pub fn decode(body: &str) -> Result<Self, DecodeError> {
        let envelope: Envelope =
            serde_json::from_str(body).map_err(|e| DecodeError::NotTaskiq(e.to_string()))?;
        let kind = TaskKind::from_task_name(&envelope.task_name)
            .ok_or(DecodeError::UnknownTask(envelope.task_name))?;
        let labels = envelope.labels.unwrap_or_default();
        let packed = packed_arguments(kind, &envelope.kwargs)?;
        let run_id = text(packed, "pipeline_run_id")
            .or_else(|| text(packed, "run_id"))
            .ok_or_else(|| incomplete(kind, "a run id (pipeline_run_id)"))?
            .to_owned();
        let step_key = if kind.is_run() {
            None
        } else {
            Some(step_key(packed).ok_or_else(|| incomplete(kind, "step_keys_to_execute"))?)
        };
        let default_priority = if kind.is_run() { 0 } else { DEFAULT_PRIORITY };
        Ok(Self {
            task_id: envelope.task_id,
            kind,
            run_id,
            step_key,
            job: job_name(packed),
            priority: label_number(&labels, "priority").unwrap_or(default_priority),
            attempt: label_number(&labels, "attempt")
                .and_then(|n| u32::try_from(n).ok())
                .unwrap_or(0),
            ours: labels.contains_key("dtq"),
            isolation: labels
                .get("isolation")
                .and_then(Value::as_str)
                .and_then(|text| text.parse().ok()),
            kwargs: envelope.kwargs,
        })
    }

    /// The name of the queue that a body was sent to, where its sender wrote it down (label `queue`),
    /// as ours do.
    #[must_use]
    pub fn addressed_to(body: &str) -> Option<String> {
        let address: Address = serde_json::from_str(body).ok()?;
        Some(address.labels.queue)
    }
}

#[derive(Deserialize)]
struct Address {
    labels: Labels,
}

#[derive(Deserialize)]
struct Labels {
    queue: String,
}

fn incomplete(kind: TaskKind, missing: &'static str) -> DecodeError {
    DecodeError::Incomplete {
        task: kind.task_name(),
        missing,
    }
}

/// The packed Dagster arguments: `kwargs.<name>`, one name per kind of task.
fn packed_arguments(
    kind: TaskKind,
    kwargs: &Map<String, Value>,
) -> Result<&Map<String, Value>, DecodeError> {
    let name = match kind {
        TaskKind::ExecutePlan => "execute_step_args_packed",
        TaskKind::ExecuteJob => "execute_job_args_packed",
        TaskKind::ResumeJob => "resume_job_args_packed",
    };
    kwargs
        .get(name)
        .and_then(Value::as_object)
        .ok_or(DecodeError::Incomplete {
            task: kind.task_name(),
            missing: match kind {
                TaskKind::ExecutePlan => "kwargs.execute_step_args_packed",
                TaskKind::ExecuteJob => "kwargs.execute_job_args_packed",
                TaskKind::ResumeJob => "kwargs.resume_job_args_packed",
            },
        })
}

fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    object.get(key)?.as_str()
}

/// The step keys, joined by a comma in the (never seen) case that a message names several.
fn step_key(packed: &Map<String, Value>) -> Option<String> {
    let keys: Vec<&str> = packed
        .get("step_keys_to_execute")?
        .as_array()?
        .iter()
        .filter_map(Value::as_str)
        .collect();
    (!keys.is_empty()).then(|| keys.join(","))
}

fn job_name(packed: &Map<String, Value>) -> Option<String> {
    let origin = packed
        .get("pipeline_origin")
        .or_else(|| packed.get("job_origin"))?;
    let origin = origin.as_object()?;
    text(origin, "pipeline_name")
        .or_else(|| text(origin, "job_name"))
        .map(str::to_owned)
}

/// Taskiq sends labels as strings with their types beside them; other senders send numbers. A
/// label that is neither counts as absent.
fn label_number(labels: &Map<String, Value>, key: &str) -> Option<i64> {
    match labels.get(key)? {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;

    fn plan(labels: &Value) -> String {
        serde_json::json!({
            "task_id": "eb96854107aa4b3197362d2eff2b6d3a", "task_name": "execute_plan",
            "labels": labels, "labels_types": null, "args": [],
            "kwargs": {"execute_step_args_packed": {
                "__class__": "ExecuteStepArgs",
                "pipeline_origin": {"pipeline_name": "capjob"},
                "pipeline_run_id": "240c49eb-7926-48fc-be19-7cc7531b215e",
                "step_keys_to_execute": ["hello"]}}
        })
        .to_string()
    }

    #[test]
    fn an_upstream_message_without_labels_gets_the_defaults() {
        let message = TaskMessage::decode(&plan(&serde_json::json!({}))).unwrap();
        assert_eq!(message.kind, TaskKind::ExecutePlan);
        assert_eq!(message.run_id, "240c49eb-7926-48fc-be19-7cc7531b215e");
        assert_eq!(message.step_key.as_deref(), Some("hello"));
        assert_eq!(message.job.as_deref(), Some("capjob"));
        assert_eq!(
            (message.priority, message.attempt, message.ours),
            (5, 0, false)
        );
    }

    #[test]
    fn labels_are_read_as_strings_and_as_numbers_and_nonsense_is_ignored() {
        let labels = serde_json::json!(
            {"dtq": "1", "priority": "12", "attempt": 3, "isolation": "fresh"});
        let message = TaskMessage::decode(&plan(&labels)).unwrap();
        assert_eq!(message.isolation, Some(Isolation::Fresh));
        assert_eq!(
            (message.priority, message.attempt, message.ours),
            (12, 3, true)
        );
        let labels = serde_json::json!({"priority": "high", "attempt": -1, "isolation": "spoon"});
        let message = TaskMessage::decode(&plan(&labels)).unwrap();
        assert_eq!(message.isolation, None);
        assert_eq!((message.priority, message.attempt), (5, 0));
    }

    #[test]
    fn a_body_that_is_not_a_task_of_ours_says_why() {
        let error = TaskMessage::decode("hello").unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("the body is not a Taskiq message"),
            "{error}"
        );
        let body = r#"{"task_id": "1", "task_name": "send_mail", "kwargs": {}}"#;
        assert_eq!(
            TaskMessage::decode(body).unwrap_err(),
            DecodeError::UnknownTask("send_mail".into())
        );
        let body = r#"{"task_id": "1", "task_name": "execute_job", "kwargs": {}}"#;
        let error = TaskMessage::decode(body).unwrap_err().to_string();
        assert_eq!(
            error,
            "the execute_job message lacks kwargs.execute_job_args_packed"
        );
    }
}
