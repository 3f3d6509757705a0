//! Statements that are run many times in a row.

use rusqlite::{CachedStatement, Connection, Params};

/// Prepared statements of one group of changes. `rusqlite`'s own cache copies and hashes the SQL at
/// each use, which costs as much as a small statement.
pub struct Statements<'db> {
    db: &'db Connection,
    used: Vec<(&'static str, CachedStatement<'db>)>,
}

impl<'db> Statements<'db> {
    /// Statements of this database.
    pub fn of(db: &'db Connection) -> Self {
        Self {
            db,
            used: Vec::new(),
        }
    }

    /// Runs a statement that returns nothing.
    pub fn run(&mut self, sql: &'static str, params: impl Params) -> rusqlite::Result<()> {
        // A literal has one address; another literal with the same text is only prepared again.
        let known = self
            .used
            .iter()
            .position(|(known, _)| std::ptr::eq(*known, sql));
        let index = if let Some(index) = known {
            index
        } else {
            self.used.push((sql, self.db.prepare_cached(sql)?));
            self.used.len() - 1
        };
        self.used[index].1.execute(params).map(drop)
    }
}
