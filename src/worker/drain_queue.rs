//! Draining a queue from a worker: archive, tell Dagster, delete, in this order.
//!
//! Dying after the archive leaves the message in the queue; dying after the report leaves a message
//! whose step has ended, which the next receive acknowledges.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::life::Context;
use crate::broker::{Archive, BrokerError, Delivery, Queue};
use crate::domain::Reply;
use crate::host::Report;
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
) -> Result<(), BrokerError> {
    loop {
        // One second lets SQS ask all of its hosts; zero could miss messages.
        let batch = context
            .broker
            .receive(queue, 10, Duration::from_secs(1))
            .await?;
        if batch.is_empty() {
            return Ok(());
        }
        archive.append(&batch)?;
        let reason = format!("its message was drained to {}", archive.path().display());
        for delivery in &batch {
            report(context, delivery, &reason).await;
            context.broker.delete(delivery).await?;
        }
    }
}

async fn report(context: &Context, delivery: &Delivery, reason: &str) {
    let Ok(message) = TaskMessage::decode(&delivery.body) else {
        return;
    };
    let report = Report {
        kind: message.kind,
        kwargs: message.kwargs.into(),
        attempt: message.attempt,
        reason: reason.to_owned(),
    };
    if let Err(problem) = context.hosts.report_unstarted(report).await {
        tracing::warn!(run_id = %message.run_id, "{problem}");
    }
}
