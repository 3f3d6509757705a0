//! The rows that a view shows: the snapshot's lists after filter, level and order.
//!
//! Without filter and order nothing is computed: the rows are the list itself, however long.

mod workers;

use crate::domain::{LogLevel, Snapshot, TaskView, Timestamp};

use super::filter::Filter;
use super::shown::Shown;
use super::view::View;

pub use workers::{WorkerRow, reported, worker_at};

/// The rows of a view, as positions in its list.
#[derive(Clone, Debug)]
pub enum Rows {
    /// All of them, in the list's own order.
    All(usize),
    /// These, in this order.
    Picked(Vec<usize>),
}

impl Default for Rows {
    fn default() -> Self {
        Self::All(0)
    }
}

impl Rows {
    /// The rows of `view`. `before` is only a hint: sorting from the previous order is faster when
    /// little has changed.
    #[must_use]
    pub fn of(
        before: &Self,
        view: View,
        snapshot: &Shown,
        filter: &Filter,
        level: LogLevel,
        sort: Option<Sort>,
    ) -> Self {
        let spec = view.spec();
        let total = spec.total(snapshot);
        let sort = sort.or_else(|| spec.default_sort());
        if filter.is_empty() && spec.shows_all() && sort.is_none() {
            return Self::All(total);
        }
        let passes = |index: &usize| spec.matches(filter, level, snapshot, *index);
        let Some(sort) = sort else {
            let mut picked: Vec<usize> = (0..total).filter(passes).collect();
            spec.arrange(snapshot, &mut picked);
            return Self::Picked(picked);
        };
        let known: &[usize] = match before {
            Self::All(_) => &[],
            Self::Picked(known) => known,
        };
        let mut is_new = vec![true; total];
        for index in known {
            if let Some(is_new) = is_new.get_mut(*index) {
                *is_new = false;
            }
        }
        let known = known.iter().copied().filter(|index| *index < total);
        let new = (0..total).filter(|index| is_new[*index]);
        let mut picked: Vec<usize> = known.chain(new).filter(passes).collect();
        spec.sort(sort, snapshot, &mut picked);
        Self::Picked(picked)
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::All(total) => *total,
            Self::Picked(picked) => picked.len(),
        }
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The position in the list of row `row`.
    #[must_use]
    pub fn get(&self, row: usize) -> Option<usize> {
        match self {
            Self::All(total) => (row < *total).then_some(row),
            Self::Picked(picked) => picked.get(row).copied(),
        }
    }
}

/// The task at a position of the steps' list: those in flight, then those that ended.
#[must_use]
pub fn task_at(snapshot: &Snapshot, index: usize) -> Option<&TaskView> {
    let ended = || snapshot.recent.get(index - snapshot.tasks.len());
    snapshot.tasks.get(index).or_else(ended)
}

/// What identifies a row, independent of its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowId<'a> {
    /// A task, queue, run, worker or dead letter by its id.
    Id(&'a str),
    /// A log line, or a line of the audit log.
    Line(Timestamp, &'a str),
}

/// Identity of a row: the cursor stays on it when the list changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowKey {
    /// As [`RowId::Id`].
    Id(String),
    /// As [`RowId::Line`].
    Line(Timestamp, String),
}

impl RowKey {
    /// The key of the row at a position of the view's list.
    #[must_use]
    pub fn at(view: View, snapshot: &Shown, index: usize) -> Option<Self> {
        Some(match view.spec().id_at(snapshot, index)? {
            RowId::Id(id) => Self::Id(id.to_owned()),
            RowId::Line(at, text) => Self::Line(at, text.to_owned()),
        })
    }

    /// Whether the row at a position of the view's list is this one.
    #[must_use]
    pub fn is_at(&self, view: View, snapshot: &Shown, index: usize) -> bool {
        let id = match self {
            Self::Id(id) => RowId::Id(id),
            Self::Line(at, text) => RowId::Line(*at, text),
        };
        view.spec().id_at(snapshot, index) == Some(id)
    }
}

/// The id of the row at a position of the view's list; lines of a log have none.
#[must_use]
pub fn id_at(view: View, snapshot: &Shown, index: usize) -> Option<&str> {
    match view.spec().id_at(snapshot, index)? {
        RowId::Id(id) => Some(id),
        RowId::Line(..) => None,
    }
}

/// The names of a view's filter fields.
#[must_use]
pub fn fields(view: View) -> Vec<&'static str> {
    view.spec().fields()
}

/// An order: one of those of the view, and its direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort {
    /// Its position among the view's orders.
    pub column: usize,
    /// Largest first.
    pub descending: bool,
}

impl Sort {
    /// The view's main order.
    pub(super) const MAIN: Self = Self {
        column: 0,
        descending: false,
    };
}
