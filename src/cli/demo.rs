//! `demo`: everything on one machine, for trying it out and as an end-to-end check.
//!
//! Makes the managed Python environment if there is none, then starts the embedded broker, a
//! headless worker, Dagster's webserver and daemon as child processes with a `DAGSTER_HOME` of
//! their own, launches the sample project's runs, and shows them: in the console, or as lines.

mod ports;
mod runs;
mod services;
mod setup;
mod state;
mod supervisor;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::cli::console::{LookArgs, direct_queues};
use crate::cli::output::out;
use crate::config::{ConfigError, Listen};
use crate::console::{self, ConsoleError, ConsoleOptions, Exit};
use crate::environment::{managed, packages};
use crate::fleet::{Aggregator, AggregatorOptions};

use services::{Services, Up};
use state::State;
use supervisor::Supervisor;

/// Exit code for a failed run, or for an interrupted demo that had to wait for its runs.
const UNFINISHED: u8 = 1;

/// Runs a sample project on this machine.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// Print progress lines instead of opening the console.
    #[arg(long)]
    no_ui: bool,
    /// End when the runs have, with exit code 0 only if all succeeded; implied without a terminal.
    #[arg(long, requires = "no_ui")]
    exit_when_done: bool,
    /// Folder for the demo's data, emptied at each start [default: in the user's cache folder].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Steps of the sample's fan-out.
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=1000))]
    steps: u32,
    /// Steps that run at once.
    #[arg(long, alias = "workers", value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=256))]
    slots: u32,
    /// Have the demo's worker serve metrics and health over HTTP: an address and port, or a port of
    /// loopback.
    #[arg(long, value_name = "ADDR")]
    metrics_listen: Option<Listen>,
    #[command(flatten)]
    look: LookArgs,
}

