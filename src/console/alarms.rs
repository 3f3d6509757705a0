//! Conditions that need an operator, worst first: the alarms of the linked workers, and what only a
//! console sees: its links, the webserver, versions, and clocks against its own.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::alarms::judge::{self, Found, Hints, SILENCE_REPORTED};
use crate::config::AlarmSettings;
use crate::domain::{AlarmKind, BrokenLocation, Snapshot, SourceHealth, WorkerState};

use super::format::{self, coarse_age, seconds_between};
use super::rows::{self, WorkerRow};

pub use crate::alarms::judge::{HEARTBEAT_LATE, NO_WORKER};
pub use crate::domain::{Alarm, Severity};

/// Returns all alarms, worst first.
#[must_use]
pub fn alarms(snapshot: &Snapshot, now: Timestamp) -> Vec<Alarm> {
    let mut found = Found::default();
    if snapshot.revision == 0 {
        // No data has arrived yet, so nothing is wrong yet.
        return Vec::new();
    }
    sources(snapshot, now, &mut found);
    match &snapshot.alarms {
        // Workers judge with their own settings, and know when the storage was last read. Whether any
        // of them is left, only the console sees.
        Some(_)
            if snapshot
                .workers
                .iter()
                .any(|worker| !worker.state.is_over()) => {}
        _ => {
            judge::consumers(snapshot, Hints::Keys, now, &mut found);
            judge::silent_elsewhere(snapshot, now, &mut found);
        }
    }
    workers(snapshot, now, &mut found);
    code_locations(snapshot, &mut found);
    fleet(snapshot, now, &mut found);
    match &snapshot.alarms {
        Some(judged) => join(&mut found.0, judged),
        None => judge::state(snapshot, &AlarmSettings::default(), now, &mut found),
    }
    for alarm in &mut found.0 {
        if let Some(known) = snapshot.acknowledged.get(&alarm.id()) {
            alarm.acknowledged = Some(known.clone());
        }
    }
    found
        .0
        .sort_by_key(|alarm| (alarm.is_acknowledged(now), alarm.severity));
    found.0
}

/// Adds the alarms of workers. Where the console sees the same, its own words stay: they change with
/// each try of a link.
fn join(own: &mut Vec<Alarm>, judged: &[Alarm]) {
    for alarm in judged {
        let same = |known: &&mut Alarm| known.kind == alarm.kind && known.about == alarm.about;
        match own.iter_mut().find(same) {
            Some(known) => known.join(alarm),
            None => own.push(alarm.clone()),
        }
    }
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
        let subject = judge::source_subject(source);
        let text = format!("{subject} {what} {age}{retry}: {reason}");
        found.critical(AlarmKind::Unreachable, subject, text);
    }
}

fn workers(snapshot: &Snapshot, now: Timestamp, found: &mut Found) {
    for worker in snapshot.workers.iter() {
        let silent = seconds_between(worker.heartbeat_at, now);
        if worker.state == WorkerState::Lost {
            let (id, age) = (&worker.id, coarse_age(silent));
            let text = format!("Worker {id} is lost: its process ended without a report {age} ago");
            found.critical(AlarmKind::SilentWorker, id, text);
        } else if silent >= HEARTBEAT_LATE && !worker.state.is_over() {
            let text = format!("Worker {} is silent for {}", worker.id, coarse_age(silent));
            found.critical(AlarmKind::SilentWorker, &worker.id, text);
        }
    }
}

/// Adds the code locations that the webserver cannot load, unless a worker reports them: its words
/// say where.
fn code_locations(snapshot: &Snapshot, found: &mut Found) {
    let judged = snapshot.alarms.as_deref().into_iter().flatten();
    let reported: Vec<&str> = judged
        .filter(|alarm| alarm.kind == AlarmKind::CodeLocation)
        .map(|alarm| alarm.about.as_str())
        .collect();
    for BrokenLocation { name, cause } in snapshot.broken_locations.iter() {
        if !reported.contains(&name.as_str()) {
            let text = format!("Location {name} does not load: {cause}");
            found.critical(AlarmKind::CodeLocation, name, text);
        }
    }
}

fn fleet(snapshot: &Snapshot, now: Timestamp, found: &mut Found) {
    let live = |worker: &WorkerRow| {
        !worker.state().is_some_and(WorkerState::is_over)
            && seconds_between(worker.heartbeat_at(), now) < SILENCE_REPORTED
    };
    let workers = (0..snapshot.workers.len() + rows::reported(snapshot).count())
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
        found.warning(AlarmKind::Clock, host, text);
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
