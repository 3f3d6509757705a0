//! `DeleteMessage` and its batch.

use serde::Deserialize;

use super::batch::{BatchResult, Done, check_ids};
use super::{Context, Empty, queue_in};
use crate::local_broker::error::SqsError;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeleteMessage {
    queue_url: Option<String>,
    receipt_handle: Option<String>,
}

pub async fn delete(ctx: &Context<'_>, input: DeleteMessage) -> Result<Empty, SqsError> {
    let queue = queue_in(input.queue_url)?;
    let receipt = ctx.receipt(input.receipt_handle);
    ctx.engine
        .run(move |broker, now| {
            broker.queue(&queue)?;
            broker.delete(now, &queue, receipt?)
        })
        .await?;
    Ok(Empty {})
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeleteMessageBatch {
    queue_url: Option<String>,
    entries: Option<Vec<Entry>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    id: Option<String>,
    receipt_handle: Option<String>,
}

pub async fn delete_batch(
    ctx: &Context<'_>,
    input: DeleteMessageBatch,
) -> Result<BatchResult<Done>, SqsError> {
    let queue = queue_in(input.queue_url)?;
    let entries = input.entries.unwrap_or_default();
    let ids = check_ids(
        "DeleteMessageBatch",
        entries.iter().map(|entry| entry.id.as_ref()),
    )?;
    let receipts: Vec<_> = entries
        .into_iter()
        .map(|entry| ctx.receipt(entry.receipt_handle))
        .collect();
    ctx.engine
        .run(move |broker, now| {
            broker.queue(&queue)?;
            let outcomes = ids.into_iter().zip(receipts).map(|(id, receipt)| {
                let outcome = receipt.and_then(|receipt| broker.delete(now, &queue, receipt));
                (id.clone(), outcome.map(|()| Done { id }))
            });
            Ok(BatchResult::of(outcomes))
        })
        .await
}