/// Reason why the demo did not run.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// No Python environment.
    #[error(transparent)]
    Environment(#[from] managed::EnvironmentError),
    /// The embedded packages cannot be unpacked.
    #[error(transparent)]
    Packages(#[from] packages::UnpackError),
    /// No folder for the data.
    #[error(transparent)]
    State(#[from] state::StateError),
    /// A child process failed.
    #[error(transparent)]
    Supervisor(#[from] supervisor::SupervisorError),
    /// Dagster refused something.
    #[error(transparent)]
    Dagster(#[from] crate::dagster::DagsterError),
    /// The runs make no progress.
    #[error(transparent)]
    Runs(#[from] runs::RunsError),
    /// The console failed.
    #[error(transparent)]
    Console(#[from] ConsoleError),
    /// Invalid settings from the flags.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system refused a runtime, a signal handler or a port.
    #[error("the demo cannot {action}: {source}")]
    System {
        /// The attempted action.
        action: &'static str,
        /// The system's error.
        source: std::io::Error,
    },
}

/// Progress lines, with the time since the start.
#[derive(Clone, Copy, Debug)]
struct Progress {
    since: Instant,
}

impl Progress {
    fn report(&self, text: &str) {
        let seconds = self.since.elapsed().as_secs_f64();
        out!("[{seconds:6.1}s] {text}");
    }
}

/// Runs the demo.
///
/// # Errors
/// [`DemoError`], when something could not be started or a run could not be followed.
pub fn run(args: &DemoArgs) -> Result<ExitCode, DemoError> {
    let progress = Progress {
        since: Instant::now(),
    };
    args.look.check(args.look.plugins())?;
    let python = managed::ensure(&mut |text| progress.report(text))?;
    let cache = managed::cache_folder()?;
    let library = packages::unpack_below(&cache)?.library;
    let state = State::take(args.dir.as_deref(), &cache)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(system("start its runtime"))?;
    let binary = std::env::current_exe().map_err(system("find its own binary"))?;
    let mut supervisor = Supervisor::new(binary, state.logs());
    let console_is_open = AtomicBool::new(false);
    let services = Services {
        args,
        state: &state,
        python: &python,
        library: &library,
        progress,
        console_is_open: &console_is_open,
    };
    runtime.block_on(async {
        let outcome = tokio::select! {
            outcome = show(&services, &mut supervisor) => outcome,
            interrupted = interrupted(&console_is_open) => interrupted,
        };
        progress.report("Ending all processes");
        supervisor.stop_all().await;
        outcome
    })
}

async fn show(services: &Services<'_>, supervisor: &mut Supervisor) -> Result<ExitCode, DemoError> {
    let args = services.args;
    let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let up = services.start(supervisor).await?;
    let client = crate::dagster::Client::new(&up.webserver)?;
    let launched = runs::launch(&client, services.progress).await?;
    if terminal && !args.no_ui {
        return open_console(services, supervisor, &up).await;
    }
    let succeeded = runs::follow(&client, &launched, supervisor, services.progress).await?;
    if terminal && !args.exit_when_done {
        let text = format!("Dagster is at {}; Ctrl-C ends the demo", up.webserver);
        services.progress.report(&text);
        std::future::pending::<()>().await;
    }
    Ok(if succeeded {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(UNFINISHED)
    })
}

/// Shows the console until the operator leaves it. No state is saved: its filters are about runs
/// that the next demo does not have.
async fn open_console(
    services: &Services<'_>,
    supervisor: &mut Supervisor,
    up: &Up,
) -> Result<ExitCode, DemoError> {
    let (args, console_is_open) = (services.args, services.console_is_open);
    let settings = services.console_settings(up)?;
    console_is_open.store(true, Ordering::Relaxed);
    let (starter, incoming) = mpsc::channel(1);
    let handle = Aggregator::start(AggregatorOptions {
        sockets: vec![up.socket.clone()],
        discover: Vec::new(),
        webserver_url: Some(up.webserver.clone()),
        read_only: settings.read_only.value,
        direct_queues: Some(direct_queues::start(&settings)),
        starter: Some(starter),
        ..AggregatorOptions::default()
    });
    let options = ConsoleOptions {
        context: "demo".to_owned(),
        ..args.look.options(&settings)
    };
    let exit = {
        let mut console = std::pin::pin!(console::run(handle, options));
        tokio::select! {
            exit = &mut console => exit,
            // The aggregator is gone: the console is about to end.
            () = services.start_workers(supervisor, up, incoming) => console.await,
        }
    };
    console_is_open.store(false, Ordering::Relaxed);
    Ok(match exit? {
        Exit::Terminated => killed_by(SignalKind::terminate()),
        Exit::HungUp => killed_by(SignalKind::hangup()),
        Exit::Left | Exit::DrainAndLeave | Exit::LeaveRunning | Exit::Stop | Exit::Context(_) => {
            ExitCode::SUCCESS
        }
    })
}

/// Waits for SIGINT, SIGTERM or SIGHUP. An open console has handlers of its own and gives the
/// terminal back first.
async fn interrupted(console_is_open: &AtomicBool) -> Result<ExitCode, DemoError> {
    let watch = |kind| signal(kind).map_err(system("watch for signals"));
    let mut interrupt = watch(SignalKind::interrupt())?;
    let mut terminate = watch(SignalKind::terminate())?;
    let mut hangup = watch(SignalKind::hangup())?;
    loop {
        let signal = tokio::select! {
            _ = interrupt.recv() => SignalKind::interrupt(),
            _ = terminate.recv() => SignalKind::terminate(),
            _ = hangup.recv() => SignalKind::hangup(),
        };
        if !console_is_open.load(Ordering::Relaxed) {
            return Ok(killed_by(signal));
        }
    }
}

/// A shell's exit code for a process that a signal ended.
fn killed_by(signal: SignalKind) -> ExitCode {
    ExitCode::from(u8::try_from(128 + signal.as_raw_value()).unwrap_or(UNFINISHED))
}

fn system(action: &'static str) -> impl FnOnce(std::io::Error) -> DemoError {
    move |source| DemoError::System { action, source }
}
