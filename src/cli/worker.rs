//! `worker start` (= `--no-ui`): the headless worker. The other verbs reach a running worker of
//! this host through its control socket.

mod background;
mod fleet;
mod restart;
mod signals;
mod start;
mod verbs;
mod wait;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use thiserror::Error;

pub(super) use start::{host_settings, identity, view};
pub(super) use verbs::sockets_in;

use super::block_on;
use super::child::ChildError;
use super::connection::ConnectionArgs;
use super::reason::ReasonArgs;
use crate::config::{ConfigError, Listen, Partial, Settings, flag_with};
use crate::domain::{Command, Isolation, LogFormat, SlotChange, SlotRange, parse_seconds};
use crate::environment::packages::UnpackError;
use crate::fork_server::ForkServerError;
use crate::protocol::ControlError;
use crate::sqs::BrokerError;
use crate::telemetry::TelemetryError;
use crate::worker::exporter::ListenError;

/// Verbs of `worker`.
#[derive(Debug, Subcommand)]
pub enum WorkerVerb {
    /// Run a headless worker until SIGTERM (finishes what runs) or a second one (stops, see `stop`)
    Start(Box<RunArgs>),
    /// Print the deployment's workers: this host's, and every one that reports to Dagster's storage
    List(fleet::ListArgs),
    /// Print a worker's slots and tasks
    Status(TargetArgs),
    /// Stop receiving; what runs goes on
    Pause(OrderArgs),
    /// Receive again
    Resume(OrderArgs),
    /// Set or change the number of step slots, or set its bounds
    Scale(ScaleArgs),
    /// Interrupt a step, or a run with its steps
    Cancel(CancelArgs),
    /// Finish what runs, give the rest back, end
    #[command(alias = "terminate")]
    Drain(DrainArgs),
    /// Finish what runs, give the rest back, end and start again in place with the same flags; with
    /// --all one worker after the other, until one does not come back
    Restart(RestartArgs),
    /// Kill what has not ended within its grace period (it goes on elsewhere), end
    Stop(EndArgs),
    /// End at once, whatever runs: its steps are told as lost and tried again
    Kill(OrderArgs),
    /// Load user code again for new work
    Reload(OrderArgs),
}

/// A value that is written as one of these words, so that shells complete it.
fn one_of<T, const N: usize>(words: [&'static str; N]) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err = String> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(words).try_map(|word| word.parse())
}

/// Flags of `worker cancel`.
#[derive(Debug, Args)]
pub struct CancelArgs {
    /// Run id, or its beginning; or Taskiq's task id
    task: String,
    /// Key of the step; without one the run's own process is meant
    #[arg(short, long, value_name = "KEY")]
    step: Option<String>,
    #[command(flatten)]
    order: OrderArgs,
}

/// Flags of `worker start`.
#[derive(Clone, Debug, Default, Args)]
pub struct StartArgs {
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// Steps that may run at once, or the bounds between which they follow the load: 2..16 [default: one per core] [env: `DAGSTER_TASKIQ_SLOTS`]
    #[arg(long, alias = "workers", value_name = "N")]
    pub slots: Option<SlotRange>,
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
    /// Process a step gets: auto, fork, reuse or fresh [default: auto] [env: `DAGSTER_TASKIQ_ISOLATION`]
    #[arg(
        long,
        value_name = "MODE",
        hide_possible_values = true,
        value_parser = one_of::<Isolation, _>(Isolation::ALL.map(Isolation::word))
    )]
    pub isolation: Option<Isolation>,
    /// Unique name of this worker [default: host name and pid]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Folder of the control socket [default: the user's runtime folder]
    #[arg(long, value_name = "DIR")]
    pub runtime_dir: Option<PathBuf>,
    /// Folder of the log files [default: the user's state folder]
    #[arg(long, value_name = "DIR")]
    pub log_dir: Option<PathBuf>,
    /// Serve metrics and health over HTTP: an address and port, or a port of loopback [default: off]
    #[arg(long, value_name = "ADDR")]
    pub metrics_listen: Option<Listen>,
    /// Form of the log, on standard error and in its files: text or json [default: text]
    #[arg(
        long,
        value_name = "FORMAT",
        hide_possible_values = true,
        value_parser = one_of::<LogFormat, _>(LogFormat::ALL.map(LogFormat::word))
    )]
    pub log_format: Option<LogFormat>,
}

