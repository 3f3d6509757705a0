//! `dagster status|start|stop`: whether Dagster itself works, and its schedules and sensors.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{CommonArgs, RunError};
use crate::cli::block_on;
use crate::cli::output::note;
use crate::cli::reason::ReasonArgs;
use crate::cli::table::Align;
use crate::domain::{Command, DagsterPart, Instigator, Timestamp, nearest};

/// Verbs of `dagster`.
#[derive(Debug, Subcommand)]
pub enum DagsterVerb {
    /// Print daemons, code locations, schedules, sensors and backfills, with their last errors
    Status(StatusArgs),
    /// Start a schedule or sensor
    Start(SwitchArgs),
    /// Stop a schedule or sensor
    Stop(SwitchArgs),
}

/// Flags of `dagster status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    common: CommonArgs,
}

/// Flags of `dagster start` and `dagster stop`.
#[derive(Debug, Args)]
pub struct SwitchArgs {
    /// Name of the schedule or sensor
    name: String,
    /// Code location, where several have one of that name
    #[arg(short, long, value_name = "NAME")]
    location: Option<String>,
    #[command(flatten)]
    reason: ReasonArgs,
    #[command(flatten)]
    common: CommonArgs,
}

/// Runs a `dagster` verb.
///
/// # Errors
/// [`RunError`]
pub fn run(verb: DagsterVerb) -> Result<ExitCode, RunError> {
    block_on(async {
        match verb {
            DagsterVerb::Status(args) => status(args).await?,
            DagsterVerb::Start(args) => switch(args, true).await?,
            DagsterVerb::Stop(args) => switch(args, false).await?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn status(args: StatusArgs) -> Result<(), RunError> {
    let context = args.common.context()?;
    let found = context.client.parts().await?;
    for problem in &found.problems {
        note!("{problem}");
    }
    let rows = found.parts.iter().map(|part| (json!(part), cells(part)));
    context.print_rows([Align::Left; 5], rows);
    Ok(())
}

fn cells(part: &DagsterPart) -> [String; 5] {
    let second = part
        .at
        .and_then(|at| Timestamp::from_second(at.as_second()).ok());
    let at = second.map_or_else(String::new, |at| at.to_string());
    let error = part.error.as_deref().unwrap_or_default();
    let error = error.lines().next().unwrap_or_default();
    let mut last = format!("{} {}", part.result, part.detail).trim().to_owned();
    if !error.is_empty() {
        last.push_str(": ");
        last.push_str(error);
    }
    [
        part.kind.word().to_owned(),
        part.name.clone(),
        part.state.clone(),
        at,
        last,
    ]
}

async fn switch(args: SwitchArgs, on: bool) -> Result<(), RunError> {
    let context = args.common.context()?.because(&args.reason);
    let parts = context.client.parts().await?.parts;
    let all: Vec<Instigator> = parts
        .into_iter()
        .filter_map(|part| part.instigator)
        .collect();
    let is_it = |one: &&Instigator| {
        let location = args.location.as_ref();
        one.name == args.name && location.is_none_or(|location| one.location == *location)
    };
    let found: Vec<&Instigator> = all.iter().filter(is_it).collect();
    let instigator = match found.as_slice() {
        [one] => (*one).clone(),
        [] => {
            let near = nearest(&args.name, all.iter().map(|one| one.name.as_str()));
            let near = near.map_or_else(String::new, |near| format!("; the nearest is {near}"));
            let name = &args.name;
            return Err(RunError::Unclear(format!(
                "there is no schedule or sensor {name}{near}"
            )));
        }
        several => {
            let places: Vec<&str> = several.iter().map(|one| one.location.as_str()).collect();
            return Err(RunError::Unclear(format!(
                "{} is in several code locations: {}; give --location",
                args.name,
                places.join(", ")
            )));
        }
    };
    let command = Command::Switch {
        instigator: instigator.clone(),
        on,
    };
    context.allow(&command).await?;
    let done = format!(
        "{} {} is {}",
        instigator.word(),
        instigator.name,
        if on { "on" } else { "off" }
    );
    let outcome = context.client.switch(&instigator, on).await;
    context
        .recorded(&command, outcome, |()| done.clone())
        .await?;
    let value = json!({"name": instigator.name, "kind": instigator.word(), "on": on});
    context.print(&value, &done);
    Ok(())
}
