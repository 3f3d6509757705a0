//! Merges the reports of several workers into one set of lists.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use jiff::SignedDuration;

use crate::domain::{
    Acknowledgement, Alarm, AuditEntry, FleetWorker, PausedQueues, Phase, PriorityCount, QueueView,
    Source, SourceHealth, TaskOutcome, TaskView, Timestamp, WorkerSnapshot, WorkerState,
    WorkerView,
};

/// Maximum number of finished tasks of all workers together.
const MAX_RECENT: usize = 5_000;

/// One worker's last state.
#[derive(Clone, Copy, Debug)]
pub(super) struct WorkerReport<'a> {
    pub(super) snapshot: &'a WorkerSnapshot,
    /// The worker's id, including its host if several workers have the same one.
    pub(super) id: &'a str,
    /// Time of its last sign of life.
    pub(super) heartbeat_at: Timestamp,
    /// Offset by which its host's clock is behind ours; zero if they agree.
    pub(super) clock_behind: SignedDuration,
    /// Whether its process is gone, so that none of its tasks runs any more.
    pub(super) ended: bool,
    /// Whether it is linked now, so that its report on the broker is fresh.
    pub(super) linked: bool,
}

impl WorkerReport<'_> {
    /// A task of this worker, under its displayed id.
    fn own(&self, task: &TaskView) -> TaskView {
        let mut task = task.clone();
        if task.worker == self.snapshot.worker.id && task.worker != self.id {
            self.id.clone_into(&mut task.worker);
        }
        task
    }

    /// A task that this worker held or ran when it ended.
    fn lost(&self, task: &TaskView) -> TaskView {
        let mut task = self.own(task);
        let at = self.heartbeat_at.max(self.snapshot.worker.heartbeat_at);
        let reason = format!(
            "worker {} ended with it in hand; its message comes back when its lease ends",
            task.worker
        );
        task.phase = task.phase.ended(at, TaskOutcome::Lost { reason });
        task
    }
}

/// Maximum number of audit entries of all hosts together.
const MAX_AUDIT: usize = 5_000;

/// The audit entries of several hosts, newest first, each once: hosts may share a home folder.
pub(super) fn audit<'a>(logs: impl Iterator<Item = &'a AuditEntry>) -> Vec<AuditEntry> {
    let mut entries: Vec<&AuditEntry> = logs.collect();
    // Stable: entries of one log and one moment keep their order.
    entries.sort_by_key(|entry| Reverse(entry.time));
    entries.dedup();
    entries.truncate(MAX_AUDIT);
    entries.into_iter().cloned().collect()
}

