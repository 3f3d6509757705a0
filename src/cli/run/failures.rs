//! `run failures`, and `run reexecute --group`: what broke, and executing it again.

use std::collections::HashMap;
use std::time::Duration;

use clap::Args;
use jiff::SignedDuration;
use serde_json::json;
use tokio::time::sleep;

use super::context::RunContext;
use super::launch::ReexecuteArgs;
use super::{CommonArgs, RunError};
use crate::cli::output::note;
use crate::cli::table::Align;
use crate::dagster::Reexecution;
use crate::domain::{
    Command, FailureGroup, FailureKind, MAX_FAILED_RUNS, Query, Reply, Timestamp, group_failures,
    nearest, parse_window,
};

/// Flags of `run failures`.
#[derive(Debug, Args)]
pub struct FailuresArgs {
    /// How far to look back: 30m, 24h, 7d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_window)]
    since: SignedDuration,
    /// Only of this job
    #[arg(long, value_name = "NAME")]
    job: Option<String>,
    #[command(flatten)]
    common: CommonArgs,
}

/// Flags of `run reexecute --group`.
#[derive(Debug, Args)]
pub struct GroupArgs {
    /// The failed runs with this exception class, as `run failures` prints it, from their failure:
    /// those without a newer execution
    #[arg(long, value_name = "CLASS", conflicts_with_all = ["from_failure", "wait"])]
    pub(super) group: Option<String>,
    /// With --group: only of this job
    #[arg(long, value_name = "NAME", requires = "group")]
    job: Option<String>,
    /// With --group: how far to look back: 30m, 24h, 7d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_window)]
    since: SignedDuration,
    /// With --group: how many a minute
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=600))]
    per_minute: u32,
    /// With --group: do it; without, the runs are printed and counted
    #[arg(long, requires = "group")]
    yes: bool,
}

pub(super) async fn failures(args: FailuresArgs) -> Result<(), RunError> {
    let context = args.common.context()?;
    let groups = groups(&context, args.since, args.job.as_deref()).await?;
    let columns = [
        Align::Right,
        Align::Left,
        Align::Left,
        Align::Right,
        Align::Left,
        Align::Left,
        Align::Left,
    ];
    let rows = groups.iter().map(|group| (json!(group), cells(group)));
    context.print_rows(columns, rows);
    if groups.is_empty() && !context.is_json() {
        note!("no run failed in this time");
    }
    Ok(())
}

/// The groups of failures since then.
async fn groups(
    context: &RunContext,
    since: SignedDuration,
    job: Option<&str>,
) -> Result<Vec<FailureGroup>, RunError> {
    let since = Timestamp::now() - since;
    let (mut runs, mut before) = (Vec::new(), None);
    loop {
        let page = context.client.failed_runs(since, before.as_deref()).await?;
        runs.extend(page.runs);
        before = page.next;
        if before.is_none() {
            break;
        }
        if runs.len() >= MAX_FAILED_RUNS {
            runs.truncate(MAX_FAILED_RUNS);
            let total = page.total;
            note!(
                "only the newest {MAX_FAILED_RUNS} of {total} failed runs are looked at: give a shorter --since"
            );
            break;
        }
    }
    runs.retain(|run| job.is_none_or(|job| run.job == job));
    let ids: Vec<String> = runs.iter().map(|run| run.run_id.clone()).collect();
    let (mut read, mut cut) = (HashMap::new(), 0);
    for some in ids.chunks(Query::LOGS_AT_ONCE) {
        for found in context.client.failures_of(some).await? {
            cut += usize::from(found.is_cut);
            read.insert(found.run_id.clone(), found);
        }
    }
    if cut > 0 {
        note!("{cut} logs are too long to be read whole: there may be more failures");
    }
    Ok(group_failures(&runs, &read, &[]))
}

