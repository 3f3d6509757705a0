//! Taskiq's JSON message, as a sender puts it into an SQS body.
//!
//! Rust reads only the fields it needs to schedule a task. It never builds or unpacks Dagster's own
//! values: `kwargs` goes to the Python host unchanged. The format was captured from taskiq 0.13.0
//! with taskiq-aio-sqs 2.1.1 and Dagster 1.13.27.
//!
//! A sender may be hostile: every name that this worker uses is checked here, and quotes of a body
//! are bounded. Names inside `kwargs` are checked where they are unpacked, in Python.

use serde::Deserialize;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::domain::{DEFAULT_PRIORITY, Isolation, TaskKind};

/// Error in a body that is not a valid task. Such a message is poison: it is never dropped
/// silently.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// Not JSON, or not an object with Taskiq's fields.
    #[error("the body is not a Taskiq message: {0}")]
    NotTaskiq(String),
    /// A name that could be a path, an object's key or a database file of the sender's choice.
    #[error("the body's {field} is not {expected}: {found:?}")]
    BadName {
        /// The field.
        field: &'static str,
        /// The expected form.
        expected: &'static str,
        /// The beginning of the actual value.
        found: String,
    },
    /// A task of an unknown name.
    #[error(
        "the body asks for the task {0:?}, which this worker does not know \
         (it knows execute_plan, execute_job and resume_job)"
    )]
    UnknownTask(String),
    /// The Dagster part is missing or has another structure.
    #[error("the {task} message lacks {missing}")]
    Incomplete {
        /// The `task_name`.
        task: &'static str,
        /// Path of the missing field.
        missing: &'static str,
    },
}

/// A decoded message.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskMessage {
    /// Taskiq's id of this task.
    pub task_id: String,
    /// Kind of the task.
    pub kind: TaskKind,
    /// The Dagster run.
    pub run_id: String,
    /// The step; absent for runs.
    pub step_key: Option<String>,
    /// Job name.
    pub job: Option<String>,
    /// Run priority plus step priority. Without a value from the sender: 5 for a step, 0 for a run.
    pub priority: i64,
    /// Total attempt number, from 1; 0 if the sender did not set it.
    pub attempt: u32,
    /// Whether our own executor or launcher sent it (label `dtq`). Other senders wait for a result.
    pub ours: bool,
    /// Process isolation that the step requests, by its own tag or its run's (label `isolation`).
    pub isolation: Option<Isolation>,
    /// The unchanged keyword arguments, for the Python host.
    pub kwargs: Map<String, Value>,
}

/// Maximum length of a run id, in bytes: the size of Dagster's column. Dagster's own ids are UUIDs.
const LONGEST_RUN_ID: usize = 255;

/// Maximum length of a step key, in bytes. Keys of dynamic steps contain their mapping key.
const LONGEST_STEP_KEY: usize = 2048;

/// Number of characters of a body that an error quotes.
const QUOTED: usize = 100;

impl TaskMessage {
    /// Decodes an SQS body.
    ///
    /// # Errors
    /// [`DecodeError`] describes the fault, in words fit for a dead-letter reason.
    pub fn decode(body: &str) -> Result<Self, DecodeError> {
        // A type error of a derived struct would quote the value, which may be a secret.
        let mut envelope: Map<String, Value> = match serde_json::from_str(body) {
            Ok(Value::Object(envelope)) => envelope,
            Ok(_) => return Err(DecodeError::NotTaskiq("it is not a JSON object".to_owned())),
            Err(problem) => return Err(DecodeError::NotTaskiq(problem.to_string())),
        };
        let task_id = own_text(&mut envelope, "task_id")?;
        let task_name = own_text(&mut envelope, "task_name")?;
        let labels = own_object(&mut envelope, "labels")?;
        let kwargs = own_object(&mut envelope, "kwargs")?;
        let kind = TaskKind::from_task_name(&task_name)
            .ok_or_else(|| DecodeError::UnknownTask(quoted(&task_name)))?;
        check("task_id", "a UUID", &task_id, is_uuid)?;
        let packed = packed_arguments(kind, &kwargs)?;
        let run_id = text(packed, "pipeline_run_id")
            .or_else(|| text(packed, "run_id"))
            .ok_or_else(|| incomplete(kind, "a run id (pipeline_run_id)"))?
            .to_owned();
        check("run id", "the id of a Dagster run", &run_id, is_run_id)?;
        let step_key = if kind.is_run() {
            None
        } else {
            let key = step_key(packed).ok_or_else(|| incomplete(kind, "step_keys_to_execute"))?;
            check("step key", "the key of a Dagster step", &key, is_step_key)?;
            Some(key)
        };
        let default_priority = if kind.is_run() { 0 } else { DEFAULT_PRIORITY };
        Ok(Self {
            task_id,
            kind,
            run_id,
            step_key,
            job: job_name(packed).filter(|name| is_step_key(name)),
            priority: label_number(&labels, "priority").unwrap_or(default_priority),
            attempt: label_number(&labels, "attempt")
                .and_then(|n| u32::try_from(n).ok())
                .unwrap_or(0),
            ours: labels.contains_key("dtq"),
            isolation: labels
                .get("isolation")
                .and_then(Value::as_str)
                .and_then(|text| text.parse().ok()),
            kwargs,
        })
    }