/// `worker start`.
#[derive(Clone, Debug, Default, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub start: StartArgs,
    /// Return once the worker is ready; it goes on in a session of its own
    #[arg(long)]
    pub background: bool,
    /// With --background: print JSON
    #[arg(long, requires = "background")]
    pub json: bool,
    /// Write the worker's pid to this file while it runs; in a folder, to one of the worker's name
    #[arg(long, value_name = "PATH", conflicts_with = "background")]
    pub pid_file: Option<PathBuf>,
}

impl From<StartArgs> for RunArgs {
    fn from(start: StartArgs) -> Self {
        Self {
            start,
            ..Self::default()
        }
    }
}

impl StartArgs {
    /// Merges these flags with file and environment.
    ///
    /// # Errors
    /// [`ConfigError`]
    pub fn settings(&self) -> Result<Settings, ConfigError> {
        self.settings_with(Partial::default(), false)
    }

    /// As [`StartArgs::settings`], with `more` flags; `local_broker` as in [`Settings::merge`].
    ///
    /// # Errors
    /// [`ConfigError`]
    pub fn settings_with(
        &self,
        more: Partial,
        local_broker: bool,
    ) -> Result<Settings, ConfigError> {
        self.connection.settings(self.add_to(more), local_broker)
    }

    /// Adds these flags to others, except for those of the connection.
    fn add_to(&self, flags: Partial) -> Partial {
        Partial {
            slots: self.slots,
            run_slots: self.run_slots,
            subscribe: (!self.queues.is_empty()).then(|| self.queues.clone()),
            python: self.python.clone(),
            dagster_home: self.dagster_home.clone(),
            isolation: self.isolation,
            name: self.name.clone(),
            log_format: self.log_format,
            metrics_listen: self.metrics_listen,
            ..flags
        }
    }

