//! The task that does nothing: any Taskiq sender may send it, and a worker that receives it
//! acknowledges it. It shows that messages go through, and how fast, without Dagster.

use serde::Deserialize;

use super::message::{DecodeError, is_uuid};

/// A no-op task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noop {
    /// Taskiq's id of this task.
    pub task_id: String,
}

#[derive(Deserialize)]
struct Envelope {
    task_id: String,
    task_name: String,
}

impl Noop {
    /// The `task_name`.
    pub const TASK_NAME: &str = "dagster_taskiq.noop";

    /// Reads an SQS body; `None` if it requests another task, or no task.
    ///
    /// # Errors
    /// [`DecodeError::BadName`]: the task id is not a UUID. Its result is stored in S3 under it.
    pub fn decode(body: &str) -> Result<Option<Self>, DecodeError> {
        // Every message of a queue comes by here, and most are large.
        if !body.contains(Self::TASK_NAME) {
            return Ok(None);
        }
        let Ok(envelope) = serde_json::from_str::<Envelope>(body) else {
            return Ok(None);
        };
        if envelope.task_name != Self::TASK_NAME {
            return Ok(None);
        }
        let task_id = envelope.task_id;
        super::message::check("task_id", "a UUID", &task_id, is_uuid)?;
        Ok(Some(Self { task_id }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "6f1c1e0e8c5b4b0d9a3f4d8e2b7a1c00";

    fn body(name: &str, id: &str) -> String {
        format!(
            r#"{{"task_id":"{id}","task_name":"{name}","labels":{{}},"args":[],"kwargs":{{}}}}"#
        )
    }

    #[test]
    fn a_noop_task_is_known_by_its_name_alone() {
        let noop = Noop::decode(&body(Noop::TASK_NAME, ID));
        let task_id = ID.to_owned();
        assert_eq!(noop, Ok(Some(Noop { task_id })));
        // Named elsewhere in a body, or in one that is no JSON, it is no such task.
        let elsewhere = body("execute_plan", ID).replace("[]", r#"["dagster_taskiq.noop"]"#);
        for other in [&elsewhere, "dagster_taskiq.noop", &body("execute_job", ID)] {
            assert_eq!(Noop::decode(other), Ok(None), "{other}");
        }
    }

    #[test]
    fn the_id_of_a_noop_task_is_no_path() {
        let refused = Noop::decode(&body(Noop::TASK_NAME, "../results/other"));
        assert!(matches!(refused, Err(DecodeError::BadName { .. })));
    }
}
