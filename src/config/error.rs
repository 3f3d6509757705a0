//! Errors in settings.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

use super::merge::Origin;
use crate::domain::visible;

/// A problem in a file, or an ignored part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// The key and those above it, as in `priority_bands[1].min`; empty for the file as a whole.
    pub key: String,
    /// The problem, as the words after the key. No value is quoted: it may be a secret.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        if self.key.is_empty() {
            return f.write_str(&visible(&self.text));
        }
        write!(f, "`{}` {}", visible(&self.key), visible(&self.text))
    }
}

/// Reason why settings could not be used. Each message is one sentence: what was tried, on what,
/// what to do.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}: {source}; check the path given with -y")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file is too large.
    #[error("the configuration file {path} is larger than 1 MiB; check the path given with -y")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is invalid.
    #[error("the configuration file {path} cannot be used: {}", first(.problems, .path))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// All problems in it, at least one; from the top.
        problems: Vec<Problem>,
    },
    /// A value, wherever it came from, is not usable.
    #[error("{} from {origin} cannot be used: {}", visible(.name), visible(.problem))]
    BadValue {
        /// The setting.
        name: String,
        /// Its origin.
        origin: Origin,
        /// The problem and its remedy.
        problem: String,
    },
    /// No deployment has this name.
    #[error("there is no context {} (from {origin}): {}", visible(.name), visible(.known))]
    UnknownContext {
        /// The name.
        name: String,
        /// Its origin.
        origin: Origin,
        /// The known ones, or what to do.
        known: String,
    },
    /// Two deployments are named.
    #[error("{flag} and the context {name} name two deployments: leave one of them out")]
    BesideContext {
        /// The flag.
        flag: &'static str,
        /// The context.
        name: String,
    },
    /// A worker without a queue would idle silently.
    #[error(
        "no queue is configured: set queue_url in the file given with -y, \
         DAGSTER_TASKIQ_SQS_QUEUE_URL or --queue-url, or pass --local-broker to use the embedded \
         broker at {embedded}"
    )]
    NoQueue {
        /// Endpoint of the embedded broker.
        embedded: &'static str,
    },
    /// A value fits its schema and not its type: an error in the program.
    #[error("cannot use a setting: {0}; please report this")]
    Unexpected(String),
}

fn first(problems: &[Problem], path: &std::path::Path) -> String {
    let Some((first, others)) = problems.split_first() else {
        return String::from("it cannot be read");
    };
    match others.len() {
        0 => first.to_string(),
        more => format!(
            "{first} (and {more} more: see `dagster-taskiq-tui config check {}`)",
            path.display()
        ),
    }
}
