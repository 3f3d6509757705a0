//! The safety net for runs: a run whose message was moved, purged or has expired, and whose worker
//! is gone, is sent again by a worker that has a free run slot. (For steps, the executor does
//! this.)
//!
//! Dying between the check and the send costs a quarter of an hour: the run is sent again then.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, warn};

use super::execution::ExecutionContext;
use super::heartbeat::PoolStatus;
use crate::domain::WorkerState;
use crate::sqs::{Outgoing, QueueSet};

/// Starts the checks; they end when the handle is dropped.
pub(super) fn start(
    context: &ExecutionContext,
    queues: watch::Receiver<QueueSet>,
    status: watch::Receiver<PoolStatus>,
) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(watch(context.clone(), queues, status)))
}

async fn watch(
    context: ExecutionContext,
    queues: watch::Receiver<QueueSet>,
    status: watch::Receiver<PoolStatus>,
) {
    loop {
        // Three checks take longer than a message needs to return by itself.
        let pause = context.broker.visibility().min(Duration::from_mins(1));
        tokio::time::sleep(pause.mul_f64(1.0 + 0.2 * fastrand::f64())).await;
        let now = status.borrow().clone();
        if now.state == WorkerState::Running && now.runs.busy < now.runs.target {
            let served = queues.borrow().clone();
            look(&context, &served, pause.mul_f64(0.9)).await;
        }
    }
}

/// `every` is the interval of the looks of all workers together.
async fn look(context: &ExecutionContext, queues: &QueueSet, every: Duration) {
    let Some(queue) = queues.runs.as_ref().or(queues.steps.first()) else {
        return;
    };
    let lost = match context.hosts.lost_runs(every).await {
        Ok(lost) => lost,
        // The outage itself is in the log.
        Err(problem) if context.hosts.storage().is_away() => return debug!("{problem}"),
        Err(problem) => return warn!("{problem}"),
    };
    for run in lost {
        warn!(run_id = %run.run_id, "no live worker has the run, and no message of it comes: \
            sending it again");
        let outgoing = Outgoing {
            body: run.body,
            group: Some(run.run_id.clone()),
            deduplication: Some(uuid::Uuid::new_v4().simple().to_string()),
            ..Outgoing::default()
        };
        let attempt = format!("send run {} again to {}", run.run_id, queue.name);
        if let Err(problem) = context.broker.send(&queue.url, &outgoing, &attempt).await {
            warn!("{problem}; it is tried again in 15 minutes");
        }
    }
}
