//! What a worker tells of itself at intervals: queue counts, hosts, its heartbeat in Dagster's
//! storage.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use super::held::Task;
use super::life::Context;
use crate::broker::{Queue, QueueSet};
use crate::domain::{
    Event, HostView, QueueRole, QueueView, Slots, Source, SourceHealth, SourceKind, WorkerState,
};
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

/// Counts are a request per queue: every two seconds costs little and looks alive.
const COUNTS: Duration = Duration::from_secs(2);

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
    let mut seen_at = None;
    let mut ticks = tokio::time::interval(COUNTS);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut health = SourceHealth::Up;
        let served: Vec<Arc<Queue>> = queues.borrow().all().cloned().collect();
        let dead = dead_letter_queues(&served);
        for queue in served.iter().chain(&dead) {
            let mut view = count(&context, queue).await;
            let waiting = context.broker.waiting(queue).await;
            view.oldest = waiting.as_ref().and_then(|waiting| waiting.oldest);
            match &view.error {
                // A dead-letter queue that may not be asked is no reason to call the broker down.
                Some(_) if queue.role == QueueRole::DeadLetter => {}
                Some(reason) => {
                    health = SourceHealth::Down {
                        reason: reason.clone(),
                    }
                }
                None => seen_at = view.counted_at,
            }
            context.events.send(Event::Queue { queue: view });
            if let Some(waiting) = waiting {
                let (queue, counts) = (queue.name.clone(), waiting.counts);
                context.events.send(Event::Waiting { queue, counts });
            }
        }
        let address = context.broker.endpoint().to_owned();
        let source = Source {
            kind: SourceKind::Broker,
            address,
            health,
            seen_at,
        };
        context.events.send(Event::Source { source });
        context.events.send(Event::Hosts {
            hosts: context.hosts.states().into_iter().map(host_view).collect(),
        });
    }
}

/// The dead-letter queues of queues, each once.
fn dead_letter_queues(queues: &[Arc<Queue>]) -> Vec<Arc<Queue>> {
    let urls: BTreeSet<&String> = queues
        .iter()
        .filter_map(|queue| queue.dead_letter_url.as_ref())
        .collect();
    urls.into_iter()
        .map(|url| Arc::new(Queue::new(url.clone(), QueueRole::DeadLetter, 0)))
        .collect()
}

fn host_view(state: HostState) -> HostView {
    HostView {
        pid: state.pid,
        location: state.location,
        phase: state.phase,
        load_ms: (state.loaded_ms > 0).then_some(state.loaded_ms),
        children: state.children,
        pss_bytes: (state.pss_kib > 0).then_some(state.pss_kib * 1024),
    }
}

async fn count(context: &Context, queue: &Queue) -> QueueView {
    let (counts, error) = match context.broker.counts(queue).await {
        Ok(counts) => (Some(counts), None),
        Err(problem) => (None, Some(problem.to_string())),
    };
    QueueView {
        name: queue.name.clone(),
        url: queue.url.clone(),
        role: queue.role.clone(),
        counted_at: counts.map(|_| Timestamp::now()),
        counts,
        oldest: None,
        error,
    }
}

async fn beat(
    context: Context,
    queues: watch::Receiver<QueueSet>,
    standing: watch::Receiver<Standing>,
) {
    let mut ticks = tokio::time::interval(HEARTBEAT);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut read_at: Option<Instant> = None;
    loop {
        ticks.tick().await;
        let (served, now) = (queues.borrow().clone(), standing.borrow().clone());
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
