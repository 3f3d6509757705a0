//! Code locations and their jobs.

use serde::Deserialize;

use super::schema::{LocationEntry, Tag};
use super::{Client, DagsterError};
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
    /// Innermost cause of that: the code's own exception, as far as there is one.
    pub cause: Option<String>,
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
        let document = include_str!("queries/locations.graphql");
        let entries = self.workspace(document).await?;
        Ok(entries.into_iter().map(location).collect())
    }
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

fn location(entry: LocationEntry<Repository>) -> Location {
    let (name, loading) = (entry.name.clone(), entry.is_loading());
    let (repositories, error) = entry.loaded();
    let mut jobs = Vec::new();
    for repository in repositories {
        for pipeline in repository
            .pipelines
            .into_iter()
            .filter(|pipeline| pipeline.is_job)
        {
            jobs.push(Job {
                reference: JobRef {
                    location: name.clone(),
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
    let shown = |message: &str| redact_text(message).into_owned();
    let cause = error.as_ref().and_then(|error| error.messages().pop());
    Location {
        loading,
        cause: cause.map(shown),
        error: error.map(|error| redact_text(&error.message).into_owned()),
        name,
        jobs,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    #[test]
    fn the_cause_of_a_location_that_does_not_load_is_the_codes_own_exception() {
        let cause = "ModuleNotFoundError: No module named 'stripe_client_v2'\n";
        let entry = |error: serde_json::Value| {
            let entry = json!({
                "name": "billing",
                "loadStatus": "LOADED",
                "locationOrLoadError": error,
            });
            location(serde_json::from_value(entry).unwrap())
        };
        let found = entry(json!({"message": "DagsterImportError", "causes": [{"message": cause}]}));
        assert_eq!(found.cause.as_deref(), Some(cause.trim()));
        assert_eq!(found.error.as_deref(), Some("DagsterImportError"));
        let found = entry(json!({"message": "refused", "causes": []}));
        assert_eq!(found.cause.as_deref(), Some("refused"));
        assert_eq!(entry(json!({"repositories": []})).cause, None);
    }
}
