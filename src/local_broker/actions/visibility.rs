//! `ChangeMessageVisibility` and its batch.

use serde::Deserialize;

use super::batch::{BatchResult, Done, check_ids};
use super::{Context, Empty, queue_in};
use crate::local_broker::error::SqsError;
use crate::local_broker::state::settings::MAX_VISIBILITY_SECONDS;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ChangeMessageVisibility {
    queue_url: Option<String>,
    receipt_handle: Option<String>,
    visibility_timeout: Option<i64>,
}

pub async fn change(ctx: &Context<'_>, input: ChangeMessageVisibility) -> Result<Empty, SqsError> {
    let queue = queue_in(input.queue_url)?;
    let seconds = check_timeout(input.visibility_timeout);
    let receipt = ctx.receipt(input.receipt_handle);
    ctx.engine
        .run(move |broker, now| {
            broker.queue(&queue)?;
            broker.change_visibility(now, &queue, receipt?, seconds?)
        })
        .await?;
    Ok(Empty {})
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ChangeMessageVisibilityBatch {
    queue_url: Option<String>,
    entries: Option<Vec<Entry>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    id: Option<String>,
    receipt_handle: Option<String>,
    visibility_timeout: Option<i64>,
}

pub async fn change_batch(
    ctx: &Context<'_>,
    input: ChangeMessageVisibilityBatch,
) -> Result<BatchResult<Done>, SqsError> {
    let queue = queue_in(input.queue_url)?;
    let entries = input.entries.unwrap_or_default();
    let ids = check_ids(
        "ChangeMessageVisibilityBatch",
        entries.iter().map(|entry| entry.id.as_ref()),
    )?;
    let changes: Vec<_> = entries
        .into_iter()
        .map(|entry| {
            Ok((
                ctx.receipt(entry.receipt_handle)?,
                check_timeout(entry.visibility_timeout)?,
            ))
        })
        .collect();
    ctx.engine
        .run(move |broker, now| {
            broker.queue(&queue)?;
            let outcomes = ids.into_iter().zip(changes).map(|(id, change)| {
                let outcome = change.and_then(|(receipt, seconds)| {
                    broker.change_visibility(now, &queue, receipt, seconds)
                });
                (id.clone(), outcome.map(|()| Done { id }))
            });
            Ok(BatchResult::of(outcomes))
        })
        .await
}

fn check_timeout(seconds: Option<i64>) -> Result<i64, SqsError> {
    let seconds = seconds.ok_or_else(|| SqsError::missing("VisibilityTimeout"))?;
    if (0..=MAX_VISIBILITY_SECONDS).contains(&seconds) {
        return Ok(seconds);
    }
    let reason =
        format!("VisibilityTimeout must be an integer between 0 and {MAX_VISIBILITY_SECONDS}");
    Err(SqsError::invalid("VisibilityTimeout", seconds, &reason))
}
