//! `run jobs|launch|list|show|failures|explain|free-slot|terminate|reexecute|reload`: Dagster's runs
//! from a shell or a script. The same operations as in the console's views, with the same refusals and the
//! same audit log.

mod choose;
mod context;
mod explain;
mod failures;
mod instance;
mod launch;
mod list;
mod terminate;
mod wait;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use thiserror::Error;

use super::block_on;
use super::connection::ConnectionArgs;
use crate::config::{ConfigError, Partial};
use crate::dagster::DagsterError;
use crate::domain::RunStatus;
use context::RunContext;
pub use instance::{DagsterVerb, run as run_dagster};

/// Verbs of `run`.
#[derive(Debug, Subcommand)]
pub enum RunVerb {
    /// Print the jobs that can be launched, by code location
    Jobs(list::JobsArgs),
    /// Launch a run; Dagster checks the configuration first
    Launch(launch::LaunchArgs),
    /// Print runs, newest first
    List(list::ListArgs),
    /// Print a run with its steps and its configuration
    Show(list::ShowArgs),
    /// Print what broke: failures by exception class and job
    Failures(failures::FailuresArgs),
    /// Say why a run or one of its steps does not start
    Explain(Box<explain::ExplainArgs>),
    /// Give back the pool slot of a step that does not need it any more
    FreeSlot(Box<explain::FreeSlotArgs>),
    /// Terminate runs, by id or by status and job
    Terminate(terminate::TerminateArgs),
    /// Run a run's job again, whole or from where it failed; or all failed runs of a group
    Reexecute(Box<launch::ReexecuteArgs>),
    /// Have Dagster load a code location again
    Reload(launch::ReloadArgs),
}

/// Flags of every verb.
#[derive(Clone, Debug, Args)]
pub struct CommonArgs {
    /// Settings file (YAML)
    #[arg(short = 'y', long, value_name = "FILE")]
    config_yaml: Option<PathBuf>,
    /// Deployment of the settings file to use [env: `DAGSTER_TASKIQ_CONTEXT`]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Dagster's webserver [env: `DAGSTER_TASKIQ_WEBSERVER_URL`]
    #[arg(long, value_name = "URL")]
    webserver_url: Option<String>,
    /// Refuse what changes something
    #[arg(long)]
    read_only: bool,
    /// Print JSON, one value a line
    #[arg(long)]
    json: bool,
}

/// Error of a run command: one sentence each.
#[derive(Debug, Error)]
pub enum RunError {
    /// The settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No webserver.
    #[error(
        "no Dagster webserver is configured: give --webserver-url, set DAGSTER_TASKIQ_WEBSERVER_URL or webserver_url in the settings file"
    )]
    NoWebserver,
    /// No source that could be queried.
    #[error(
        "Dagster's storage is not known here: set DAGSTER_HOME, give --dagster-home, or ask on a host where a worker runs; `run explain` also takes --webserver-url, for what the webserver knows"
    )]
    NoStorage,
    /// Dagster.
    #[error(transparent)]
    Dagster(#[from] DagsterError),
    /// Read-only.
    #[error(
        "{verb} was refused: this program is read-only (--read-only, or read_only in the settings)"
    )]
    ReadOnly {
        /// The refused verb.
        verb: &'static str,
    },
    /// The job, asset or run is ambiguous.
    #[error("{0}")]
    Unclear(String),
    /// Invalid run configuration.
    #[error("{job} was not launched: Dagster refused its configuration: {problems}")]
    BadConfig {
        /// The job.
        job: String,
        /// The errors, each with its place.
        problems: String,
    },
    /// A file.
    #[error("cannot read the run configuration from {path}: {source}")]
    File {
        /// The file, or `standard input`.
        path: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// A dry run, which changes nothing.
    #[error("{count} would be {what}; nothing was done: add --yes to do it")]
    DryRun {
        /// `3 runs`.
        count: String,
        /// `terminated`.
        what: &'static str,
    },
    /// Only some of several succeeded.
    #[error("{failed} of {all} were not terminated: {reasons}{way}")]
    Partly {
        /// Number of failures.
        failed: usize,
        /// Number of requests.
        all: usize,
        /// Dagster's reasons.
        reasons: String,
        /// The remedy.
        way: &'static str,
    },
    /// A run that was waited for did not succeed.
    #[error("run {run_id} ended with {}; `run show {run_id}` shows why", status.word())]
    NotSuccessful {
        /// The run.
        run_id: String,
        /// Its final status.
        status: RunStatus,
    },
    /// The runtime.
    #[error("cannot start the asynchronous runtime: {0}; check this process's limits (ulimit -a)")]
    Runtime(#[from] std::io::Error),
}

/// Runs a run verb.
///
/// # Errors
/// [`RunError`]
pub fn run(verb: RunVerb) -> Result<ExitCode, RunError> {
    block_on(async {
        match verb {
            RunVerb::Jobs(args) => list::jobs(args).await?,
            RunVerb::Launch(args) => launch::launch(args).await?,
            RunVerb::List(args) => list::list(args).await?,
            RunVerb::Show(args) => list::show(args).await?,
            RunVerb::Failures(args) => failures::failures(args).await?,
            RunVerb::Explain(args) => Box::pin(explain::explain(*args)).await?,
            RunVerb::FreeSlot(args) => Box::pin(explain::free_slot(*args)).await?,
            RunVerb::Terminate(args) => terminate::terminate(args).await?,
            RunVerb::Reexecute(args) => Box::pin(launch::reexecute(*args)).await?,
            RunVerb::Reload(args) => launch::reload(args).await?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

impl CommonArgs {
    fn context(&self) -> Result<RunContext, RunError> {
        let connection = ConnectionArgs {
            config_yaml: self.config_yaml.clone(),
            context: self.context.clone(),
            ..ConnectionArgs::default()
        };
        let flags = Partial {
            webserver_url: self.webserver_url.clone(),
            read_only: self.read_only.then_some(true),
            ..Partial::default()
        };
        // No queue is needed here.
        RunContext::new(&connection.settings(flags, true)?, self.json)
    }
}

/// Parses a run status, by Dagster's names, in any case.
fn status(text: &str) -> Result<RunStatus, String> {
    let known = RunStatus::ALL
        .iter()
        .find(|status| status.word().eq_ignore_ascii_case(text));
    known.copied().ok_or_else(|| {
        let words: Vec<String> = RunStatus::ALL
            .iter()
            .map(|status| status.word().to_lowercase())
            .collect();
        format!("one of {}", words.join(", "))
    })
}
