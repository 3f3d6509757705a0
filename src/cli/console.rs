//! The console without a subcommand: attaches to the workers of this host. If there is none, it
//! starts a worker and, if no queue is configured, the embedded broker. Each runs in a session of
//! its own, so that Ctrl-Z, a hang-up and a crash affect the console alone.

mod background;
mod contexts;
pub(super) mod direct_queues;

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::block_on;
use super::worker::StartArgs;
use crate::cli::output::{note, out};
use crate::config::{ConfigError, Partial, Settings};
use crate::console::keymap::Keymap;
use crate::console::theme::{Depth, Theme};
use crate::console::{self, ConsoleError, ConsoleOptions, Exit, RingSettings, Startup};
use crate::domain::{AlarmKind, Ring, Snapshot, Source, SourceHealth, SourceKind, Timestamp};
use crate::fleet::{Aggregator, AggregatorOptions, client};
use crate::protocol::audit::AuditLog;
use crate::queue_ops::queue_depth::COUNTS;
use crate::telemetry::{self, TelemetryError};
use background::Background;

/// How the console looks and what it may do: flags of every command that opens one.
#[derive(Clone, Debug, Default, Args)]
pub struct LookArgs {
    /// Refuse everything that changes something
    #[arg(long)]
    read_only: bool,
    /// Theme: default, dark, light, high-contrast, mono, colour-blind, or a YAML file
    #[arg(long, value_name = "THEME")]
    theme: Option<String>,
    /// Your own keys: a YAML file of command names and keys
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Your own commands: a YAML file of programs that are run on a row [default: plugins.yaml beside
    /// the settings file]
    #[arg(long, value_name = "FILE")]
    plugins: Option<PathBuf>,
    /// Call for alarms: bell (BEL), desktop (a notification of the terminal, OSC 9), or both
    #[arg(long, value_name = "HOW", value_delimiter = ',')]
    ring: Option<Vec<Ring>>,
    /// The alarms to call for [default: unreachable,no-consumer,silent-worker,backlog,old-message,disk,daemon]
    #[arg(long, value_name = "KINDS", value_delimiter = ',')]
    ring_for: Option<Vec<AlarmKind>>,
    /// Let no figure tick by itself: times move on every ten seconds
    #[arg(long)]
    reduced_motion: bool,
    /// Draw with ASCII only [default: where the locale is not UTF-8]
    #[arg(long)]
    ascii: bool,
}

impl LookArgs {
    /// The flags that are also settings.
    pub(super) fn settings(&self) -> Partial {
        Partial {
            theme: self.theme.clone(),
            plugins: self.plugins.clone(),
            read_only: self.read_only.then_some(true),
            ring: self.ring.clone(),
            ring_for: self.ring_for.clone(),
            ..Partial::default()
        }
    }

    /// Checks theme, keys and the operator's own commands before anything is started for the
    /// console.
    ///
    /// # Errors
    /// [`ConsoleError`]
    pub(super) fn check(&self, plugins: Option<&Path>) -> Result<(), ConsoleError> {
        if let Some(theme) = &self.theme {
            Theme::load(theme, Depth::True)?;
        }
        let keymap = match &self.keys {
            Some(keys) => Keymap::load(keys)?,
            None => Keymap::default(),
        };
        if let Some(path) = plugins {
            keymap.load_plugins(path)?;
        }
        Ok(())
    }

    /// The file of the operator's own commands that a flag names.
    pub(super) fn plugins(&self) -> Option<&Path> {
        self.plugins.as_deref()
    }

