//! Copying the log into the database, beside the thread that writes: a checkpoint flushes the
//! database, which would hold requests up for as long as tens of milliseconds.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;

/// The thread that copies; ends when dropped.
#[derive(Debug)]
pub struct Checkpointer {
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    /// Starts the thread, with its own connection.
    ///
    /// # Errors
    /// `SQLite`'s, or the system has no thread to give.
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

    /// Asks for a checkpoint; one that was asked for and has not begun is enough.
    pub fn wake(&self) {
        if let Some(wake) = &self.wake {
            let _ = wake.try_send(());
        }
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

fn run(db: &Connection, woken: &Receiver<()>) {
    while woken.recv().is_ok() {
        // Passive: neither waits for the writer nor makes it wait. What it could not copy is left
        // for the next one, and in the end to the writer's own, at `LOG_LIMIT`.
        let outcome = db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        if let Err(error) = outcome {
            tracing::warn!(
                error = error.to_string(),
                "the broker's log could not be copied into its database; it grows until it can"
            );
        }
    }
}
