//! Conditions that need an operator: derived from the snapshot, worst first.

mod consumers;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::format::{self, coarse_age, seconds_between};
use super::labels;
use super::rows::{self, WorkerRow};
use super::view::View;
use crate::domain::{
    AlarmKind, FleetWorker, ForkServerPhase, Growth, Phase, QueueRole, Snapshot, SourceHealth,
    WorkerState,
};

pub use consumers::NO_WORKER;

/// Severity of an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Work stands still, or will.
    Critical,
    /// Should be looked at.
    Warning,
}

/// A condition that needs an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// Its severity.
    pub severity: Severity,
    /// Its kind.
    pub kind: AlarmKind,
    /// Its subject: there is one alarm for each kind and subject.
    pub about: String,
    /// One sentence, with the remedy if it is known.
    pub text: String,
}

/// Age in seconds of a worker's last message beyond which the worker is late: three of its
/// heartbeats.
pub const HEARTBEAT_LATE: u64 = 15;

/// Time in seconds that a held message may wait for a slot before it raises an alarm.
const HELD_LONG: u64 = 300;

/// The alarms while they are collected.
#[derive(Default)]
struct Found(Vec<Alarm>);

impl Found {
    fn critical(&mut self, kind: AlarmKind, about: impl Into<String>, text: String) {
        self.push(Severity::Critical, kind, about.into(), text);
    }

    fn warning(&mut self, kind: AlarmKind, about: impl Into<String>, text: String) {
        self.push(Severity::Warning, kind, about.into(), text);
    }

    fn push(&mut self, severity: Severity, kind: AlarmKind, about: String, text: String) {
        self.0.push(Alarm {
            severity,
            kind,
            about,
            text,
        });
    }
}

/// Returns all alarms, worst first.
#[must_use]
pub fn alarms(snapshot: &Snapshot, now: Timestamp) -> Vec<Alarm> {
    let mut found = Found::default();
    if snapshot.revision == 0 {
        // No data has arrived yet, so nothing is wrong yet.
        return Vec::new();
    }
    sources(snapshot, now, &mut found);
    consumers::alarms(snapshot, now, &mut found);
    workers(snapshot, now, &mut found);
    fleet(snapshot, now, &mut found);
    queues(snapshot, now, &mut found);
    held(snapshot, now, &mut found);
    found.0.sort_by_key(|alarm| alarm.severity);
    found.0
}

fn sources(snapshot: &Snapshot, now: Timestamp, found: &mut Found) {
    for source in &snapshot.sources {
        let (what, reason) = match &source.health {
            SourceHealth::Down { reason } => ("does not answer", reason),
            SourceHealth::Failing { reason } => ("answers with errors", reason),
            SourceHealth::Absent | SourceHealth::Connecting | SourceHealth::Up => continue,
        };
        let age = match source.seen_at {
            Some(at) => format!("for {}", coarse_age(seconds_between(at, now))),
            None => String::from("yet"),
        };
        let retry = source
            .retry_at
            .map_or_else(String::new, |at| format!(" ({})", format::retry(at, now)));
        let (kind, address) = (labels::source(source.kind), &source.address);
        let text = format!("{kind} {address} {what} {age}{retry}: {reason}");
        found.critical(AlarmKind::Unreachable, format!("{kind} {address}"), text);
    }
}

fn workers(snapshot: &Snapshot, now: Timestamp, found: &mut Found) {
    for worker in snapshot.workers.iter() {
        let silent = seconds_between(worker.heartbeat_at, now);
        if worker.state == WorkerState::Lost {
            let (id, age) = (&worker.id, coarse_age(silent));
            let text = format!("Worker {id} is lost: its process ended without a word {age} ago");
            found.critical(AlarmKind::SilentWorker, id, text);
        } else if silent >= HEARTBEAT_LATE && !worker.state.is_over() {
            let text = format!("Worker {} is silent for {}", worker.id, coarse_age(silent));
            found.critical(AlarmKind::SilentWorker, &worker.id, text);
        }
        for host in &worker.hosts {
            if let ForkServerPhase::Failed(reason) = &host.phase {
                let (location, id) = (&host.location, &worker.id);
                let text = format!("{location} does not load on {id}: {reason}");
                found.critical(AlarmKind::CodeLocation, format!("{location} {id}"), text);
            }
        }
    }
}

/// Time in seconds for which a worker of another host that ended without a report raises an alarm;
/// its last heartbeat stays in Dagster's storage for a day.
const SILENCE_ALARM_SECONDS: u64 = 3600;

