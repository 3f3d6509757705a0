//! The rows of a view, and the cursor in them.

use std::collections::BTreeSet;

use crate::console::filter::Filter;
use crate::console::rows::{self, RowKey, Rows, Sort};
use crate::console::shown::Shown;
use crate::console::view::View;
use crate::domain::LogLevel;

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
    /// Ids of the rows that are marked, whether or not the filter lets them pass.
    pub marks: BTreeSet<String>,
    /// Titles of the columns that are not shown.
    pub hidden: BTreeSet<String>,
    /// Only the most important columns.
    pub narrow: bool,
    /// The row that was marked last: the beginning of a range.
    anchor: Option<String>,
    key: Option<RowKey>,
    /// The row whose details are open.
    opened: Option<Opened>,
}

/// A row whose details are open: they stay open even if the filter no longer matches it.
#[derive(Clone, Debug)]
struct Opened {
    key: RowKey,
    /// Its position in the snapshot's list; `None` when it is gone.
    position: Option<usize>,
}

impl List {
    /// Computes the rows again if something changed, and keeps the cursor on its row: an operator
    /// about to press a key means that row, even if it has moved.
    pub(super) fn refresh(&mut self, view: View, snapshot: &Shown, level: LogLevel) {
        if !self.stale {
            return;
        }
        self.stale = false;
        self.rows = Rows::of(&self.rows, view, snapshot, &self.filter, level, self.sort);
        self.drop_lost_marks(view, snapshot);
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

    fn is_key(&self, view: View, snapshot: &Shown, index: usize) -> bool {
        self.key
            .as_ref()
            .is_some_and(|key| key.is_at(view, snapshot, index))
    }

    /// The position in the snapshot's list of the row whose details are open, else of the one under
    /// the cursor.
    #[must_use]
    pub fn selected(&self) -> Option<usize> {
        match &self.opened {
            Some(opened) => opened.position,
            None => self.rows.get(self.cursor),
        }
    }

    /// Keeps the row under the cursor, whose details are open, even if it moves.
    pub(super) fn hold(&mut self, view: View, snapshot: &Shown) {
        // A task of the overview that ends moves to the recent ones.
        let all = match view {
            View::Overview => View::Steps,
            view => view,
        };
        let opened = self.opened.take().or_else(|| {
            let position = self.rows.get(self.cursor)?;
            let key = RowKey::at(view, snapshot, position)?;
            let position = Some(position);
            Some(Opened { key, position })
        });
        self.opened = opened.map(|Opened { key, position }| {
            let is_it = |position: &usize| key.is_at(view, snapshot, *position);
            let found = || (0..all.spec().total(snapshot)).find(is_it);
            let position = position.filter(is_it).or_else(found);
            Opened { key, position }
        });
    }

    /// Releases the row whose details were open.
    pub(super) fn let_go(&mut self) {
        self.opened = None;
    }

    /// Moves the cursor to a row, or to the last one.
    pub(super) fn move_to(&mut self, row: usize) {
        self.cursor = row.min(self.rows.len().saturating_sub(1));
    }

    /// Records the row under the cursor.
    pub(super) fn remember(&mut self, view: View, snapshot: &Shown) {
        self.key = self
            .selected()
            .and_then(|index| RowKey::at(view, snapshot, index));
    }

    /// Leaves the cursor at its place, whatever row comes there next.
    pub(super) fn unpin(&mut self) {
        self.key = None;
    }

    /// Scrolls by the least that shows the cursor on a page of `page` rows, without a gap at the
    /// end.
    pub(super) fn scroll(&mut self, page: usize) {
        let last_offset = self.rows.len().saturating_sub(page);
        let lowest = (self.cursor + 1).saturating_sub(page);
        self.offset = self
            .offset
            .clamp(lowest, self.cursor.max(lowest))
            .min(last_offset.max(lowest));
    }

    /// Whether the row at a position of the snapshot's list is marked.
    #[must_use]
    pub fn is_marked(&self, view: View, snapshot: &Shown, position: usize) -> bool {
        !self.marks.is_empty()
            && rows::id_at(view, snapshot, position).is_some_and(|id| self.marks.contains(id))
    }

    /// Marks the row under the cursor, or removes its mark.
    pub(super) fn toggle_mark(&mut self, view: View, snapshot: &Shown) {
        let Some(id) = self
            .selected()
            .and_then(|at| rows::id_at(view, snapshot, at))
        else {
            return;
        };
        if !self.marks.remove(id) {
            self.marks.insert(id.to_owned());
        }
        self.anchor = Some(id.to_owned());
    }

    /// Marks all rows from the one marked last to the one under the cursor.
    pub(super) fn mark_range(&mut self, view: View, snapshot: &Shown) {
        let id_of = |row: usize| rows::id_at(view, snapshot, self.rows.get(row)?);
        let anchor = (0..self.rows.len()).find(|row| id_of(*row) == self.anchor.as_deref());
        let from = anchor.unwrap_or(self.cursor);
        let range = from.min(self.cursor)..=from.max(self.cursor);
        let ids: Vec<String> = range.filter_map(id_of).map(str::to_owned).collect();
        self.marks.extend(ids);
    }

    /// Marks every row that matches the filter; removes all marks if all of them are marked.
    pub(super) fn mark_all(&mut self, view: View, snapshot: &Shown) {
        let ids = (0..self.rows.len()).filter_map(|row| self.rows.get(row));
        let ids: BTreeSet<String> = ids
            .filter_map(|at| rows::id_at(view, snapshot, at))
            .map(str::to_owned)
            .collect();
        if ids.is_subset(&self.marks) {
            self.marks.clear();
        } else {
            self.marks.extend(ids);
        }
    }

    /// The positions in the snapshot's list that a command applies to: the marked rows, or the one
    /// under the cursor if none is marked.
    #[must_use]
    pub fn targets(&self, view: View, snapshot: &Shown) -> Vec<usize> {
        if self.marks.is_empty() {
            return self.selected().into_iter().collect();
        }
        (0..view.spec().total(snapshot))
            .filter(|at| self.is_marked(view, snapshot, *at))
            .collect()
    }

    /// Removes the marks of rows that are gone: they cannot be acted on.
    fn drop_lost_marks(&mut self, view: View, snapshot: &Shown) {
        if self.marks.is_empty() {
            return;
        }
        let present = self.targets(view, snapshot);
        if present.len() < self.marks.len() {
            let ids = present
                .into_iter()
                .filter_map(|at| rows::id_at(view, snapshot, at));
            self.marks = ids.map(str::to_owned).collect();
        }
    }
}