    /// The same flags as command-line words for a new process of a worker named `name`.
    #[must_use]
    pub fn to_words(&self, name: Option<&str>, local_broker: bool) -> Vec<OsString> {
        let connection = &self.connection;
        let flags = Partial {
            name: name.map(str::to_owned),
            ..self.add_to(connection.add_to(Partial::default()))
        };
        let mut words = flags.to_words();
        let mut add = |flag: &str, path: &Option<PathBuf>| {
            if let Some(path) = path {
                words.push(flag_with(flag, path));
            }
        };
        add("--config-yaml", &connection.config_yaml);
        add("--runtime-dir", &self.runtime_dir);
        add("--log-dir", &self.log_dir);
        if local_broker || connection.local_broker {
            words.push("--local-broker".into());
        }
        words
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

/// A worker, and the reason of a command to it.
#[derive(Debug, Args)]
pub struct OrderArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub reason: ReasonArgs,
}

/// `worker drain`.
#[derive(Debug, Args)]
pub struct DrainArgs {
    /// Stop (see `stop`) after this time: seconds, or `30m`, `8h`, `2d`
    #[arg(long, value_name = "DURATION", value_parser = parse_seconds)]
    pub within: Option<u64>,
    #[command(flatten)]
    pub end: EndArgs,
}

/// `worker restart`.
#[derive(Debug, Args)]
pub struct RestartArgs {
    /// All workers of this host, one after the other; the next only when the former is back
    #[arg(long, conflicts_with = "worker")]
    pub all: bool,
    /// Stop what runs (see `stop`) after this time: seconds, or `30m`, `8h`, `2d`
    #[arg(long, value_name = "DURATION", value_parser = parse_seconds)]
    pub within: Option<u64>,
    #[command(flatten)]
    pub order: OrderArgs,
}

/// Verbs that end a worker.
#[derive(Debug, Args)]
pub struct EndArgs {
    /// Return when the worker is gone; count down until then
    #[arg(long)]
    pub wait: bool,
    #[command(flatten)]
    pub order: OrderArgs,
}

/// `worker scale N`.
#[derive(Debug, Args)]
pub struct ScaleArgs {
    /// Step slots, or the bounds between which they follow the load: 2..16; +2 is two more, -2 two
    /// fewer
    #[arg(allow_negative_numbers = true)]
    pub steps: SlotChange,
    #[command(flatten)]
    pub order: OrderArgs,
}

/// Error of a worker command.
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
    Host(#[from] ForkServerError),
    /// The embedded Python packages.
    #[error(transparent)]
    Packages(#[from] UnpackError),
    /// The control socket.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The log files.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The address for metrics.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The process in the background.
    #[error(transparent)]
    Child(#[from] ChildError),
    /// It cannot be killed.
    #[error("cannot kill worker {worker} (pid {pid}): {source}")]
    Kill {
        /// Its name.
        worker: String,
        /// Its process.
        pid: u32,
        /// The system's error.
        source: rustix::io::Errno,
    },
    /// It cannot start again.
    #[error("cannot start again: {source}; start it with `dagster-taskiq-tui worker start`")]
    Restart {
        /// The system's error.
        source: std::io::Error,
    },
    /// A worker did not start again.
    #[error("worker {worker} did not come back within {seconds} s after its end; its log says why")]
    NotBack {
        /// Its name.
        worker: String,
        /// The time it had.
        seconds: u64,
    },
    /// The file of `--pid-file`.
    #[error(
        "cannot write the pid file {path}: {source}; name a file in an existing folder that this user \
         can write, or such a folder, with --pid-file"
    )]
    PidFile {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// Signals or the runtime.
    #[error("cannot set up this process: {0}; check its limits (ulimit -a)")]
    Setup(#[from] std::io::Error),
    /// No Python to run steps with.
    #[error(
        "no python was found in $VIRTUAL_ENV or on PATH: pass --python with the interpreter that \
         has dagster and your code, or set python: in the file given with -y"
    )]
    NoPython,
    /// The verb's worker does not run on this host.
    #[error(
        "no worker{named} runs on this host ({folder}); start one with `dagster-taskiq-tui worker start`"
    )]
    NoWorker {
        /// ` NAME`, or nothing.
        named: String,
        /// The runtime folder.
        folder: String,
    },
    /// Several workers match.
    #[error("several workers run on this host: name one of {names}")]
    WhichWorker {
        /// Their names.
        names: String,
    },
    /// The worker refused the command.
    #[error("worker {worker} refused: {reason}")]
    Refused {
        /// Its name.
        worker: String,
        /// Its reason.
        reason: String,
    },
}

/// Runs a worker verb.
///
/// # Errors
/// [`WorkerError`]
pub fn run(verb: WorkerVerb) -> Result<ExitCode, WorkerError> {
    match verb {
        WorkerVerb::Start(args) if args.background => block_on(background::start(*args)),
        WorkerVerb::Start(args) => block_on(start::start(*args)),
        WorkerVerb::List(args) => block_on(fleet::list(&args)),
        WorkerVerb::Status(target) => block_on(verbs::status(&target)),
        WorkerVerb::Pause(order) => block_on(verbs::send(&order, Command::Pause)),
        WorkerVerb::Resume(order) => block_on(verbs::send(&order, Command::Resume)),
        WorkerVerb::Scale(args) => block_on(verbs::scale(&args)),
        WorkerVerb::Cancel(args) => block_on(verbs::cancel(&args)),
        WorkerVerb::Drain(DrainArgs { within, end }) => {
            block_on(verbs::end(&end, Command::Drain { within }))
        }
        WorkerVerb::Restart(args) => block_on(restart::restart(&args)),
        WorkerVerb::Stop(args) => block_on(verbs::end(&args, Command::Stop)),
        WorkerVerb::Kill(order) => block_on(verbs::kill(&order)),
        WorkerVerb::Reload(order) => block_on(verbs::send(&order, Command::Reload)),
    }
}