fn fleet(snapshot: &Snapshot, now: Timestamp, found: &mut Found) {
    let ended = |worker: &FleetWorker| worker.state.is_some_and(WorkerState::is_over);
    let silent = rows::reported(snapshot).filter(|worker| !ended(worker) && worker.is_silent(now));
    for worker in silent {
        let seconds = seconds_between(worker.heartbeat_at, now);
        if seconds < SILENCE_ALARM_SECONDS {
            let text = format!("Worker {} is silent for {}", worker.id, coarse_age(seconds));
            found.critical(AlarmKind::SilentWorker, &worker.id, text);
        }
    }
    let live = |worker: &WorkerRow| {
        !worker.state().is_some_and(WorkerState::is_over)
            && seconds_between(worker.heartbeat_at(), now) < SILENCE_ALARM_SECONDS
    };
    let workers = (0..rows::total(View::Workers, snapshot))
        .filter_map(|index| rows::worker_at(snapshot, index))
        .filter(live);
    let others: Vec<String> = workers
        .filter(|worker| worker.is_other_version())
        .map(|worker| format!("{} {}", worker.id(), worker.version()))
        .collect();
    if !others.is_empty() {
        let (own, others) = (env!("CARGO_PKG_VERSION"), others.join(", "));
        let text = format!("Another version than this console's {own}: {others}");
        found.warning(AlarmKind::Fleet, "version", text);
    }
    same_names(snapshot, found);
    clocks(snapshot, found);
}

/// Clock difference in seconds that raises an alarm.
const CLOCKS_DIFFER: u64 = 5;

/// Finds hosts whose clock differs from ours: the times they write to Dagster's event log are off
/// by as much.
fn clocks(snapshot: &Snapshot, found: &mut Found) {
    let mut reported = BTreeSet::new();
    for worker in snapshot.workers.iter() {
        let seconds = worker.clock_behind.unsigned_abs();
        let host = &worker.hostname;
        if seconds < CLOCKS_DIFFER || worker.state.is_over() || !reported.insert(host) {
            continue;
        }
        let way = if worker.clock_behind > 0 {
            "behind"
        } else {
            "ahead"
        };
        let text = format!("The clock of {host} is {} {way}", coarse_age(seconds));
        found.warning(AlarmKind::Fleet, format!("clock of {host}"), text);
    }
}

/// Finds workers with the same name: they write the same heartbeat, so the deployment counts them
/// as one.
fn same_names(snapshot: &Snapshot, found: &mut Found) {
    let mut hosts: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for worker in snapshot.workers.iter() {
        if let Some(name) = &worker.shared_name {
            hosts.entry(name).or_default().push(&worker.hostname);
        }
    }
    for (name, hosts) in hosts {
        let (count, hosts) = (hosts.len(), hosts.join(" and "));
        let text =
            format!("{count} workers are named {name}, on {hosts}: each needs a --name of its own");
        found.warning(AlarmKind::Fleet, name, text);
    }
}

fn queues(snapshot: &Snapshot, now: Timestamp, found: &mut Found) {
    for queue in snapshot.queues.iter() {
        let name = &queue.name;
        if let Some(error) = &queue.error {
            found.critical(AlarmKind::Queue, name, format!("Queue {name}: {error}"));
        }
        let dead = queue.counts.map_or(0, |counts| counts.visible);
        if queue.role == QueueRole::DeadLetter && dead > 0 {
            let letters = if dead == 1 { "letter" } else { "letters" };
            let text = format!("~{dead} dead {letters} in {name}");
            found.warning(AlarmKind::DeadLetters, name, text);
        }
        let growth = queue.trend.growth(now);
        if let Some(growth) = growth.filter(|_| queue.role != QueueRole::DeadLetter) {
            let Growth { from, to, minutes } = growth;
            let text = format!("{name} grows: ~{from} waited {minutes} minutes ago, ~{to} now");
            found.warning(AlarmKind::Backlog, name, text);
        }
    }
}

fn held(snapshot: &Snapshot, now: Timestamp, found: &mut Found) {
    let oldest = snapshot
        .tasks
        .iter()
        .filter(|task| task.phase == Phase::Held)
        .min_by_key(|task| task.received_at);
    if let Some(task) = oldest {
        let waited = seconds_between(task.received_at, now);
        if waited >= HELD_LONG {
            let age = coarse_age(waited);
            let text = format!("{} is held for {age} without a slot", task.name());
            found.warning(AlarmKind::Held, &task.task_id, text);
        }
    }
}
