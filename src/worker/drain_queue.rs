//! Draining a queue from a worker: archive, tell Dagster, delete, in this order.
//!
//! Dying after the archive leaves the message in the queue; dying after the report leaves a message
//! whose step has ended, which the next receive acknowledges.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::held::Task;
use super::life::Context;
use super::settle::AnswerError;
use crate::broker::{Archive, Delivery, Queue};
use crate::domain::{Reply, TaskOutcome};
use crate::host::{ReportKind, Reported};
use crate::wire::TaskMessage;

/// Archives and deletes every waiting message of a queue. Its step or run is ended with the reason
/// in the run's log, so that nobody waits for a message that is gone.
pub(super) async fn drain_queue(context: &Context, queue: &Arc<Queue>, folder: &Path) -> Reply {
    let stamp = Timestamp::now().strftime("%Y%m%dT%H%M%S%.3f");
    let mut archive = Archive::new(folder.join(format!("{}-{stamp}.jsonl", queue.name)));
    match drain(context, queue, &mut archive).await {
        Ok(()) if archive.is_empty() => Reply::Done(format!("{} was empty", queue.name)),
        Ok(()) => Reply::Done(format!(
            "{} messages of {} are in {}",
            archive.len(),
            queue.name,
            archive.path().display()
        )),
        Err(problem) => Reply::Failed(format!(
            "{} drained in part, {} messages are in {}: {problem}",
            queue.name,
            archive.len(),
            archive.path().display()
        )),
    }
}

/// Ends at the first receive that finds nothing; messages in flight elsewhere stay.
async fn drain(
    context: &Context,
    queue: &Arc<Queue>,
    archive: &mut Archive,
) -> Result<(), AnswerError> {
    loop {
        // One second lets SQS ask all of its hosts; zero could miss messages.
        let batch = context
            .broker
            .receive(queue, 10, Duration::from_secs(1))
            .await?;
        if batch.is_empty() {
            return Ok(());
        }
        // The reports of a batch may take longer than a lease.
        for delivery in &batch {
            context.leases.register(delivery);
        }
        let result = put_away(context, &batch, archive).await;
        for delivery in &batch {
            context.leases.release(delivery).await;
        }
        result?;
    }
}

async fn put_away(
    context: &Context,
    batch: &[Delivery],
    archive: &mut Archive,
) -> Result<(), AnswerError> {
    archive.append(batch)?;
    let reason = format!("Its message was drained to {}.", archive.path().display());
    for delivery in batch {
        if end(context, delivery, &reason).await? {
            context.broker.delete(delivery).await?;
        } else {
            let pause = context.broker.visibility();
            context.broker.hide(delivery, pause).await?;
        }
    }
    Ok(())
}

/// Ends the step or run; whether its message may go. It may not while another process runs what
/// it asks for: should that one die, the message is what brings the step back.
async fn end(context: &Context, delivery: &Delivery, reason: &str) -> Result<bool, AnswerError> {
    let text = match context.broker.text(delivery).await {
        Ok(text) => text,
        Err(problem) if problem.is_passing() => return Err(problem.into()),
        // It names a body that is gone: nobody can be told.
        Err(_) => return Ok(true),
    };
    let Ok(message) = TaskMessage::decode(&text) else {
        return Ok(true);
    };
    let task = Task {
        delivery: delivery.clone(),
        message,
    };
    let reported = context.report(&task, reason, ReportKind::Removed).await?;
    if matches!(reported, Reported::Held) {
        return Ok(false);
    }
    let reason = reason.to_owned();
    let outcome = TaskOutcome::Failure { reason };
    context.answer(&task, &outcome).await?;
    Ok(true)
}
