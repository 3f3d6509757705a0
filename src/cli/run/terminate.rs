//! `run terminate`.

use clap::Args;
use serde_json::json;

use super::context::RunContext;
use super::{CommonArgs, RunError, status};
use crate::cli::output::out;
use crate::cli::reason::ReasonArgs;
use crate::cli::table::Align;
use crate::dagster::{RunFilter, Termination, TerminationPolicy};
use crate::domain::{Command, Reply, RunStatus, RunView};

/// Number of runs terminated by one call: Dagster sends them to the launcher one after the other.
const AT_ONCE: usize = 25;

/// Flags of `run terminate`.
#[derive(Debug, Args)]
pub struct TerminateArgs {
    /// Run ids, or their beginnings
    #[arg(required_unless_present_any = ["statuses", "job"], conflicts_with_all = ["statuses", "job"])]
    runs: Vec<String>,
    /// All unfinished runs of this status; may be given several times
    #[arg(short, long = "status", value_name = "STATUS", value_parser = status)]
    statuses: Vec<RunStatus>,
    /// All unfinished runs of this job
    #[arg(long, value_name = "NAME")]
    job: Option<String>,
    /// With --status or --job: do it; without, the runs are printed and counted
    #[arg(long)]
    yes: bool,
    /// Mark them as canceled, whatever their processes do: the way for runs that have not started,
    /// such as those that wait in SQS
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    reason: ReasonArgs,
    #[command(flatten)]
    common: CommonArgs,
}

pub(super) async fn terminate(args: TerminateArgs) -> Result<(), RunError> {
    let context = args.common.context()?.because(&args.reason);
    let mut run_ids = Vec::new();
    if args.runs.is_empty() {
        let runs = chosen(&context, &args).await?;
        if !args.yes {
            return Err(dry_run(&context, &runs, args.force));
        }
        run_ids.extend(runs.into_iter().map(|run| run.run_id));
    } else {
        for given in &args.runs {
            run_ids.push(context.run_id(given).await?);
        }
    }
    let command = Command::TerminateRuns {
        run_ids: run_ids.clone(),
        force: args.force,
    };
    context.allow(&command).await?;
    let policy = if args.force {
        TerminationPolicy::MarkCanceled
    } else {
        TerminationPolicy::Safe
    };
    let mut outcomes = Vec::new();
    for some in run_ids.chunks(AT_ONCE) {
        match context.client.terminate(some, policy).await {
            Ok(more) => outcomes.extend(more),
            Err(error) => {
                let (done, all) = (outcomes.len(), run_ids.len());
                let text = format!("{done} of {all} were asked for, then: {error}");
                context.record(&command, Reply::Failed(text)).await;
                return Err(error.into());
            }
        }
    }
    let result = report_outcomes(&context, &outcomes, args.force);
    let reply = match &result {
        Ok(()) => Reply::Done(format!("{} terminated", runs(outcomes.len()))),
        Err(error) => Reply::Failed(error.to_string()),
    };
    context.record(&command, reply).await;
    result
}

/// The unfinished runs that match the filter.
async fn chosen(context: &RunContext, args: &TerminateArgs) -> Result<Vec<RunView>, RunError> {
    const PAGE: u32 = 200;
    let unfinished = RunStatus::ALL
        .into_iter()
        .filter(|status| !status.is_finished());
    let filter = RunFilter {
        statuses: Some(if args.statuses.is_empty() {
            unfinished.collect()
        } else {
            args.statuses.clone()
        }),
        job: args.job.clone(),
        ..RunFilter::default()
    };
    let (mut runs, mut cursor) = (Vec::new(), None);
    loop {
        let page = context
            .client
            .runs(&filter, PAGE, cursor.as_deref())
            .await?;
        runs.extend(
            page.runs
                .into_iter()
                .filter(|run| !run.status.is_finished()),
        );
        cursor = page.next;
        if cursor.is_none() {
            return Ok(runs);
        }
    }
}

fn dry_run(context: &RunContext, runs: &[RunView], force: bool) -> RunError {
    let rows = runs.iter().map(|run| {
        let RunView {
            run_id,
            job,
            status,
            ..
        } = run;
        (
            json!({"run_id": run_id, "job": job, "status": status, "would": "terminate"}),
            [run_id.clone(), status.word().to_lowercase(), job.clone()],
        )
    });
    context.print_rows([Align::Left; 3], rows);
    RunError::DryRun {
        count: self::runs(runs.len()),
        what: if force {
            "marked as canceled"
        } else {
            "terminated"
        },
    }
}

fn report_outcomes(
    context: &RunContext,
    outcomes: &[Termination],
    force: bool,
) -> Result<(), RunError> {
    let mut reasons = Vec::new();
    for Termination { run_id, result } in outcomes {
        match result {
            Ok(()) if force => context.print(
                &json!({"run_id": run_id, "outcome": "marked as canceled"}),
                &format!("{run_id} is marked as canceled"),
            ),
            Ok(()) => context.print(
                &json!({"run_id": run_id, "outcome": "terminating"}),
                &format!("{run_id} is being terminated"),
            ),
            Err(error) => {
                if context.is_json() {
                    let text = error.to_string();
                    out!(
                        "{}",
                        json!({"run_id": run_id, "outcome": "refused", "reason": text})
                    );
                }
                reasons.push(error.to_string());
            }
        }
    }
    if reasons.is_empty() {
        return Ok(());
    }
    Err(RunError::Partly {
        failed: reasons.len(),
        all: outcomes.len(),
        reasons: reasons.join("; "),
        way: if force {
            ""
        } else {
            "; a run that has not started can be marked as canceled with --force"
        },
    })
}

fn runs(count: usize) -> String {
    match count {
        1 => String::from("1 run"),
        count => format!("{count} runs"),
    }
}