    /// Options of the console from these flags and the settings.
    pub(super) fn options(&self, settings: &Settings) -> ConsoleOptions {
        ConsoleOptions {
            read_only: settings.read_only.value,
            theme: settings.theme.value.clone(),
            keys: self.keys.clone(),
            plugins: settings.plugins.value.clone(),
            audit: AuditLog::default_path(),
            ring: RingSettings {
                how: settings.ring.value.clone(),
                kinds: settings.ring_for.value.clone(),
            },
            reduced_motion: self.reduced_motion,
            ascii: self.ascii.then_some(true),
            ..ConsoleOptions::default()
        }
    }
}

/// Name of the file of the operator's own commands.
const PLUGINS: &str = "plugins.yaml";

/// Maximum number of requested workers that wait for an earlier one's start.
const MAX_PENDING_STARTS: usize = 4;

/// Flags of the console.
#[derive(Debug, Args)]
pub struct ConsoleArgs {
    #[command(flatten)]
    look: LookArgs,
    /// Dagster's webserver, for runs and launching [env: `DAGSTER_TASKIQ_WEBSERVER_URL`]
    #[arg(long, value_name = "URL")]
    webserver_url: Option<String>,
    /// Print one snapshot as JSON and exit: no terminal needed, nothing is started
    #[arg(long)]
    once: bool,
    /// The form of --once, which has no other yet
    #[arg(long, requires = "once")]
    json: bool,
}

impl ConsoleArgs {
    /// Whether one snapshot is printed instead of opening the console.
    pub(super) fn is_once(&self) -> bool {
        self.once
    }
}

/// Error of the console command.
#[derive(Debug, Error)]
pub enum CommandError {
    /// The settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An invalid host name for ssh.
    #[error("cannot attach: {0}")]
    Host(String),
    /// The console.
    #[error(transparent)]
    Console(#[from] ConsoleError),
    /// The log files.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// Another context.
    #[error("cannot open the console over the context {name}: {source}")]
    Context {
        /// The context.
        name: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The runtime.
    #[error("cannot start the asynchronous runtime: {0}; check this process's limits (ulimit -a)")]
    Runtime(#[from] std::io::Error),
}

/// Runs the console.
///
/// # Errors
/// [`CommandError`]
pub fn run(start: StartArgs, args: ConsoleArgs) -> Result<ExitCode, CommandError> {
    match block_on(open(start, args)) {
        Ok(Opened::Context(name)) => Err(contexts::reopen(&name)),
        Ok(Opened::Left) => Ok(ExitCode::SUCCESS),
        Err(error) => refused(Err(error)),
    }
}

/// How the console ended.
enum Opened {
    Left,
    /// It is to be opened over this context.
    Context(String),
}

/// Turns the error of an unsuitable terminal into the exit code of a usage error.
pub(super) fn refused(outcome: Result<ExitCode, CommandError>) -> Result<ExitCode, CommandError> {
    match outcome {
        Err(CommandError::Console(error @ ConsoleError::NoCursor { .. })) => {
            note!("dagster-taskiq-tui: {error}");
            Ok(ExitCode::from(2))
        }
        outcome => outcome,
    }
}

async fn open(start: StartArgs, args: ConsoleArgs) -> Result<Opened, CommandError> {
    if !args.once {
        console::require_terminal()?;
    }
    let (settings, _log) = prepare(&start, &args)?;
    let context = settings.chosen_context().map(|(_, context)| context);
    if let Some(context) = context.filter(|context| !context.hosts.is_empty()) {
        return contexts::open_remote(&settings, &args, context).await;
    }
    let folder = context.and_then(|context| context.runtime_dir.clone());
    let folders = start.runtime_dir.clone().or(folder);
    let folders = folders.map(|folder| vec![folder]);
    let discover = folders.unwrap_or_else(crate::protocol::socket_folder::folders);
    if args.once {
        print_once(aggregator_options(&settings, discover)).await?;
        return Ok(Opened::Left);
    }
    // A worker of a deployment that was chosen for a look is started on request only.
    let starts = context.is_none() && !settings.read_only.value;
    let (publish, startup) = watch::channel(Startup::None);
    let left = CancellationToken::new();
    // The first screen waits for nothing: neither for an answer on a socket nor for a worker.
    let (starter, incoming) = mpsc::channel(MAX_PENDING_STARTS);
    let mut background = Background::new(&start, &settings, &publish, &left);
    let pool = async {
        if starts && client::discover_in(&discover).await.is_empty() {
            background.begin().await;
        }
        background.serve(incoming).await;
    };
    let console = async {
        let aggregator = AggregatorOptions {
            direct_queues: Some(direct_queues::start(&settings)),
            starter: Some(starter),
            ..aggregator_options(&settings, discover.clone())
        };
        let exit = show(&settings, &args, aggregator, Some(startup), String::new()).await;
        left.cancel();
        exit
    };
    let (exit, ()) = tokio::join!(console, pool);
    background.leave(exit.as_ref().ok().copied()).await;
    Ok(contexts::next(&settings, exit?))
}

/// Merges flags, file and environment, and starts this process's log.
///
/// # Errors
/// [`CommandError`]
pub(super) fn prepare(
    start: &StartArgs,
    args: &ConsoleArgs,
) -> Result<(Settings, telemetry::Guard), CommandError> {
    let mut settings = start.settings_with(
        Partial {
            webserver_url: args.webserver_url.clone(),
            ..args.look.settings()
        },
        true,
    )?;
    if settings.plugins.value.is_none() {
        settings.plugins.value = plugins_beside(start.connection.config_yaml.as_deref());
    }
    if !args.once {
        args.look.check(settings.plugins.value.as_deref())?;
    }
    let log = telemetry::init(telemetry::Options {
        folder: start.log_dir.clone().or_else(telemetry::default_folder),
        files: settings.log_files.value,
        format: settings.log_format.value,
        ..telemetry::Options::default()
    })?;
    Ok((settings, log))
}

/// The file of the operator's own commands beside the settings file, if it is there. One that another
/// user has put there is not used.
fn plugins_beside(settings: Option<&Path>) -> Option<PathBuf> {
    let settings = settings?;
    let file = settings.with_file_name(PLUGINS);
    let found = file.metadata().ok()?;
    if settings.metadata().ok()?.uid() != found.uid() {
        let (file, settings) = (file.display(), settings.display());
        note!("note: {file} is not used: it belongs to another user than {settings}");
        return None;
    }
    Some(file)
}

/// Time limit of the sources' answers before the available data are printed.
const ONCE_TIMEOUT: Duration = Duration::from_secs(5);

/// Prints the current state as JSON.
pub(super) async fn print_once(options: AggregatorOptions) -> Result<ExitCode, CommandError> {
    // A worker without viewers counts its queues when one connects.
    let begin = Timestamp::now() - COUNTS;
    let counted = |snapshot: &Snapshot| {
        let served: HashSet<&String> = snapshot.workers.iter().flat_map(|w| &w.queues).collect();
        let mut queues = snapshot.queues.iter();
        queues.all(|queue| {
            let lately = queue.counted_at.is_some_and(|at| at >= begin);
            lately || queue.error.is_some() || !served.contains(&queue.name)
        })
    };
    let handle = Aggregator::start(options);
    let mut snapshots = handle.watch();
    // A worker that has only greeted has not sent its state yet.
    let is_complete = |snapshot: &Arc<Snapshot>| {
        let sources = &snapshot.sources;
        let up = |source: &&Source| {
            source.kind == SourceKind::Worker && source.health == SourceHealth::Up
        };
        sources
            .iter()
            .all(|source| source.health != SourceHealth::Connecting)
            && sources.iter().filter(up).count() <= snapshot.workers.len()
            && counted(snapshot)
    };
    // Late sources are in the snapshot with their state: connecting.
    let _ = tokio::time::timeout(ONCE_TIMEOUT, snapshots.wait_for(is_complete)).await;
    let snapshot = Arc::clone(&snapshots.borrow());
    let text = serde_json::to_string_pretty(&*snapshot).map_err(std::io::Error::other)?;
    out!("{text}");
    Ok(ExitCode::SUCCESS)
}

pub(super) fn aggregator_options(settings: &Settings, discover: Vec<PathBuf>) -> AggregatorOptions {
    AggregatorOptions {
        discover,
        webserver_url: settings.webserver_url.value.clone(),
        read_only: settings.read_only.value,
        ..AggregatorOptions::default()
    }
}

/// Opens the console over the sources of `aggregator`; `context` is shown beside the product's
/// name.
pub(super) async fn show(
    settings: &Settings,
    args: &ConsoleArgs,
    aggregator: AggregatorOptions,
    startup: Option<watch::Receiver<Startup>>,
    context: String,
) -> Result<Exit, ConsoleError> {
    let handle = Aggregator::start(aggregator);
    let options = ConsoleOptions {
        startup,
        context,
        contexts: contexts::choices(settings),
        memory: Some(contexts::memory(settings)),
        ..args.look.options(settings)
    };
    console::run(handle, options).await
}
