//! Sends an archive's messages again.
//!
//! The ids of sent messages are kept beside the archive (`FILE.restored`), one a line, each on disk
//! before the next message is sent. A restore that died and is run again continues there. The one
//! message that was sent and not yet recorded is sent twice, which a FIFO queue's deduplication
//! (within five minutes) and the step's claim make harmless.

use std::collections::HashSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{OperationError, Operator, messages};
use crate::domain::OperationResult;
use crate::queue_ops::{Archived, read_archive};
use crate::sqs::{Attribute, OFFLOADED, Outgoing};

impl Operator {
    /// Sends the messages of an archive again: to the given queue, or each to its own.
    ///
    /// # Errors
    /// [`OperationError`] if nothing was sent.
    pub async fn restore(
        &self,
        file: &Path,
        to: Option<&str>,
        again: bool,
    ) -> Result<OperationResult, OperationError> {
        let archived = read_archive(file).map_err(OperationError::Refused)?;
        let mut progress = Progress::open(file, again).map_err(OperationError::Refused)?;
        let mut sent = 0;
        let mut failure = None;
        let waiting: Vec<&Archived> = archived
            .iter()
            .filter(|one| !progress.done.contains(&one.message_id))
            .collect();
        for one in &waiting {
            let result = match self.restore_one(one, to, again).await {
                Ok(()) => progress.note(&one.message_id),
                Err(problem) => Err(problem.to_string()),
            };
            if let Err(problem) = result {
                failure = Some(problem);
                break;
            }
            sent += 1;
        }
        let left = waiting.len() - sent;
        let mut text = format!("{} of {} sent", messages(sent), file.display());
        let before = archived.len() - waiting.len();
        if before > 0 {
            text = format!(
                "{text}; {before} had been sent by an earlier restore and were not sent again"
            );
        }
        if let Some(problem) = &failure {
            text = format!(
                "{text}; {} not: {problem}; restoring the same file again goes on from there",
                messages(left)
            );
        }
        Ok(OperationResult {
            messages: sent,
            left,
            archive: Some(file.to_owned()),
            text,
            failed: failure.is_some(),
        })
    }

    async fn restore_one(
        &self,
        one: &Archived,
        to: Option<&str>,
        again: bool,
    ) -> Result<(), OperationError> {
        let queue = self.queue(to.unwrap_or(&one.queue)).await?;
        let mut attributes = one.attributes.clone();
        if one.offloaded {
            attributes
                .entry(OFFLOADED.to_owned())
                .or_insert_with(|| Attribute::text("True"));
        }
        let deduplication = if again {
            uuid::Uuid::new_v4().simple().to_string()
        } else {
            format!("restore-{}", one.message_id)
        };
        let outgoing = Outgoing {
            body: one.body.clone(),
            attributes,
            group: one.group.clone(),
            deduplication: Some(deduplication),
            delay: Duration::ZERO,
        };
        let attempt = format!("send message {} to {}", one.message_id, queue.name);
        self.broker.send(&queue.url, &outgoing, &attempt).await?;
        Ok(())
    }
}

/// Record of an archive's sent messages. It is locked: two restores of one file do not run at once.
struct Progress {
    path: PathBuf,
    file: File,
    done: HashSet<String>,
}

impl Progress {
    fn open(archive: &Path, again: bool) -> Result<Self, String> {
        let mut path = archive.as_os_str().to_owned();
        path.push(".restored");
        let path = PathBuf::from(path);
        let shown = path.display();
        let open = || -> io::Result<(File, String)> {
            let mut file = OpenOptions::new()
                .create(true)
                .read(true)
                .append(true)
                .mode(0o600)
                .open(&path)?;
            file.try_lock().map_err(|error| match error {
                TryLockError::WouldBlock => io::Error::other("another restore of it is under way"),
                TryLockError::Error(error) => error,
            })?;
            if again {
                file.set_len(0)?;
            }
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            Ok((file, text))
        };
        let (file, text) = open().map_err(|error| {
            format!("cannot keep in {shown} what was restored: {error}; nothing was sent")
        })?;
        // A partial line is a message that was not recorded.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let done: HashSet<String> = whole.lines().map(str::to_owned).collect();
        let mut file = file;
        if whole.len() + 1 < text.len() {
            file.write_all(b"\n")
                .map_err(|error| format!("cannot write {shown}: {error}; nothing was sent"))?;
        }
        Ok(Self { path, file, done })
    }

    fn note(&mut self, id: &str) -> Result<(), String> {
        let line = format!("{id}\n");
        let written = self.file.write_all(line.as_bytes());
        written
            .and_then(|()| self.file.sync_data())
            .map_err(|error| {
                let path = self.path.display();
                format!("message {id} was sent, but {path} cannot be written: {error}")
            })
    }
}
