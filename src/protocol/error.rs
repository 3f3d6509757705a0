//! Errors between a worker's socket and a console.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Error on a control socket. Each message is one sentence: what was tried, on what, and what to
/// do.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The runtime folder cannot be used.
    #[error("cannot use the runtime folder {path}: {reason}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The reason, and the remedy.
        reason: String,
    },
    /// Another process serves this worker id.
    #[error(
        "a worker named {worker} already runs on this host ({path}); give this one another --name"
    )]
    Taken {
        /// The worker id.
        worker: String,
        /// Its socket.
        path: PathBuf,
    },
    /// The socket could not be created.
    #[error("cannot listen on the control socket {path}: {source}")]
    Listen {
        /// The socket.
        path: PathBuf,
        /// Error reported by the operating system.
        source: io::Error,
    },
    /// No process answers on the socket.
    #[error("cannot reach a worker at {path}: {source}")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Error reported by the operating system.
        source: io::Error,
    },
    /// Another user created the socket, so it must not be trusted as a worker's.
    #[error(
        "cannot reach a worker at {path}: a process of {owner} listens there, not one of yours; \
         remove the socket, or name another folder with --runtime-dir"
    )]
    Stranger {
        /// The socket.
        path: PathBuf,
        /// Owner of the listening process.
        owner: String,
    },
    /// The host of the socket is not linked.
    #[error("cannot reach the worker at {path}: the link to its host is down")]
    Unlinked {
        /// Host and socket.
        path: PathBuf,
    },
    /// The link broke.
    #[error("the link to the worker at {path} broke: {source}")]
    Link {
        /// The socket.
        path: PathBuf,
        /// Error reported by the operating system.
        source: io::Error,
    },
    /// The worker closed the link.
    #[error("the worker at {path} closed the link")]
    Closed {
        /// The socket.
        path: PathBuf,
    },
    /// The received data does not follow this protocol.
    #[error("{path} does not speak the worker's control protocol: {reason}")]
    NotAWorker {
        /// The socket.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The worker refuses this client.
    #[error("the worker at {path} refused this console: {reason}")]
    Refused {
        /// The socket.
        path: PathBuf,
        /// The worker's reason.
        reason: String,
    },
    /// The protocol versions differ.
    #[error(
        "the worker at {path} (version {version}) speaks control protocol {theirs}, this program {ours}; use the worker's version of dagster-taskiq-tui"
    )]
    Version {
        /// The socket.
        path: PathBuf,
        /// The worker's version.
        version: String,
        /// Its protocol.
        theirs: u32,
        /// Ours.
        ours: u32,
    },
    /// No answer in time.
    #[error("the worker at {path} did not {what} within {}", seconds(*.after))]
    Timeout {
        /// The socket.
        path: PathBuf,
        /// The awaited action.
        what: &'static str,
        /// The timeout.
        after: Duration,
    },
}

/// `2 s`, `0.5 s`.
fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}
