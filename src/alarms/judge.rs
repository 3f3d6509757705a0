//! Judges a snapshot: which conditions need an operator. A worker judges its own, with the
//! deployment's other workers in it; a console judges what it knows while no worker does.

mod consumers;
mod steps;

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::config::AlarmSettings;
use crate::domain::{
    Alarm, AlarmKind, FleetWorker, ForkServerPhase, Growth, Phase, QueueRole, QueueView, Severity,
    Snapshot, SourceHealth, SourceKind, WorkerState, coarse_age, seconds_between,
};

pub use consumers::NO_WORKER;

/// Age in seconds of a worker's last message beyond which the worker is late: three of its
/// heartbeats.
pub const HEARTBEAT_LATE: u64 = 15;

/// Time in seconds for which a worker of another host that ended without a report raises an alarm;
/// its last heartbeat stays in Dagster's storage for a day.
pub const SILENCE_REPORTED: u64 = 3600;

/// The words in which an alarm names its remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hints {
    /// By the console's keys.
    Keys,
    /// By commands of the command line.
    Commands,
}

/// The alarms while they are collected.
#[derive(Debug, Default)]
pub struct Found(pub Vec<Alarm>);

impl Found {
    /// Adds a critical alarm.
    pub fn critical(&mut self, kind: AlarmKind, about: impl Into<String>, text: String) {
        self.0
            .push(Alarm::new(Severity::Critical, kind, about, text));
    }

    /// Adds a warning.
    pub fn warning(&mut self, kind: AlarmKind, about: impl Into<String>, text: String) {
        self.0
            .push(Alarm::new(Severity::Warning, kind, about, text));
    }
}

/// All that a worker can see in its own state. `snapshot` holds this one worker.
pub fn worker(snapshot: &Snapshot, settings: &AlarmSettings, now: Timestamp, found: &mut Found) {
    sources(snapshot, now, found);
    consumers(snapshot, Hints::Commands, now, found);
    silent_elsewhere(snapshot, now, found);
    state(snapshot, settings, now, found);
}

/// Conditions of queues, steps and code locations.
pub fn state(snapshot: &Snapshot, settings: &AlarmSettings, now: Timestamp, found: &mut Found) {
    code_locations(snapshot, found);
    let broker_is_away = broker_is_away(snapshot);
    for queue in snapshot.queues.iter() {
        self::queue(queue, broker_is_away, now, found);
    }
    steps::old_messages(snapshot, settings, now, found);
    steps::failures(snapshot, settings, now, found);
    held(snapshot, settings, now, found);
}

/// Messages without a consumer.
pub fn consumers(snapshot: &Snapshot, hints: Hints, now: Timestamp, found: &mut Found) {
    consumers::alarms(snapshot, hints, now, found);
}

/// The deployment's workers that are not in the snapshot themselves.
fn reported(snapshot: &Snapshot) -> impl Iterator<Item = &FleetWorker> {
    let linked = |worker: &&FleetWorker| snapshot.workers.iter().any(|known| known.id == worker.id);
    snapshot.fleet.iter().filter(move |worker| !linked(worker))
}

/// Subject of the alarm of a source.
#[must_use]
pub fn source_subject(source: &crate::domain::Source) -> String {
    format!("{} {}", source.kind.word(), source.address)
}

fn sources(snapshot: &Snapshot, now: Timestamp, found: &mut Found) {
    for source in &snapshot.sources {
        let (what, reason) = match &source.health {
            SourceHealth::Down { reason } => ("does not answer", reason),
            SourceHealth::Failing { reason } => ("answers with errors", reason),
            SourceHealth::Absent | SourceHealth::Connecting | SourceHealth::Up => continue,
        };
        let age = source.seen_at.map_or_else(
            || String::from("yet"),
            |at| format!("for {}", coarse_age(seconds_between(at, now))),
        );
        let subject = source_subject(source);
        let text = format!("{subject} {what} {age}: {reason}");
        found.critical(AlarmKind::Unreachable, subject, text);
    }
}

