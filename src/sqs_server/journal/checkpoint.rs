//! Copies the log into the database, beside the thread that writes. A checkpoint flushes the
//! database, which would delay requests by tens of milliseconds.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;

/// Extent of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checkpoint {
    /// Copies what is possible while others write.
    Passive,
    /// Copies everything; the log is empty afterwards and takes no space. Delays the writer.
    Truncate,
}

/// The thread that copies; ends when dropped.
#[derive(Debug)]
pub struct Checkpointer {
    wake: Option<SyncSender<Checkpoint>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    /// Starts the thread, with its own connection.
    ///
    /// # Errors
    /// Those of `SQLite`, or the operating system refuses to start a thread.
    pub fn start(path: &Path) -> rusqlite::Result<Self> {
        let db = super::connect(path)?;
        let (wake, woken) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("broker-checkpoint".to_owned())
            .spawn(move || run(&db, &woken))
            .map_err(super::cannot_open)?;
        Ok(Self {
            wake: Some(wake),
            thread: Some(thread),
        })
    }

    /// Requests a checkpoint; `false` if another request has not begun yet.
    pub fn wake(&self, checkpoint: Checkpoint) -> bool {
        self.wake
            .as_ref()
            .is_some_and(|wake| wake.try_send(checkpoint).is_ok())
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            // A panic in it has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

fn run(db: &Connection, woken: &Receiver<Checkpoint>) {
    while let Ok(checkpoint) = woken.recv() {
        let statement = match checkpoint {
            // Neither waits for the writer nor delays it. What it cannot copy is left for the next
            // checkpoint, and finally for the writer's own, at `LOG_LIMIT`.
            Checkpoint::Passive => "PRAGMA wal_checkpoint(PASSIVE)",
            Checkpoint::Truncate => "PRAGMA wal_checkpoint(TRUNCATE)",
        };
        if let Err(error) = db.query_row(statement, [], |_| Ok(())) {
            tracing::warn!(
                error = error.to_string(),
                "the broker's log could not be copied into its database; it grows until it can"
            );
        }
    }
}
