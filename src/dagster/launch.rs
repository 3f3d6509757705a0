//! Launching, re-executing and terminating runs.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Client, DagsterError, answer};
use crate::domain::{JobRef, RunStatus};

/// What to launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The job.
    pub job: JobRef,
    /// Run configuration as YAML; empty for the job's own default.
    pub run_config: String,
    /// Run tags.
    pub tags: Vec<(String, String)>,
    /// Only these steps; empty for all.
    pub steps: Vec<String>,
    /// Only these assets, each as the parts of its key; empty for all.
    pub assets: Vec<Vec<String>>,
}

impl Launch {
    /// A whole job with its own default configuration.
    #[must_use]
    pub fn job(job: JobRef) -> Self {
        Self {
            job,
            run_config: String::new(),
            tags: Vec::new(),
            steps: Vec::new(),
            assets: Vec::new(),
        }
    }

    /// GraphQL's `ExecutionParams`.
    fn params(&self) -> Value {
        let tags: Vec<Value> = self
            .tags
            .iter()
            .map(|(key, value)| json!({"key": key, "value": value}))
            .collect();
        let mut selector = selector(&self.job, "jobName");
        if !self.assets.is_empty() {
            let paths: Vec<Value> = self
                .assets
                .iter()
                .map(|path| json!({"path": path}))
                .collect();
            selector["assetSelection"] = json!(paths);
        }
        let mut params = json!({
            "selector": selector,
            "mode": "default",
            "runConfigData": run_config(&self.run_config),
            "executionMetadata": {"tags": tags},
        });
        if !self.steps.is_empty() {
            params["stepKeys"] = json!(self.steps);
        }
        params
    }
}

/// A run that was launched.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Launched {
    /// Its id.
    pub run_id: String,
    /// Its status just after.
    pub status: RunStatus,
}

/// What to run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reexecution {
    /// Every step.
    AllSteps,
    /// The steps that failed and those that depend on them.
    FromFailure,
}

/// How to terminate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TerminationPolicy {
    /// Ask the run launcher; Dagster refuses runs that are neither started nor queued.
    Safe,
    /// Mark the run as cancelled, whatever its processes do.
    MarkCanceled,
}

/// What came of terminating one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Termination {
    /// The run.
    pub run_id: String,
    /// Dagster's refusal, if it refused.
    pub result: Result<(), DagsterError>,
}

impl Client {
    /// Launches a run.
    ///
    /// # Errors
    /// See [`DagsterError`]; a bad configuration is `Refused` with Dagster's messages.
    pub async fn launch(&self, launch: &Launch) -> Result<Launched, DagsterError> {
        let variables = json!({"params": launch.params()});
        let answer = self
            .write(include_str!("queries/launch.graphql"), variables)
            .await?;
        launched(answer)
    }

    /// Launches several runs in one request; the outcome of each, in order.
    ///
    /// # Errors
    /// When none could be tried.
    pub async fn launch_many(
        &self,
        launches: &[Launch],
    ) -> Result<Vec<Result<Launched, DagsterError>>, DagsterError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Results {
            launch_multiple_runs_result: Vec<Value>,
        }
        let params: Vec<Value> = launches.iter().map(Launch::params).collect();
        let document = include_str!("queries/launch_many.graphql");
        let answer = self.write(document, json!({"params": params})).await?;
        let results: Results = answer::expect(answer, "LaunchMultipleRunsResult")?;
        Ok(results
            .launch_multiple_runs_result
            .into_iter()
            .map(launched)
            .collect())
    }

    /// Runs a run's job again. Dagster works out the steps.
    ///
    /// # Errors
    /// See [`DagsterError`].
    pub async fn reexecute(
        &self,
        run_id: &str,
        what: Reexecution,
    ) -> Result<Launched, DagsterError> {
        let strategy = match what {
            Reexecution::AllSteps => "ALL_STEPS",
            Reexecution::FromFailure => "FROM_FAILURE",
        };
        let variables = json!({"params": {"parentRunId": run_id, "strategy": strategy}});
        let answer = self
            .write(include_str!("queries/reexecute.graphql"), variables)
            .await?;
        launched(answer)
    }

    /// Terminates runs; the outcome of each, in order.
    ///
    /// # Errors
    /// When none could be tried.
    pub async fn terminate(
        &self,
        run_ids: &[String],
        policy: TerminationPolicy,
    ) -> Result<Vec<Termination>, DagsterError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Results {
            terminate_run_results: Vec<Value>,
        }
        let policy = match policy {
            TerminationPolicy::Safe => "SAFE_TERMINATE",
            TerminationPolicy::MarkCanceled => "MARK_AS_CANCELED_IMMEDIATELY",
        };
        let variables = json!({"ids": run_ids, "policy": policy});
        let answer = self
            .write(include_str!("queries/terminate.graphql"), variables)
            .await?;
        let results: Results = answer::expect(answer, "TerminateRunsResult")?;
        let outcomes = results.terminate_run_results.into_iter();
        Ok(run_ids
            .iter()
            .zip(outcomes)
            .map(|(run_id, outcome)| Termination {
                run_id: run_id.clone(),
                result: answer::expect::<Value>(outcome, "TerminateRunSuccess").map(|_| ()),
            })
            .collect())
    }
}

fn launched(answer: Value) -> Result<Launched, DagsterError> {
    #[derive(Deserialize)]
    struct Success {
        run: Launched,
    }
    let success: Success = answer::expect(answer, "LaunchRunSuccess")?;
    Ok(success.run)
}

/// `RunConfigData` takes YAML text or an object; an empty text is YAML's null, which it does not.
pub(super) fn run_config(yaml: &str) -> Value {
    if yaml.trim().is_empty() {
        json!({})
    } else {
        json!(yaml)
    }
}

/// GraphQL's selector of a job. `PipelineSelector` calls the name `pipelineName`,
/// `JobOrPipelineSelector` `jobName`.
pub(super) fn selector(job: &JobRef, name: &str) -> Value {
    json!({
        "repositoryLocationName": job.location,
        "repositoryName": job.repository,
        name: job.job,
    })
}