/// Finds workers that only Dagster's storage knows, and that stopped reporting without an end.
pub fn silent_elsewhere(snapshot: &Snapshot, now: Timestamp, found: &mut Found) {
    let ended = |worker: &FleetWorker| worker.state.is_some_and(WorkerState::is_over);
    let silent = reported(snapshot).filter(|worker| !ended(worker) && worker.is_silent(now));
    for worker in silent {
        let seconds = seconds_between(worker.heartbeat_at, now);
        if seconds < SILENCE_REPORTED {
            let text = format!("Worker {} is silent for {}", worker.id, coarse_age(seconds));
            found.critical(AlarmKind::SilentWorker, &worker.id, text);
        }
    }
}

/// One alarm for each location, whatever number of workers cannot load it.
fn code_locations(snapshot: &Snapshot, found: &mut Found) {
    let mut broken: BTreeMap<&str, (Vec<&str>, &str)> = BTreeMap::new();
    for worker in snapshot.workers.iter() {
        for host in &worker.hosts {
            if let ForkServerPhase::Failed(reason) = &host.phase {
                let entry = broken.entry(&host.location).or_insert((Vec::new(), reason));
                if !entry.0.contains(&worker.id.as_str()) {
                    entry.0.push(&worker.id);
                }
            }
        }
    }
    for (location, (workers, reason)) in broken {
        let text = format!(
            "{location} does not load on {}: {reason}",
            workers.join(", ")
        );
        found.critical(AlarmKind::CodeLocation, location, text);
    }
}

/// Whether the broker has an alarm of its own.
fn broker_is_away(snapshot: &Snapshot) -> bool {
    snapshot
        .sources
        .iter()
        .any(|source| source.kind == SourceKind::Broker && source.health.problem().is_some())
}

/// A queue of which is only known that the broker does not answer is left to the broker's alarm.
fn queue(queue: &QueueView, broker_is_away: bool, now: Timestamp, found: &mut Found) {
    let name = &queue.name;
    let is_own = !(queue.unreachable && broker_is_away);
    if let Some(error) = queue.error.as_ref().filter(|_| is_own) {
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

fn held(snapshot: &Snapshot, settings: &AlarmSettings, now: Timestamp, found: &mut Found) {
    let oldest = snapshot
        .tasks
        .iter()
        .filter(|task| task.phase == Phase::Held)
        .min_by_key(|task| task.received_at);
    if let Some(task) = oldest {
        let waited = seconds_between(task.received_at, now);
        if waited >= settings.held {
            let age = coarse_age(waited);
            let text = format!("{} is held for {age} without a slot", task.name());
            found.warning(AlarmKind::Held, &task.task_id, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::{Source, Trend};

    fn queue(name: &str, error: &str, unreachable: bool) -> QueueView {
        QueueView {
            name: name.to_owned(),
            url: String::new(),
            role: QueueRole::Base,
            counts: None,
            counted_at: None,
            oldest: None,
            error: Some(error.to_owned()),
            unreachable,
            trend: Trend::default(),
        }
    }

    #[test]
    fn an_outage_of_the_broker_is_one_alarm_whatever_number_of_queues_it_has() {
        let ids = |health: SourceHealth| {
            let queues = vec![
                queue("tasks", "SQS does not answer", true),
                queue("tasks-runs", "SQS does not answer", true),
                queue("gone", "SQS has no such queue", false),
            ];
            let source = Source {
                kind: SourceKind::Broker,
                address: String::from("http://127.0.0.1:9324"),
                health,
                seen_at: None,
                retry_at: None,
            };
            let snapshot = Snapshot {
                sources: vec![source],
                queues: Arc::new(queues),
                ..Snapshot::default()
            };
            let (mut found, now) = (Found::default(), Timestamp::UNIX_EPOCH);
            sources(&snapshot, now, &mut found);
            state(&snapshot, &AlarmSettings::default(), now, &mut found);
            found.0.iter().map(Alarm::id).collect::<Vec<_>>()
        };
        let down = ids(SourceHealth::Down {
            reason: String::from("SQS does not answer"),
        });
        assert_eq!(
            down,
            ["unreachable/broker http://127.0.0.1:9324", "queue/gone"]
        );
        let up = ids(SourceHealth::Up);
        assert_eq!(up, ["queue/tasks", "queue/tasks-runs", "queue/gone"]);
    }
}
