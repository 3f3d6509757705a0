//! `DeleteMessage` and its batch.

use serde::Deserialize;

use super::batch::{self, Batch, BatchResult, Done};
use super::{Context, Empty, Held};
use crate::sqs_server::error::SqsError;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeleteMessage {
    queue_url: Option<String>,
    receipt_handle: Option<String>,
}

pub async fn delete(ctx: &Context<'_>, input: DeleteMessage) -> Result<Empty, SqsError> {
    let queue = ctx.queue_in(input.queue_url)?;
    let receipt = ctx.receipt(input.receipt_handle);
    let name = queue.clone();
    ctx.engine
        .run(move |broker, now| {
            broker.queue(&queue)?;
            let Held { receipt, handle } = receipt?;
            let outcome = broker.delete(now, &queue, receipt);
            outcome.map_err(|error| error.of(&handle))
        })
        .await?;
    ctx.engine.metrics().count_deleted(&name, 1);
    Ok(Empty {})
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Entry {
    id: Option<String>,
    receipt_handle: Option<String>,
}

impl batch::Entry for Entry {
    fn take_id(&mut self) -> Option<String> {
        self.id.take()
    }
}

pub async fn delete_batch(
    ctx: &Context<'_>,
    input: Batch<Entry>,
) -> Result<BatchResult<Done>, SqsError> {
    let checked = batch::check(ctx, "DeleteMessageBatch", input, |entry| {
        ctx.receipt(entry.receipt_handle)
    })?;
    let queue = checked.queue().to_owned();
    let result = checked
        .run(ctx, |broker, now, queue, id, Held { receipt, handle }| {
            let outcome = broker.delete(now, queue, receipt);
            outcome.map_err(|error| error.of_entry(&handle))?;
            Ok(Done { id })
        })
        .await?;
    ctx.engine
        .metrics()
        .count_deleted(&queue, result.successes());
    Ok(result)
}
