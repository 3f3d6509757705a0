//! Metrics, vital signs, traces and the log of the process, and what `/proc` says of processes. The
//! log goes to one file a day, to standard error unless a console owns the terminal, and as
//! [`LogLine`](crate::domain::LogLine) events for display.

pub mod exposition;
mod json;
mod lines;
pub mod metrics;
pub mod proc;
mod redacting;
mod text;
pub mod traces;
pub mod vitals;

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use tracing::{Metadata, Subscriber};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::writer::MakeWriterExt;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt};

use crate::domain::{EventSink, LOG_FILES, LogFormat};
use redacting::Redacting;
use text::{Beginning, OneLine};

/// The default filter: libraries log only warnings and errors.
const FILTER: &str = "warn,dagster_taskiq_tui=info";

/// Maximum number of lines waiting for the disk; further lines are dropped and counted. At 200
/// bytes a line some 3 MB.
const BUFFERED_LINES: usize = 16_384;

const PROGRAM: &str = "dagster-taskiq-tui";

/// Target of the event that has the reason of the process's end. Standard error gets it in JSON alone:
/// in text the same sentence stands there already, from the command line.
pub const END: &str = "dagster_taskiq_tui::end";

/// Options of logging.
#[derive(Clone, Debug)]
pub struct Options {
    /// The filter, in the notation of tracing's `EnvFilter` (`debug`, `warn,aws_config=trace`).
    pub filter: Option<String>,
    /// Folder of the log files; `None` writes none. [`default_folder`] is the user's own.
    pub folder: Option<PathBuf>,
    /// Maximum number of log files, one a day; at least 1.
    pub files: u32,
    /// Format of the lines, on standard error and in the files.
    pub format: LogFormat,
    /// Also write to standard error; off if a console owns the terminal.
    pub stderr: bool,
    /// Receiver of the lines for display.
    pub sink: Option<EventSink>,
    /// Name of the worker, in every line: the workers of a host may write to one file.
    pub worker: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            filter: None,
            folder: None,
            files: LOG_FILES,
            format: LogFormat::Text,
            stderr: false,
            sink: None,
            worker: None,
        }
    }
}

/// Error in setting up logging.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The folder of the log files cannot be used.
    #[error("cannot write log files in {folder}: {reason}; give another --log-dir")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The filter is invalid.
    #[error(
        "{filter:?} is no log filter: {reason}; try info, debug or warn,dagster_taskiq_tui=debug"
    )]
    Filter {
        /// The given filter.
        filter: String,
        /// The reason.
        reason: String,
    },
    /// Logging was already set up in this process.
    #[error("logging is set up already")]
    Twice,
}

/// Keeps the log file's writer alive; dropping it writes the buffered lines.
#[derive(Debug)]
pub struct Guard {
    file: Option<(WorkerGuard, ErrorCounter)>,
}

impl Guard {
    /// Number of lines that were not written to the file because the disk was too slow.
    #[must_use]
    pub fn dropped_lines(&self) -> usize {
        self.file
            .as_ref()
            .map_or(0, |(_, lost)| lost.dropped_lines())
    }
}

/// The user's folder of log files: `log` in the state folder (`~/.local/state/dagster-taskiq-tui`);
/// `None` if there is no home folder.
#[must_use]
pub fn default_folder() -> Option<PathBuf> {
    let folders = directories::BaseDirs::new()?;
    let state = folders
        .state_dir()
        .unwrap_or_else(|| folders.data_local_dir());
    Some(state.join(PROGRAM).join("log"))
}

/// Sets up logging for the whole process; log lines are written until the guard is dropped.
///
/// # Errors
/// The folder cannot be written, the filter is invalid, or logging was already set up.
pub fn init(options: Options) -> Result<Guard, TelemetryError> {
    let (subscriber, guard) = subscriber(options)?;
    subscriber.try_init().map_err(|_| TelemetryError::Twice)?;
    Ok(guard)
}

/// The subscriber that [`init`] installs.
///
/// # Errors
/// As [`init`], except the last.
pub fn subscriber(
    options: Options,
) -> Result<(impl Subscriber + Send + Sync + 'static, Guard), TelemetryError> {
    let Options {
        filter,
        folder,
        files,
        format,
        stderr,
        sink,
        worker,
    } = options;
    let filter = parse(filter.as_deref().unwrap_or(FILTER))?;
    let file = folder.as_deref().map(|folder| open(folder, files));
    let file = file.transpose()?;
    let mut layers: Vec<BoxedLayer> = Vec::new();
    let mut guard = Guard { file: None };
    if let Some((writer, thread)) = file {
        guard.file = Some((thread, writer.error_counter()));
        layers.push(layer(format, worker.clone(), false, writer));
    }
    if stderr {
        let ansi = io::IsTerminal::is_terminal(&io::stderr())
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let is_json = format == LogFormat::Json;
        let writer = io::stderr
            .with_filter(move |metadata: &Metadata<'_>| is_json || metadata.target() != END);
        layers.push(layer(format, worker, ansi, writer));
    }
    if let Some(sink) = sink {
        layers.push(lines::LineLayer::new(sink).boxed());
    }
    Ok((Registry::default().with(layers).with(filter), guard))
}

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Writes one line for each event, without its secrets.
fn layer<W>(format: LogFormat, worker: Option<String>, ansi: bool, writer: W) -> BoxedLayer
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    match format {
        LogFormat::Text => fmt::layer()
            .with_ansi(ansi)
            .with_timer(Beginning(worker))
            .with_writer(Redacting(OneLine { writer, ansi }))
            .boxed(),
        LogFormat::Json => json::JsonLayer::new(worker, Redacting(writer)).boxed(),
    }
}

fn parse(filter: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::builder()
        .parse(filter)
        .map_err(|error| TelemetryError::Filter {
            filter: filter.to_owned(),
            reason: error.to_string(),
        })
}

/// Opens one file a day, named by its date, in a folder that only its owner can enter: messages may
/// contain a step's output.
fn open(folder: &Path, files: u32) -> Result<(NonBlocking, WorkerGuard), TelemetryError> {
    let failed = |reason: String| TelemetryError::Folder {
        folder: folder.to_owned(),
        reason,
    };
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| failed(error.to_string()))?;
    let appender = RollingFileAppender::builder()
        .rotation(Rotation::DAILY)
        .filename_prefix(PROGRAM)
        .filename_suffix("log")
        .max_log_files(files.max(1) as usize)
        .build(folder)
        .map_err(|error| failed(error.to_string()))?;
    Ok(NonBlockingBuilder::default()
        .buffered_lines_limit(BUFFERED_LINES)
        .lossy(true)
        .finish(appender))
}

#[cfg(test)]
mod tests;
