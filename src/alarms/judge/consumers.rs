//! Messages without a consumer: a queue with waiting messages and no live worker of the fleet, on
//! any host, that receives from it.

use jiff::Timestamp;

use super::{Found, HEARTBEAT_LATE, Hints};
use crate::domain::{
    AlarmKind, FleetWorker, QueueRole, QueueView, Slots, Snapshot, Source, SourceHealth,
    SourceKind, WorkerState, WorkerView, seconds_between, they_wait,
};

/// Beginning of the alarm text if no worker is connected.
pub const NO_WORKER: &str = "No worker is connected";

/// Subject of the alarm that concerns every queue.
const ALL: &str = "all queues";

/// The noun for `they_wait`.
const MESSAGE: &str = "message";

/// A worker that receives and has sent a recent report.
struct Live<'a> {
    queues: &'a [String],
    steps: Slots,
    runs: Slots,
}

impl<'a> Live<'a> {
    fn linked(worker: &'a WorkerView) -> Self {
        Self {
            queues: &worker.queues,
            steps: worker.steps,
            runs: worker.runs,
        }
    }

    fn reported(worker: &'a FleetWorker) -> Self {
        Self {
            queues: &worker.queues,
            steps: worker.steps,
            runs: worker.runs,
        }
    }
}

pub(super) fn alarms(snapshot: &Snapshot, hints: Hints, now: Timestamp, found: &mut Found) {
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
        let text = format!("{NO_WORKER}; ~{}: S starts one", they_wait(total, MESSAGE));
        found.critical(AlarmKind::NoConsumer, ALL, text);
    } else if live.is_empty() && workers.iter().all(|worker| worker.state.is_over()) {
        let text = format!(
            "No worker runs any more; ~{}: S starts one",
            they_wait(total, MESSAGE)
        );
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
        let todo = match (workers[0].state, hints) {
            (WorkerState::Paused, Hints::Keys) => ": p resumes",
            (WorkerState::Paused, Hints::Commands) => ": `worker resume` resumes it",
            _ => "",
        };
        let text = format!("~{} and {what}{todo}", they_wait(total, MESSAGE));
        found.critical(AlarmKind::NoConsumer, ALL, text);
    } else if !live.is_empty() && live.iter().all(|worker| worker.steps.target == 0) {
        let todo = match hints {
            Hints::Keys => "+ adds one",
            Hints::Commands => "`worker scale` adds some",
        };
        let text = format!("The workers have no step slots: {todo}");
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

/// The workers that receive and have sent a recent report. A worker with an unknown state is
/// assumed to receive.
fn live(snapshot: &Snapshot, now: Timestamp) -> Vec<Live<'_>> {
    let linked = snapshot.workers.iter().filter(|worker| {
        worker.state.receives() && seconds_between(worker.heartbeat_at, now) < HEARTBEAT_LATE
    });
    let reported = super::reported(snapshot)
        .filter(|worker| worker.state.is_none_or(WorkerState::receives) && !worker.is_silent(now));
    let linked = linked.map(Live::linked);
    linked.chain(reported.map(Live::reported)).collect()
}

/// Returns the reason why no worker receives a queue's messages, if there is none. A worker with an
/// unknown list of queues may receive from this one.
fn unserved(queue: &QueueView, live: &[Live]) -> Option<String> {
    let count = waiting(queue);
    let messages = they_wait(count, MESSAGE);
    let name = &queue.name;
    let mut serving = live
        .iter()
        .filter(|worker| worker.queues.is_empty() || worker.queues.contains(name))
        .peekable();
    if serving.peek().is_none() {
        let todo = match &queue.role {
            QueueRole::Named(alias) => format!(": start one with -q {alias}"),
            _ => String::new(),
        };
        return Some(format!(
            "~{messages} in {name}, from which no live worker receives{todo}"
        ));
    }
    let no_slot = queue.role == QueueRole::Runs && serving.all(|worker| worker.runs.target == 0);
    no_slot.then(|| format!("~{messages} in {name} and no live worker has run slots: --run-slots"))
}
