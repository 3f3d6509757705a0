//! The JSONL archive of a drained queue: a message is written to disk here before it is deleted. It
//! contains message bodies, so only its owner can read the file (0600).

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::sqs::{Attributes, BrokerError, Delivery};

/// One line of an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archived {
    /// Queue it was taken from.
    pub queue: String,
    /// SQS's message id.
    pub message_id: String,
    /// Time it was sent, in milliseconds since the epoch.
    pub sent_at_ms: Option<i64>,
    /// `MessageGroupId` of a FIFO queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Message attributes.
    #[serde(default, skip_serializing_if = "Attributes::is_empty")]
    pub attributes: Attributes,
    /// Whether the body is only a pointer to the message's object in S3.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub offloaded: bool,
    /// The unchanged body.
    pub body: String,
}

impl From<&Delivery> for Archived {
    fn from(delivery: &Delivery) -> Self {
        Self {
            queue: delivery.queue.name.clone(),
            message_id: delivery.message_id.clone(),
            sent_at_ms: delivery.sent_at.map(jiff::Timestamp::as_millisecond),
            group: delivery.group.clone(),
            attributes: delivery.attributes.clone(),
            offloaded: delivery.offloaded,
            body: delivery.body.clone(),
        }
    }
}

/// An archive being written. Its file is created with the first message.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    file: Option<File>,
    messages: usize,
}

impl Archive {
    /// An archive at `path`, which must not exist.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            file: None,
            messages: 0,
        }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of messages in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages
    }

    /// Whether nothing was archived, so that no file was created.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Writes messages and waits until they are on disk.
    ///
    /// # Errors
    /// [`BrokerError::Archive`]; then none of these messages may be deleted.
    pub fn append(&mut self, deliveries: &[Delivery]) -> Result<(), BrokerError> {
        self.write(deliveries)
            .map_err(|source| BrokerError::Archive {
                path: self.path.clone(),
                source,
            })?;
        self.messages += deliveries.len();
        Ok(())
    }

    fn write(&mut self, deliveries: &[Delivery]) -> std::io::Result<()> {
        let mut text = Vec::new();
        for delivery in deliveries {
            serde_json::to_writer(&mut text, &Archived::from(delivery))?;
            text.push(b'\n');
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(create(&self.path)?),
        };
        file.write_all(&text)?;
        file.sync_data()
    }
}

/// Reads the messages of an archive. An incomplete last line is left out: it was not completely on
/// disk when the writer died, so its message was not deleted.
///
/// # Errors
/// The file cannot be read, or a line of it is not a message; one sentence names the line.
pub fn read_archive(path: &Path) -> Result<Vec<Archived>, String> {
    let name = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read the archive {name}: {error}"))?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let lines = whole.lines().enumerate();
    lines
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(index, line)| {
            serde_json::from_str(line).map_err(|error| {
                let number = index + 1;
                format!("line {number} of {name} is no archived message ({error})")
            })
        })
        .collect()
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
