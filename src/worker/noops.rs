//! No-op tasks take no slot and are deleted ten at a time. Each is idempotent: one that is not
//! deleted, because SQS or this process is gone, returns and is acknowledged then.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{info, warn};

use super::execution::ExecutionContext;
use crate::sqs::Delivery;
use crate::wire::{Noop, TaskiqResult};

/// Maximum number of messages that SQS deletes in a call.
const BATCH: usize = 10;

/// Maximum number of concurrent calls.
const AT_ONCE: usize = 4;

/// Interval of the log lines with their number.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Received no-op tasks that are to be acknowledged.
#[derive(Default)]
pub(super) struct Noops {
    waiting: Vec<(Delivery, Noop)>,
    going: JoinSet<usize>,
    /// Number acknowledged since the last log line, and the time of that line.
    unlogged: usize,
    last_logged: Option<Instant>,
}

impl Noops {
    /// Takes charge of a no-op task. No lease is renewed: the message is deleted before its
    /// visibility ends, or returns.
    pub fn take(&mut self, delivery: Delivery, noop: Noop) {
        self.waiting.push((delivery, noop));
    }

    /// Starts to acknowledge the waiting ones.
    pub fn settle(&mut self, context: &ExecutionContext) {
        while !self.waiting.is_empty() && self.going.len() < AT_ONCE {
            let queue = self.waiting[0].0.queue.url.clone();
            let mut batch = Vec::with_capacity(BATCH);
            self.waiting.retain_mut(|one| {
                let fits = batch.len() < BATCH && one.0.queue.url == queue;
                if fits {
                    batch.push(one.clone());
                }
                !fits
            });
            let context = context.clone();
            self.going
                .spawn(async move { acknowledge(&context, &batch).await });
        }
    }

    /// Whether so many are waiting that no more should be received.
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= AT_ONCE * BATCH
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.going.is_empty()
    }

    /// Waits until some were acknowledged; `None` if no call is under way.
    pub async fn next(&mut self) -> Option<()> {
        let count = self.going.join_next().await?.unwrap_or_default();
        self.unlogged += count;
        let is_due = self
            .last_logged
            .is_none_or(|last_logged| last_logged.elapsed() >= LOG_EVERY);
        if self.unlogged > 0 && (is_due || self.is_empty()) {
            info!("acknowledged {} no-op tasks", self.unlogged);
            self.unlogged = 0;
            self.last_logged = Some(Instant::now());
        }
        Some(())
    }
}

/// Puts the results, for senders that look for them, then deletes the messages; returns the number
/// of deleted ones.
async fn acknowledge(context: &ExecutionContext, batch: &[(Delivery, Noop)]) -> usize {
    let mut done = Vec::with_capacity(batch.len());
    for (delivery, noop) in batch {
        let result = TaskiqResult::ended(None, 0.0).to_json();
        match context.broker.put_result(&noop.task_id, result).await {
            Ok(_) => done.push(delivery),
            Err(problem) => warn!("{problem}; the task comes again"),
        }
    }
    match context.broker.delete_batch(&done).await {
        Ok(deleted) => deleted,
        Err(problem) => {
            warn!("{problem}; the messages come again");
            0
        }
    }
}
