//! Code locations and their jobs.

use serde::Deserialize;
use serde_json::Value;

use super::{Client, DagsterError, answer};
use crate::domain::JobRef;
use crate::domain::secrets::redact_text;

/// A code location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// Name.
    pub name: String,
    /// Whether Dagster is still loading it.
    pub loading: bool,
    /// Reason why it could not be loaded.
    pub error: Option<String>,
    /// Its jobs, by repository and name.
    pub jobs: Vec<Job>,
}

/// A job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its reference in a launch.
    pub reference: JobRef,
    /// Whether its steps materialize assets.
    pub is_asset_job: bool,
    /// Its tags.
    pub tags: Vec<(String, String)>,
}

impl Job {
    /// Whether it can be launched as it is, without an asset selection.
    #[must_use]
    pub fn can_be_launched(&self) -> bool {
        !self.reference.is_all_assets()
    }
}

impl Client {
    /// The code locations with their jobs.
    ///
    /// # Errors
    /// See [`DagsterError`].
    pub async fn locations(&self) -> Result<Vec<Location>, DagsterError> {
        let answer = self
            .read(include_str!("queries/locations.graphql"), Value::Null)
            .await?;
        let workspace: Workspace = answer::expect(answer, "Workspace")?;
        Ok(workspace
            .location_entries
            .into_iter()
            .map(LocationEntry::location)
            .collect())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Workspace {
    location_entries: Vec<LocationEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LocationEntry {
    name: String,
    load_status: String,
    location_or_load_error: Option<Loaded>,
}

#[derive(Default, Deserialize)]
struct Loaded {
    #[serde(default)]
    repositories: Vec<Repository>,
    message: Option<String>,
}

#[derive(Deserialize)]
struct Repository {
    name: String,
    pipelines: Vec<Pipeline>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pipeline {
    name: String,
    is_job: bool,
    is_asset_job: bool,
    tags: Vec<Tag>,
}

/// A tag as GraphQL has it.
#[derive(Deserialize)]
pub(super) struct Tag {
    pub(super) key: String,
    pub(super) value: String,
}

impl LocationEntry {
    fn location(self) -> Location {
        let loaded = self.location_or_load_error.unwrap_or_default();
        let mut jobs = Vec::new();
        for repository in loaded.repositories {
            for pipeline in repository
                .pipelines
                .into_iter()
                .filter(|pipeline| pipeline.is_job)
            {
                jobs.push(Job {
                    reference: JobRef {
                        location: self.name.clone(),
                        repository: repository.name.clone(),
                        job: pipeline.name,
                    },
                    is_asset_job: pipeline.is_asset_job,
                    tags: pipeline
                        .tags
                        .into_iter()
                        .map(|tag| (tag.key, tag.value))
                        .collect(),
                });
            }
        }
        jobs.sort_by(|one, other| one.reference.cmp(&other.reference));
        Location {
            loading: self.load_status == "LOADING",
            error: loaded.message.map(|text| redact_text(&text).into_owned()),
            name: self.name,
            jobs,
        }
    }
}
