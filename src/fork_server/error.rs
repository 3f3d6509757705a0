//! Errors between the worker and its Python hosts.

use std::path::PathBuf;

/// Error of the Python hosts. Each message contains what was tried, on what, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ForkServerError {
    /// The interpreter cannot be started.
    #[error("cannot run {}: {source}; set `python` to an interpreter that has dagster", python.display())]
    Spawn {
        /// The interpreter.
        python: PathBuf,
        /// Error reported by the operating system.
        source: std::io::Error,
    },
    /// The instance agent reported why it cannot serve.
    #[error("{reason}")]
    Unusable {
        /// One sentence.
        reason: String,
    },
    /// The instance agent ended or never answered while it was starting.
    #[error("{} did not start the instance agent: {reason}", python.display())]
    NoInstanceAgent {
        /// The interpreter.
        python: PathBuf,
        /// The known facts: how it ended, the last line it wrote.
        reason: String,
    },
    /// Dagster's storage refused a request.
    #[error("{request} failed in Dagster's storage: {reason}")]
    Request {
        /// The request.
        request: &'static str,
        /// The exception.
        reason: String,
    },
    /// The request cannot be carried out, or its target does not exist.
    #[error("{reason}")]
    Refused {
        /// One sentence.
        reason: String,
    },
    /// The instance agent died or did not answer in time.
    #[error("the instance agent did not answer {request} ({reason}); it is being restarted")]
    NoAnswer {
        /// The request.
        request: &'static str,
        /// The reason.
        reason: &'static str,
    },
    /// The message's `kwargs` lack what a report needs.
    #[error("the message cannot be reported: {reason}")]
    Unreadable {
        /// The missing field.
        reason: String,
    },
    /// The host of a code location has no process for a task.
    #[error("{location} cannot start a process for it: {reason}")]
    CannotStart {
        /// The code location.
        location: String,
        /// The reason.
        reason: String,
    },
    /// A task's process was killed and does not end.
    #[error(
        "process {pid} of {location} does not end although it was killed: it hangs in the kernel (a \
         lost network mount?) or belongs to another user; its slot is given up and its claim is \
         held until it is gone"
    )]
    Undying {
        /// The code location.
        location: String,
        /// The process.
        pid: u32,
    },
    /// The hosts have been shut down.
    #[error("the hosts are shutting down")]
    ShuttingDown,
}
