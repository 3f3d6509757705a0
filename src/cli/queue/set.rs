//! `queue create|list`: the configured queues.

use std::process::ExitCode;
use std::sync::Arc;

use serde_json::json;

use super::{CreateArgs, QueueArgs, QueueError};
use crate::cli::output::{note, out};
use crate::config::Settings;
use crate::domain::QueueRole;
use crate::sqs::{Broker, Queue, QueueSet, sibling_url};

pub(super) async fn create(args: CreateArgs) -> Result<ExitCode, QueueError> {
    let settings = args.common.settings()?;
    let broker = Broker::connect(&settings).await;
    let queues = QueueSet::configured(&settings);
    for queue in queues.all() {
        broker.create(queue).await?;
        print_queue(&args.common, queue);
    }
    if args.dead_letters {
        let url = sibling_url(&settings.queue_url.value, "dead");
        let dead = Queue::new(url, QueueRole::DeadLetter, 0);
        broker.create(&dead).await?;
        print_queue(&args.common, &dead);
        for queue in queues
            .all()
            .filter(|queue| queue.is_fifo() == dead.is_fifo())
        {
            if broker.dead_letter_queue(queue).await?.is_none() {
                broker
                    .set_dead_letter_queue(queue, &dead, args.max_receives)
                    .await?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print_queue(args: &QueueArgs, queue: &Queue) {
    if args.json {
        out!("{}", json!({"queue": queue.name, "url": queue.url}));
    } else {
        out!("{}", queue.url);
    }
}

pub(super) async fn list(args: QueueArgs) -> Result<ExitCode, QueueError> {
    let settings = args.settings()?;
    let broker = Broker::connect(&settings).await;
    let mut dead: Vec<Arc<Queue>> = Vec::new();
    for queue in QueueSet::configured(&settings).all() {
        if !one(&args, &settings, &broker, queue).await? {
            continue;
        }
        let url = broker.dead_letter_queue(queue).await?;
        if let Some(url) = url.filter(|url| !dead.iter().any(|known| known.url == *url)) {
            dead.push(Arc::new(Queue::new(url, QueueRole::DeadLetter, 0)));
        }
    }
    for queue in &dead {
        one(&args, &settings, &broker, queue).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints a queue; returns false if it does not exist.
async fn one(
    args: &QueueArgs,
    settings: &Settings,
    broker: &Broker,
    queue: &Queue,
) -> Result<bool, QueueError> {
    let counts = match broker.counts(queue).await {
        Ok(counts) => counts,
        // Only the base must exist: senders fall back to it.
        Err(error) if error.is_no_such_queue() && queue.url != settings.queue_url.value => {
            note!(
                "{}: does not exist; the base queue serves for it",
                queue.name
            );
            return Ok(false);
        }
        Err(error) => return Err(error.into()),
    };
    let role = match &queue.role {
        QueueRole::Base => "base",
        QueueRole::Band(_) => "band",
        QueueRole::Runs => "runs",
        QueueRole::Named(_) => "named",
        QueueRole::DeadLetter => "dead letters",
    };
    if args.json {
        let line = json!({"queue": queue.name, "url": queue.url, "role": role,
            "waiting": counts.visible, "in_flight": counts.in_flight, "delayed": counts.delayed});
        out!("{line}");
    } else {
        out!(
            "{}: {role}, ~{} waiting, ~{} in flight, ~{} delayed",
            queue.name,
            counts.visible,
            counts.in_flight,
            counts.delayed
        );
    }
    Ok(true)
}
