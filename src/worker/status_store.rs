//! The store: the only writer of a worker's snapshot. It folds [`Event`]s, in order, and publishes
//! the result for the control server (and an embedded console).

mod publish;

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::log_ring::{LogRing, MAX_LINES, cut};
use crate::domain::{
    Acknowledgement, Alarm, Event, FleetWorker, MAX_RECENT_TASKS, PausedQueues, Phase,
    PriorityCount, QueueView, Source, TaskOutcome, TaskView, Timestamp, WorkerSnapshot, WorkerView,
};

pub use publish::{Published, Subscription, spawn};

/// Maximum length of the reason of a finished task, in bytes; 500 of them travel in every snapshot.
const MAX_REASON: usize = 2 * 1024;

/// Effect of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The snapshot changed.
    Snapshot,
    /// Only the log changed.
    Log,
    /// Nothing changed.
    Nothing,
}

/// Folds a worker's events into the state for its consoles.
#[derive(Debug)]
pub struct StatusStore {
    worker: WorkerView,
    queues: Vec<QueueView>,
    sources: Vec<Source>,
    tasks: HashMap<String, Entry>,
    recent: VecDeque<TaskView>,
    waiting: BTreeMap<String, BTreeMap<i64, u64>>,
    fleet: Vec<FleetWorker>,
    alarms: Option<Vec<Alarm>>,
    acknowledged: BTreeMap<String, Acknowledgement>,
    paused_queues: PausedQueues,
    logs: LogRing,
}

/// A task that is held or runs.
#[derive(Debug)]
struct Entry {
    view: TaskView,
    /// Number of open deliveries of the same task. SQS may deliver a message again while its first
    /// delivery runs; the second one is given back without ending the task.
    deliveries: u32,
}

impl StatusStore {
    /// Creates the store of a worker that has done nothing yet.
    #[must_use]
    pub fn new(worker: WorkerView) -> Self {
        Self {
            worker,
            queues: Vec::new(),
            sources: Vec::new(),
            tasks: HashMap::new(),
            recent: VecDeque::new(),
            waiting: BTreeMap::new(),
            fleet: Vec::new(),
            alarms: None,
            acknowledged: BTreeMap::new(),
            paused_queues: PausedQueues::new(),
            logs: LogRing::new(MAX_LINES),
        }
    }

    /// The log lines, shared with the store.
    #[must_use]
    pub fn logs(&self) -> LogRing {
        self.logs.clone()
    }

    /// Folds one event.
    pub fn apply(&mut self, event: &Event) -> Change {
        let changed = match event {
            Event::State { state, deadline } => {
                let deadline = replace(&mut self.worker.deadline, *deadline);
                replace(&mut self.worker.state, *state) || deadline
            }
            Event::Slots { steps, runs, range } => {
                let steps = replace(&mut self.worker.steps.target, *steps);
                let range = replace(&mut self.worker.steps.range, *range);
                replace(&mut self.worker.runs.target, *runs) || steps || range
            }
            Event::Received { task } => self.received(task),
            Event::Started { task_id, at } => self.started(task_id, *at),
            Event::Forked { task_id, pid } => self.forked(task_id, *pid),
            Event::Usage { task_id, usage } => match self.tasks.get_mut(task_id) {
                Some(entry) => replace(&mut entry.view.usage, Some(*usage)),
                None => false,
            },
            Event::BeyondUsual { task_id, usual } => match self.tasks.get_mut(task_id) {
                Some(entry) => replace(&mut entry.view.beyond_usual, Some(*usual)),
                None => false,
            },
            Event::Finished {
                task_id,
                at,
                outcome,
            } => self.finished(task_id, *at, outcome),
            Event::Queues { served, reported } => {
                let known = self.queues.len();
                self.queues.retain(|queue| reported.contains(&queue.url));
                let queues = &self.queues;
                self.waiting
                    .retain(|name, _| queues.iter().any(|queue| queue.name == *name));
                let served = replace(&mut self.worker.queues, served.clone());
                served || self.queues.len() != known
            }
            Event::Queue { queue } => self.counted(queue.clone()),
            Event::Waiting { queue, counts } => {
                let counts = counts.iter().copied().collect();
                self.waiting.insert(queue.clone(), counts);
                true
            }
            Event::PausedQueues { queues } => replace(&mut self.paused_queues, queues.clone()),
            Event::Source { source } => put(&mut self.sources, source, |one, other| {
                one.kind == other.kind && one.address == other.address
            }),
            Event::Hosts { hosts } => {
                let differ = self.worker.hosts != *hosts;
                self.worker.hosts.clone_from(hosts);
                differ
            }
            Event::Fleet { workers } => replace(&mut self.fleet, workers.clone()),
            Event::Alarms {
                alarms,
                acknowledged,
            } => {
                let differ = replace(&mut self.alarms, Some(alarms.clone()));
                replace(&mut self.acknowledged, acknowledged.clone()) || differ
            }
            Event::Log { line } => {
                self.logs.push(line.clone());
                return Change::Log;
            }
        };
        if changed {
            Change::Snapshot
        } else {
            Change::Nothing
        }
    }

