//! Tracing: to one file a day, to standard error unless a console owns the terminal, and as
//! [`LogLine`](crate::domain::LogLine) events for display.

mod lines;
mod redacting;

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use tracing::Subscriber;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt};

use crate::domain::EventSink;
use redacting::Redacting;

/// The default filter: libraries log only warnings and errors.
const FILTER: &str = "warn,dagster_taskiq_tui=info";

/// Maximum number of daily log files that are kept.
const MAX_FILES: usize = 14;

/// Maximum number of lines waiting for the disk; further lines are dropped and counted. At 200
/// bytes a line some 3 MB.
const BUFFERED_LINES: usize = 16_384;

const PROGRAM: &str = "dagster-taskiq-tui";

/// Format of standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stderr {
    /// Nothing: a console owns the terminal.
    #[default]
    Off,
    /// One line per event, for people.
    Human,
    /// One JSON object per event (`--log-format json`).
    Json,
}

/// Options of logging.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The filter, in the notation of tracing's `EnvFilter` (`debug`, `warn,aws_config=trace`).
    pub filter: Option<String>,
    /// Folder of the log files; `None` writes none. [`default_folder`] is the user's own.
    pub folder: Option<PathBuf>,
    /// Format of standard error.
    pub stderr: Stderr,
    /// Receiver of the lines for display.
    pub sink: Option<EventSink>,
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
        stderr,
        sink,
    } = options;
    let filter = parse(filter.as_deref().unwrap_or(FILTER))?;
    let file = folder.as_deref().map(open).transpose()?;
    let mut layers: Vec<Box<dyn Layer<Registry> + Send + Sync>> = Vec::new();
    let mut guard = Guard { file: None };
    if let Some((writer, worker)) = file {
        guard.file = Some((worker, writer.error_counter()));
        let writer = Redacting(writer);
        layers.push(fmt::layer().with_ansi(false).with_writer(writer).boxed());
    }
    match stderr {
        Stderr::Off => {}
        Stderr::Human => {
            let ansi = io::IsTerminal::is_terminal(&io::stderr())
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            let writer = Redacting(io::stderr);
            layers.push(fmt::layer().with_ansi(ansi).with_writer(writer).boxed());
        }
        Stderr::Json => {
            let json = fmt::layer().json().flatten_event(true);
            layers.push(json.with_writer(Redacting(io::stderr)).boxed());
        }
    }
    if let Some(sink) = sink {
        layers.push(lines::LineLayer::new(sink).boxed());
    }
    Ok((Registry::default().with(layers).with(filter), guard))
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
fn open(folder: &Path) -> Result<(NonBlocking, WorkerGuard), TelemetryError> {
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
        .max_log_files(MAX_FILES)
        .build(folder)
        .map_err(|error| failed(error.to_string()))?;
    Ok(NonBlockingBuilder::default()
        .buffered_lines_limit(BUFFERED_LINES)
        .lossy(true)
        .finish(appender))
}

#[cfg(test)]
mod tests;
