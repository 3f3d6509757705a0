//! One job: its configuration, partitions and assets, and the validation of a configuration.

use std::fmt::Write;

use serde::Deserialize;
use serde_json::{Value, json};

use super::launch::{asset_input, run_config, selector};
use super::schema::{AssetPath, Results, Tag};
use super::{Client, DagsterError, answer};
use crate::domain::secrets::redact_text;
use crate::domain::{AssetKey, ConfigProblem, JobDetail, JobRef, Launch, nearest};

/// Dagster's data of one partition of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionDetail {
    /// Run configuration, as YAML.
    pub run_config: String,
    /// The tags that assign a run to this partition.
    pub tags: Vec<(String, String)>,
}

impl Client {
    /// The data needed to launch a job, or these assets of it.
    ///
    /// # Errors
    /// See [`DagsterError`]; an unknown job is `Refused`.
    pub async fn job_detail(
        &self,
        job: &JobRef,
        assets: &[AssetKey],
    ) -> Result<JobDetail, DagsterError> {
        let (default_config, partitions, assets) = tokio::try_join!(
            self.default_config(job, assets),
            self.partitions(job, assets),
            self.assets(job)
        )?;
        Ok(JobDetail {
            default_config,
            partitions,
            assets,
        })
    }

    /// A job's default run configuration, as YAML.
    ///
    /// # Errors
    /// See [`DagsterError`].
    pub async fn default_config(
        &self,
        job: &JobRef,
        assets: &[AssetKey],
    ) -> Result<String, DagsterError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct RunConfigSchema {
            root_default_yaml: String,
        }
        let variables = json!({"selector": selector(job, "pipelineName", assets)});
        let answer = self
            .read(include_str!("queries/default_config.graphql"), variables)
            .await?;
        let schema: RunConfigSchema = answer::expect(answer, "RunConfigSchema")?;
        Ok(schema.root_default_yaml)
    }

    /// The newest partitions of a job, newest first; empty for a job without partitions.
    async fn partitions(
        &self,
        job: &JobRef,
        assets: &[AssetKey],
    ) -> Result<Vec<String>, DagsterError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Pipeline {
            partition_keys_or_error: Keys,
        }
        let variables = json!({
            "selector": selector(job, "pipelineName", &[]),
            "assets": asset_input(assets),
            "partitions": JobDetail::MAX_PARTITIONS,
        });
        let document = include_str!("queries/job_detail.graphql");
        let answer = self.read(document, variables).await?;
        let pipeline: Pipeline = answer::expect(answer, "Pipeline")?;
        let mut keys = pipeline.partition_keys_or_error.partition_keys;
        // These are the last ones, in ascending order.
        keys.reverse();
        Ok(keys)
    }

    /// The assets that a job materializes.
    async fn assets(&self, job: &JobRef) -> Result<Vec<AssetKey>, DagsterError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Node {
            asset_key: AssetPath,
            is_materializable: bool,
        }
        let variables = json!({"selector": selector(job, "pipelineName", &[])});
        let document = include_str!("queries/job_assets.graphql");
        let nodes: Vec<Node> = answer::read(self.read(document, variables).await?)?;
        let nodes = nodes.into_iter().filter(|node| node.is_materializable);
        let mut keys: Vec<AssetKey> = nodes.map(|node| node.asset_key.path).collect();
        keys.sort();
        keys.truncate(JobDetail::MAX_ASSETS);
        Ok(keys)
    }

    /// Dagster's data of one partition of a job.
    ///
    /// # Errors
    /// See [`DagsterError`]; an unknown partition is `Refused`.
    pub async fn partition(
        &self,
        job: &JobRef,
        assets: &[AssetKey],
        partition: &str,
    ) -> Result<PartitionDetail, DagsterError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Pipeline {
            partition_keys_or_error: Keys,
            partition: Option<Partition>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Partition {
            run_config_or_error: Value,
            tags_or_error: Value,
        }
        #[derive(Deserialize)]
        struct Config {
            yaml: String,
        }
        let variables = json!({
            "selector": selector(job, "pipelineName", &[]),
            "assets": asset_input(assets),
            "partition": partition,
        });
        let document = include_str!("queries/partition.graphql");
        let answer = self.read(document, variables).await?;
        let pipeline: Pipeline = answer::expect(answer, "Pipeline")?;
        let keys = pipeline.partition_keys_or_error.partition_keys;
        // Dagster itself would launch a run of a partition that does not exist.
        let known = keys.iter().any(|key| key == partition);
        let Some(found) = pipeline.partition.filter(|_| known) else {
            return Err(no_such_partition(job, partition, &keys));
        };
        let config: Config = answer::expect(found.run_config_or_error, "PartitionRunConfig")?;
        let tags: Results<Tag> = answer::expect(found.tags_or_error, "PartitionTags")?;
        let tags = tags.results.into_iter().map(|tag| (tag.key, tag.value));
        Ok(PartitionDetail {
            run_config: config.yaml,
            tags: tags.collect(),
        })
    }

    /// Problems of a run configuration (YAML) for a job, or for these assets of it.
    ///
    /// # Errors
    /// See [`DagsterError`]; problems of the configuration are the answer, not an error.
    pub async fn validate(
        &self,
        job: &JobRef,
        assets: &[AssetKey],
        yaml: &str,
    ) -> Result<Vec<ConfigProblem>, DagsterError> {
        let variables = json!({
            "selector": selector(job, "pipelineName", assets),
            "config": run_config(yaml),
        });
        let document = include_str!("queries/validate.graphql");
        let answer = self.read(document, variables).await?;
        if answer::kind(&answer) == "RunConfigValidationInvalid" {
            let invalid: Invalid = answer::expect(answer, "RunConfigValidationInvalid")?;
            return Ok(invalid.errors.into_iter().map(Mistake::problem).collect());
        }
        answer::expect::<Value>(answer, "PipelineConfigValidationValid").map(|_| Vec::new())
    }

    /// Problems of the configuration of a launch: the given one, or Dagster's for the partition.
    ///
    /// # Errors
    /// See [`DagsterError`].
    pub async fn check(&self, launch: &Launch) -> Result<Vec<ConfigProblem>, DagsterError> {
        let Launch {
            job,
            assets,
            run_config,
            partition,
            ..
        } = launch;
        let own = match partition {
            Some(partition) if run_config.trim().is_empty() => {
                self.partition(job, assets, partition).await?.run_config
            }
            _ => run_config.clone(),
        };
        self.validate(job, assets, &own).await
    }

    /// Lets Dagster load a code location again.
    ///
    /// # Errors
    /// See [`DagsterError`]; a location that does not load is `Refused` with its error.
    pub async fn reload_location(&self, location: &str) -> Result<(), DagsterError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Entry {
            location_or_load_error: Option<Value>,
        }
        let document = include_str!("queries/reload_location.graphql");
        let answer = self.write(document, json!({"location": location})).await?;
        let entry: Entry = answer::expect(answer, "WorkspaceLocationEntry")?;
        match entry.location_or_load_error {
            Some(loaded) => answer::expect::<Value>(loaded, "RepositoryLocation").map(|_| ()),
            None => Ok(()),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Keys {
    partition_keys: Vec<String>,
}

fn no_such_partition(job: &JobRef, partition: &str, keys: &[String]) -> DagsterError {
    let name = &job.job;
    let reason = match nearest(partition, keys.iter().map(String::as_str)) {
        Some(near) => format!("{name} has no partition {partition}; the nearest is {near}"),
        None if keys.is_empty() => format!("{name} has no partitions"),
        None => format!("{name} has no partition {partition}"),
    };
    DagsterError::Refused {
        kind: "PartitionNotFound".to_owned(),
        reason,
    }
}

#[derive(Deserialize)]
struct Invalid {
    errors: Vec<Mistake>,
}

#[derive(Deserialize)]
struct Mistake {
    message: String,
    stack: Stack,
}

#[derive(Deserialize)]
struct Stack {
    entries: Vec<Entry>,
}

/// One part of a path: the field that is set.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    field_name: Option<String>,
    list_index: Option<u64>,
    map_key: Option<Value>,
}

impl Mistake {
    fn problem(self) -> ConfigProblem {
        let mut path = String::new();
        for entry in self.stack.entries {
            let key = entry.map_key.map(|key| match key {
                Value::String(text) => text,
                other => other.to_string(),
            });
            if let Some(name) = entry.field_name.or(key) {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(&name);
            } else if let Some(index) = entry.list_index {
                // Writing to a string cannot fail.
                let _ = write!(path, "[{index}]");
            }
        }
        ConfigProblem {
            path,
            message: redact_text(self.message.trim()).into_owned(),
        }
    }
}
