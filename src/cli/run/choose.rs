//! Choice of the job or assets.

use std::collections::BTreeSet;

use super::RunError;
use crate::dagster::{Client, Location};
use crate::domain::{AssetKey, JobRef, nearest};

/// The flags that select a job.
pub(super) struct JobChoice<'a> {
    pub(super) job: Option<&'a str>,
    pub(super) location: Option<&'a str>,
    pub(super) assets: &'a [AssetKey],
}

/// Finds the selected job. Without a name it is Dagster's own job over the assets of the code
/// location that has the given ones.
pub(super) async fn job(client: &Client, choice: &JobChoice<'_>) -> Result<JobRef, RunError> {
    let locations = in_scope(client.locations().await?, choice.location)?;
    let name = match choice.job {
        Some(name) => name,
        None if choice.assets.is_empty() => {
            return unclear("name a job, or assets with --asset; `run jobs` prints the jobs");
        }
        None => JobRef::ALL_ASSETS,
    };
    let mut found: Vec<JobRef> = jobs(&locations)
        .filter(|job| job.job == name)
        .cloned()
        .collect();
    if choice.job.is_none() && found.len() > 1 {
        let mut with = Vec::new();
        for job in found {
            let detail = client.job_detail(&job, &[]).await?;
            if choice
                .assets
                .iter()
                .all(|asset| detail.assets.contains(asset))
            {
                with.push(job);
            }
        }
        found = with;
    }
    match found.as_slice() {
        [job] => Ok(job.clone()),
        [] => unclear(unknown(name, &locations)),
        several => {
            let names: Vec<&str> = several.iter().map(|job| job.location.as_str()).collect();
            unclear(format!(
                "{name} is in several code locations: {}; give --location",
                names.join(", ")
            ))
        }
    }
}

/// Refuses an asset that the job does not materialize.
pub(super) fn check_assets(
    job: &JobRef,
    known: &[AssetKey],
    choice: &[AssetKey],
) -> Result<(), RunError> {
    let Some(missing) = choice.iter().find(|asset| !known.contains(asset)) else {
        return Ok(());
    };
    let (missing, names) = (missing.join("/"), known.iter().map(|asset| asset.join("/")));
    let names: Vec<String> = names.collect();
    let near = nearest(&missing, names.iter().map(String::as_str));
    let near = near.map_or_else(String::new, |near| format!("; the nearest is {near}"));
    unclear(format!("{} has no asset {missing}{near}", job.job))
}

fn in_scope(locations: Vec<Location>, name: Option<&str>) -> Result<Vec<Location>, RunError> {
    let Some(name) = name else {
        return Ok(locations);
    };
    let names: Vec<String> = locations
        .iter()
        .map(|location| location.name.clone())
        .collect();
    let found: Vec<Location> = locations
        .into_iter()
        .filter(|location| location.name == name)
        .collect();
    if found.is_empty() {
        let near = nearest(name, names.iter().map(String::as_str));
        let near = near.map_or_else(
            || "; Dagster has none".to_owned(),
            |near| format!("; the nearest is {near}"),
        );
        return unclear(format!("there is no code location {name}{near}"));
    }
    Ok(found)
}

fn jobs(locations: &[Location]) -> impl Iterator<Item = &JobRef> {
    let jobs = locations.iter().flat_map(|location| &location.jobs);
    jobs.map(|job| &job.reference)
}

fn unknown(name: &str, locations: &[Location]) -> String {
    let names: BTreeSet<&str> = jobs(locations)
        .filter(|job| !job.is_all_assets())
        .map(|job| job.job.as_str())
        .collect();
    let near = nearest(name, names.into_iter());
    let near = near.map_or_else(String::new, |near| format!("; the nearest is {near}"));
    let broken: String = locations
        .iter()
        .filter_map(|location| {
            let error = location.error.as_deref()?;
            let first = error.lines().next().unwrap_or_default();
            Some(format!(
                "; code location {} did not load: {first}",
                location.name
            ))
        })
        .collect();
    format!("there is no job {name}{near}{broken}")
}

fn unclear<T>(text: impl Into<String>) -> Result<T, RunError> {
    Err(RunError::Unclear(text.into()))
}
