//! Metrics from a worker's snapshot.

use crate::domain::{
    ForkServerPhase, QueueRole, QueueView, SourceHealth, Timestamp, WorkerSnapshot, WorkerState,
    WorkerView,
};
use crate::telemetry::metrics::{Gauges, catalogue as names, metrics};

/// All families from a snapshot.
pub(super) fn of(snapshot: &WorkerSnapshot, now: Timestamp) -> Vec<Gauges> {
    let mut all = queues(&snapshot.queues, now);
    all.extend(worker(&snapshot.worker));
    all.extend(hosts(&snapshot.worker));
    let broker = Gauges::new(&names::BROKER_UP);
    if let Some(source) = super::broker(snapshot) {
        broker.add(&[], truth(source.health == SourceHealth::Up));
    }
    all.push(broker);
    all
}

fn queues(queues: &[QueueView], now: Timestamp) -> Vec<Gauges> {
    let [depth, in_flight, delayed, oldest, dead, up, counted] = [
        &names::QUEUE_DEPTH,
        &names::QUEUE_IN_FLIGHT,
        &names::QUEUE_DELAYED,
        &names::QUEUE_OLDEST_AGE,
        &names::QUEUE_DEAD_LETTERS,
        &names::QUEUE_UP,
        &names::QUEUE_COUNTED,
    ]
    .map(Gauges::new);
    for queue in queues {
        let labels = [queue.name.as_str(), band(&queue.role)];
        up.add(&labels, truth(queue.error.is_none()));
        if let Some(at) = queue.counted_at {
            counted.add(&labels, seconds(at.as_millisecond()));
        }
        let Some(counts) = queue.counts else { continue };
        if queue.role == QueueRole::DeadLetter {
            dead.add(&labels[..1], count(counts.visible));
            continue;
        }
        depth.add(&labels, count(counts.visible));
        in_flight.add(&labels, count(counts.in_flight));
        delayed.add(&labels, count(counts.delayed));
        if let Some(sent) = queue.oldest {
            let age = now.as_millisecond().saturating_sub(sent.as_millisecond());
            oldest.add(&labels, seconds(age.max(0)));
        }
    }
    vec![depth, in_flight, delayed, oldest, dead, up, counted]
}

/// A queue's role in the queue set, in a word.
fn band(role: &QueueRole) -> &str {
    match role {
        QueueRole::Base | QueueRole::Named(_) => "normal",
        QueueRole::Band(name) => name,
        QueueRole::Runs => "runs",
        QueueRole::DeadLetter => "dead_letters",
    }
}

fn worker(worker: &WorkerView) -> Vec<Gauges> {
    let [slots, busy, min, max, state, name, start, dropped, build] = [
        &names::SLOTS,
        &names::SLOTS_BUSY,
        &names::SLOTS_MIN,
        &names::SLOTS_MAX,
        &names::WORKER_STATE,
        &names::WORKER_INFO,
        &names::START_TIME,
        &names::EVENTS_DROPPED,
        &names::BUILD_INFO,
    ]
    .map(Gauges::new);
    for (kind, of_kind) in [("step", worker.steps), ("run", worker.runs)] {
        slots.add(&[kind], of_kind.target.into());
        busy.add(&[kind], of_kind.busy.into());
        min.add(&[kind], of_kind.bounds().min.into());
        max.add(&[kind], of_kind.bounds().max.into());
    }
    for one in [
        WorkerState::Starting,
        WorkerState::Running,
        WorkerState::Paused,
        WorkerState::Draining,
        WorkerState::Stopping,
        WorkerState::Stopped,
    ] {
        state.add(&[one.word()], truth(one == worker.state));
    }
    name.add(&[&worker.id], 1.0);
    start.add(&[], seconds(worker.started_at.as_millisecond()));
    dropped.add(&[], count(worker.dropped_events));
    build.add(&[&worker.version], 1.0);
    vec![slots, busy, min, max, state, name, start, dropped, build]
}

fn hosts(worker: &WorkerView) -> Vec<Gauges> {
    let hosts = Gauges::new(&names::HOSTS);
    let memory = Gauges::new(&names::HOST_MEMORY);
    for host in &worker.hosts {
        let location = metrics().location(&host.location);
        let phase = match host.phase {
            ForkServerPhase::Loading => "loading",
            ForkServerPhase::Ready => "ready",
            ForkServerPhase::Draining => "draining",
            ForkServerPhase::Failed(_) => "failed",
        };
        let isolation = host.isolation.map_or("none", |mode| mode.word());
        hosts.add(&[&location, phase, isolation], 1.0);
        if let Some(bytes) = host.pss_bytes {
            memory.add(&[&location], count(bytes));
        }
    }
    vec![hosts, memory]
}

fn truth(is: bool) -> f64 {
    f64::from(u8::from(is))
}

/// Converts a count; exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "Prometheus's values are floats")]
fn count(number: u64) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus's values are floats")]
fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1000.0
}