fn cells(group: &FailureGroup) -> [String; 7] {
    let time = |at: Option<Timestamp>| {
        let second = at.and_then(|at| Timestamp::from_second(at.as_second()).ok());
        second.map_or_else(|| "?".to_owned(), |at| at.to_string())
    };
    let hosts: Vec<&str> = group.hosts.iter().map(String::as_str).collect();
    let example = group.example.lines().next().unwrap_or_default();
    [
        group.count.to_string(),
        group.class.clone(),
        group.job.clone(),
        format!("{} open", group.open),
        format!("{} to {}", time(group.first_at), time(group.last_at)),
        hosts.join(" "),
        example.to_owned(),
    ]
}

/// Executes the failed runs of a group again, so many a minute.
pub(super) async fn reexecute_group(args: ReexecuteArgs, class: &str) -> Result<(), RunError> {
    let context = args.common.context()?.because(&args.reason);
    let requested = args.group;
    let groups = groups(&context, requested.since, requested.job.as_deref()).await?;
    let named = |group: &&FailureGroup| group.class == class && group.kind == FailureKind::Run;
    let mut runs: Vec<(String, String)> = Vec::new();
    for group in groups.iter().filter(named) {
        let open = group.open_runs().into_iter();
        runs.extend(open.map(|run_id| (run_id, group.job.clone())));
    }
    if !groups.iter().any(|group| named(&group)) {
        let near = nearest(class, groups.iter().map(|group| group.class.as_str()));
        let near = near.map_or_else(String::new, |near| format!("; the nearest is {near}"));
        return Err(RunError::Unclear(format!(
            "no run failed with {class} in this time{near}; `run failures` prints the groups"
        )));
    }
    if !requested.yes {
        for (run_id, job) in &runs {
            context.print(
                &json!({"run_id": run_id, "job": job, "would": "reexecute"}),
                &format!("{run_id} {job}"),
            );
        }
        return Err(RunError::DryRun {
            count: count(runs.len()),
            what: "executed again from their failure",
        });
    }
    let pause = Duration::from_millis(60_000 / u64::from(requested.per_minute.max(1)));
    let all = runs.len();
    let mut refused = Vec::new();
    for (index, (run_id, job)) in runs.into_iter().enumerate() {
        if index > 0 {
            sleep(pause).await;
        }
        let progress = format!("{} of {all}", index + 1);
        if let Err(error) = one(&context, &run_id, &job, &progress).await {
            // No further run fares better.
            if matches!(&error, RunError::ReadOnly { .. })
                || matches!(&error, RunError::Dagster(error) if error.is_passing())
            {
                return Err(error);
            }
            refused.push(format!("{run_id}: {error}"));
        }
    }
    if refused.is_empty() {
        return Ok(());
    }
    Err(RunError::Unclear(format!(
        "{} of {all} were not executed again: {}",
        refused.len(),
        refused.join("; ")
    )))
}

async fn one(
    context: &RunContext,
    run_id: &str,
    job: &str,
    progress: &str,
) -> Result<(), RunError> {
    let command = Command::ReexecuteRun {
        run_id: run_id.to_owned(),
        from_failure: true,
        if_open: true,
    };
    context.allow(&command).await?;
    if let Some(settled) = context.client.settled(run_id).await? {
        let reply = Reply::Done(format!("run {run_id} was left alone: {settled}"));
        context.record(&command, reply).await;
        context.print(
            &json!({"run_id": run_id, "job": job, "left_alone": settled.to_string()}),
            &format!("{progress}: {run_id} is left alone: {settled}"),
        );
        return Ok(());
    }
    let outcome = context
        .client
        .reexecute(run_id, Reexecution::FromFailure)
        .await;
    let launched = context
        .recorded(&command, outcome, |run| {
            format!("launched run {}", run.run_id)
        })
        .await?;
    let again = launched.run_id;
    context.print(
        &json!({"run_id": run_id, "job": job, "launched": again}),
        &format!("{progress}: {run_id} of {job} runs again as {again}"),
    );
    Ok(())
}

fn count(runs: usize) -> String {
    match runs {
        1 => String::from("1 run"),
        runs => format!("{runs} runs"),
    }
}
