//! The sample project's runs, launched and followed through Dagster's GraphQL.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::dagster::{Client, DagsterError, RunFilter};
use crate::domain::{JobRef, Launch, RunStatus, RunView};

use super::supervisor::Supervisor;
use super::{DemoError, Progress};

/// Job, and the run priority it is launched with (`None`: the job's own).
const LAUNCHES: [(&str, Option<&str>); 4] = [
    ("regional_scores", Some("-3")),
    ("regional_scores", None),
    ("daily_sales", None),
    ("invoice_import", None),
];

const RUN_PRIORITY_TAG: &str = "dagster-taskiq/run_priority";

/// Interval of the queries to Dagster.
const POLL_EVERY: Duration = Duration::from_millis(500);

/// Time without any change after which the demo fails: the longest step of the sample takes
/// seconds.
const STALLED: Duration = Duration::from_mins(4);

/// Time limit for loading the sample's code location, which takes seconds.
const LOADING: Duration = Duration::from_mins(2);

/// The runs cannot be launched or do not end.
#[derive(Debug, thiserror::Error)]
pub enum RunsError {
    /// The sample's jobs are not loaded.
    #[error("Dagster did not load the sample project: {0}")]
    NotLoaded(String),
    /// No change for too long.
    #[error(
        "nothing has changed for {} s: {waiting}; the logs are in {logs}", STALLED.as_secs()
    )]
    Stalled { waiting: String, logs: String },
}

/// Launches the runs; returns their ids.
pub(super) async fn launch(client: &Client, progress: Progress) -> Result<Vec<String>, DemoError> {
    let jobs = jobs(client).await?;
    let mut launches = Vec::new();
    for (name, priority) in LAUNCHES {
        let job = jobs
            .iter()
            .find(|job| job.job == name)
            .ok_or_else(|| RunsError::NotLoaded(format!("it has no job {name}")))?;
        let mut launch = Launch::job(job.clone());
        let tag = priority.map(|value| (RUN_PRIORITY_TAG.to_owned(), value.to_owned()));
        launch.tags.extend(tag);
        launches.push(launch);
    }
    let mut ids = Vec::new();
    for launched in client.launch_many(&launches).await? {
        ids.push(launched?.run_id);
    }
    progress.report(&format!("Launched {} runs", ids.len()));
    Ok(ids)
}

async fn jobs(client: &Client) -> Result<Vec<JobRef>, DemoError> {
    let deadline = Instant::now() + LOADING;
    loop {
        let locations = client.locations().await?;
        if let Some(error) = locations
            .iter()
            .find_map(|location| location.error.as_ref())
        {
            return Err(RunsError::NotLoaded(error.clone()).into());
        }
        let loading = locations.is_empty() || locations.iter().any(|location| location.loading);
        if !loading {
            let jobs = locations.into_iter().flat_map(|location| location.jobs);
            return Ok(jobs.map(|job| job.reference).collect());
        }
        if Instant::now() >= deadline {
            let text = format!("it was still loading after {} s", LOADING.as_secs());
            return Err(RunsError::NotLoaded(text).into());
        }
        tokio::time::sleep(POLL_EVERY).await;
    }
}

/// Status of a run and a count of its steps.
type Standing = (RunStatus, u32);

/// Prints the runs' progress until all are over; returns whether all succeeded.
pub(super) async fn follow(
    client: &Client,
    ids: &[String],
    supervisor: &mut Supervisor,
    progress: Progress,
) -> Result<bool, DemoError> {
    let started = Instant::now();
    let mut known: BTreeMap<String, Standing> = BTreeMap::new();
    let mut changed = Instant::now();
    loop {
        supervisor.check()?;
        let runs = query_runs(client, ids).await?;
        for run in &runs {
            let standing = (run.status, run.steps_succeeded);
            if known.insert(run.run_id.clone(), standing) != Some(standing) {
                changed = Instant::now();
                progress.report(&line(run));
            }
        }
        if runs.len() == ids.len() && runs.iter().all(|run| run.status.is_finished()) {
            return Ok(summary(&runs, started.elapsed(), supervisor, progress));
        }
        if changed.elapsed() > STALLED {
            let open = runs.iter().filter(|run| !run.status.is_finished());
            let waiting: Vec<_> = open.map(line).collect();
            let (waiting, logs) = (waiting.join(", "), supervisor.logs().display().to_string());
            return Err(RunsError::Stalled { waiting, logs }.into());
        }
        tokio::time::sleep(POLL_EVERY).await;
    }
}

async fn query_runs(client: &Client, ids: &[String]) -> Result<Vec<RunView>, DagsterError> {
    let filter = RunFilter {
        run_ids: Some(ids.to_vec()),
        ..RunFilter::default()
    };
    let limit = u32::try_from(ids.len()).unwrap_or(u32::MAX);
    let mut runs = client.runs(&filter, limit, None).await?.runs;
    client.count_steps(&mut runs).await?;
    Ok(runs)
}

fn line(run: &RunView) -> String {
    let id = run.run_id.get(..8).unwrap_or(&run.run_id);
    let status = format!("{:?}", run.status).to_lowercase();
    let steps = match run.steps_succeeded {
        0 => String::new(),
        n => format!(", {n} steps succeeded"),
    };
    format!("run {id} {:<16} {status}{steps}", run.job)
}

fn summary(runs: &[RunView], took: Duration, supervisor: &Supervisor, progress: Progress) -> bool {
    let bad: Vec<_> = runs
        .iter()
        .filter(|run| run.status != RunStatus::Success)
        .map(|run| run.run_id.as_str())
        .collect();
    let steps: u32 = runs.iter().map(|run| run.steps_succeeded).sum();
    progress.report(&format!(
        "{} of {} runs succeeded, {steps} steps in {:.1} s",
        runs.len() - bad.len(),
        runs.len(),
        took.as_secs_f64()
    ));
    if !bad.is_empty() {
        let (ids, logs) = (bad.join(", "), supervisor.logs().display());
        progress.report(&format!("Not successful: {ids}; the logs are in {logs}"));
    }
    bad.is_empty()
}
