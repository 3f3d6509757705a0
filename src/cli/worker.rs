//! `worker start` (= `--no-ui`): the headless worker. The other verbs reach a running worker of
//! this host through its control socket.

mod signals;
mod start;
mod verbs;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use thiserror::Error;

use super::block_on;
use super::connection::ConnectionArgs;
use crate::broker::BrokerError;
use crate::config::{ConfigError, Partial};
use crate::control::ControlError;
use crate::environment::packages::UnpackError;
use crate::host::HostError;
use crate::telemetry::{LogFormat, TelemetryError};

/// Verbs of `worker`.
#[derive(Debug, Subcommand)]
pub enum WorkerVerb {
    /// Run a headless worker until SIGTERM (finishes what runs) or a second one (interrupts it)
    Start(Box<StartArgs>),
    /// Print the workers of this host
    List(TargetArgs),
    /// Print a worker's slots and tasks
    Status(TargetArgs),
    /// Stop receiving; what runs goes on
    Pause(TargetArgs),
    /// Receive again
    Resume(TargetArgs),
    /// Set the number of step slots
    Scale(ScaleArgs),
    /// Finish what runs, give the rest back, end
    Drain(TargetArgs),
    /// Interrupt what runs, end
    Stop(TargetArgs),
    /// Load user code again for new work
    Reload(TargetArgs),
}

/// Flags of `worker start`.
#[derive(Clone, Debug, Default, Args)]
pub struct StartArgs {
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// Steps that may run at once [default: one per core]
    #[arg(long, value_name = "N")]
    pub workers: Option<u32>,
    /// Run workers that may run at once [default: 4]
    #[arg(long, value_name = "N")]
    pub run_slots: Option<u32>,
    /// Serve only these queues (names from `queues:`, or the base queue's)
    #[arg(short = 'q', long = "queue", value_name = "NAME")]
    pub queues: Vec<String>,
    /// Python that runs the steps; it must have dagster [default: `$VIRTUAL_ENV`, then PATH]
    #[arg(long, value_name = "PATH")]
    pub python: Option<PathBuf>,
    /// Folder of dagster.yaml [env: `DAGSTER_HOME`]
    #[arg(long, value_name = "DIR")]
    pub dagster_home: Option<PathBuf>,
    /// Unique name of this worker [default: host name and pid]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Folder of the control socket [default: the user's runtime folder]
    #[arg(long, value_name = "DIR")]
    pub runtime_dir: Option<PathBuf>,
    /// Folder of the log files [default: the user's state folder]
    #[arg(long, value_name = "DIR")]
    pub log_dir: Option<PathBuf>,
    /// Form of the log on standard error
    #[arg(long, value_enum, default_value_t)]
    pub log_format: LogFormat,
}

impl StartArgs {
    /// The settings these flags make with file and environment.
    ///
    /// # Errors
    /// [`ConfigError`]
    pub fn settings(&self, local_broker: bool) -> Result<crate::config::Settings, ConfigError> {
        let flags = Partial {
            workers: self.workers,
            run_slots: self.run_slots,
            subscribe: (!self.queues.is_empty()).then(|| self.queues.clone()),
            python: self.python.clone(),
            dagster_home: self.dagster_home.clone(),
            name: self.name.clone(),
            ..Partial::default()
        };
        self.connection.settings(flags, local_broker)
    }
}

/// Which worker a verb is for.
#[derive(Debug, Args)]
pub struct TargetArgs {
    /// Name of the worker; needed only where several run on this host
    pub worker: Option<String>,
    /// Folder of the control socket [default: the user's runtime folder]
    #[arg(long, value_name = "DIR")]
    pub runtime_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `worker scale N`.
#[derive(Debug, Args)]
pub struct ScaleArgs {
    /// Step slots
    pub steps: u32,
    #[command(flatten)]
    pub target: TargetArgs,
}

/// What a worker command can fail with.
#[derive(Debug, Error)]
pub enum WorkerError {
    /// The settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// SQS.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// Python, dagster or `DAGSTER_HOME`.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The embedded Python packages.
    #[error(transparent)]
    Packages(#[from] UnpackError),
    /// The control socket.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The log files.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// Signals or the runtime.
    #[error("cannot set up this process: {0}; check its limits (ulimit -a)")]
    Setup(#[from] std::io::Error),
    /// No Python to run steps with.
    #[error(
        "no python was found in $VIRTUAL_ENV or on PATH: pass --python with the interpreter that \
         has dagster and your code, or set python: in the file given with -y"
    )]
    NoPython,
    /// The verb's worker is not here.
    #[error(
        "no worker{named} runs on this host ({folder}); start one with `dagster-taskiq-tui worker start`"
    )]
    NoWorker {
        /// ` NAME`, or nothing.
        named: String,
        /// The runtime folder.
        folder: String,
    },
    /// The verb fits several.
    #[error("several workers run on this host: name one of {names}")]
    WhichWorker {
        /// Their names.
        names: String,
    },
    /// The worker said no.
    #[error("worker {worker} refused: {reason}")]
    Refused {
        /// Its name.
        worker: String,
        /// Its words.
        reason: String,
    },
}

/// Runs a worker verb.
///
/// # Errors
/// [`WorkerError`]
pub fn run(verb: WorkerVerb) -> Result<ExitCode, WorkerError> {
    match verb {
        WorkerVerb::Start(args) => block_on(start::start(*args)),
        other => block_on(verbs::run(other)),
    }
}
