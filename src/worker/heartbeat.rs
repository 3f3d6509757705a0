//! Periodic reports of a worker: queue counts, hosts, its heartbeat in Dagster's storage.

use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::execution::ExecutionContext;
use super::ready_queue::Task;
use crate::domain::{Event, ForkServerView, Slots, Viewers, WorkerState};
use crate::fork_server::{Exchange, ForkServerState};
use crate::queue_ops::queue_depth::{COUNTS, DepthPoller, FOREIGN_QUEUE_EVERY, UNSEEN};
use crate::sqs::QueueSet;
use crate::telemetry::metrics::metrics;
use crate::telemetry::vitals::vitals;

/// The pool's state for the heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PoolStatus {
    pub state: WorkerState,
    pub steps: Slots,
    pub runs: Slots,
    pub in_flight: Vec<InFlight>,
}

/// A running task, in the form that the executor and the launcher look for in the heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct InFlight {
    task_id: String,
    run_id: String,
    step_key: Option<String>,
    receive_count: u32,
}

impl InFlight {
    pub fn new(task: &Task) -> Self {
        Self {
            task_id: task.message.task_id.clone(),
            run_id: task.message.run_id.clone(),
            step_key: task.message.step_key.clone(),
            receive_count: task.delivery.receive_count,
        }
    }
}

/// Interval of the heartbeat. Dagster's own daemons use 30 s; a lost worker should be noticed
/// sooner.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Interval at which a worker with viewers reads every worker's heartbeat: half as often as they
/// change is enough.
const FLEET: Duration = Duration::from_secs(10);

/// Interval without viewers, for the alarms: with it a heartbeat that was read is never so old that
/// its worker looks silent.
const FLEET_UNSEEN: Duration = Duration::from_secs(15);

/// Starts reporting; it ends when the handles are dropped.
pub(super) fn start(
    context: &ExecutionContext,
    queues: watch::Receiver<QueueSet>,
    status: watch::Receiver<PoolStatus>,
) -> [AbortOnDropHandle<()>; 2] {
    let counts = tokio::spawn(report_queues(context.clone(), queues.clone()));
    let beats = tokio::spawn(beat(context.clone(), queues, status));
    [
        AbortOnDropHandle::new(counts),
        AbortOnDropHandle::new(beats),
    ]
}

/// Time after which a broker that did not answer is asked again if nobody looks.
const DOWN: Duration = Duration::from_secs(5);

async fn report_queues(context: ExecutionContext, queues: watch::Receiver<QueueSet>) {
    let mut depths = DepthPoller::new(
        context.broker.clone(),
        context.events.clone(),
        FOREIGN_QUEUE_EVERY,
    );
    let mut viewers = context.events.audience().watch();
    loop {
        let served = queues.borrow().clone();
        depths.take(&served).await;
        context.events.send(Event::Hosts {
            hosts: context.hosts.states().into_iter().map(host_view).collect(),
        });
        sleep(COUNTS).await;
        // A new viewer is not shown counts of minutes ago, and an outage that has passed is no alarm.
        let unseen = if depths.is_broker_down() {
            DOWN
        } else {
            UNSEEN
        };
        let _ = timeout(unseen, viewers.wait_for(Viewers::are_present)).await;
    }
}

fn host_view(state: ForkServerState) -> ForkServerView {
    let (isolation, isolation_reason) = state.isolation.unzip();
    ForkServerView {
        pid: state.pid,
        location: state.location,
        phase: state.phase,
        load_ms: (state.loaded_ms > 0).then_some(state.loaded_ms),
        children: state.children,
        pss_bytes: (state.pss_kib > 0).then_some(state.pss_kib * 1024),
        isolation,
        isolation_reason,
    }
}

/// Writes heartbeats, and reads those of the others after the first of its own, so that a worker is
/// always part of the result.
async fn beat(
    context: ExecutionContext,
    queues: watch::Receiver<QueueSet>,
    mut status: watch::Receiver<PoolStatus>,
) {
    let mut reported = write_heartbeat(&context, &queues, &status).await;
    let beats = async {
        let mut ticks = tokio::time::interval(HEARTBEAT);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticks.reset();
        loop {
            // A new state is written at once: a worker that runs or is paused should not look
            // otherwise to the rest of the fleet until the next heartbeat is due.
            tokio::select! {
                _ = ticks.tick() => {}
                Ok(_) = status.wait_for(|now| now.state != reported) => ticks.reset(),
            }
            reported = write_heartbeat(&context, &queues, &status).await;
        }
    };
    tokio::join!(beats, read_fleet(&context));
}

/// Writes one heartbeat; returns the state in it.
async fn write_heartbeat(
    context: &ExecutionContext,
    queues: &watch::Receiver<QueueSet>,
    status: &watch::Receiver<PoolStatus>,
) -> WorkerState {
    let (served, now) = (queues.borrow().clone(), status.borrow().clone());
    let state = now.state;
    heartbeat(context, &served, now).await;
    state
}

/// Reads the deployment's heartbeats: all of them for viewers, and what other workers have read of
/// them for the alarms.
async fn read_fleet(context: &ExecutionContext) {
    let mut viewers = context.events.audience().watch();
    loop {
        let is_watched = viewers.borrow().stay();
        let read = context.hosts.fleet(is_watched).await;
        context.hosts.storage().record(Exchange::Read, &read);
        if let Ok(workers) = read {
            context.events.send(Event::Fleet { workers });
        }
        if is_watched {
            sleep(FLEET).await;
        } else {
            // A new viewer is shown all of them at once.
            let _ = timeout(FLEET_UNSEEN, viewers.wait_for(Viewers::stay)).await;
        }
    }
}

/// Writes one heartbeat. The last one of a worker that ends in good order has the state `stopped`.
pub(super) async fn heartbeat(context: &ExecutionContext, queues: &QueueSet, status: PoolStatus) {
    let PoolStatus {
        state,
        steps,
        runs,
        in_flight,
    } = status;
    let names: Vec<&str> = queues.all().map(|queue| queue.name.as_str()).collect();
    let body = json!({
        "pid": std::process::id(),
        "state": state.word(),
        "slots": {"steps": steps.target, "runs": runs.target, "range": steps.range},
        "in_flight": in_flight,
        "queues": names,
        "version": env!("CARGO_PKG_VERSION"),
    });
    let written = context.hosts.heartbeat(body).await;
    metrics().heartbeat(written.is_ok());
    vitals().heartbeat(written.is_ok());
    context.breaker.heartbeat(written.is_ok());
    context.hosts.storage().record(Exchange::Write, &written);
}
