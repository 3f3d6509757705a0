//! The broker's state on disk: `SQLite` in WAL mode, one transaction per group of requests. The
//! columns that change often (`message`) are kept apart from bodies (`payload`), so that a receive,
//! a change of visibility or a delete rewrites a small row. The rows of deleted messages are swept
//! later, many at once. The log is flushed ([`Log`]) and copied into the database (`checkpoint`)
//! beside the thread that writes.

mod apply;
mod checkpoint;
mod load;
mod log;
mod recent;
mod statements;
mod undo;

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _};
use uuid::Uuid;

use super::state::change::Change;
use super::state::message::{Payload, Seq};
use checkpoint::{Checkpoint, Checkpointer};
use recent::Recent;
use statements::Statements;

pub use load::Loaded;
pub use log::Log;

/// Durability of a write when its request is answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Durability {
    /// On disk: survives a power failure.
    #[default]
    Disk,
    /// Handed to the operating system: survives a crash of the broker, not a power failure.
    Os,
}

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS queue (name TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS message (
        id INTEGER PRIMARY KEY,
        store INTEGER NOT NULL,
        stage INTEGER NOT NULL,
        sent_at INTEGER NOT NULL,
        due_at INTEGER NOT NULL,
        received_at INTEGER NOT NULL,
        first_received_at INTEGER NOT NULL,
        receive_count INTEGER NOT NULL,
        priority INTEGER NOT NULL,
        group_id TEXT,
        source TEXT
    );
    CREATE TABLE IF NOT EXISTS payload (
        id INTEGER PRIMARY KEY,
        message_id BLOB NOT NULL,
        body TEXT NOT NULL,
        extra TEXT
    );
    CREATE TABLE IF NOT EXISTS dedup (
        queue TEXT NOT NULL,
        key TEXT NOT NULL,
        expires_at INTEGER NOT NULL,
        message_id BLOB NOT NULL,
        id INTEGER NOT NULL,
        PRIMARY KEY (queue, key)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS task (id BLOB PRIMARY KEY, started_at INTEGER, record TEXT NOT NULL)
        WITHOUT ROWID;
";

/// Amount of garbage at which a group sweeps within its own transaction. Removing adjacent rows
/// together costs a fraction of removing them one by one.
const SWEEP: usize = 256;
/// Maximum garbage swept in one transaction, which bounds the delay of requests.
const SWEEP_LIMIT: usize = 1_024;
/// Free pages that are kept for new messages.
const SPARE_PAGES: i64 = 256;
/// Free pages given back to the file system in one step of [`Journal::tidy`].
const VACUUM_STEP: i64 = 256;
/// Changes after which the log is worth copying into the database. Most pages of so many are written
/// several times in the log and copied once; a fourth of them cost 8 % more, twice as many gained
/// nothing.
const CHECKPOINT_AFTER: usize = 8_000;
/// Pages of log at which the writer copies what the checkpointer left; a page has 4 KiB.
const LOG_LIMIT: i64 = 16_384;
/// Maximum size of the page cache, in KiB. It needs only the messages received next and sent last,
/// because the system caches the files as well.
const CACHE_KIB: i64 = 4_096;

/// The database and its garbage that is still to be removed.
#[derive(Debug)]
pub struct Journal {
    db: Connection,
    log: Arc<Log>,
    checkpointer: Checkpointer,
    recent: Recent,
    /// Deleted messages whose rows still exist.
    discarded: Vec<Seq>,
    /// Deleted messages that the open transaction adds.
    fresh: Vec<Seq>,
    /// Those whose rows the open transaction removes.
    swept: Vec<Seq>,
    open: bool,
    unchecked: usize,
}

impl Journal {
    /// Opens or creates the database.
    ///
    /// # Errors
    /// Those of `SQLite`, for a file that cannot be read, written or parsed.
    pub fn open(path: &Path, durability: Durability) -> rusqlite::Result<Self> {
        let db = connect(path)?;
        db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        // Commits are flushed by [`Log::flush`].
        db.pragma_update(None, "synchronous", "NORMAL")?;
        db.pragma_update(None, "journal_size_limit", 64 << 20)?;
        db.pragma_update(None, "wal_autocheckpoint", LOG_LIMIT)?;
        db.pragma_update(None, "cache_size", -CACHE_KIB)?;
        db.pragma_update(None, "temp_store", "MEMORY")?;
        db.set_prepared_statement_cache_capacity(32);
        db.execute_batch(SCHEMA)?;
        // The log's file is created by the first write.
        db.execute(
            "INSERT OR REPLACE INTO meta VALUES ('opened_at', unixepoch())",
            [],
        )?;
        let log = Log::open(path, durability).map_err(cannot_open)?;
        log.flush().map_err(cannot_open)?;
        Ok(Self {
            db,
            log: Arc::new(log),
            checkpointer: Checkpointer::start(path)?,
            recent: Recent::default(),
            discarded: Vec::new(),
            fresh: Vec::new(),
            swept: Vec::new(),
            open: false,
            unchecked: 0,
        })
    }

    /// The log that makes commits durable.
    #[must_use]
    pub fn log(&self) -> Arc<Log> {
        self.log.clone()
    }

    /// Writes changes, in order. They become durable with the next [`Journal::commit`].
    ///
    /// # Errors
    /// Those of `SQLite`; everything since the last commit is lost then.
    pub fn write(&mut self, changes: &[Change]) -> rusqlite::Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        self.begin()?;
        self.unchecked += changes.len();
        let mut statements = Statements::of(&self.db);
        for change in changes {
            statements.apply(change, &mut self.fresh)?;
        }
        drop(statements);
        for change in changes {
            if let Change::Inserted { seq, payload, .. } = change {
                self.recent.keep(*seq, payload);
            }
        }
        if self.discarded.len() >= SWEEP {
            self.sweep()?;
        }
        Ok(())
    }

    /// Ends the transaction and returns whether one was open. The writes survive the death of this
    /// process; they survive a power failure only after [`Log::flush`].
    ///
    /// # Errors
    /// Those of `SQLite`; everything since the last commit is lost then.
    pub fn commit(&mut self) -> rusqlite::Result<bool> {
        if !self.open {
            return Ok(false);
        }
        self.db.prepare_cached("COMMIT")?.execute([])?;
        self.open = false;
        self.discarded.append(&mut self.fresh);
        self.swept.clear();
        if self.unchecked >= CHECKPOINT_AFTER {
            // If one is already requested, that is enough.
            self.checkpointer.wake(Checkpoint::Passive);
            self.unchecked = 0;
        }
        Ok(true)
    }

    /// Discards all writes since the last commit.
    pub fn roll_back(&mut self) {
        if !self.db.is_autocommit() {
            // If this fails as well, the next BEGIN reports it.
            let _ = self.db.execute_batch("ROLLBACK");
        }
        self.open = false;
        self.recent.clear();
        self.fresh.clear();
        self.discarded.append(&mut self.swept);
    }

    /// The fixed part of a message.
    ///
    /// # Errors
    /// Those of `SQLite`.
    pub fn payload(&self, seq: Seq) -> rusqlite::Result<Option<Arc<Payload>>> {
        if let Some(payload) = self.recent.get(seq) {
            return Ok(Some(payload));
        }
        self.db
            .prepare_cached("SELECT message_id, body, extra FROM payload WHERE id = ?1")?
            .query_row([seq], |row| {
                let extra: Option<String> = row.get(2)?;
                Ok(Arc::new(Payload {
                    message_id: Uuid::from_bytes(row.get(0)?),
                    body: row.get(1)?,
                    body_md5: None,
                    extra: extra.and_then(|text| serde_json::from_str(&text).ok()),
                }))
            })
            .optional()
    }

    /// Sweeps some garbage and gives some free pages back to the file system; returns whether there
    /// is more to do.
    ///
    /// # Errors
    /// Those of `SQLite`.
    pub fn tidy(&mut self) -> rusqlite::Result<bool> {
        if !self.discarded.is_empty() {
            self.begin()?;
            self.sweep()?;
            self.commit()?;
            return Ok(true);
        }
        let free: i64 = self
            .db
            .query_row("PRAGMA freelist_count", [], |row| row.get(0))?;
        if free <= SPARE_PAGES {
            return Ok(false);
        }
        let pages = (free - SPARE_PAGES).min(VACUUM_STEP);
        let mut vacuum = self
            .db
            .prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
        let mut rows = vacuum.query([])?;
        while rows.next()?.is_some() {}
        self.unchecked += 1;
        Ok(true)
    }

    /// Empties the log, so that it takes no space and the database's file shrinks to its content.
    /// Costs two flushes and delays a writer, so it is meant for idle times. `false` if it must be
    /// requested again.
    pub fn settle(&mut self) -> bool {
        self.unchecked = 0;
        self.checkpointer.wake(Checkpoint::Truncate)
    }

    /// Removes the rows of some deleted messages, the youngest garbage first.
    fn sweep(&mut self) -> rusqlite::Result<()> {
        let some = self.discarded.len().saturating_sub(SWEEP_LIMIT);
        let step = self.discarded.split_off(some);
        let mut statements = Statements::of(&self.db);
        let removed = step.iter().try_for_each(|seq| statements.erase(*seq));
        drop(statements);
        self.swept.extend(step);
        removed
    }

    fn begin(&mut self) -> rusqlite::Result<()> {
        if !self.open {
            self.db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            self.open = true;
        }
        Ok(())
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open(path)?;
    // There is no other writer; only the end of a checkpoint can block this, for a moment.
    db.busy_timeout(std::time::Duration::from_secs(10))?;
    Ok(db)
}

fn cannot_open(error: std::io::Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(error))
}
