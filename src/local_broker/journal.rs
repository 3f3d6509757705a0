//! The broker's memory on disk: `SQLite` in WAL mode, one transaction per group of requests. What
//! changes often (`message`) is apart from bodies (`payload`), so that a receive or a change of
//! visibility rewrites a small row.

mod load;

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, params};
use uuid::Uuid;

use super::state::change::Change;
use super::state::message::{Message, Payload, Seq, Stage};

pub use load::Loaded;

/// How sure a write is before its request is answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Durability {
    /// On the disk: survives a power cut.
    #[default]
    Disk,
    /// Handed to the operating system: survives a crash of the broker.
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

/// Discarded messages removed, and free pages given back, in one step of [`Journal::tidy`].
const TIDY_STEP: usize = 1_000;
/// Free pages that are kept for new messages.
const SPARE_PAGES: i64 = 256;

/// The database and what is left to clean up in it.
#[derive(Debug)]
pub struct Journal {
    db: Connection,
    discarded: Vec<Seq>,
    open: bool,
}

impl Journal {
    /// Opens or makes the database.
    ///
    /// # Errors
    /// `SQLite`'s, for a file that cannot be read, written or understood.
    pub fn open(path: &Path, durability: Durability) -> rusqlite::Result<Self> {
        let db = Connection::open(path)?;
        db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        // One process uses the folder, so the WAL index can stay in memory.
        db.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        let synchronous = match durability {
            Durability::Disk => "FULL",
            Durability::Os => "NORMAL",
        };
        db.pragma_update(None, "synchronous", synchronous)?;
        db.pragma_update(None, "journal_size_limit", 64 << 20)?;
        db.pragma_update(None, "cache_size", -8_192)?;
        db.pragma_update(None, "temp_store", "MEMORY")?;
        db.set_prepared_statement_cache_capacity(32);
        db.execute_batch(SCHEMA)?;
        Ok(Self {
            db,
            discarded: Vec::new(),
            open: false,
        })
    }

    /// Writes changes, in order. They are kept at the next [`Journal::commit`].
    ///
    /// # Errors
    /// `SQLite`'s; nothing since the last commit is kept then.
    pub fn write(&mut self, changes: Vec<Change>) -> rusqlite::Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        self.begin()?;
        changes
            .into_iter()
            .try_for_each(|change| self.apply(change))
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    /// `SQLite`'s; nothing since the last commit is kept then.
    pub fn commit(&mut self) -> rusqlite::Result<()> {
        if self.open {
            self.db.prepare_cached("COMMIT")?.execute([])?;
            self.open = false;
        }
        Ok(())
    }

    /// Forgets what was written since the last commit.
    pub fn roll_back(&mut self) {
        if !self.db.is_autocommit() {
            // When this fails as well, the next BEGIN says so.
            let _ = self.db.execute_batch("ROLLBACK");
        }
        self.open = false;
    }

    /// The fixed part of a message.
    ///
    /// # Errors
    /// `SQLite`'s.
    pub fn payload(&self, seq: Seq) -> rusqlite::Result<Option<Payload>> {
        self.db
            .prepare_cached("SELECT message_id, body, extra FROM payload WHERE id = ?1")?
            .query_row([seq], |row| {
                let extra: Option<String> = row.get(2)?;
                Ok(Payload {
                    message_id: Uuid::from_bytes(row.get(0)?),
                    body: row.get(1)?,
                    extra: extra.and_then(|text| serde_json::from_str(&text).ok()),
                })
            })
            .optional()
    }

    /// Whether [`Journal::tidy`] has something to do.
    #[must_use]
    pub fn is_untidy(&self) -> bool {
        !self.discarded.is_empty()
    }

    /// Removes some of what was discarded and gives some free pages back to the file system; says
    /// whether there is more to do.
    ///
    /// # Errors
    /// `SQLite`'s.
    pub fn tidy(&mut self) -> rusqlite::Result<bool> {
        let some = self.discarded.len().saturating_sub(TIDY_STEP);
        let step = self.discarded.split_off(some);
        if !step.is_empty() {
            self.begin()?;
            step.iter().try_for_each(|seq| self.delete(*seq))?;
            self.commit()?;
            return Ok(true);
        }
        let free: i64 = self
            .db
            .query_row("PRAGMA freelist_count", [], |row| row.get(0))?;
        if free <= SPARE_PAGES {
            return Ok(false);
        }
        let pages = (free - SPARE_PAGES).min(1_000);
        let mut vacuum = self
            .db
            .prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
        let mut rows = vacuum.query([])?;
        while rows.next()?.is_some() {}
        Ok(true)
    }