    /// The name of the queue that a body was sent to, if its sender recorded it (label `queue`), as
    /// ours do.
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

fn own_text(envelope: &mut Map<String, Value>, name: &str) -> Result<String, DecodeError> {
    match envelope.remove(name) {
        Some(Value::String(text)) => Ok(text),
        _ => Err(DecodeError::NotTaskiq(format!("it has no text {name}"))),
    }
}

/// Takes an object; an absent one and `null` count as empty.
fn own_object(
    envelope: &mut Map<String, Value>,
    name: &str,
) -> Result<Map<String, Value>, DecodeError> {
    match envelope.remove(name) {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(members)) => Ok(members),
        Some(_) => Err(DecodeError::NotTaskiq(format!("its {name} is no object"))),
    }
}

pub(super) fn check(
    field: &'static str,
    expected: &'static str,
    text: &str,
    is_good: impl Fn(&str) -> bool,
) -> Result<(), DecodeError> {
    if is_good(text) {
        return Ok(());
    }
    let found = quoted(text);
    Err(DecodeError::BadName {
        field,
        expected,
        found,
    })
}

/// Whether this is a Taskiq id, with or without hyphens. Results are stored in S3 under these ids.
pub(super) fn is_uuid(text: &str) -> bool {
    matches!(text.len(), 32 | 36) && uuid::Uuid::try_parse(text).is_ok()
}

/// Whether this is a valid run id. `SQLite` storage keeps each run's events in a file of this name.
fn is_run_id(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    text.len() <= LONGEST_RUN_ID
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(is_plain)
}

/// Whether this is a valid step key. IO managers and log managers create folders named after step
/// keys.
fn is_step_key(text: &str) -> bool {
    let is_bad = |c: char| c.is_control() || c == '/' || c == '\\';
    text.len() <= LONGEST_STEP_KEY && !text.contains(is_bad) && text != "." && text != ".."
}