pub(super) fn workers(reports: &[WorkerReport<'_>]) -> Vec<WorkerView> {
    let mut workers: Vec<WorkerView> = reports
        .iter()
        .map(|report| {
            let mut worker = report.snapshot.worker.clone();
            if worker.id != report.id {
                worker.shared_name = Some(std::mem::replace(&mut worker.id, report.id.to_owned()));
            }
            // By our clock: that of another host may be an hour off although the worker is alive.
            if report.heartbeat_at > Timestamp::MIN {
                worker.heartbeat_at = report.heartbeat_at;
            }
            worker.clock_behind = report.clock_behind.as_secs();
            if report.ended {
                if worker.state != WorkerState::Stopped {
                    worker.state = WorkerState::Lost;
                }
                // Its tasks ended with it.
                (worker.steps.busy, worker.runs.busy) = (0, 0);
                worker.hosts.clear();
            }
            worker
        })
        .collect();
    workers.sort_by(|one, other| one.id.cmp(&other.id));
    workers
}

/// Every worker of the deployment once, by id: the newest heartbeat that a linked worker has read,
/// or, without a linked worker, the last one that any worker read.
pub(super) fn fleet(reports: &[WorkerReport<'_>]) -> Vec<FleetWorker> {
    let any_linked = reports.iter().any(|report| report.linked);
    let readers = reports.iter().filter(|report| report.linked || !any_linked);
    let mut fleet: BTreeMap<&str, &FleetWorker> = BTreeMap::new();
    for worker in readers.flat_map(|report| &report.snapshot.fleet) {
        let known = fleet.entry(&worker.id).or_insert(worker);
        if known.heartbeat_at < worker.heartbeat_at {
            *known = worker;
        }
    }
    // Workers that share a name share one heartbeat, which may be from any of them.
    for report in reports
        .iter()
        .filter(|report| report.id != report.snapshot.worker.id)
    {
        fleet.remove(report.snapshot.worker.id.as_str());
    }
    fleet.into_values().cloned().collect()
}

/// The alarms of linked workers, each subject once; `None` if none of them judges. A worker with no
/// link may have been the only one to see a condition, which is not known to hold any more.
pub(super) fn alarms(reports: &[WorkerReport<'_>]) -> Option<Vec<Alarm>> {
    let linked = reports
        .iter()
        .filter(|report| report.linked && !report.ended);
    let mut judged = linked
        .filter_map(|report| report.snapshot.alarms.as_ref())
        .peekable();
    judged.peek()?;
    Some(Alarm::merged(judged.flatten()))
}

/// The acknowledgements that any linked worker has read.
pub(super) fn acknowledged(reports: &[WorkerReport<'_>]) -> BTreeMap<String, Acknowledgement> {
    let linked = reports.iter().filter(|report| report.linked);
    let all = linked.flat_map(|report| &report.snapshot.acknowledged);
    all.map(|(id, ack)| (id.clone(), ack.clone())).collect()
}

/// The queues that any linked worker has read as paused: a pause must not look as if it had ended.
pub(super) fn paused_queues(reports: &[WorkerReport<'_>]) -> PausedQueues {
    let linked = reports.iter().filter(|report| report.linked);
    let all = linked.flat_map(|report| &report.snapshot.paused_queues);
    all.map(|(name, pause)| (name.clone(), pause.clone()))
        .collect()
}

/// Every queue once, in the order of the first worker that has it; the freshest counts win. Their
/// history is combined from all workers and the known state, because a worker that has just
/// started, or is an earlier version, has none.
pub(super) fn queues(reports: &[WorkerReport<'_>], known: &[QueueView]) -> Vec<QueueView> {
    let mut queues: Vec<QueueView> = Vec::new();
    for queue in reports.iter().flat_map(|report| &report.snapshot.queues) {
        match queues.iter_mut().find(|other| other.url == queue.url) {
            Some(other) if other.counted_at < queue.counted_at => {
                let older = std::mem::replace(other, queue.clone());
                other.trend.join(&older.trend);
            }
            Some(other) => other.trend.join(&queue.trend),
            None => queues.push(queue.clone()),
        }
    }
    for queue in &mut queues {
        let known = known.iter().find(|known| known.url == queue.url);
        let earlier = known.map(|known| known.trend.clone());
        queue.continue_trend(&earlier.unwrap_or_default());
    }
    queues
}

/// Tasks that workers hold or run; a worker that ended has none.
pub(super) fn tasks(reports: &[WorkerReport<'_>]) -> Vec<TaskView> {
    let alive = reports.iter().filter(|report| !report.ended);
    let mut tasks: Vec<TaskView> = alive
        .flat_map(|report| report.snapshot.tasks.iter().map(|task| report.own(task)))
        .collect();
    tasks.sort_by(|one, other| {
        (one.received_at, &one.task_id).cmp(&(other.received_at, &other.task_id))
    });
    tasks
}

/// Ended tasks, and the tasks that an ended worker held or ran.
pub(super) fn recent(reports: &[WorkerReport<'_>]) -> Vec<TaskView> {
    let mut recent: Vec<TaskView> = reports
        .iter()
        .flat_map(|report| report.snapshot.recent.iter().map(|task| report.own(task)))
        .collect();
    recent.extend(lost(reports));
    // Stable: tasks of one worker that ended in the same instant keep their order.
    recent.sort_by_key(|task| Reverse(ended_at(task)));
    recent.truncate(MAX_RECENT);
    recent
}

/// Tasks that ended workers held or ran, except those that another worker has had since.
fn lost(reports: &[WorkerReport<'_>]) -> Vec<TaskView> {
    let (ended, alive): (Vec<&WorkerReport<'_>>, _) =
        reports.iter().partition(|report| report.ended);
    let mut lost: Vec<TaskView> = ended
        .into_iter()
        .flat_map(|report| report.snapshot.tasks.iter().map(|task| report.lost(task)))
        .collect();
    if !lost.is_empty() {
        let seen: HashSet<&str> = alive
            .into_iter()
            .flat_map(|report| report.snapshot.tasks.iter().chain(&report.snapshot.recent))
            .map(|task| &*task.task_id)
            .collect();
        lost.retain(|task| !seen.contains(&*task.task_id));
    }
    lost
}

fn ended_at(task: &TaskView) -> Option<Timestamp> {
    match task.phase {
        Phase::Done { at, .. } => Some(at),
        Phase::Held | Phase::Running { .. } => None,
    }
}

/// Counts by queue and priority. Held and running are summed. Waiting is the queue's own count,
/// which every worker that knows it has from the same broker: the latest report wins.
pub(super) fn priorities(reports: &[WorkerReport<'_>]) -> Vec<PriorityCount> {
    let mut by_age: Vec<&WorkerReport<'_>> =
        reports.iter().filter(|report| !report.ended).collect();
    by_age.sort_by_key(|report| report.heartbeat_at);
    let mut rows: BTreeMap<(Reverse<i64>, &str), PriorityCount> = BTreeMap::new();
    for row in by_age.iter().flat_map(|report| &report.snapshot.priorities) {
        let key = (Reverse(row.priority), row.queue.as_str());
        let sum = rows.entry(key).or_insert_with(|| PriorityCount {
            held: 0,
            running: 0,
            ..row.clone()
        });
        sum.waiting = row.waiting.or(sum.waiting);
        sum.held += row.held;
        sum.running += row.running;
    }
    rows.into_values().collect()
}

/// The sources of linked workers, each once. If workers disagree, the failure is shown with the
/// name of its worker: an operator must see a single host without a network. If no link is up, the
/// last failures stay; the last successes are no longer known to hold.
pub(super) fn sources(reports: &[WorkerReport<'_>]) -> Vec<Source> {
    let is_known = reports.iter().any(|report| report.linked);
    let readers = reports
        .iter()
        .filter(|report| report.linked || (!is_known && !report.ended));
    let several = readers.clone().count() > 1;
    let mut sources: Vec<Source> = Vec::new();
    for report in readers {
        for source in &report.snapshot.sources {
            let mut source = source.clone();
            if !is_known && source.health == SourceHealth::Up {
                source.health = SourceHealth::Connecting;
            }
            if let SourceHealth::Down { reason } = &mut source.health
                && several
            {
                *reason = format!("{}: {reason}", report.id);
            }
            let same =
                |known: &&mut Source| known.kind == source.kind && known.address == source.address;
            match sources.iter_mut().find(same) {
                Some(known) => worse(known, source),
                None => sources.push(source),
            }
        }
    }
    sources
}

fn worse(known: &mut Source, other: Source) {
    let seen_at = known.seen_at.max(other.seen_at);
    if badness(&other.health) > badness(&known.health) {
        *known = other;
    }
    known.seen_at = seen_at;
}

fn badness(health: &SourceHealth) -> u8 {
    match health {
        SourceHealth::Absent => 0,
        SourceHealth::Up => 1,
        SourceHealth::Connecting => 2,
        SourceHealth::Failing { .. } => 3,
        SourceHealth::Down { .. } => 4,
    }
}

/// Replaces a list, but keeps the old one if they are equal; returns whether they differed.
pub(super) fn renew<T: PartialEq>(place: &mut Arc<T>, value: T) -> bool {
    let differs = **place != value;
    if differs {
        *place = Arc::new(value);
    }
    differs
}

#[cfg(test)]
mod tests;
