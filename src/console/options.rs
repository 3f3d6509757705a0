//! Options of the console, and its result for the caller.

use std::path::PathBuf;

use thiserror::Error;
use tokio::sync::watch;

use super::notify::RingSettings;
use super::theme::Depth;
use crate::config::ContextColour;

/// Behaviour of `q` while steps are in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QuitPolicy {
    /// The pool does not belong to the caller: just leave.
    #[default]
    Leave,
    /// The caller started the pool: ask whether to drain, leave it running or stop it.
    Confirm,
}

/// Way in which the operator left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// `q`, with nothing to decide: the pool is not the console's, or nothing was in flight.
    Left,
    /// Let running tasks finish, give the rest back, then end the pool.
    DrainAndLeave,
    /// Leave the pool running in the background.
    LeaveRunning,
    /// Open the console over another context: the one at this index of
    /// [`ConsoleOptions::contexts`].
    Context(usize),
    /// Interrupt running tasks and end the pool.
    Stop,
    /// SIGTERM or SIGINT ended the process.
    Terminated,
    /// The terminal went away (SIGHUP).
    HungUp,
}

/// State of the processes that the caller starts beside the console; the screen does not wait for
/// them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Startup {
    /// Nothing is started: the pool does not belong to the caller.
    #[default]
    None,
    /// Under way: one sentence.
    Working(String),
    /// It runs, and belongs to the caller.
    Ready,
    /// It could not be started: one sentence.
    Failed(String),
}

/// A deployment that the console can be opened over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextChoice {
    /// Its name.
    pub name: String,
    /// Colour of the name.
    pub colour: Option<ContextColour>,
    /// Whether this console shows it.
    pub is_current: bool,
}

/// Options of the console.
#[derive(Clone, Debug)]
pub struct ConsoleOptions {
    /// Refuse every command that changes something.
    pub read_only: bool,
    /// Theme: a built-in name or the path of a YAML file.
    pub theme: String,
    /// Name of the console's source, shown beside the product's name (`demo`, a host name).
    pub context: String,
    /// The deployments to choose from.
    pub contexts: Vec<ContextChoice>,
    /// Behaviour of `q` while steps are in flight.
    pub quit: QuitPolicy,
    /// Maximum frames per second; `None` is 30, or 10 under ssh.
    pub max_fps: Option<u32>,
    /// Draw with ASCII only; `None` follows the locale.
    pub ascii: Option<bool>,
    /// Colours to use; `None` follows `NO_COLOR`, `COLORTERM` and `TERM`.
    pub depth: Option<Depth>,
    /// Whether no figure ticks by itself: elapsed times and the sparkline move on every ten
    /// seconds.
    pub reduced_motion: bool,
    /// State of the processes that the caller starts meanwhile. While they start and afterwards,
    /// `q` behaves as with [`QuitPolicy::Confirm`].
    pub startup: Option<watch::Receiver<Startup>>,
    /// File that keeps order, columns, filters and the history of counts between two consoles;
    /// `None` keeps nothing.
    pub memory: Option<PathBuf>,
    /// The operator's keys, a YAML file; `None` are the built-in ones.
    pub keys: Option<PathBuf>,
    /// The operator's own commands, a YAML file.
    pub plugins: Option<PathBuf>,
    /// The audit log of this host, for what the operator's own commands change.
    pub audit: Option<PathBuf>,
    /// Ways of ringing the terminal, and the alarms that ring.
    pub ring: RingSettings,
}

impl Default for ConsoleOptions {
    fn default() -> Self {
        Self {
            read_only: false,
            theme: String::from("default"),
            context: String::new(),
            contexts: Vec::new(),
            quit: QuitPolicy::Leave,
            max_fps: None,
            ascii: None,
            depth: None,
            reduced_motion: false,
            startup: None,
            memory: None,
            keys: None,
            plugins: None,
            audit: None,
            ring: RingSettings::default(),
        }
    }
}

/// Reason why the console could not run, in one sentence.
#[derive(Debug, Error)]
pub enum ConsoleError {
    /// Standard input or output is a pipe or a file.
    #[error(
        "the console needs a terminal, and {stream} is not one: start it in a terminal, or use --no-ui"
    )]
    NotATerminal {
        /// `standard input` or `standard output`.
        stream: &'static str,
    },
    /// A terminal that prints lines only, or an unknown one.
    #[error(
        "the console needs a terminal that can move its cursor, and {}: set TERM to what it is, or use --no-ui",
        if term.is_empty() { String::from("TERM is not set") } else { format!("TERM is {term}") }
    )]
    NoCursor {
        /// The value of `TERM`.
        term: String,
    },
    /// The terminal refused a mode.
    #[error("could not {action}: {source}")]
    Terminal {
        /// The attempted action.
        action: &'static str,
        /// The terminal's error.
        source: std::io::Error,
    },
    /// A theme file could not be read.
    #[error("could not read the theme {path}: {source}")]
    ThemeFile {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A theme's text is not a theme.
    #[error("the theme {name} is not valid: {reason}")]
    Theme {
        /// Name or path.
        name: String,
        /// Line and reason.
        reason: String,
    },
    /// The file of the operator's own commands could not be read, or one of them is not valid.
    #[error("the commands of {path} cannot be used: {reason}", path = path.display())]
    Plugins {
        /// The file.
        path: PathBuf,
        /// The reason, with the line.
        reason: String,
    },
    /// The file of keys could not be read, or two of its keys conflict.
    #[error("the keys of {path} cannot be used: {reason}", path = path.display())]
    Keys {
        /// The file.
        path: PathBuf,
        /// The reason, with the line.
        reason: String,
    },
    /// The console's thread panicked; the pool is not affected.
    #[error(
        "the console failed and was closed ({message}); the pool was not touched, please report this"
    )]
    Panicked {
        /// The panic's message.
        message: String,
    },
}
