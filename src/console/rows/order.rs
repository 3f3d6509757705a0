//! Orders of a view's rows.

use std::cmp::Ordering;

use crate::console::labels;
use crate::console::rows::{WorkerRow, task_at, worker_at};
use crate::console::shown::Shown;
use crate::console::throughput::ended_at;
use crate::console::view::View;
use crate::domain::{
    PeekedMessage, Phase, PriorityCount, QueueCounts, QueueView, RunView, Snapshot, TaskView,
    Timestamp,
};

/// An order: a column of [`columns`], and its direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort {
    /// The column, by position in [`columns`].
    pub column: usize,
    /// Largest first.
    pub descending: bool,
}

/// The columns a view can be sorted by, by title.
#[must_use]
pub fn columns(view: View) -> &'static [&'static str] {
    match view {
        View::Queues => &[
            "QUEUE",
            "WAITING",
            "IN FLIGHT",
            "OLDEST",
            "DELAYED",
            "HELD",
            "RUNNING",
            "ROLE",
        ],
        View::Overview | View::Steps => &[
            "SINCE", "STATE", "PRIO", "STEP", "JOB", "QUEUE", "WORKER", "ELAPSED", "WAITED", "TRY",
            "RUN", "CPU", "MEMORY", "PID", "RECV", "ENDED",
        ],
        View::Runs => &[
            "CREATED",
            "STATUS",
            "JOB",
            "PRIO",
            "RUN",
            "STEPS",
            "FAILED",
            "DURATION",
            "PARTITION",
            "BY",
        ],
        View::Workers => &["WORKER", "STATE", "BUSY", "FAILED", "HOST", "VERSION"],
        View::DeadLetters => &["QUEUE", "AGE", "RECV", "STEP", "JOB"],
        View::Audit => &["TIME", "USER", "VERB"],
        View::Dagster => &["STATE", "KIND", "NAME", "LAST"],
        View::Failures => &["COUNT", "OPEN", "EXCEPTION", "JOB", "LAST", "FIRST"],
        View::Logs => &[],
    }
}

impl Sort {
    /// Running tasks by duration, longest first, then held ones.
    pub(super) const LONGEST_FIRST: Self = Self {
        column: 0,
        descending: false,
    };

    /// Sorts positions of the view's list in this order; equal rows keep the list's order.
    /// Positions that are nearly sorted are faster.
    pub(super) fn apply(self, view: View, snapshot: &Shown, picked: &mut [usize]) {
        picked.sort_by(|a, b| {
            let ordering = compare(view, snapshot, self.column, *a, *b);
            let ordering = if self.descending {
                ordering.reverse()
            } else {
                ordering
            };
            ordering.then(a.cmp(b))
        });
    }
}

fn compare(view: View, snapshot: &Shown, column: usize, a: usize, b: usize) -> Ordering {
    match view {
        View::Queues => compare_queues(column, snapshot, &snapshot.queues[a], &snapshot.queues[b]),
        View::Overview | View::Steps => match (task_at(snapshot, a), task_at(snapshot, b)) {
            (Some(a), Some(b)) => compare_tasks(column, a, b),
            _ => Ordering::Equal,
        },
        View::Runs => compare_runs(column, &snapshot.runs[a], &snapshot.runs[b]),
        View::Workers => match (worker_at(snapshot, a), worker_at(snapshot, b)) {
            (Some(a), Some(b)) => compare_workers(column, a, b),
            _ => Ordering::Equal,
        },
        View::DeadLetters => {
            let (a, b) = (&snapshot.dead_letters[a], &snapshot.dead_letters[b]);
            let job = |letter: &PeekedMessage| letter.envelope.as_ref()?.job.clone();
            match column {
                0 => a.queue.cmp(&b.queue),
                1 => a.sent_at.cmp(&b.sent_at),
                2 => a.receive_count.cmp(&b.receive_count),
                3 => a.name().cmp(b.name()),
                _ => job(a).cmp(&job(b)),
            }
        }
        View::Audit => {
            let (a, b) = (&snapshot.audit[a], &snapshot.audit[b]);
            match column {
                0 => a.time.cmp(&b.time),
                1 => a.user.cmp(&b.user),
                _ => a.verb.cmp(&b.verb),
            }
        }
        View::Dagster => {
            let (a, b) = (&snapshot.dagster[a], &snapshot.dagster[b]);
            match column {
                0 => a.health.cmp(&b.health),
                1 => a.kind.cmp(&b.kind),
                2 => a.name.cmp(&b.name),
                _ => a.at.cmp(&b.at),
            }
        }
        View::Failures => {
            let (a, b) = (&snapshot.failures[a], &snapshot.failures[b]);
            match column {
                0 => a.count.cmp(&b.count),
                1 => a.open.cmp(&b.open),
                2 => a.class.cmp(&b.class),
                3 => a.job.cmp(&b.job),
                4 => a.last_at.cmp(&b.last_at),
                _ => a.first_at.cmp(&b.first_at),
            }
        }
        View::Logs => Ordering::Equal,
    }
}

