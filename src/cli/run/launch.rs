//! `run launch`, `run reexecute` and `run reload`.

use std::io::Read;

use clap::Args;
use serde_json::json;

use super::choose::{self, JobChoice};
use super::context::RunContext;
use super::failures::{GroupArgs, reexecute_group};
use super::wait::{WaitArgs, follow};
use super::{CommonArgs, RunError};
use crate::cli::output::out;
use crate::cli::reason::ReasonArgs;
use crate::dagster::{Launched, Reexecution};
use crate::domain::{AssetKey, Command, Launch};

/// Flags of `run launch`.
#[derive(Debug, Args)]
pub struct LaunchArgs {
    /// Job name; may be left out with --asset
    job: Option<String>,
    /// Code location, where several have a job of that name
    #[arg(short, long, value_name = "NAME")]
    location: Option<String>,
    /// Run configuration (YAML); `-` reads standard input [default: the job's own]
    #[arg(short, long, value_name = "FILE")]
    config: Option<String>,
    /// A run tag; may be given several times
    #[arg(short, long = "tag", value_name = "KEY=VALUE", value_parser = tag)]
    tags: Vec<(String, String)>,
    /// The partition
    #[arg(short, long, value_name = "KEY")]
    partition: Option<String>,
    /// Only this asset (`key` or `prefix/key`); may be given several times
    #[arg(short, long = "asset", value_name = "ASSET", value_parser = asset)]
    assets: Vec<AssetKeyArg>,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    common: CommonArgs,
}

/// Flags of `run reexecute`.
#[derive(Debug, Args)]
pub struct ReexecuteArgs {
    /// Run id, or its beginning
    #[arg(required_unless_present = "group", conflicts_with = "group")]
    run: Option<String>,
    /// Only the steps that failed, and those after them
    #[arg(long)]
    from_failure: bool,
    #[command(flatten)]
    pub(super) group: GroupArgs,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    pub(super) reason: ReasonArgs,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

/// Flags of `run reload`.
#[derive(Debug, Args)]
pub struct ReloadArgs {
    /// Name of the code location; `run jobs` prints them
    location: String,
    #[command(flatten)]
    common: CommonArgs,
}

/// An asset key; clap would take a plain list for several values.
#[derive(Clone, Debug)]
struct AssetKeyArg(AssetKey);

fn asset(text: &str) -> Result<AssetKeyArg, String> {
    let key: AssetKey = text.split('/').map(str::to_owned).collect();
    if key.iter().any(String::is_empty) {
        return Err(String::from("an asset is written key or prefix/key"));
    }
    Ok(AssetKeyArg(key))
}

pub(super) fn tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(String::from("a tag is written KEY=VALUE")),
    }
}

pub(super) async fn launch(args: LaunchArgs) -> Result<(), RunError> {
    let context = args.common.context()?;
    let assets: Vec<AssetKey> = args.assets.into_iter().map(|asset| asset.0).collect();
    let choice = JobChoice {
        job: args.job.as_deref(),
        location: args.location.as_deref(),
        assets: &assets,
    };
    let job = choose::job(&context.client, &choice).await?;
    let launch = Launch {
        run_config: args
            .config
            .as_deref()
            .map(read)
            .transpose()?
            .unwrap_or_default(),
        tags: args.tags,
        partition: args.partition,
        assets,
        ..Launch::job(job)
    };
    let command = Command::LaunchRun(launch.clone());
    context.allow(&command).await?;
    check(&context, &launch).await?;
    let outcome = context.client.launch(&launch).await;
    let launched = context
        .recorded(&command, outcome, |run| {
            format!("launched run {}", run.run_id)
        })
        .await?;
    report_launch(&context, &launched, &launch.job.job);
    follow(&context, &args.wait, &launched.run_id).await
}

/// Validates assets and configuration in Dagster, so that each mistake is reported with its place.
async fn check(context: &RunContext, launch: &Launch) -> Result<(), RunError> {
    let Launch { job, assets, .. } = launch;
    if !assets.is_empty() {
        let known = context.client.job_detail(job, &[]).await?.assets;
        choose::check_assets(job, &known, assets)?;
    }
    let problems = context.client.check(launch).await?;
    if problems.is_empty() {
        return Ok(());
    }
    let words: Vec<String> = problems.iter().map(ToString::to_string).collect();
    if context.is_json() {
        out!("{}", json!({"job": job.job, "problems": problems}));
    }
    Err(RunError::BadConfig {
        job: job.job.clone(),
        problems: words.join("; "),
    })
}

fn read(path: &str) -> Result<String, RunError> {
    let (name, text) = if path == "-" {
        let mut text = String::new();
        let read = std::io::stdin().read_to_string(&mut text);
        ("standard input", read.map(|_| text))
    } else {
        (path, std::fs::read_to_string(path))
    };
    text.map_err(|source| RunError::File {
        path: name.to_owned(),
        source,
    })
}

fn report_launch(context: &RunContext, launched: &Launched, job: &str) {
    let Launched { run_id, status } = launched;
    context.print(
        &json!({"run_id": run_id, "status": status, "job": job}),
        &format!("launched run {run_id} of {job}"),
    );
}

pub(super) async fn reexecute(args: ReexecuteArgs) -> Result<(), RunError> {
    if let Some(class) = args.group.group.clone() {
        return reexecute_group(args, &class).await;
    }
    let context = args.common.context()?.because(&args.reason);
    // Without a group, the parser requires a run.
    let run_id = context
        .run_id(args.run.as_deref().unwrap_or_default())
        .await?;
    let command = Command::ReexecuteRun {
        run_id: run_id.clone(),
        from_failure: args.from_failure,
        if_open: false,
    };
    context.allow(&command).await?;
    let what = if args.from_failure {
        Reexecution::FromFailure
    } else {
        Reexecution::AllSteps
    };
    let job = context.client.run(&run_id).await?.job;
    let outcome = context.client.reexecute(&run_id, what).await;
    let launched = context
        .recorded(&command, outcome, |run| {
            format!("launched run {}", run.run_id)
        })
        .await?;
    report_launch(&context, &launched, &job);
    follow(&context, &args.wait, &launched.run_id).await
}

pub(super) async fn reload(args: ReloadArgs) -> Result<(), RunError> {
    let context = args.common.context()?;
    let location = args.location;
    let command = Command::ReloadLocation {
        location: location.clone(),
    };
    context.allow(&command).await?;
    let done = format!("code location {location} was loaded again");
    let outcome = context.client.reload_location(&location).await;
    context
        .recorded(&command, outcome, |()| done.clone())
        .await?;
    context.print(&json!({"location": location, "reloaded": true}), &done);
    Ok(())
}
