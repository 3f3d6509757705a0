//! What a worker tells of itself at intervals: queue counts, hosts, its heartbeat in Dagster's
//! storage.

use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use super::census::{COUNTS, Census, RARELY};
use super::held::Task;
use super::life::Context;
use crate::broker::QueueSet;
use crate::domain::{Event, HostView, Slots, WorkerState};
use crate::host::HostState;

/// What the pool lets the reporter know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub state: WorkerState,
    pub steps: Slots,
    pub runs: Slots,
    pub in_flight: Vec<InFlight>,
}

/// A running task, as the executor and the launcher look for it in the heartbeat.
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

/// Dagster's own daemons beat every 30 s; a lost worker should be noticed sooner.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Every worker reads every worker's heartbeat: half as often as they change is often enough.
const FLEET: Duration = Duration::from_secs(10);

/// Starts reporting; it ends when the handles are dropped.
pub(super) fn start(
    context: &Context,
    queues: watch::Receiver<QueueSet>,
    standing: watch::Receiver<Standing>,
) -> [AbortOnDropHandle<()>; 2] {
    let counts = tokio::spawn(report_queues(context.clone(), queues.clone()));
    let beats = tokio::spawn(beat(context.clone(), queues, standing));
    [
        AbortOnDropHandle::new(counts),
        AbortOnDropHandle::new(beats),
    ]
}

async fn report_queues(context: Context, queues: watch::Receiver<QueueSet>) {
    let mut census = Census::new(context.broker.clone(), context.events.clone(), RARELY);
    let mut ticks = tokio::time::interval(COUNTS);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let served = queues.borrow().clone();
        census.take(&served).await;
        context.events.send(Event::Hosts {
            hosts: context.hosts.states().into_iter().map(host_view).collect(),
        });
    }
}

fn host_view(state: HostState) -> HostView {
    let (isolation, isolation_reason) = state.isolation.unzip();
    HostView {
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

async fn beat(
    context: Context,
    queues: watch::Receiver<QueueSet>,
    mut standing: watch::Receiver<Standing>,
) {
    let mut ticks = tokio::time::interval(HEARTBEAT);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut read_at: Option<Instant> = None;
    let mut told = None;
    loop {
        // A new state is told at once: a worker that runs or is paused should not look otherwise
        // to the rest of the fleet until the next heartbeat is due.
        tokio::select! {
            _ = ticks.tick() => {}
            Ok(_) = standing.wait_for(|now| told.is_some_and(|state| now.state != state)) => {
                ticks.reset();
            }
        }
        let (served, now) = (queues.borrow().clone(), standing.borrow().clone());
        told = Some(now.state);
        heartbeat(&context, &served, now).await;
        // After the first heartbeat, so that a worker is always part of what it reads.
        if read_at.is_none_or(|at| at.elapsed() >= FLEET) {
            read_at = Some(Instant::now());
            match context.hosts.fleet().await {
                Ok(workers) => context.events.send(Event::Fleet { workers }),
                Err(problem) => warn!("{problem}"),
            }
        }
    }
}

/// Writes one heartbeat. The last one of a worker that ends in good order says `stopped`.
pub(super) async fn heartbeat(context: &Context, queues: &QueueSet, standing: Standing) {
    let Standing {
        state,
        steps,
        runs,
        in_flight,
    } = standing;
    let names: Vec<&str> = queues.all().map(|queue| queue.name.as_str()).collect();
    let body = json!({
        "pid": std::process::id(),
        "state": state.word(),
        "slots": {"steps": steps.target, "runs": runs.target},
        "in_flight": in_flight,
        "queues": names,
        "version": env!("CARGO_PKG_VERSION"),
    });
    if let Err(problem) = context.hosts.heartbeat(body).await {
        warn!("{problem}");
    }
}
