//! The audit log: one JSON line per disruptive or destructive command, whatever came of it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::domain::{Command, Danger, Reply, Timestamp};

/// One line of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When it was over.
    pub time: Timestamp,
    /// User name, as the kernel knows the client.
    pub user: String,
    /// What the client calls itself, `user@host`.
    pub from: String,
    /// Host on which it was carried out (or refused).
    pub host: String,
    /// The verb.
    pub verb: String,
    /// What it was about: a worker, a task, a queue, runs.
    pub target: String,
    /// `done: …` or `failed: …`, with the reply's sentence.
    pub outcome: String,
}

impl Entry {
    /// The line for a command, or nothing where the command changes nothing. `worker` is what
    /// carries it out when the command names nothing itself.
    #[must_use]
    pub fn new(
        user: &str,
        from: &str,
        worker: &str,
        command: &Command,
        reply: &Reply,
    ) -> Option<Self> {
        if command.danger() == Danger::Safe {
            return None;
        }
        let outcome = match reply {
            Reply::Done(text) => format!("done: {text}"),
            Reply::Failed(text) => format!("failed: {text}"),
        };
        Some(Self {
            time: Timestamp::now(),
            user: user.to_owned(),
            from: from.to_owned(),
            host: super::protocol::own_host(),
            verb: command.verb().to_owned(),
            target: target(worker, command),
            outcome,
        })
    }
}

fn target(worker: &str, command: &Command) -> String {
    match command {
        Command::CancelTask { task_id } => format!("task {task_id} on {worker}"),
        Command::DrainQueue { queue } => format!("queue {queue}"),
        Command::Scale { steps } => format!("{worker} to {steps} step slots"),
        Command::LaunchRun { job, .. } => {
            format!("job {} of {} in {}", job.job, job.repository, job.location)
        }
        Command::TerminateRuns { run_ids } => format!("runs {}", run_ids.join(", ")),
        Command::Pause | Command::Resume | Command::Drain | Command::Stop | Command::Reload => {
            worker.to_owned()
        }
    }
}

/// A file that entries are appended to. Several processes may share it.
#[derive(Clone, Debug)]
pub struct AuditLog {
    path: PathBuf,
}

impl AuditLog {
    /// The log in `path`; file (mode 0600) and folder are made by the first entry.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The user's own: `audit.jsonl` in the state folder (`~/.local/state/dagster-taskiq-tui`), or
    /// nothing where there is no home folder.
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
    pub async fn record(&self, entry: Entry) {
        let path = self.path.clone();
        let text = format!("{} {} {}", entry.verb, entry.target, entry.outcome);
        let written = tokio::task::spawn_blocking(move || append(&path, &entry)).await;
        if let Err(error) = written.map_err(io::Error::other).and_then(|result| result) {
            let path = self.path.display();
            tracing::error!("cannot write to the audit log {path}: {error}; not recorded: {text}");
        }
    }
}

/// One write of a whole line: with `O_APPEND` lines of several processes do not mix.
fn append(path: &Path, entry: &Entry) -> io::Result<()> {
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