fn quoted(text: &str) -> String {
    text.chars().take(QUOTED).collect()
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

/// The step keys, joined by a comma if a message names several (never observed).
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

/// A numeric label. Taskiq sends labels as strings with their types beside them; other senders send
/// numbers. A label that is neither counts as absent.
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
    fn the_error_for_a_body_that_is_not_one_of_our_tasks_has_the_reason() {
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
        let body = r#"{"task_id": "eb96854107aa4b3197362d2eff2b6d3a", "task_name": "execute_job",
            "kwargs": {}}"#;
        let error = TaskMessage::decode(body).unwrap_err().to_string();
        assert_eq!(
            error,
            "the execute_job message lacks kwargs.execute_job_args_packed"
        );
    }

    /// A step's message with one of its names replaced.
    fn with(field: &str, text: &str) -> String {
        let mut body: Value = serde_json::from_str(&plan(&serde_json::json!({}))).unwrap();
        let packed = &mut body["kwargs"]["execute_step_args_packed"];
        match field {
            "task_id" => body["task_id"] = text.into(),
            "run id" => packed["pipeline_run_id"] = text.into(),
            _ => packed["step_keys_to_execute"] = serde_json::json!([text]),
        }
        body.to_string()
    }

    #[test]
    fn names_that_are_paths_or_no_names_at_all_are_refused() {
        for (field, names) in [
            ("task_id", vec!["", "1", "results/other.json", "../x"]),
            (
                "run id",
                vec!["", "../../etc/x", "a/b", ".hidden", "a\0b", "a b"],
            ),
            (
                "step key",
                vec!["..", "../x", "a/b", "a\\b", "a\u{1b}[31m", "a\nb"],
            ),
        ] {
            for name in names {
                let error = TaskMessage::decode(&with(field, name)).unwrap_err();
                assert!(
                    matches!(error, DecodeError::BadName { field: found, .. } if found == field),
                    "{field} {name:?}: {error}"
                );
            }
        }
        for (field, name) in [
            ("task_id", "eb968541-07aa-4b31-9736-2d2eff2b6d3a"),
            ("run id", "my-run_1.2"),
            ("step key", "graph.op[a_1]"),
            ("step key", "größe?"),
        ] {
            assert!(TaskMessage::decode(&with(field, name)).is_ok(), "{name}");
        }
    }

    #[test]
    fn what_an_error_quotes_is_short_and_no_value_of_another_field() {
        let long = "x".repeat(100_000);
        let of = |body: &str| TaskMessage::decode(body).unwrap_err().to_string();
        for body in [
            format!(r#"{{"task_id": "1", "task_name": "{long}"}}"#),
            format!(r#"{{"task_id": "1", "task_name": "execute_plan", "kwargs": "{long}"}}"#),
            format!("\"{long}\""),
            with("run id", &long),
            with("task_id", &long),
        ] {
            assert!(of(&body).len() < 400, "{}", of(&body));
        }
        assert!(!of("\"a secret\"").contains("secret"));
        let deep = "[".repeat(200_000);
        assert!(of(&deep).contains("recursion limit"), "{}", of(&deep));
    }

    mod hostile {
        use super::*;
        use proptest::prelude::*;

        fn any_json() -> impl Strategy<Value = Value> {
            let leaf = prop_oneof![
                Just(Value::Null),
                any::<bool>().prop_map(Value::from),
                any::<i64>().prop_map(Value::from),
                any::<f64>().prop_map(Value::from),
                ".{0,20}".prop_map(Value::from),
            ];
            leaf.prop_recursive(4, 32, 5, |inner| {
                prop_oneof![
                    prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                    prop::collection::hash_map(".{0,10}", inner, 0..5)
                        .prop_map(|members| members.into_iter().collect::<Map<_, _>>().into()),
                ]
            })
        }

        proptest! {
            #[test]
            fn no_body_makes_the_decoder_panic(body in ".{0,200}") {
                let _ = TaskMessage::decode(&body);
            }

            #[test]
            fn whatever_takes_a_field_s_place_the_names_that_come_through_are_harmless(
                value in any_json(),
                field in 0_usize..7,
            ) {
                let mut body: Value =
                    serde_json::from_str(&plan(&serde_json::json!({"dtq": "1"}))).unwrap();
                match field {
                    0 => body["task_id"] = value,
                    1 => body["labels"] = value,
                    2 => body["kwargs"] = value,
                    3 => body["labels"]["attempt"] = value,
                    4 => body["labels"]["priority"] = value,
                    5 => body["kwargs"]["execute_step_args_packed"]["pipeline_run_id"] = value,
                    _ => body["kwargs"]["execute_step_args_packed"]["step_keys_to_execute"] = value,
                }
                if let Ok(message) = TaskMessage::decode(&body.to_string()) {
                    prop_assert!(uuid::Uuid::try_parse(&message.task_id).is_ok());
                    let key = message.step_key.unwrap();
                    for name in [&message.run_id, &key] {
                        prop_assert!(!name.contains(['/', '\\', '\0', '\u{1b}']), "{name:?}");
                        prop_assert!(name != "..");
                    }
                }
            }
        }
    }
}