    fn counted(&mut self, mut queue: QueueView) -> bool {
        let known = self.queues.iter().find(|known| known.url == queue.url);
        let earlier = known.map(|known| known.trend.clone());
        queue.continue_trend(&earlier.unwrap_or_default());
        put(&mut self.queues, &queue, |one, other| one.url == other.url)
    }

    fn received(&mut self, task: &TaskView) -> bool {
        if let Some(entry) = self.tasks.get_mut(&task.task_id) {
            entry.deliveries += 1;
            entry.view.receive_count = entry.view.receive_count.max(task.receive_count);
        } else {
            // The delivery that was given back belongs to this task's past; it is not a task of its
            // own.
            self.recent.retain(|past| {
                past.task_id != task.task_id
                    || !matches!(
                        past.phase,
                        Phase::Done {
                            outcome: TaskOutcome::GivenBack { .. },
                            ..
                        }
                    )
            });
            let view = task.clone();
            let entry = Entry {
                view,
                deliveries: 1,
            };
            self.tasks.insert(task.task_id.clone(), entry);
        }
        true
    }

    fn started(&mut self, task_id: &str, since: Timestamp) -> bool {
        let Some(entry) = self.tasks.get_mut(task_id) else {
            return false;
        };
        entry.view.beyond_usual = None;
        entry.view.phase = Phase::Running { since, pid: None };
        true
    }

    fn forked(&mut self, task_id: &str, child: u32) -> bool {
        match self
            .tasks
            .get_mut(task_id)
            .map(|entry| &mut entry.view.phase)
        {
            Some(Phase::Running { pid, .. }) => replace(pid, Some(child)),
            _ => false,
        }
    }

    fn finished(&mut self, task_id: &str, at: Timestamp, outcome: &TaskOutcome) -> bool {
        let Some(entry) = self.tasks.get_mut(task_id) else {
            return false;
        };
        let ran_nothing = matches!(
            outcome,
            TaskOutcome::GivenBack { .. } | TaskOutcome::Skipped { .. }
        );
        if entry.deliveries > 1 && ran_nothing {
            entry.deliveries -= 1;
            return false;
        }
        let Some(Entry { mut view, .. }) = self.tasks.remove(task_id) else {
            return false;
        };
        self.count(&view, outcome);
        view.phase = view.phase.ended(at, shorten(outcome.clone()));
        self.recent.push_front(view);
        self.recent.truncate(MAX_RECENT_TASKS);
        true
    }

