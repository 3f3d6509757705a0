//! Processes of this binary in sessions of their own: Ctrl-Z, a hang-up and the end of their parent
//! do not reach them.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Error, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use thiserror::Error;
use tokio::process::{Child, Command};

use crate::domain;

/// Time limit until a process is ready: importing Dagster takes seconds on a busy machine.
pub(super) const READY: Duration = Duration::from_mins(1);

/// Reason why a process of ours did not start.
#[derive(Debug, Error)]
pub enum ChildError {
    /// A file or a process of ours failed.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// The attempted action.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// It ended before it was ready.
    #[error("the {what} ended at its start: {reason}")]
    Ended {
        /// `worker` or `broker`.
        what: &'static str,
        /// Its last line, which contains the reason.
        reason: String,
    },
    /// The operator left before it was started.
    #[error("the console was left")]
    Left,
    /// It was not ready in time.
    #[error("the {what} is not ready after {} s; see {}", READY.as_secs(), log.display())]
    Late {
        /// `worker` or `broker`.
        what: &'static str,
        /// Its log.
        log: PathBuf,
    },
}

/// Starts this binary in a session of its own; its output goes to a log that only its owner can
/// read.
pub(super) fn spawn(
    words: &[OsString],
    log: &Path,
    what: &'static str,
) -> Result<Child, ChildError> {
    let program = std::env::current_exe()
        .map_err(|source| file_error("find", Path::new("this program"), source))?;
    let output = create(log).map_err(|source| file_error("write", log, source))?;
    let errors = output
        .try_clone()
        .map_err(|source| file_error("write", log, source))?;
    Command::new(&program)
        .arg("--own-session")
        .args(words)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .spawn()
        .map_err(|source| file_error(what, &program, source))
}

fn create(log: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(log)
}

/// Makes a folder that only its owner can enter. An existing one must belong to this user: where
/// all users may make folders, another user may have made it first, with links in it to files of
/// this user's.
pub(super) fn make_folder(folder: &Path) -> Result<(), ChildError> {
    let failed = |source| file_error("make", folder, source);
    if let Some(parent) = folder.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(_) if folder.is_dir() => check_owner(folder, rustix::process::geteuid().as_raw()),
        made => made.map_err(failed),
    }
}

/// Checks a folder's owner. Root may use every user's folder: `sudo` keeps the home folder in some
/// configurations.
fn check_owner(folder: &Path, own: u32) -> Result<(), ChildError> {
    let failed = |source| file_error("use", folder, source);
    let link = std::fs::symlink_metadata(folder).map_err(failed)?;
    let found = std::fs::metadata(folder).map_err(failed)?;
    if own == 0 || (link.uid() == own && found.uid() == own) {
        return Ok(());
    }
    let text = format!(
        "it belongs to user {}, not to {own}; remove it",
        found.uid()
    );
    Err(failed(Error::new(ErrorKind::PermissionDenied, text)))
}

fn file_error(action: &'static str, path: &Path, source: std::io::Error) -> ChildError {
    ChildError::File {
        action,
        path: path.to_owned(),
        source,
    }
}

/// Sends SIGTERM to a process.
pub(super) fn terminate(child: &Child) {
    if let Some(pid) = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
        // An error means that it has already ended.
        let _ = kill_process(pid, Signal::TERM);
    }
}

/// The last lines of a log, as one line.
pub(super) fn last_lines(log: &Path, count: usize) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    domain::last_lines(&String::from_utf8_lossy(&text), count)
}

/// The last line of a log, which contains the reason for the program's end; of a log in JSON its
/// message.
pub(super) fn last_line(log: &Path) -> String {
    let line = last_lines(log, 1);
    if let Ok(record) = serde_json::from_str::<serde_json::Value>(&line)
        && let Some(message) = record["message"].as_str()
    {
        return message.to_owned();
    }
    line.trim_start_matches("dagster-taskiq-tui: ").to_owned()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

    use super::*;

    #[test]
    fn a_folder_is_made_for_its_owner_and_refused_to_others() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("a/b");
        make_folder(&folder).unwrap();
        make_folder(&folder).unwrap();
        let found = std::fs::metadata(&folder).unwrap();
        assert_eq!(found.mode() & 0o777, 0o700);
        check_owner(&folder, found.uid()).unwrap();
        let refusal = check_owner(&folder, found.uid() + 1).unwrap_err();
        assert!(
            refusal.to_string().contains("it belongs to user"),
            "{refusal}"
        );
    }
}
