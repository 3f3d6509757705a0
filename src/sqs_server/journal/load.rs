//! Loads everything at the start, or after a failed write.

use std::collections::HashSet;
use std::sync::Arc;

use rusqlite::{OptionalExtension as _, Row, params};
use uuid::Uuid;

use super::Journal;
use super::apply::GARBAGE;
use crate::sqs_server::state::Broker;
use crate::sqs_server::state::message::{Message, Stage};

/// Columns that [`message_of`] reads.
pub(super) const COLUMNS: &str = "id, store, stage, sent_at, due_at, received_at, \
    first_received_at, receive_count, priority, group_id, source";

/// State loaded from disk.
#[derive(Debug)]
pub struct Loaded {
    /// The queues and their messages.
    pub broker: Broker,
    /// The secret of this folder's receipt handles.
    pub secret: [u8; 32],
}

impl Journal {
    /// Loads everything. Messages of deleted queues are marked for removal.
    ///
    /// # Errors
    /// Those of `SQLite`, or an invalid record.
    pub fn load(&mut self) -> rusqlite::Result<Loaded> {
        let mut broker = Broker::default();
        for record in self.records("SELECT record FROM queue")? {
            broker
                .restore_queue(&from_json(&record)?)
                .map_err(not_understood)?;
        }
        for record in self.records("SELECT record FROM task ORDER BY started_at")? {
            broker.restore_task(from_json(&record)?);
        }
        self.load_messages(&mut broker)?;
        self.load_dedup(&mut broker)?;
        let ahead = "SELECT value FROM meta WHERE key = 'ahead'";
        if let Some(ahead) = self.db.query_row(ahead, [], |row| row.get(0)).optional()? {
            broker.restore_clock(ahead);
        }
        Ok(Loaded {
            broker,
            secret: self.secret()?,
        })
    }

    fn records(&self, sql: &str) -> rusqlite::Result<Vec<String>> {
        self.db
            .prepare(sql)?
            .query_map([], |row| row.get(0))?
            .collect()
    }

    fn load_messages(&mut self, broker: &mut Broker) -> rusqlite::Result<()> {
        // Group and source names repeat; one allocation per name is enough.
        let mut names: HashSet<Arc<str>> = HashSet::new();
        let mut shared = |name: Arc<str>| {
            if let Some(known) = names.get(&name) {
                return known.clone();
            }
            names.insert(name.clone());
            name
        };
        let mut discarded = Vec::new();
        let mut select = self
            .db
            .prepare(&format!("SELECT {COLUMNS} FROM message ORDER BY id"))?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let seq = row.get(0)?;
            if row.get::<_, u8>(2)? == GARBAGE {
                // Its place stays reserved until it is swept, in case the clock was set back.
                broker.restore_place(seq);
                discarded.push(seq);
                continue;
            }
            let message = message_of(row, &mut shared)?;
            if !broker.restore_message(row.get(1)?, seq, message) {
                discarded.push(seq);
            }
        }
        drop(rows);
        drop(select);
        self.discarded = discarded;
        self.swept.clear();
        Ok(())
    }

    fn load_dedup(&self, broker: &mut Broker) -> rusqlite::Result<()> {
        let mut select = self.db.prepare(
            "SELECT queue, key, expires_at, message_id, id FROM dedup ORDER BY expires_at",
        )?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let queue: Arc<str> = row.get(0)?;
            let first = (Uuid::from_bytes(row.get(3)?), row.get(4)?);
            broker.restore_dedup(&queue, row.get(1)?, row.get(2)?, first);
        }
        Ok(())
    }

    fn secret(&self) -> rusqlite::Result<[u8; 32]> {
        let known = self
            .db
            .query_row("SELECT value FROM meta WHERE key = 'secret'", [], |row| {
                row.get(0)
            })
            .optional()?;
        if let Some(secret) = known {
            return Ok(secret);
        }
        let mut secret = [0; 32];
        secret[..16].copy_from_slice(Uuid::new_v4().as_bytes());
        secret[16..].copy_from_slice(Uuid::new_v4().as_bytes());
        self.db
            .execute("INSERT INTO meta VALUES ('secret', ?1)", params![secret])?;
        Ok(secret)
    }
}

/// The message in a row of [`COLUMNS`]; names pass through `shared`.
pub(super) fn message_of(
    row: &Row<'_>,
    shared: &mut dyn FnMut(Arc<str>) -> Arc<str>,
) -> rusqlite::Result<Message> {
    let mut name = |column| -> rusqlite::Result<Option<Arc<str>>> {
        let name: Option<Arc<str>> = row.get(column)?;
        Ok(name.map(&mut *shared))
    };
    Ok(Message {
        stage: match row.get(2)? {
            0 => Stage::Waiting,
            1 => Stage::Delayed,
            _ => Stage::InFlight,
        },
        sent_at: row.get(3)?,
        due_at: row.get(4)?,
        received_at: row.get(5)?,
        first_received_at: row.get(6)?,
        receive_count: row.get(7)?,
        priority: row.get(8)?,
        group: name(9)?,
        source: name(10)?,
    })
}

pub(super) fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> rusqlite::Result<T> {
    serde_json::from_str(text).map_err(not_understood)
}

fn not_understood(error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
}
