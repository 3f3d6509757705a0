//! Launching, re-executing and terminating runs.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Client, DagsterError, answer};
use crate::config::yaml;
use crate::domain::{AssetKey, JobRef, Launch, RunStatus};

/// A run that was launched.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Launched {
    /// Its id.
    pub run_id: String,
    /// Its status right after the launch.
    pub status: RunStatus,
}

/// Steps to run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reexecution {
    /// Every step.
    AllSteps,
    /// The steps that failed and those that depend on them.
    FromFailure,
}

/// Way of terminating a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TerminationPolicy {
    /// Uses the run launcher; Dagster refuses runs that are neither started nor queued.
    Safe,
    /// Marks the run as cancelled, even if its processes continue.
    MarkCanceled,
}

/// Result of terminating one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Termination {
    /// The run.
    pub run_id: String,
    /// Dagster's refusal, if it refused.
    pub result: Result<(), DagsterError>,
}

impl Client {
    /// GraphQL's `ExecutionParams`. They have no partition, only its tags.
    async fn params(&self, launch: &Launch) -> Result<Value, DagsterError> {
        let (mut tags, mut config) = (Vec::new(), launch.run_config.clone());
        if let Some(partition) = &launch.partition {
            let found = self
                .partition(&launch.job, &launch.assets, partition)
                .await?;
            tags = found.tags;
            if config.trim().is_empty() {
                config = found.run_config;
            }
        }
        tags.extend(launch.tags.iter().cloned());
        let tags: Vec<Value> = tags
            .into_iter()
            .map(|(key, value)| json!({"key": key, "value": value}))
            .collect();
        Ok(json!({
            "selector": selector(&launch.job, "jobName", &launch.assets),
            "mode": "default",
            "runConfigData": run_config(&config),
            "executionMetadata": {"tags": tags},
        }))
    }

    /// Launches a run.
    ///
    /// # Errors
    /// See [`DagsterError`]; a bad configuration is `Refused` with Dagster's messages.
    pub async fn launch(&self, launch: &Launch) -> Result<Launched, DagsterError> {
        let variables = json!({"params": self.params(launch).await?});
        let answer = self
            .write(include_str!("queries/launch.graphql"), variables)
            .await?;
        launched(answer)
    }

    /// Launches several runs in one request; returns the outcome of each, in order.
    ///
    /// # Errors
    /// No launch could be tried.
    pub async fn launch_many(
        &self,
        launches: &[Launch],
    ) -> Result<Vec<Result<Launched, DagsterError>>, DagsterError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Results {
            launch_multiple_runs_result: Vec<Value>,
        }
        let mut params = Vec::with_capacity(launches.len());
        for launch in launches {
            params.push(self.params(launch).await?);
        }
        let document = include_str!("queries/launch_many.graphql");
        let answer = self.write(document, json!({"params": params})).await?;
        let results: Results = answer::expect(answer, "LaunchMultipleRunsResult")?;
        Ok(results
            .launch_multiple_runs_result
            .into_iter()
            .map(launched)
            .collect())
    }

    /// Runs a run's job again. Dagster determines the steps.
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

    /// Terminates runs; returns the outcome of each, in order.
    ///
    /// # Errors
    /// No termination could be tried.
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

/// `RunConfigData` takes YAML text or an object. An empty text, or one of comments alone, is null
/// in YAML, which `RunConfigData` refuses: it is sent as an empty configuration.
pub(super) fn run_config(text: &str) -> Value {
    match yaml::read(text) {
        Ok(Value::Null) => json!({}),
        _ => json!(text),
    }
}

/// GraphQL's selector of a job, or of these assets of it. `PipelineSelector` calls the name
/// `pipelineName`, `JobOrPipelineSelector` `jobName`.
pub(super) fn selector(job: &JobRef, name: &str, assets: &[AssetKey]) -> Value {
    let mut selector = json!({
        "repositoryLocationName": job.location,
        "repositoryName": job.repository,
        name: job.job,
    });
    if !assets.is_empty() {
        selector["assetSelection"] = asset_input(assets);
    }
    selector
}

/// GraphQL's list of `AssetKeyInput`; null for no selection.
pub(super) fn asset_input(assets: &[AssetKey]) -> Value {
    if assets.is_empty() {
        return Value::Null;
    }
    assets.iter().map(|path| json!({"path": path})).collect()
}
