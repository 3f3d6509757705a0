//! Messages without a consumer: a queue with waiting messages and no live worker of the fleet, on
//! any host, that receives from it.

use jiff::Timestamp;

use super::{Found, HEARTBEAT_LATE};
use crate::console::format::seconds_between;
use crate::console::rows::{self, WorkerRow};
use crate::console::view::View;
use crate::domain::{
    AlarmKind, QueueRole, QueueView, Snapshot, Source, SourceHealth, SourceKind, WorkerState,
};

/// Beginning of the alarm text if no worker is linked.
pub const NO_WORKER: &str = "No worker is linked";

/// Subject of the alarm that concerns every queue.
const ALL: &str = "all queues";

pub(super) fn alarms(snapshot: &Snapshot, now: Timestamp, found: &mut Found) {
    let live = live(snapshot, now);
    let waiting = snapshot.queues.iter().filter(|queue| waiting(queue) > 0);
    let waiting: Vec<&QueueView> = waiting.collect();
    let total: u64 = waiting.iter().map(|queue| self::waiting(queue)).sum();
    let connecting = |source: &Source| {
        matches!(source.kind, SourceKind::Worker | SourceKind::Host)
            && source.health == SourceHealth::Connecting
    };
    let workers = &snapshot.workers;
    if workers.is_empty() && snapshot.sources.iter().any(connecting) {
        let text = String::from("Connecting to the worker");
        found.warning(AlarmKind::Start, "worker", text);
    } else if workers.is_empty() {
        let text = format!("{NO_WORKER}; ~{total} messages wait: S starts one");
        found.critical(AlarmKind::NoConsumer, ALL, text);
    } else if live.is_empty() && workers.iter().all(|worker| worker.state.is_over()) {
        let text = format!("No worker runs any more; ~{total} messages wait: S starts one");
        found.critical(AlarmKind::NoConsumer, ALL, text);
    } else if live.is_empty() && total > 0 {
        let silent = seconds_between(workers[0].heartbeat_at, now) >= HEARTBEAT_LATE;
        let state = if silent && workers[0].state.receives() {
            "silent"
        } else {
            workers[0].state.word()
        };
        let what = if workers.len() == 1 {
            format!("the worker is {state}")
        } else {
            String::from("no worker receives")
        };
        let todo = if workers[0].state == WorkerState::Paused {
            ": p resumes"
        } else {
            ""
        };
        let text = format!("~{total} messages wait and {what}{todo}");
        found.critical(AlarmKind::NoConsumer, ALL, text);
    } else if !live.is_empty() && live.iter().all(|worker| worker.steps().target == 0) {
        let text = String::from("The workers have no step slots: + adds one");
        found.critical(AlarmKind::NoConsumer, "slots", text);
    } else if !live.is_empty() {
        for queue in waiting {
            if let Some(text) = unserved(queue, &live) {
                found.critical(AlarmKind::NoConsumer, &queue.name, text);
            }
        }
    }
}

/// Number of messages that wait for a worker.
fn waiting(queue: &QueueView) -> u64 {
    match (&queue.role, queue.counts) {
        (QueueRole::DeadLetter, _) | (_, None) => 0,
        (_, Some(counts)) => counts.visible,
    }
}

/// The workers that receive and have sent a recent report.
fn live(snapshot: &Snapshot, now: Timestamp) -> Vec<WorkerRow<'_>> {
    let is_live = |worker: &WorkerRow| match worker {
        WorkerRow::Linked(view) => {
            view.state.receives() && seconds_between(view.heartbeat_at, now) < HEARTBEAT_LATE
        }
        // A worker with an unknown state is assumed to receive.
        WorkerRow::Reported(view) => {
            view.state.is_none_or(WorkerState::receives) && !view.is_silent(now)
        }
    };
    (0..rows::total(View::Workers, snapshot))
        .filter_map(|index| rows::worker_at(snapshot, index))
        .filter(is_live)
        .collect()
}

/// Returns the reason why no worker receives a queue's messages, if there is none. A worker with an
/// unknown list of queues may receive from this one.
fn unserved(queue: &QueueView, live: &[WorkerRow]) -> Option<String> {
    let count = waiting(queue);
    let messages = if count == 1 {
        "message waits"
    } else {
        "messages wait"
    };
    let name = &queue.name;
    let mut serving = live
        .iter()
        .filter(|worker| worker.queues().is_empty() || worker.queues().contains(name))
        .peekable();
    if serving.peek().is_none() {
        let todo = match &queue.role {
            QueueRole::Named(alias) => format!(": start one with -q {alias}"),
            _ => String::new(),
        };
        return Some(format!(
            "~{count} {messages} in {name}, from which no live worker receives{todo}"
        ));
    }
    let no_slot = queue.role == QueueRole::Runs && serving.all(|worker| worker.runs().target == 0);
    no_slot.then(|| {
        format!("~{count} {messages} in {name} and no live worker has run slots: --run-slots")
    })
}
