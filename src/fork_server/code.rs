//! The code of a task's run, from Dagster's storage. It is looked up before anything is loaded,
//! because a message only names a run.

use sha2::{Digest as _, Sha256};

use super::error::ForkServerError;
use super::location::Subject;
use super::protocol::{Policy, RunCode, RunOrigin};
use super::supervisor::Supervisor;
use super::sync::lock;

/// Number of cached look-ups: a run's steps come close together, and its code never changes.
pub(super) const REMEMBERED: usize = 1000;

/// Digest of a run and the code that a message names, because a message may be large.
pub(super) type CodeKey = [u8; 32];

impl Supervisor {
    /// The code of a task's run, or the reason why the task is not run.
    pub(super) async fn code(
        &self,
        subject: &Subject,
        instance: Option<&str>,
    ) -> Result<RunCode, ForkServerError> {
        let key = key(subject);
        if let Some(known) = lock(&self.codes).get(&key) {
            return Ok(RunCode::Code(known.clone()));
        }
        let instance_agent = self.instance_agent(instance).await?;
        let found = instance_agent.code(subject, &self.policy(instance)).await?;
        if let RunCode::Code(code) = &found {
            warn_of_difference(subject, code);
            let mut codes = lock(&self.codes);
            if codes.len() >= REMEMBERED {
                codes.clear();
            }
            codes.insert(key, code.clone());
        }
        Ok(found)
    }

    /// This worker's configured policy for code.
    pub(super) fn policy(&self, instance: Option<&str>) -> Policy {
        Policy {
            allow_locations: self.settings.allow_locations.clone(),
            trusts_message: instance.is_some(),
        }
    }
}

impl RunOrigin {
    /// The file or module that is loaded.
    pub(super) fn target(&self) -> String {
        let pointer = &self.origin["code_pointer"];
        ["python_file", "module", "package"]
            .into_iter()
            .find_map(|key| pointer[key].as_str())
            .map_or_else(|| pointer.to_string(), str::to_owned)
    }
}

fn key(subject: &Subject) -> CodeKey {
    let Subject {
        run_id,
        job_origin,
        instance_ref,
        ..
    } = subject;
    Sha256::digest(serde_json::json!([run_id, job_origin, instance_ref]).to_string()).into()
}

/// Warns once for each run and code that its messages name; the run's own log has the difference at
/// each task.
fn warn_of_difference(subject: &Subject, code: &RunOrigin) {
    if let Some(difference) = &code.difference {
        tracing::warn!(run_id = %subject.run_id, "run {}: {difference}", subject.run_id);
    }
}
