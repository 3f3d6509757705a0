//! Changes as SQL.

use rusqlite::params;
use uuid::Uuid;

use super::statements::Statements;
use crate::sqs_server::state::change::Change;
use crate::sqs_server::state::message::{Message, Payload, Seq, Stage};

/// The stage of a deleted message whose rows still exist.
pub const GARBAGE: u8 = 3;

impl Statements<'_> {
    /// Writes one change. Messages that it leaves as garbage are added to `garbage`.
    pub fn apply(&mut self, change: &Change, garbage: &mut Vec<Seq>) -> rusqlite::Result<()> {
        match change {
            Change::Inserted {
                store,
                seq,
                message,
                payload,
            } => self.insert(*store, *seq, message, payload),
            Change::Updated { seq, message } => self.update(*seq, message),
            Change::Deleted(seq) => {
                self.run(
                    "UPDATE message SET stage = ?2 WHERE id = ?1",
                    params![seq, GARBAGE],
                )?;
                garbage.push(*seq);
                Ok(())
            }
            Change::Moved {
                from,
                store,
                to,
                message,
                identity,
            } => self.relocate(*from, *store, *to, message, *identity),
            Change::Discarded(seqs) => {
                garbage.extend(seqs);
                Ok(())
            }
            Change::QueueSaved(record) => {
                let json = to_json(record)?;
                self.run(
                    "INSERT OR REPLACE INTO queue VALUES (?1, ?2)",
                    params![record.name, json],
                )
            }
            Change::QueueRemoved { name } => {
                self.run("DELETE FROM dedup WHERE queue = ?1", [name])?;
                self.run("DELETE FROM queue WHERE name = ?1", [name])
            }
            Change::Copied {
                from,
                store,
                to,
                message,
            } => {
                self.insert_row(*store, *to, message)?;
                self.run(
                    "INSERT INTO payload SELECT ?2, message_id, body, extra FROM payload \
                     WHERE id = ?1",
                    params![from, to],
                )
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
            Change::ClockMoved { ahead } => {
                self.run("INSERT OR REPLACE INTO meta VALUES ('ahead', ?1)", [ahead])
            }
            Change::TaskSaved(task) => self.run(
                "INSERT OR REPLACE INTO task VALUES (?1, ?2, ?3)",
                params![task.id.as_bytes(), task.started_at, to_json(task)?],
            ),
        }
    }

    fn insert(
        &mut self,
        store: i64,
        seq: Seq,
        message: &Message,
        payload: &Payload,
    ) -> rusqlite::Result<()> {
        self.insert_row(store, seq, message)?;
        let extra = payload.extra.as_ref().map(to_json).transpose()?;
        self.run(
            "INSERT INTO payload VALUES (?1, ?2, ?3, ?4)",
            params![seq, payload.message_id.as_bytes(), payload.body, extra],
        )
    }

    fn insert_row(&mut self, store: i64, seq: Seq, message: &Message) -> rusqlite::Result<()> {
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
        )
    }

    fn update(&mut self, seq: Seq, message: &Message) -> rusqlite::Result<()> {
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
        &mut self,
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

    /// Removes a message's rows.
    pub fn erase(&mut self, seq: Seq) -> rusqlite::Result<()> {
        self.run("DELETE FROM message WHERE id = ?1", [seq])?;
        self.run("DELETE FROM payload WHERE id = ?1", [seq])
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
