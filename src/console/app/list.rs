//! The rows of a view, and the cursor in them.

use crate::console::filter::Filter;
use crate::console::rows::{RowKey, Rows, Sort};
use crate::console::view::View;
use crate::domain::{LogLevel, Snapshot};

/// A view's filter, order, rows and cursor.
#[derive(Clone, Debug, Default)]
pub struct List {
    /// Its filter.
    pub filter: Filter,
    /// Its order; `None` is the snapshot's own.
    pub sort: Option<Sort>,
    /// Its rows, as of the last refresh.
    pub rows: Rows,
    /// The row under the cursor.
    pub cursor: usize,
    /// The first row on the screen.
    pub offset: usize,
    /// Whether snapshot, filter, level or order changed since the last refresh.
    pub stale: bool,
    key: Option<RowKey>,
}

impl List {
    /// Computes the rows again if something changed, and keeps the cursor on the row it was on: an
    /// operator about to press a key means that row, wherever it has moved.
    pub(super) fn refresh(&mut self, view: View, snapshot: &Snapshot, level: LogLevel) {
        if !self.stale {
            return;
        }
        self.stale = false;
        self.rows = Rows::of(view, snapshot, &self.filter, level, self.sort);
        let at = |row: &usize| {
            self.rows
                .get(*row)
                .is_some_and(|index| self.is_key(view, snapshot, index))
        };
        if !at(&self.cursor)
            && let Some(row) = (0..self.rows.len()).find(at)
        {
            self.cursor = row;
        }
        self.move_to(self.cursor);
    }

    fn is_key(&self, view: View, snapshot: &Snapshot, index: usize) -> bool {
        self.key
            .as_ref()
            .is_some_and(|key| key.is_at(view, snapshot, index))
    }

    /// The position in the snapshot's list of the row under the cursor.
    #[must_use]
    pub fn selected(&self) -> Option<usize> {
        self.rows.get(self.cursor)
    }

    /// Moves the cursor to a row, or to the last one.
    pub(super) fn move_to(&mut self, row: usize) {
        self.cursor = row.min(self.rows.len().saturating_sub(1));
    }

    /// Notes which row the cursor is on.
    pub(super) fn remember(&mut self, view: View, snapshot: &Snapshot) {
        self.key = self
            .selected()
            .and_then(|index| RowKey::at(view, snapshot, index));
    }

    /// Scrolls as little as shows the cursor on a page of `page` rows, without a gap at the end.
    pub(super) fn scroll(&mut self, page: usize) {
        let last_offset = self.rows.len().saturating_sub(page);
        let lowest = (self.cursor + 1).saturating_sub(page);
        self.offset = self
            .offset
            .clamp(lowest, self.cursor.max(lowest))
            .min(last_offset.max(lowest));
    }
}
