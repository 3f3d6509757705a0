//! `run jobs`, `run list` and `run show`.

use std::collections::HashMap;

use clap::Args;
use serde_json::json;

use super::launch::tag;
use super::{CommonArgs, RunError, status};
use crate::cli::output::note;
use crate::cli::table::Align;
use crate::dagster::{Place, RunFilter, StepStats};
use crate::domain::{RunStatus, RunView, StepFailure, Timestamp};

/// Dagster's tag for a run's partition.
const PARTITION: &str = "dagster/partition";

/// Flags of `run jobs`.
#[derive(Debug, Args)]
pub struct JobsArgs {
    #[command(flatten)]
    common: CommonArgs,
}

/// Flags of `run list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only of this status; may be given several times
    #[arg(short, long = "status", value_name = "STATUS", value_parser = status)]
    statuses: Vec<RunStatus>,
    /// Only of this job
    #[arg(long, value_name = "NAME")]
    job: Option<String>,
    /// Only with this tag; may be given several times
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = tag)]
    tags: Vec<(String, String)>,
    /// Only of this partition
    #[arg(long, value_name = "KEY")]
    partition: Option<String>,
    /// How many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Those before this run (its whole id)
    #[arg(long, value_name = "RUN")]
    before: Option<String>,
    #[command(flatten)]
    common: CommonArgs,
}

/// Flags of `run show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Run id, or its beginning
    run: String,
    #[command(flatten)]
    common: CommonArgs,
}

pub(super) async fn jobs(args: JobsArgs) -> Result<(), RunError> {
    let context = args.common.context()?;
    let mut jobs = Vec::new();
    for location in context.client.locations().await? {
        let name = &location.name;
        if let Some(error) = &location.error {
            let first = error.lines().next().unwrap_or_default();
            context.print(
                &json!({"location": name, "error": error}),
                &format!("{name}: did not load: {first}"),
            );
        } else if location.loading {
            context.print(
                &json!({"location": name, "loading": true}),
                &format!("{name}: loading"),
            );
        }
        for job in location.jobs.iter().filter(|job| job.can_be_launched()) {
            let (reference, is_asset_job) = (&job.reference, job.is_asset_job);
            let kind = if is_asset_job { "assets" } else { "ops" };
            jobs.push((
                json!({"job": reference.job, "location": name, "repository": reference.repository,
                    "assets": is_asset_job}),
                [reference.job.clone(), kind.to_owned(), name.clone()],
            ));
        }
    }
    context.print_rows([Align::Left; 3], jobs);
    Ok(())
}

pub(super) async fn list(args: ListArgs) -> Result<(), RunError> {
    let context = args.common.context()?;
    let filter = RunFilter {
        statuses: Some(args.statuses).filter(|statuses| !statuses.is_empty()),
        job: args.job,
        tags: {
            let partition = args.partition.into_iter();
            let partition = partition.map(|key| (PARTITION.to_owned(), key));
            args.tags.into_iter().chain(partition).collect()
        },
        ..RunFilter::default()
    };
    let mut page = context
        .client
        .runs(&filter, args.limit, args.before.as_deref())
        .await?;
    context.client.count_steps(&mut page.runs).await?;
    let unplanned = page.runs.iter().filter(|run| run.steps_total.is_none());
    let unplanned: Vec<String> = unplanned.map(|run| run.run_id.clone()).collect();
    let sizes = if unplanned.is_empty() {
        HashMap::new()
    } else {
        context.client.plan_sizes(&unplanned).await?
    };
    let mut rows = Vec::new();
    for mut run in page.runs {
        let planned = || sizes.get(&run.run_id).copied();
        run.steps_total = run.steps_total.or_else(planned);
        rows.push((json!(run), cells(&run)));
    }
    let columns = [
        Align::Left,
        Align::Left,
        Align::Left,
        Align::Right,
        Align::Left,
    ];
    context.print_rows(columns, rows);
    if let (Some(next), false) = (&page.next, context.is_json()) {
        note!("there are more: --before {next}");
    }
    Ok(())
}

