//! Commands and queries that the aggregator sends to Dagster's webserver for an operator.

use crate::dagster::{Client, DagsterError, Reexecution, TerminationPolicy};
use crate::domain::{Answer, Command, Launch, Query, Reply, RunEvent};

/// Maximum number of events of a run in one read.
const EVENTS: u32 = 500;

/// Sends a command or a query to Dagster.
pub(super) async fn run(client: &Client, command: Command) -> Reply {
    match command {
        Command::LaunchRun(launch) => launch_run(client, &launch).await,
        Command::ReexecuteRun {
            run_id,
            from_failure,
            if_open,
        } => reexecute(client, &run_id, from_failure, if_open).await,
        Command::TerminateRuns { run_ids, force } => terminate(client, &run_ids, force).await,
        Command::ReloadLocation { location } => match client.reload_location(&location).await {
            Ok(()) => Reply::Done(format!("code location {location} was loaded again")),
            Err(error) => Reply::Failed(format!(
                "code location {location} was not loaded again: {error}"
            )),
        },
        Command::Switch { instigator, on } => {
            let name = format!("{} {}", instigator.word(), instigator.name);
            let state = if on { "on" } else { "off" };
            match client.switch(&instigator, on).await {
                Ok(()) => Reply::Done(format!("{name} is {state}")),
                Err(error) => Reply::Failed(format!("{name} was not turned {state}: {error}")),
            }
        }
        Command::Query(query) => {
            let verb = query.verb();
            match answer_query(client, query).await {
                Ok(Some(answer)) => Reply::Answer(Box::new(answer)),
                Ok(None) => Reply::Failed(format!("{verb} is not for Dagster")),
                Err(error) => Reply::Failed(error.to_string()),
            }
        }
        other => Reply::Failed(format!("{} is not for Dagster", other.verb())),
    }
}

/// Answers a query; `None` if a worker has the answer.
async fn answer_query(client: &Client, query: Query) -> Result<Option<Answer>, DagsterError> {
    let answer = match query {
        Query::Job { job, assets } => Answer::Job(client.job_detail(&job, &assets).await?),
        Query::PartitionConfig {
            job,
            assets,
            partition,
        } => {
            let detail = client.partition(&job, &assets, &partition).await?;
            Answer::PartitionConfig(detail.run_config)
        }
        Query::CheckConfig(launch) => Answer::CheckConfig(client.check(&launch).await?),
        Query::Run { run_id } => Answer::Run(client.run(&run_id).await?.into_steps()),
        Query::FailedRuns { since, before } => {
            Answer::FailedRuns(client.failed_runs(since, before.as_deref()).await?)
        }
        Query::RunFailures { mut run_ids } => {
            run_ids.truncate(Query::LOGS_AT_ONCE);
            Answer::RunFailures(client.failures_of(&run_ids).await?)
        }
        Query::DagsterParts => Answer::DagsterParts(client.parts().await?),
        Query::StepEvents {
            run_id,
            step_key,
            after,
        } => {
            let mut page = client.logs(&run_id, after.as_deref(), EVENTS).await?;
            if let Some(step) = step_key {
                let is_of_it = |event: &RunEvent| {
                    event.step_key.as_ref() == Some(&step) || event.captured.contains(&step)
                };
                page.events.retain(is_of_it);
            }
            Answer::StepEvents(page)
        }
        Query::StepOutput {
            run_id,
            file_key,
            after,
        } => Answer::StepOutput(client.output(&run_id, &file_key, after.as_deref()).await?),
        Query::OlderRuns { .. }
        | Query::OutputFiles { .. }
        | Query::Payload { .. }
        | Query::Queue { .. }
        | Query::Peek { .. }
        | Query::Stack { .. }
        | Query::Usage { .. }
        | Query::AlarmHistory { .. }
        | Query::Explain { .. } => return Ok(None),
    };
    Ok(Some(answer))
}

async fn launch_run(client: &Client, launch: &Launch) -> Reply {
    let name = &launch.job.job;
    match client.launch(launch).await {
        Ok(launched) => Reply::Done(format!("launched run {} of {name}", launched.run_id)),
        Err(error) => Reply::Failed(format!("{name} was not launched: {error}")),
    }
}

async fn reexecute(client: &Client, run_id: &str, from_failure: bool, if_open: bool) -> Reply {
    if if_open {
        match client.settled(run_id).await {
            Ok(None) => {}
            Ok(Some(settled)) => {
                return Reply::Done(format!("run {run_id} was left alone: {settled}"));
            }
            Err(error) => {
                return Reply::Failed(format!("run {run_id} was not executed again: {error}"));
            }
        }
    }
    let what = if from_failure {
        Reexecution::FromFailure
    } else {
        Reexecution::AllSteps
    };
    match client.reexecute(run_id, what).await {
        Ok(launched) => Reply::Done(format!(
            "launched run {} again as {}",
            run_id, launched.run_id
        )),
        Err(error) => Reply::Failed(format!("run {run_id} was not executed again: {error}")),
    }
}

async fn terminate(client: &Client, run_ids: &[String], force: bool) -> Reply {
    let (policy, done) = if force {
        (TerminationPolicy::MarkCanceled, "marked as canceled")
    } else {
        (TerminationPolicy::Safe, "being terminated")
    };
    let outcomes = match client.terminate(run_ids, policy).await {
        Ok(outcomes) => outcomes,
        Err(error) => return Reply::Failed(format!("nothing was terminated: {error}")),
    };
    let refusals: Vec<String> = outcomes
        .iter()
        .filter_map(|outcome| Some(outcome.result.as_ref().err()?.to_string()))
        .collect();
    let (requested, refused) = (outcomes.len(), refusals.len());
    if refused == 0 {
        let runs = if requested == 1 { "run is" } else { "runs are" };
        return Reply::Done(format!("{requested} {runs} {done}"));
    }
    let reasons = refusals.join("; ");
    let way = if force {
        ""
    } else {
        "; a run that has not started can only be marked as canceled (run terminate --force)"
    };
    Reply::Failed(format!(
        "{refused} of {requested} runs were not terminated: {reasons}{way}"
    ))
}