fn compare_queues(column: usize, snapshot: &Snapshot, a: &QueueView, b: &QueueView) -> Ordering {
    let by_count = |count: fn(QueueCounts) -> u64| a.counts.map(count).cmp(&b.counts.map(count));
    let in_hand = |queue: &QueueView, count: fn(&PriorityCount) -> u64| -> u64 {
        let counts = snapshot.priorities.iter();
        let of = counts.filter(|counts| counts.queue == queue.name);
        of.map(count).sum()
    };
    let by_hand = |count| in_hand(a, count).cmp(&in_hand(b, count));
    match column {
        0 => a.name.cmp(&b.name),
        1 => by_count(|counts| counts.visible),
        2 => by_count(|counts| counts.in_flight),
        // By the age, which grows towards earlier times; an empty queue has none.
        3 => {
            let age = |queue: &QueueView| queue.oldest.map(|at| -at.as_millisecond());
            age(a).cmp(&age(b))
        }
        4 => by_count(|counts| counts.delayed),
        5 => by_hand(|counts| counts.held),
        6 => by_hand(|counts| counts.running),
        _ => labels::queue_role(&a.role).cmp(&labels::queue_role(&b.role)),
    }
}

fn compare_runs(column: usize, a: &RunView, b: &RunView) -> Ordering {
    let ended = |run: &RunView| run.steps_succeeded + run.steps_failed;
    match column {
        0 => a.created_at.cmp(&b.created_at),
        1 => labels::run_status(a.status).cmp(labels::run_status(b.status)),
        2 => a.job.cmp(&b.job),
        3 => a.priority.cmp(&b.priority),
        4 => a.run_id.cmp(&b.run_id),
        5 => ended(a).cmp(&ended(b)),
        6 => a.steps_failed.cmp(&b.steps_failed),
        8 => a.partition().cmp(&b.partition()),
        9 => a.launched_by().cmp(&b.launched_by()),
        _ => {
            // Running items have the longest durations of all, the longer the earlier they began.
            let key = |run: &RunView| match (run.started_at, run.ended_at) {
                (Some(from), Some(to)) => (1, to.as_millisecond() - from.as_millisecond()),
                (Some(from), None) => (2, -from.as_millisecond()),
                (None, _) => (0, 0),
            };
            key(a).cmp(&key(b))
        }
    }
}

fn compare_workers(column: usize, a: WorkerRow<'_>, b: WorkerRow<'_>) -> Ordering {
    match column {
        0 => a.id().cmp(b.id()),
        1 => a.state_word().cmp(b.state_word()),
        2 => a.steps().busy.cmp(&b.steps().busy),
        3 => a.failed().cmp(&b.failed()),
        4 => a.hostname().cmp(b.hostname()),
        _ => a.version().cmp(b.version()),
    }
}

fn compare_tasks(column: usize, a: &TaskView, b: &TaskView) -> Ordering {
    match column {
        0 => since(a).cmp(&since(b)),
        1 => labels::phase(&a.phase).cmp(labels::phase(&b.phase)),
        2 => a.priority.cmp(&b.priority),
        3 => a.name().cmp(b.name()),
        4 => a.job.cmp(&b.job),
        5 => a.queue.cmp(&b.queue),
        6 => a.worker.cmp(&b.worker),
        7 => elapsed(a).cmp(&elapsed(b)),
        8 => waited(a).cmp(&waited(b)),
        9 => a.attempt.cmp(&b.attempt),
        10 => a.run_id.cmp(&b.run_id),
        11 => cpu(a).cmp(&cpu(b)),
        12 => memory(a).cmp(&memory(b)),
        13 => pid(a).cmp(&pid(b)),
        14 => a.receive_count.cmp(&b.receive_count),
        _ => ended_at(a).cmp(&ended_at(b)),
    }
}

/// Duration of a task; running ones have the longest, the longer the earlier they began.
fn elapsed(task: &TaskView) -> (u8, i64) {
    match &task.phase {
        Phase::Running { since, .. } => (2, -since.as_millisecond()),
        Phase::Done {
            at,
            started: Some(started),
            ..
        } => (1, at.as_millisecond() - started.as_millisecond()),
        Phase::Held | Phase::Done { started: None, .. } => (0, 0),
    }
}

/// Time that a task waited for its start, likewise.
fn waited(task: &TaskView) -> (u8, i64) {
    let sent = task.sent_at.unwrap_or(task.received_at).as_millisecond();
    match &task.phase {
        Phase::Held => (2, -sent),
        Phase::Running { since: start, .. }
        | Phase::Done {
            started: Some(start),
            ..
        } => (1, start.as_millisecond() - sent),
        Phase::Done { started: None, .. } => (0, 0),
    }
}

/// Process id of a task; only a running one has it.
fn pid(task: &TaskView) -> Option<u32> {
    match task.phase {
        Phase::Running { pid, .. } => pid,
        _ => None,
    }
}

fn cpu(task: &TaskView) -> Option<u32> {
    let usage = task.usage.filter(|_| task.is_running());
    usage.map(|usage| usage.cpu_percent)
}

fn memory(task: &TaskView) -> Option<u64> {
    let usage = task.usage.filter(|_| task.is_running());
    usage.map(|usage| usage.memory_mib)
}

/// Running before held before ended, each by the moment it began.
fn since(task: &TaskView) -> (u8, Timestamp) {
    match &task.phase {
        Phase::Running { since, .. } => (0, *since),
        Phase::Held => (1, task.received_at),
        Phase::Done { at, .. } => (2, *at),
    }
}