    fn begin(&mut self) -> rusqlite::Result<()> {
        if !self.open {
            self.db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            self.open = true;
        }
        Ok(())
    }

    fn apply(&mut self, change: Change) -> rusqlite::Result<()> {
        match change {
            Change::Inserted {
                store,
                seq,
                message,
                payload,
            } => self.insert(store, seq, &message, &payload),
            Change::Updated { seq, message } => self.update(seq, &message),
            Change::Deleted(seq) => self.delete(seq),
            Change::Moved {
                from,
                store,
                to,
                message,
                identity,
            } => self.relocate(from, store, to, &message, identity),
            Change::Discarded(mut seqs) => {
                self.discarded.append(&mut seqs);
                Ok(())
            }
            Change::QueueSaved(record) => {
                let json = to_json(&*record)?;
                self.run(
                    "INSERT OR REPLACE INTO queue VALUES (?1, ?2)",
                    params![record.name, json],
                )
            }
            Change::QueueRemoved { name } => {
                self.run("DELETE FROM dedup WHERE queue = ?1", [&name])?;
                self.run("DELETE FROM queue WHERE name = ?1", [&name])
            }
            Change::DedupSaved {
                queue,
                key,
                expires_at,
                message_id,
                seq,
            } => self.run(
                "INSERT OR REPLACE INTO dedup VALUES (?1, ?2, ?3, ?4, ?5)",
                params![queue, key, expires_at, message_id.as_bytes(), seq],
            ),
            Change::DedupExpired { queue, until } => self.run(
                "DELETE FROM dedup WHERE queue = ?1 AND expires_at <= ?2",
                params![queue, until],
            ),
            Change::TaskSaved(task) => self.run(
                "INSERT OR REPLACE INTO task VALUES (?1, ?2, ?3)",
                params![task.id.as_bytes(), task.started_at, to_json(&*task)?],
            ),
        }
    }

    fn insert(
        &self,
        store: i64,
        seq: Seq,
        message: &Message,
        payload: &Payload,
    ) -> rusqlite::Result<()> {
        self.run(
            "INSERT INTO message VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            params![
                seq,
                store,
                stage_number(message.stage),
                message.sent_at,
                message.due_at,
                message.received_at,
                message.first_received_at,
                message.receive_count,
                message.priority,
                message.group,
                message.source,
            ],
        )?;
        let extra = payload.extra.as_ref().map(to_json).transpose()?;
        self.run(
            "INSERT INTO payload VALUES (?1, ?2, ?3, ?4)",
            params![seq, payload.message_id.as_bytes(), payload.body, extra],
        )
    }

    fn update(&self, seq: Seq, message: &Message) -> rusqlite::Result<()> {
        self.run(
            "UPDATE message SET stage = ?2, due_at = ?3, received_at = ?4, \
             first_received_at = ?5, receive_count = ?6 WHERE id = ?1",
            params![
                seq,
                stage_number(message.stage),
                message.due_at,
                message.received_at,
                message.first_received_at,
                message.receive_count,
            ],
        )
    }

    fn relocate(
        &self,
        from: Seq,
        store: i64,
        to: Seq,
        message: &Message,
        identity: Option<Uuid>,
    ) -> rusqlite::Result<()> {
        self.run(
            "UPDATE message SET id = ?2, store = ?3, sent_at = ?4, source = ?5 WHERE id = ?1",
            params![from, to, store, message.sent_at, message.source],
        )?;
        self.update(to, message)?;
        self.run(
            "UPDATE payload SET id = ?2, message_id = coalesce(?3, message_id) WHERE id = ?1",
            params![from, to, identity.as_ref().map(Uuid::as_bytes)],
        )
    }

    fn delete(&self, seq: Seq) -> rusqlite::Result<()> {
        self.run("DELETE FROM message WHERE id = ?1", [seq])?;
        self.run("DELETE FROM payload WHERE id = ?1", [seq])
    }

    fn run(&self, sql: &str, params: impl rusqlite::Params) -> rusqlite::Result<()> {
        self.db.prepare_cached(sql)?.execute(params).map(drop)
    }
}

fn to_json(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

fn stage_number(stage: Stage) -> u8 {
    match stage {
        Stage::Waiting => 0,
        Stage::Delayed => 1,
        Stage::InFlight => 2,
    }
}
