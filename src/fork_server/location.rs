//! The parts of a message's `kwargs` that the supervisor needs: the run and the step. Their code is
//! looked up in Dagster's storage, see [`super::code`].

use serde_json::Value;

use super::protocol::RunOrigin;
use crate::domain::TaskKind;

/// Key of a host: tasks of the same code location of the same instance share one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct LocationKey {
    /// The code pointer and image as canonical JSON.
    origin: String,
    /// The instance, if it is not the worker's own.
    pub instance: Option<String>,
}

/// Subject of a message.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub run_id: String,
    /// Absent for a run.
    pub step_key: Option<String>,
    /// `JobPythonOrigin` in Dagster's packed form: only compared with the run's, never loaded.
    pub job_origin: Value,
    /// Whether the executor disables retries.
    pub retries_disabled: bool,
    /// Total attempt, from 1.
    pub attempt: u32,
    /// `InstanceRef` in Dagster's packed form.
    pub instance_ref: Value,
}

impl Subject {
    /// Parses `kwargs`; the error names the missing field.
    pub fn read(kind: TaskKind, kwargs: &Value, attempt: u32) -> Result<Self, String> {
        let name = match kind {
            TaskKind::ExecutePlan => "execute_step_args_packed",
            TaskKind::ExecuteJob => "execute_job_args_packed",
            TaskKind::ResumeJob => "resume_job_args_packed",
        };
        let args = &kwargs[name];
        let missing = |what: &str| format!("{kind}: the message has no {name}.{what}");
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let run_id = text(&args["pipeline_run_id"])
            .or_else(|| text(&args["run_id"]))
            .ok_or_else(|| missing("pipeline_run_id"))?;
        let job_origin = match &args["pipeline_origin"] {
            Value::Null => &args["job_origin"],
            origin => origin,
        };
        let step_key = if kind == TaskKind::ExecutePlan {
            Some(
                text(&args["step_keys_to_execute"][0])
                    .ok_or_else(|| missing("step_keys_to_execute"))?,
            )
        } else {
            None
        };
        let previous = step_key
            .as_ref()
            .and_then(|key| args["known_state"]["previous_retry_attempts"][key].as_u64())
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or(0);
        Ok(Self {
            run_id,
            step_key,
            job_origin: job_origin.clone(),
            retries_disabled: args["retry_mode"]["__enum__"] == "RetryMode.DISABLED",
            attempt: if attempt == 0 {
                previous.saturating_add(1)
            } else {
                attempt
            },
            instance_ref: args["instance_ref"].clone(),
        })
    }

    /// Returns itself if it names any code, as every sender does. A message without it can still be
    /// reported on.
    pub fn runnable(self) -> Result<Self, String> {
        if self.job_origin["repository_origin"]["code_pointer"].is_null() {
            return Err("the message does not say where its code is (no code_pointer)".to_owned());
        }
        Ok(self)
    }

    /// The instance that the message names, as JSON, if this worker trusts those.
    pub fn instance(&self, trust_message_instance: bool) -> Option<String> {
        (trust_message_instance && !self.instance_ref.is_null())
            .then(|| self.instance_ref.to_string())
    }
}

impl LocationKey {
    /// The key of the host that runs the code of a run. The executable is ignored: the worker's own
    /// interpreter runs everything.
    pub fn new(code: &RunOrigin, instance: Option<String>) -> Self {
        let origin = &code.origin;
        Self {
            origin: serde_json::json!([origin["code_pointer"], origin["container_image"]])
                .to_string(),
            instance,
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use serde_json::json;

    use super::*;

    fn step(previous: &Value) -> Value {
        json!({"execute_step_args_packed": {
            "pipeline_origin": {"repository_origin": {
                "code_pointer": {"__class__": "FileCodePointer", "python_file": "/srv/app/jobs.py", "fn_name": "defs"},
            }},
            "pipeline_run_id": "r1",
            "step_keys_to_execute": ["hello"],
            "instance_ref": {"secret": 1},
            "retry_mode": {"__enum__": "RetryMode.DISABLED"},
            "known_state": {"previous_retry_attempts": previous},
        }})
    }

    #[test]
    fn an_instance_of_a_message_counts_only_where_those_are_trusted() {
        let subject = Subject::read(TaskKind::ExecutePlan, &step(&json!({})), 1).unwrap();
        assert_eq!(subject.instance(false), None);
        assert_eq!(subject.instance(true).as_deref(), Some(r#"{"secret":1}"#));
        assert!(subject.retries_disabled);
    }

    #[test]
    fn runs_whose_code_servers_have_other_interpreters_share_a_host() {
        let code = |executable: &str, file: &str| RunOrigin {
            origin: json!({
                "executable_path": executable,
                "code_pointer": {"__class__": "FileCodePointer", "python_file": file},
            }),
            location: file.to_owned(),
            difference: None,
        };
        let key = |executable, file| LocationKey::new(&code(executable, file), None);
        assert_eq!(key("/a/python", "/a.py"), key("/b/python", "/a.py"));
        assert_ne!(key("/a/python", "/a.py"), key("/a/python", "/b.py"));
    }

    #[test]
    fn an_unknown_attempt_is_derived_from_the_known_state() {
        let kwargs = step(&json!({"hello": 2, "other": 7}));
        let read = |attempt| {
            Subject::read(TaskKind::ExecutePlan, &kwargs, attempt)
                .unwrap()
                .attempt
        };
        assert_eq!((read(0), read(5)), (3, 5));
        let kwargs = step(&json!({"hello": u32::MAX}));
        let subject = Subject::read(TaskKind::ExecutePlan, &kwargs, 0).unwrap();
        assert_eq!(subject.attempt, u32::MAX);
    }

    #[test]
    fn a_message_without_a_run_is_reported_as_such() {
        let error = Subject::read(TaskKind::ExecuteJob, &json!({}), 1).unwrap_err();
        assert_eq!(
            error,
            "execute_job: the message has no execute_job_args_packed.pipeline_run_id"
        );
    }
}