fn cells(run: &RunView) -> [String; 5] {
    let ended = run.steps_succeeded + run.steps_failed;
    let total = run
        .steps_total
        .map_or_else(|| String::from("?"), |total| total.to_string());
    let created = run.created_at.map(to_seconds).unwrap_or_default();
    [
        run.run_id.clone(),
        run.status.word().to_lowercase(),
        created,
        format!("{ended}/{total}"),
        run.job.clone(),
    ]
}

fn to_seconds(at: Timestamp) -> String {
    let second = Timestamp::from_second(at.as_second()).unwrap_or(at);
    second.to_string()
}

pub(super) async fn show(args: ShowArgs) -> Result<(), RunError> {
    let context = args.common.context()?;
    let run_id = context.run_id(&args.run).await?;
    let run = context.client.run(&run_id).await?;
    let digest = context.client.digest(&run_id).await?;
    let (places, failures) = match digest {
        Some(digest) if run.status == RunStatus::Failure => {
            (digest.places, digest.failures.failures)
        }
        Some(digest) => (digest.places, Vec::new()),
        None => (HashMap::new(), Vec::new()),
    };
    let place = |step: &StepStats| places.get(&step.key).cloned().unwrap_or_default();
    let steps = run.steps.iter().map(|step| step_json(step, place(step)));
    let steps: Vec<_> = steps.collect();
    let value = json!({"run_id": run.run_id, "job": run.job, "status": run.status,
        "can_terminate": run.can_terminate, "steps": steps,
        "plan": run.plan.iter().map(|step| &step.key).collect::<Vec<_>>(), "config": run.config,
        "failures": failures});
    let mut words = format!(
        "{} {} {}\n",
        run.run_id,
        run.status.word().to_lowercase(),
        run.job
    );
    for step in &run.steps {
        words.push_str(&step_line(step, &place(step)));
    }
    let begun = |key: &String| run.steps.iter().any(|step| step.key == *key);
    for step in run.plan.iter().filter(|step| !begun(&step.key)) {
        words.push_str("  not started  ");
        words.push_str(&step.key);
        words.push('\n');
    }
    for failure in &failures {
        words.push_str(&failure_lines(failure));
    }
    // Dagster's form of no configuration.
    words.push_str(
        Some(run.config.trim_end())
            .filter(|text| *text != "{}")
            .unwrap_or_default(),
    );
    context.print(&value, words.trim_end());
    Ok(())
}

/// The step (or `run`) that failed, where it ran, and its exception.
fn failure_lines(failure: &StepFailure) -> String {
    let what = failure.step_key.as_deref().unwrap_or("run");
    let on = on(failure.worker.as_deref(), failure.host.as_deref());
    let text = failure.text.replace('\n', "\n    ");
    // Dagster's texts mostly begin with the class, some with its module before it.
    let (first, _) = text.split_once(':').unwrap_or_default();
    let class = if first.ends_with(&failure.class) {
        String::new()
    } else {
        format!("{}: ", failure.class)
    };
    format!("  {what} failed{on}:\n    {class}{text}\n")
}

/// The worker at the end of a sentence, with its host unless its id has it.
fn on(worker: Option<&str>, host: Option<&str>) -> String {
    match (worker, host) {
        (None, _) => String::new(),
        (Some(worker), Some(host)) if !worker.contains(host) => format!(" on {worker} ({host})"),
        (Some(worker), _) => format!(" on {worker}"),
    }
}

fn step_json(step: &StepStats, Place { worker, host }: Place) -> serde_json::Value {
    json!({"key": step.key, "status": step.status, "started_at": step.started_at,
        "ended_at": step.ended_at, "attempts": step.attempts.len(), "worker": worker, "host": host})
}

fn step_line(step: &StepStats, place: &Place) -> String {
    let status = step.status.as_deref().unwrap_or("?").to_lowercase();
    let took = match (step.started_at, step.ended_at) {
        (Some(from), Some(to)) => format!("{:.1} s", to.duration_since(from).as_secs_f64()),
        _ => String::new(),
    };
    let again = match step.attempts.len() {
        0 | 1 => String::new(),
        attempts => format!(", {attempts} attempts"),
    };
    let on = on(place.worker.as_deref(), place.host.as_deref());
    format!("  {status:<12} {} {took}{again}{on}\n", step.key)
}
