//! Recovery from a failed write, after which memory is ahead of the disk. Reading everything again
//! takes as long as a start; the failed changes usually touched only a few messages.

use rusqlite::{OptionalExtension as _, Row, params};
use uuid::Uuid;

use super::Journal;
use super::apply::GARBAGE;
use super::load::{COLUMNS, from_json, message_of};
use crate::sqs_server::state::Broker;
use crate::sqs_server::state::change::Change;
use crate::sqs_server::state::message::{Message, Seq};
use crate::sqs_server::state::move_task::MoveTask;

impl Journal {
    /// Resets everything these changes touched to its state on disk, after [`Journal::roll_back`].
    /// `false` if they touched a queue itself or the clock: then everything must be read again.
    ///
    /// # Errors
    /// Those of `SQLite`, or an invalid record; everything must be read again then, too.
    pub fn take_back(&self, changes: &[Change], broker: &mut Broker) -> rusqlite::Result<bool> {
        for change in changes {
            match change {
                Change::Inserted { seq, .. }
                | Change::Copied { to: seq, .. }
                | Change::Updated { seq, .. }
                | Change::Deleted(seq) => broker.put_back(*seq, self.message(*seq)?),
                Change::Moved { from, to, .. } => {
                    broker.put_back(*from, self.message(*from)?);
                    broker.put_back(*to, self.message(*to)?);
                }
                Change::DedupSaved { queue, key, .. } => broker.forget_dedup(queue, key),
                // An expired id is not restored; its rows go with the next ones.
                Change::DedupExpired { .. } => {}
                Change::TaskSaved(task) => broker.put_back_task(task.id, self.task(task.id)?),
                Change::QueueSaved(_)
                | Change::QueueRemoved { .. }
                | Change::Discarded(_)
                | Change::ClockMoved { .. } => return Ok(false),
            }
        }
        Ok(true)
    }

    /// An existing message, and the storage id of its queue.
    fn message(&self, seq: Seq) -> rusqlite::Result<Option<(i64, Message)>> {
        let sql = format!("SELECT {COLUMNS} FROM message WHERE id = ?1 AND stage <> ?2");
        self.db
            .prepare_cached(&sql)?
            .query_row(params![seq, GARBAGE], |row: &Row<'_>| {
                Ok((row.get(1)?, message_of(row, &mut |name| name)?))
            })
            .optional()
    }

    fn task(&self, id: Uuid) -> rusqlite::Result<Option<MoveTask>> {
        let record: Option<String> = self
            .db
            .prepare_cached("SELECT record FROM task WHERE id = ?1")?
            .query_row([id.as_bytes()], |row| row.get(0))
            .optional()?;
        record.map(|record| from_json(&record)).transpose()
    }
}
