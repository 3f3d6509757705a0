//! The audit log: one JSON line per disruptive or destructive command, with any outcome.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::domain::secrets::redact_text;
use crate::domain::{AuditEntry, Command, Danger, Reply, Timestamp};

/// The entry for a command; `None` if the command changes nothing. `worker` is the target if the
/// command names none itself.
#[must_use]
pub fn entry(
    user: &str,
    from: &str,
    worker: &str,
    command: &Command,
    reply: &Reply,
) -> Option<AuditEntry> {
    if command.danger() == Danger::Safe {
        return None;
    }
    let text = match reply {
        Reply::Answer(_) => "answered",
        other => other.text(),
    };
    let archive = match (command, reply) {
        // A restore has the archive as its target.
        (Command::DrainQueue { .. }, Reply::Operation(result)) => result.archive.clone(),
        _ => None,
    };
    let target = command.target(worker);
    let done = reply.problem().is_none();
    Some(AuditEntry {
        archive,
        ..line((user, from), command.verb(), &target, (done, text))
    })
}

/// The entry for a program of the operator's own, which a console ran on this host.
#[must_use]
pub fn program_entry(name: &str, target: &str, outcome: &Result<String, String>) -> AuditEntry {
    let from = super::frames::own_name();
    let user = from.split('@').next().unwrap_or_default();
    let (Ok(text) | Err(text)) = outcome;
    line((user, &from), name, target, (outcome.is_ok(), text))
}

fn line(
    (user, from): (&str, &str),
    verb: &str,
    target: &str,
    (done, text): (bool, &str),
) -> AuditEntry {
    AuditEntry {
        time: Timestamp::now(),
        user: user.to_owned(),
        from: from.to_owned(),
        host: super::frames::own_host(),
        verb: verb.to_owned(),
        target: redact_text(target).into_owned(),
        done,
        text: redact_text(text).into_owned(),
        archive: None,
        reason: None,
    }
}

/// The entry for a command that this process carried out itself.
#[must_use]
pub fn own_entry(worker: &str, command: &Command, reply: &Reply) -> Option<AuditEntry> {
    let from = super::frames::own_name();
    let user = from.split('@').next().unwrap_or_default();
    entry(user, &from, worker, command, reply)
}

/// A file that entries are appended to. Several processes may share it.
#[derive(Clone, Debug)]
pub struct AuditLog {
    path: PathBuf,
}

impl AuditLog {
    /// Creates the log at `path`; the first entry creates the file (mode 0600) and its folder.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The user's own log: `audit.jsonl` in the state folder (`~/.local/state/dagster-taskiq-tui`),
    /// or `None` if there is no home folder.
    #[must_use]
    pub fn default_path() -> Option<PathBuf> {
        let folders = directories::BaseDirs::new()?;
        let state = folders
            .state_dir()
            .unwrap_or_else(|| folders.data_local_dir());
        Some(state.join("dagster-taskiq-tui").join("audit.jsonl"))
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends an entry. A failure is logged: the command was carried out already.
    pub async fn record(&self, entry: AuditEntry) {
        let path = self.path.clone();
        let text = format!("{} {}: {}", entry.verb, entry.target, entry.text);
        let written = tokio::task::spawn_blocking(move || append(&path, &entry)).await;
        if let Err(error) = written.map_err(io::Error::other).and_then(|result| result) {
            let path = self.path.display();
            tracing::error!("cannot write to the audit log {path}: {error}; not recorded: {text}");
        }
    }
}

/// Writes a whole line in one call: with `O_APPEND` the lines of several processes do not mix.
fn append(path: &Path, entry: &AuditEntry) -> io::Result<()> {
    let mut line = serde_json::to_vec(entry)?;
    line.push(b'\n');
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(&line)
}

/// The end of an audit log, read again only when the file has grown.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    /// Length of the file at the last read.
    read: u64,
}

/// Size of the part read from the end of the file: some thousand lines.
const TAIL: u64 = 256 * 1024;

impl Tail {
    /// The end of the log in `path`, which need not exist yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, read: 0 }
    }

    /// Returns the newest entries, newest first; `None` if nothing was added since the last call.
    /// Invalid lines (such as a partial one at the beginning) are left out.
    ///
    /// # Errors
    /// The file cannot be read; a missing file is not an error.
    pub fn read_new(&mut self) -> io::Result<Option<Vec<AuditEntry>>> {
        let mut file = match fs::File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let length = file.metadata()?.len();
        if length == self.read {
            return Ok(None);
        }
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        self.read = length;
        let lines = bytes.split(|byte| *byte == b'\n').rev();
        let entries = lines.filter_map(|line| serde_json::from_slice(line).ok());
        Ok(Some(entries.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_entries_come_first_and_only_when_the_file_has_grown() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("audit.jsonl");
        let mut tail = Tail::new(path.clone());
        assert_eq!(tail.read_new()?, None, "there is no file yet");
        let line = |command: &Command| {
            let reply = Reply::Done(String::from("as requested"));
            entry("ann", "ann@bastion", "w-1", command, &reply)
        };
        for command in [Command::Pause, Command::Resume] {
            append(&path, &line(&command).ok_or(io::ErrorKind::Other)?)?;
        }
        let added = tail.read_new()?.unwrap_or_default();
        let verbs: Vec<&str> = added.iter().map(|entry| entry.verb.as_str()).collect();
        assert_eq!(verbs, ["worker resume", "worker pause"]);
        assert_eq!(
            (added[0].done, added[0].text.as_str()),
            (true, "as requested")
        );
        assert_eq!(tail.read_new()?, None);
        Ok(())
    }
}
