//! The console without a subcommand: attaches to the workers of this host; where there is none,
//! starts a worker and, where no queue is configured, the embedded broker, each in a session of its
//! own, so that Ctrl-Z, a hang-up and a crash act on the console alone.

mod background;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use thiserror::Error;

use super::block_on;
use super::worker::StartArgs;
use crate::config::{ConfigError, Partial, Settings};
use crate::console::{self, ConsoleError, ConsoleOptions, Exit, QuitPolicy};
use crate::control::{Hub, HubOptions, client};
use crate::telemetry::{self, TelemetryError};
use background::{Background, BackgroundError};

/// Flags of the console.
#[derive(Debug, Args)]
pub struct ConsoleArgs {
    /// Refuse everything that changes something
    #[arg(long)]
    read_only: bool,
    /// Theme: default, dark, light, high-contrast, mono, colour-blind, or a YAML file
    #[arg(long, value_name = "THEME")]
    theme: Option<String>,
    /// Dagster's webserver, for runs and launching [env: `DAGSTER_TASKIQ_WEBSERVER_URL`]
    #[arg(long, value_name = "URL")]
    webserver_url: Option<String>,
}

/// What the console command can fail with.
#[derive(Debug, Error)]
pub enum CommandError {
    /// The settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The console.
    #[error(transparent)]
    Console(#[from] ConsoleError),
    /// The log files.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The worker or broker it started.
    #[error(transparent)]
    Background(#[from] BackgroundError),
    /// The runtime.
    #[error("cannot start the asynchronous runtime: {0}; check this process's limits (ulimit -a)")]
    Runtime(#[from] std::io::Error),
}

/// Runs the console.
///
/// # Errors
/// [`CommandError`]
pub fn run(start: StartArgs, args: ConsoleArgs) -> Result<ExitCode, CommandError> {
    block_on(open(start, args))
}

async fn open(start: StartArgs, args: ConsoleArgs) -> Result<ExitCode, CommandError> {
    console::require_terminal()?;
    let settings = start.settings_with(
        Partial {
            theme: args.theme,
            webserver_url: args.webserver_url,
            read_only: args.read_only.then_some(true),
            ..Partial::default()
        },
        true,
    )?;
    let _log = telemetry::init(telemetry::Options {
        folder: start.log_dir.clone().or_else(telemetry::default_folder),
        ..telemetry::Options::default()
    })?;
    let folders = start.runtime_dir.clone().map(|folder| vec![folder]);
    let discover = folders.unwrap_or_else(crate::control::runtime::folders);
    let background = if client::discover_in(&discover).await.is_empty() {
        Some(Background::start(&start, &settings).await?)
    } else {
        None
    };
    let exit = show(&settings, discover, background.is_some()).await;
    if let Some(background) = background {
        background.leave(exit.as_ref().ok().copied()).await;
    }
    exit?;
    Ok(ExitCode::SUCCESS)
}

async fn show(
    settings: &Settings,
    discover: Vec<PathBuf>,
    own: bool,
) -> Result<Exit, ConsoleError> {
    let handle = Hub::start(HubOptions {
        discover,
        webserver_url: settings.webserver_url.value.clone(),
        read_only: settings.read_only.value,
        ..HubOptions::default()
    });
    let options = ConsoleOptions {
        read_only: settings.read_only.value,
        theme: settings.theme.value.clone(),
        quit: if own {
            QuitPolicy::Ask
        } else {
            QuitPolicy::Leave
        },
        ..ConsoleOptions::default()
    };
    console::run(handle, options).await
}
