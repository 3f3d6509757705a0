//! Types of Dagster's GraphQL schema that several queries read. A query names the fields it needs:
//! what not every query names is optional.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Client, DagsterError, answer};
use crate::domain::AssetKey;

/// A tag of a run or a job.
#[derive(Deserialize)]
pub(super) struct Tag {
    pub(super) key: String,
    pub(super) value: String,
}

/// A reference to an asset.
#[derive(Deserialize)]
pub(super) struct AssetPath {
    pub(super) path: AssetKey,
}

/// A list in an object of its own.
#[derive(Deserialize)]
pub(super) struct Results<T> {
    pub(super) results: Vec<T>,
}

/// A page of a run's event log.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EventConnection<E> {
    pub(super) cursor: String,
    pub(super) has_more: bool,
    pub(super) events: Vec<E>,
}

/// An exception of user code or of Dagster.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PythonError {
    pub(super) class_name: Option<String>,
    pub(super) message: String,
    /// Chain of causes: the code's own exception is the last.
    #[serde(default)]
    pub(super) causes: Vec<PythonError>,
    #[serde(default)]
    pub(super) stack: Vec<String>,
}

impl PythonError {
    /// The messages of the error and its causes, the error's own first.
    pub(super) fn messages(&self) -> Vec<&str> {
        let all = std::iter::once(self).chain(&self.causes);
        all.map(|error| error.message.trim()).collect()
    }
}

/// A code location; `R` is what a query reads of its repositories.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LocationEntry<R> {
    pub(super) name: String,
    load_status: String,
    location_or_load_error: Option<Loaded<R>>,
}

#[derive(Deserialize)]
struct Loaded<R> {
    /// Absent for a location that does not load.
    repositories: Option<Vec<R>>,
    #[serde(flatten)]
    error: Option<PythonError>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Workspace<R> {
    location_entries: Vec<LocationEntry<R>>,
}

impl<R> LocationEntry<R> {
    /// Whether Dagster is still loading it.
    pub(super) fn is_loading(&self) -> bool {
        self.load_status == "LOADING"
    }

    /// Its repositories, or the reason why it could not be loaded. Neither is there before its
    /// first load has ended.
    pub(super) fn loaded(self) -> (Vec<R>, Option<PythonError>) {
        let loaded = self.location_or_load_error;
        loaded.map_or((Vec::new(), None), |loaded| {
            (loaded.repositories.unwrap_or_default(), loaded.error)
        })
    }
}

impl Client {
    /// The code locations, by a query of `workspaceOrError`.
    pub(super) async fn workspace<R: DeserializeOwned>(
        &self,
        document: &str,
    ) -> Result<Vec<LocationEntry<R>>, DagsterError> {
        let answer = self.read(document, Value::Null).await?;
        let workspace: Workspace<R> = answer::expect(answer, "Workspace")?;
        Ok(workspace.location_entries)
    }
}
