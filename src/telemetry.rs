//! Tracing to rolling files, to a console's log view and to standard error.
//!
//! The files hold everything from `info` up, by day; standard error is for headless processes only,
//! since a console owns its terminal.

mod line_layer;

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use thiserror::Error;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, fmt};

use crate::domain::EventSink;
use line_layer::LineLayer;

/// Days of log files that are kept.
const KEEP_DAYS: usize = 14;

/// Form of the log on standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line a record, for people.
    #[default]
    Text,
    /// One JSON object a record, for log collectors.
    Json,
}

/// Where the log goes.
#[derive(Debug, Default)]
pub struct Options {
    /// Folder of the files; absent: `log` in the user's state folder.
    pub folder: Option<PathBuf>,
    /// Standard error too, in this form.
    pub stderr: Option<LogFormat>,
    /// Consoles too.
    pub events: Option<EventSink>,
}

/// Why there is no log.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// The folder or file cannot be made.
    #[error("cannot write log files to {folder}: {source}; name another folder with --log-dir")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Somebody set a subscriber before.
    #[error("logging was set up twice in this process: {0}")]
    Twice(#[from] TryInitError),
}

/// Writes what is still in memory when dropped.
#[derive(Debug)]
#[must_use = "the last lines are written when it is dropped"]
pub struct Guard {
    _files: WorkerGuard,
    folder: PathBuf,
}

impl Guard {
    /// The folder of the files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Sets the process's log up. `RUST_LOG` overrides the level (`info`).
///
/// # Errors
/// [`TelemetryError`]
pub fn init(options: Options) -> Result<Guard, TelemetryError> {
    let folder = options.folder.unwrap_or_else(default_folder);
    // The appender makes it too, but looks into it for old files first, and complains.
    std::fs::create_dir_all(&folder)
        .map_err(|source| TelemetryError::Folder { folder: folder.clone(), source })?;
    let appender = RollingFileAppender::builder()
        .rotation(Rotation::DAILY)
        .filename_prefix("dagster-taskiq-tui")
        .filename_suffix("log")
        .max_log_files(KEEP_DAYS)
        .build(&folder)
        .map_err(|error| TelemetryError::Folder {
            folder: folder.clone(),
            source: std::io::Error::other(error),
        })?;
    let (writer, files) = tracing_appender::non_blocking(appender);
    let file = fmt::layer().with_ansi(false).with_writer(writer);
    let stderr = options.stderr.map(|format| match format {
        LogFormat::Text => fmt::layer()
            .with_ansi(false)
            .with_writer(std::io::stderr)
            .boxed(),
        LogFormat::Json => fmt::layer().json().with_writer(std::io::stderr).boxed(),
    });
    let level = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::registry()
        .with(level)
        .with(file)
        .with(stderr)
        .with(options.events.map(LineLayer::new))
        .try_init()?;
    Ok(Guard {
        _files: files,
        folder,
    })
}

fn default_folder() -> PathBuf {
    let state = directories::BaseDirs::new().map_or_else(std::env::temp_dir, |folders| {
        folders
            .state_dir()
            .unwrap_or_else(|| folders.data_local_dir())
            .to_owned()
    });
    state.join("dagster-taskiq-tui").join("log")
}
