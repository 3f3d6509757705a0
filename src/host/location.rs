//! What a message's `kwargs` say that the supervisor needs: the code location, the run, the step.

use serde_json::Value;

use crate::domain::TaskKind;

/// Identifies a host: the same code location of the same instance shares one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct LocationKey {
    /// The code pointer and image as canonical JSON.
    origin: String,
    /// The instance, where it is not the worker's own.
    pub instance: Option<String>,
}

/// What a message is about.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub run_id: String,
    /// Absent for a run.
    pub step_key: Option<String>,
    /// `RepositoryPythonOrigin` in Dagster's packed form.
    pub origin: Value,
    /// Whether the executor takes no retries.
    pub retries_disabled: bool,
    /// Total attempt, from 1.
    pub attempt: u32,
    instance_ref: Value,
}

impl Subject {
    /// Reads `kwargs`; the error says what is missing.
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
        let origin = job_origin["repository_origin"].clone();
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
            origin,
            retries_disabled: args["retry_mode"]["__enum__"] == "RetryMode.DISABLED",
            attempt: if attempt == 0 { previous + 1 } else { attempt },
            instance_ref: args["instance_ref"].clone(),
        })
    }

    /// Itself, if it says where the code is. What does not can still be reported on.
    pub fn runnable(self) -> Result<Self, String> {
        if self.origin["code_pointer"].is_null() {
            return Err("the message does not say where its code is (no code_pointer)".to_owned());
        }
        Ok(self)
    }

    /// The key of the host that runs it. The executable that the message names takes no part: the
    /// worker's own interpreter runs everything.
    pub fn key(&self, trust_message_instance: bool) -> LocationKey {
        let origin = &self.origin;
        LocationKey {
            origin: serde_json::json!([origin["code_pointer"], origin["container_image"]])
                .to_string(),
            instance: (trust_message_instance && !self.instance_ref.is_null())
                .then(|| self.instance_ref.to_string()),
        }
    }

    /// The file or module that is loaded.
    pub fn target(&self) -> String {
        let pointer = &self.origin["code_pointer"];
        ["python_file", "module", "package"]
            .into_iter()
            .find_map(|key| pointer[key].as_str())
            .map_or_else(|| pointer.to_string(), str::to_owned)
    }

    /// What a person calls the code location.
    pub fn location(&self) -> String {
        let pointer = &self.origin["code_pointer"];
        let text = |key: &str| pointer[key].as_str();
        let target = self.target();
        match text("fn_name").or_else(|| text("attribute")) {
            Some(name) => format!("{target}:{name}"),
            None => target,
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use serde_json::json;

    use super::*;

    fn step(executable: &str, previous: &Value) -> Value {
        json!({"execute_step_args_packed": {
            "pipeline_origin": {"repository_origin": {
                "executable_path": executable,
                "code_pointer": {"__class__": "FileCodePointer", "python_file": "/srv/app/jobs.py", "fn_name": "defs"},
                "container_image": null,
            }},
            "pipeline_run_id": "r1",
            "step_keys_to_execute": ["hello"],
            "instance_ref": {"secret": 1},
            "retry_mode": {"__enum__": "RetryMode.DISABLED"},
            "known_state": {"previous_retry_attempts": previous},
        }})
    }

    #[test]
    fn a_message_that_names_another_interpreter_goes_to_the_same_host() {
        let one = Subject::read(TaskKind::ExecutePlan, &step("/a/python", &json!({})), 1).unwrap();
        let two = Subject::read(TaskKind::ExecutePlan, &step("/b/python", &json!({})), 1).unwrap();
        assert_eq!(one.key(false), two.key(false));
        assert_eq!(one.key(false).instance, None);
        assert!(one.key(true).instance.is_some());
        assert_eq!(one.location(), "/srv/app/jobs.py:defs");
        assert!(one.retries_disabled);
    }

    #[test]
    fn an_unknown_attempt_is_derived_from_the_known_state() {
        let kwargs = step("python", &json!({"hello": 2, "other": 7}));
        let read = |attempt| {
            Subject::read(TaskKind::ExecutePlan, &kwargs, attempt)
                .unwrap()
                .attempt
        };
        assert_eq!((read(0), read(5)), (3, 5));
    }

    #[test]
    fn a_message_without_a_run_says_so() {
        let error = Subject::read(TaskKind::ExecuteJob, &json!({}), 1).unwrap_err();
        assert_eq!(
            error,
            "execute_job: the message has no execute_job_args_packed.pipeline_run_id"
        );
    }
}
