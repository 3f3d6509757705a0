//! `doctor`: checks everything that a worker on this host would use, without changing anything. It
//! prints for each part whether it works, and otherwise the remedy.

mod commands;
mod isolation;
mod queues;
mod storage;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::block_on;
use super::connection::ConnectionArgs;
use super::worker::WorkerError;
use crate::cli::output::out;
use crate::config::{Partial, Settings};
use crate::sqs::Broker;

/// Flags of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    /// Python that runs the steps [default: `$VIRTUAL_ENV`, then PATH]
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// Folder of dagster.yaml [env: `DAGSTER_HOME`]
    #[arg(long, value_name = "DIR")]
    dagster_home: Option<PathBuf>,
    /// URL of Dagster's webserver [env: `DAGSTER_TASKIQ_WEBSERVER_URL`]
    #[arg(long, value_name = "URL")]
    webserver_url: Option<String>,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// Result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// It works.
    Ok,
    /// It works, but could be better.
    Warning,
    /// It would not work.
    Failed,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "FAILED",
        }
    }
}

/// One line of the report.
#[derive(Debug, Serialize)]
struct Line {
    /// The checked part.
    check: String,
    verdict: Verdict,
    /// The finding, and the remedy.
    message: String,
}

/// Printer of check results.
struct Report {
    json: bool,
    worst: Verdict,
}

impl Report {
    fn ok(&mut self, check: &str, message: impl Into<String>) {
        self.add(check, Verdict::Ok, message.into());
    }

    fn warning(&mut self, check: &str, message: impl Into<String>) {
        self.add(check, Verdict::Warning, message.into());
    }

    fn failed(&mut self, check: &str, message: impl Into<String>) {
        self.add(check, Verdict::Failed, message.into());
    }

    fn add(&mut self, check: &str, verdict: Verdict, message: String) {
        if verdict == Verdict::Failed || self.worst == Verdict::Ok {
            self.worst = verdict;
        }
        let line = Line {
            check: check.to_owned(),
            verdict,
            message,
        };
        let text = if self.json {
            // Plain text and an enum always serialize.
            serde_json::to_string(&line).unwrap_or_default()
        } else {
            format!("{:8} {:24} {}", verdict.word(), line.check, line.message)
        };
        out!("{text}");
    }
}

/// Makes every check; fails if a part would not work.
///
/// # Errors
/// [`WorkerError`] if the settings cannot be read, or this process cannot be set up.
pub fn run(args: &DoctorArgs) -> Result<ExitCode, WorkerError> {
    block_on(examine(args))
}

async fn examine(args: &DoctorArgs) -> Result<ExitCode, WorkerError> {
    let settings = args.settings()?;
    let mut report = Report {
        json: args.json,
        worst: Verdict::Ok,
    };
    let (url, origin) = (&settings.queue_url.value, &settings.queue_url.origin);
    report.ok("settings", format!("base queue {url}, from {origin}"));
    commands::examine(&mut report);
    let broker = Broker::connect(&settings).await;
    let served = queues::examine(&mut report, &settings, &broker).await;
    storage::examine(&mut report, &settings, &served).await;
    isolation::examine(&mut report, &settings).await;
    Ok(match report.worst {
        Verdict::Failed => ExitCode::FAILURE,
        Verdict::Ok | Verdict::Warning => ExitCode::SUCCESS,
    })
}

impl DoctorArgs {
    fn settings(&self) -> Result<Settings, WorkerError> {
        let flags = Partial {
            python: self.python.clone(),
            dagster_home: self.dagster_home.clone(),
            webserver_url: self.webserver_url.clone(),
            ..Partial::default()
        };
        Ok(self.connection.settings(flags, true)?)
    }
}
