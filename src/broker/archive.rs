//! Draining a queue: every message is written to a JSONL archive, and is on disk, before it is
//! deleted. An archive may hold whatever a body holds, so its file is for its owner alone (0600).

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::client::Broker;
use super::delivery::Delivery;
use super::error::BrokerError;
use super::queue_set::Queue;

/// One line of an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archived {
    /// Queue it was taken from.
    pub queue: String,
    /// SQS's message id.
    pub message_id: String,
    /// When it was sent, in milliseconds since the epoch.
    pub sent_at_ms: Option<i64>,
    /// `MessageGroupId` of a FIFO queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The body as it was.
    pub body: String,
}

/// What a drain did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveSummary {
    /// The archive; it does not exist when the queue was empty.
    pub path: PathBuf,
    /// The archived and deleted messages.
    pub messages: Vec<Archived>,
}

impl Broker {
    /// Moves every waiting message of a queue into a new JSONL file `path`. Ends at the first
    /// receive that finds nothing; messages in flight elsewhere stay.
    ///
    /// # Errors
    /// [`BrokerError`]; what is already archived is in the file, what is not archived is still in
    /// the queue (hidden for at most the visibility timeout).
    pub async fn drain(
        &self,
        queue: &Arc<Queue>,
        path: PathBuf,
    ) -> Result<ArchiveSummary, BrokerError> {
        let mut file: Option<File> = None;
        let mut messages = Vec::new();
        loop {
            // One second lets SQS ask all of its hosts; zero would miss messages.
            let batch = self.receive(queue, 10, Duration::from_secs(1)).await?;
            if batch.is_empty() {
                return Ok(ArchiveSummary { path, messages });
            }
            let lines: Vec<Archived> = batch.iter().map(archived).collect();
            if file.is_none() {
                file = Some(create(&path).map_err(|source| archive_error(&path, source))?);
            }
            if let Some(file) = &mut file {
                append(file, &lines).map_err(|source| archive_error(&path, source))?;
            }
            for delivery in &batch {
                self.delete(delivery).await?;
            }
            messages.extend(lines);
        }
    }
}

fn archived(delivery: &Delivery) -> Archived {
    Archived {
        queue: delivery.queue.name.clone(),
        message_id: delivery.message_id.clone(),
        sent_at_ms: delivery.sent_at.map(jiff::Timestamp::as_millisecond),
        group: delivery.group.clone(),
        body: delivery.body.clone(),
    }
}

fn create(path: &Path) -> std::io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    OpenOptions::new()
        .create_new(true)
        .append(true)
        .mode(0o600)
        .open(path)
}

fn append(file: &mut File, lines: &[Archived]) -> std::io::Result<()> {
    let mut text = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut text, line)?;
        text.push(b'\n');
    }
    file.write_all(&text)?;
    file.sync_data()
}

fn archive_error(path: &Path, source: std::io::Error) -> BrokerError {
    BrokerError::Archive {
        path: path.to_owned(),
        source,
    }
}
