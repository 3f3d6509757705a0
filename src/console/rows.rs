//! The rows that a view shows: the snapshot's lists after filter, level and order.
//!
//! Without filter and order nothing is computed: the rows are the list itself, however long.

mod fields;
mod order;
mod workers;

use std::sync::Arc;

use crate::domain::{LogLevel, LogLine, Snapshot, TaskView, Timestamp};

use super::filter::Filter;
use super::shown::Shown;
use super::view::View;

pub use fields::fields;
pub use order::{Sort, columns};
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
        let total = total(view, snapshot);
        let sort = sort.or((view == View::Overview).then_some(Sort::LONGEST_FIRST));
        let all = filter.is_empty() && view != View::Logs;
        if all && sort.is_none() {
            return Self::All(total);
        }
        let passes = |index: &usize| match view {
            View::Overview | View::Steps => {
                task_at(snapshot, *index).is_some_and(|task| filter.matches(task))
            }
            View::Queues => filter.matches(&snapshot.queues[*index]),
            View::Runs => filter.matches(&snapshot.runs[*index]),
            View::Workers => {
                worker_at(snapshot, *index).is_some_and(|worker| filter.matches(&worker))
            }
            View::DeadLetters => filter.matches(&snapshot.dead_letters[*index]),
            View::Audit => filter.matches(&snapshot.audit[*index]),
            View::Failures => filter.matches(&snapshot.failures[*index]),
            View::Dagster => filter.matches(&snapshot.dagster[*index]),
            View::Logs => {
                let (folds, logs) = (&snapshot.tracebacks, &snapshot.logs);
                let mut lines = folds.lines_of(*index, logs);
                !folds.hides(*index)
                    && folds.level(*index, logs) >= Some(level)
                    && lines.any(|line| filter.matches(line))
            }
        };
        let Some(sort) = sort else {
            return Self::Picked((0..total).filter(passes).collect());
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
        sort.apply(view, snapshot, &mut picked);
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

/// Number of rows of a view before its filter.
#[must_use]
pub fn total(view: View, snapshot: &Shown) -> usize {
    match view {
        View::Overview => snapshot.tasks.len(),
        View::Queues => snapshot.queues.len(),
        View::Steps => snapshot.tasks.len() + snapshot.recent.len(),
        View::Runs => snapshot.runs.len(),
        View::Workers => snapshot.workers.len() + reported(snapshot).count(),
        View::Logs => snapshot.logs.len(),
        View::DeadLetters => snapshot.dead_letters.len(),
        View::Audit => snapshot.audit.len(),
        View::Failures => snapshot.failures.len(),
        View::Dagster => snapshot.dagster.len(),
    }
}

/// Whether a view's list is identical in both: then its rows need not be computed again.
#[must_use]
pub fn is_same(view: View, one: &Shown, other: &Shown) -> bool {
    match view {
        View::Overview => Arc::ptr_eq(&one.tasks, &other.tasks),
        View::Steps => {
            Arc::ptr_eq(&one.tasks, &other.tasks) && Arc::ptr_eq(&one.recent, &other.recent)
        }
        View::Queues => Arc::ptr_eq(&one.queues, &other.queues),
        View::Runs => Arc::ptr_eq(&one.runs, &other.runs),
        View::Workers => {
            Arc::ptr_eq(&one.workers, &other.workers) && Arc::ptr_eq(&one.fleet, &other.fleet)
        }
        View::Logs => Arc::ptr_eq(&one.logs, &other.logs),
        View::DeadLetters => Arc::ptr_eq(&one.dead_letters, &other.dead_letters),
        View::Audit => Arc::ptr_eq(&one.audit, &other.audit),
        View::Failures => Arc::ptr_eq(&one.failures, &other.failures),
        View::Dagster => Arc::ptr_eq(&one.dagster, &other.dagster),
    }
}

/// The task at a position of the steps' list: those in flight, then those that ended.
#[must_use]
pub fn task_at(snapshot: &Snapshot, index: usize) -> Option<&TaskView> {
    let ended = || snapshot.recent.get(index - snapshot.tasks.len());
    snapshot.tasks.get(index).or_else(ended)
}

/// Identity of a row, independent of its position: the cursor stays on it when the list changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowKey {
    /// A task, queue, run, worker or dead letter by its id.
    Id(String),
    /// A log line, or a line of the audit log.
    Line(Timestamp, String),
}

impl RowKey {
    /// The key of the row at a position of the view's list.
    #[must_use]
    pub fn at(view: View, snapshot: &Shown, index: usize) -> Option<Self> {
        if view == View::Audit {
            let entry = snapshot.audit.get(index)?;
            return Some(Self::Line(entry.time, entry.target.clone()));
        }
        if view == View::Logs {
            let line: &LogLine = snapshot.logs.get(index)?;
            return Some(Self::Line(line.at, line.message.clone()));
        }
        id_at(view, snapshot, index).map(|id| Self::Id(id.to_owned()))
    }

    /// Whether the row at a position of the view's list is this one.
    #[must_use]
    pub fn is_at(&self, view: View, snapshot: &Shown, index: usize) -> bool {
        match self {
            Self::Id(id) => id_at(view, snapshot, index) == Some(id),
            Self::Line(at, target) if view == View::Audit => snapshot
                .audit
                .get(index)
                .is_some_and(|entry| entry.time == *at && entry.target == *target),
            Self::Line(at, message) => snapshot
                .logs
                .get(index)
                .is_some_and(|line| line.at == *at && line.message == *message),
        }
    }
}

/// The id of the row at a position of the view's list; log lines have none.
#[must_use]
pub fn id_at(view: View, snapshot: &Shown, index: usize) -> Option<&str> {
    match view {
        View::Overview | View::Steps => Some(&task_at(snapshot, index)?.task_id),
        View::Queues => Some(&snapshot.queues.get(index)?.name),
        View::Runs => Some(&snapshot.runs.get(index)?.run_id),
        View::Workers => Some(worker_at(snapshot, index)?.id()),
        View::DeadLetters => Some(&snapshot.dead_letters.get(index)?.message_id),
        View::Failures => Some(&snapshot.failures.get(index)?.id),
        View::Dagster => Some(&snapshot.dagster.get(index)?.id),
        View::Logs | View::Audit => None,
    }
}
