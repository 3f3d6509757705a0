//! What needs an operator: derived from the snapshot, worst first.

use jiff::Timestamp;

use crate::domain::{
    FleetWorker, HostPhase, Phase, QueueRole, Snapshot, Source, SourceHealth, SourceKind,
    WorkerState,
};

use super::format::{coarse_age, seconds_between};
use super::rows::{self, WorkerRow};
use super::view::View;
use super::words;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Work stands still, or will.
    Critical,
    /// Worth a look.
    Warning,
}

/// Something that needs an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// How bad.
    pub severity: Severity,
    /// One sentence, with what to do where that is known.
    pub text: String,
}

/// A worker that told nothing for this many seconds is late: three of its heartbeats.
pub const HEARTBEAT_LATE: u64 = 15;

/// How the alarm begins that there is nobody to do anything.
pub const NO_WORKER: &str = "No worker is linked";

/// A held message that waits this many seconds for a slot is worth telling.
const HELD_LONG: u64 = 300;

/// All alarms, worst first.
#[must_use]
pub fn alarms(snapshot: &Snapshot, now: Timestamp) -> Vec<Alarm> {
    let mut alarms = Vec::new();
    if snapshot.revision == 0 {
        // Nothing was heard yet: nothing is wrong yet.
        return alarms;
    }
    sources(snapshot, now, &mut alarms);
    consumers(snapshot, &mut alarms);
    workers(snapshot, now, &mut alarms);
    fleet(snapshot, now, &mut alarms);
    queues(snapshot, &mut alarms);
    held(snapshot, now, &mut alarms);
    alarms.sort_by_key(|alarm| alarm.severity);
    alarms
}

fn push(alarms: &mut Vec<Alarm>, severity: Severity, text: String) {
    alarms.push(Alarm { severity, text });
}

fn sources(snapshot: &Snapshot, now: Timestamp, alarms: &mut Vec<Alarm>) {
    for source in &snapshot.sources {
        let SourceHealth::Down { reason } = &source.health else {
            continue;
        };
        let age = match source.seen_at {
            Some(at) => format!("for {}", coarse_age(seconds_between(at, now))),
            None => String::from("yet"),
        };
        let (kind, address) = (words::source(source.kind), &source.address);
        push(
            alarms,
            Severity::Critical,
            format!("{kind} {address} does not answer {age}: {reason}"),
        );
    }
}

fn consumers(snapshot: &Snapshot, alarms: &mut Vec<Alarm>) {
    let waiting: u64 = snapshot
        .queues
        .iter()
        .filter(|queue| queue.role != QueueRole::DeadLetter)
        .filter_map(|queue| queue.counts)
        .map(|counts| counts.visible)
        .sum();
    let workers = &snapshot.workers;
    let slots: u32 = workers
        .iter()
        .filter(|w| w.state.receives())
        .map(|w| w.steps.target)
        .sum();
    let receives = workers.iter().any(|worker| worker.state.receives());
    let connecting = |source: &Source| {
        matches!(source.kind, SourceKind::Worker | SourceKind::Host)
            && source.health == SourceHealth::Connecting
    };
    if workers.is_empty() && snapshot.sources.iter().any(connecting) {
        push(
            alarms,
            Severity::Warning,
            String::from("Connecting to the worker"),
        );
    } else if workers.is_empty() {
        push(
            alarms,
            Severity::Critical,
            format!("{NO_WORKER}; ~{waiting} messages wait"),
        );
    } else if waiting > 0 && !receives {
        let state = workers[0].state.word();
        let what = if workers.len() == 1 {
            format!("the worker is {state}")
        } else {
            String::from("no worker receives")
        };
        let todo = if state == "paused" { ": p resumes" } else { "" };
        push(
            alarms,
            Severity::Critical,
            format!("~{waiting} messages wait and {what}{todo}"),
        );
    } else if receives && slots == 0 {
        push(
            alarms,
            Severity::Critical,
            String::from("The workers have no step slots: + adds one"),
        );
    }
}

fn workers(snapshot: &Snapshot, now: Timestamp, alarms: &mut Vec<Alarm>) {
    for worker in snapshot.workers.iter() {
        let silent = seconds_between(worker.heartbeat_at, now);
        if silent >= HEARTBEAT_LATE {
            let age = coarse_age(silent);
            push(
                alarms,
                Severity::Critical,
                format!("Worker {} is silent for {age}", worker.id),
            );
        }
        for host in &worker.hosts {
            if let HostPhase::Failed(reason) = &host.phase {
                let text = format!("{} does not load on {}: {reason}", host.location, worker.id);
                push(alarms, Severity::Critical, text);
            }
        }
    }
}

/// A worker of another host that ended without a word is told for this long, in seconds; its last
/// heartbeat stays in Dagster's storage for a day.
const SILENCE_TOLD: u64 = 3600;

fn fleet(snapshot: &Snapshot, now: Timestamp, alarms: &mut Vec<Alarm>) {
    let ended = |worker: &FleetWorker| worker.state == Some(WorkerState::Stopped);
    let silent = rows::reported(snapshot).filter(|worker| !ended(worker) && worker.is_silent(now));
    for worker in silent {
        let seconds = seconds_between(worker.heartbeat_at, now);
        if seconds < SILENCE_TOLD {
            let age = coarse_age(seconds);
            let text = format!("Worker {} is silent for {age}", worker.id);
            push(alarms, Severity::Critical, text);
        }
    }
    let live = |worker: &WorkerRow| {
        worker.state() != Some(WorkerState::Stopped)
            && seconds_between(worker.heartbeat_at(), now) < SILENCE_TOLD
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
        push(alarms, Severity::Warning, text);
    }
}

fn queues(snapshot: &Snapshot, alarms: &mut Vec<Alarm>) {
    for queue in snapshot.queues.iter() {
        if let Some(error) = &queue.error {
            push(
                alarms,
                Severity::Critical,
                format!("Queue {}: {error}", queue.name),
            );
        }
        let dead = queue.counts.map_or(0, |counts| counts.visible);
        if queue.role == QueueRole::DeadLetter && dead > 0 {
            push(
                alarms,
                Severity::Warning,
                format!(
                    "~{dead} dead {} in {}",
                    if dead == 1 { "letter" } else { "letters" },
                    queue.name
                ),
            );
        }
    }
}

fn held(snapshot: &Snapshot, now: Timestamp, alarms: &mut Vec<Alarm>) {
    let oldest = snapshot
        .tasks
        .iter()
        .filter(|task| task.phase == Phase::Held)
        .min_by_key(|task| task.received_at);
    if let Some(task) = oldest {
        let waited = seconds_between(task.received_at, now);
        if waited >= HELD_LONG {
            let age = coarse_age(waited);
            push(
                alarms,
                Severity::Warning,
                format!("{} is held for {age} without a slot", task.name()),
            );
        }
    }
}