    /// Counts steps that ran to an end, but not tasks that were given back or had nothing to do.
    fn count(&mut self, task: &TaskView, outcome: &TaskOutcome) {
        let (ended, failed) = match outcome {
            TaskOutcome::Success | TaskOutcome::UpForRetry { .. } | TaskOutcome::Canceled => (1, 0),
            TaskOutcome::Failure { .. } => (1, 1),
            TaskOutcome::Skipped { .. }
            | TaskOutcome::GivenBack { .. }
            | TaskOutcome::DeadLettered { .. }
            | TaskOutcome::Lost { .. } => (0, 0),
        };
        if !task.kind.is_run() {
            self.worker.finished += ended;
            self.worker.failed += failed;
        }
    }

    /// The current state for the worker's consoles; `heartbeat_at` is its time.
    #[must_use]
    pub fn snapshot(&self, heartbeat_at: Timestamp) -> WorkerSnapshot {
        let mut tasks: Vec<TaskView> = self
            .tasks
            .values()
            .map(|entry| entry.view.clone())
            .collect();
        tasks.sort_by(|one, other| {
            (one.received_at, &one.task_id).cmp(&(other.received_at, &other.task_id))
        });
        let mut worker = self.worker.clone();
        worker.heartbeat_at = heartbeat_at;
        worker.steps.busy = running(&tasks, false);
        worker.runs.busy = running(&tasks, true);
        WorkerSnapshot {
            worker,
            queues: self.queues.clone(),
            priorities: self.priorities(&tasks),
            tasks,
            recent: self.recent.clone(),
            sources: self.sources.clone(),
            fleet: self.fleet.clone(),
            alarms: self.alarms.clone(),
            acknowledged: self.acknowledged.clone(),
            paused_queues: self.paused_queues.clone(),
        }
    }

    /// Rows per queue and priority, highest priority first. A queue with exact counts has 0 where
    /// no message waits; any other queue has no number.
    fn priorities(&self, tasks: &[TaskView]) -> Vec<PriorityCount> {
        let mut rows: BTreeMap<(&str, i64), (u64, u64)> = BTreeMap::new();
        for (queue, counts) in &self.waiting {
            for priority in counts
                .iter()
                .filter(|(_, count)| **count > 0)
                .map(|(key, _)| *key)
            {
                rows.entry((queue, priority)).or_default();
            }
        }
        for task in tasks {
            let (held, running) = rows.entry((&task.queue, task.priority)).or_default();
            *(if task.is_running() { running } else { held }) += 1;
        }
        let mut rows: Vec<PriorityCount> = rows
            .into_iter()
            .map(|((queue, priority), (held, running))| PriorityCount {
                queue: queue.to_owned(),
                priority,
                waiting: self
                    .waiting
                    .get(queue)
                    .map(|counts| counts.get(&priority).copied().unwrap_or(0)),
                held,
                running,
            })
            .collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.priority));
        rows
    }
}

/// Sets a value; returns whether it changed.
fn replace<T: PartialEq>(place: &mut T, value: T) -> bool {
    let differs = *place != value;
    *place = value;
    differs
}

/// Replaces the item that has the same key, or appends it; returns whether anything changed.
fn put<T: Clone + PartialEq>(items: &mut Vec<T>, item: &T, same: impl Fn(&T, &T) -> bool) -> bool {
    if let Some(known) = items.iter_mut().find(|known| same(known, item)) {
        replace(known, item.clone())
    } else {
        items.push(item.clone());
        true
    }
}

fn running(tasks: &[TaskView], runs: bool) -> u32 {
    let count = tasks
        .iter()
        .filter(|task| task.is_running() && task.kind.is_run() == runs)
        .count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn shorten(mut outcome: TaskOutcome) -> TaskOutcome {
    match &mut outcome {
        TaskOutcome::Failure { reason }
        | TaskOutcome::Skipped { reason }
        | TaskOutcome::GivenBack { reason }
        | TaskOutcome::UpForRetry { reason }
        | TaskOutcome::DeadLettered { reason }
        | TaskOutcome::Lost { reason } => cut(reason, MAX_REASON),
        TaskOutcome::Success | TaskOutcome::Canceled => {}
    }
    outcome
}

#[cfg(test)]
mod tests;
