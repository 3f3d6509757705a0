//! `ChangeMessageVisibility` and its batch.

use serde::Deserialize;

use super::batch::{self, Batch, BatchResult, Done};
use super::{Context, Empty, Held};
use crate::sqs_server::error::SqsError;
use crate::sqs_server::state::settings::MAX_VISIBILITY_SECONDS;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ChangeMessageVisibility {
    queue_url: Option<String>,
    receipt_handle: Option<String>,
    visibility_timeout: Option<i64>,
}

pub async fn change(ctx: &Context<'_>, input: ChangeMessageVisibility) -> Result<Empty, SqsError> {
    let queue = ctx.queue_in(input.queue_url)?;
    let seconds = check_timeout(input.visibility_timeout);
    let receipt = ctx.receipt(input.receipt_handle);
    ctx.engine
        .run(move |broker, now| {
            broker.queue(&queue)?;
            let (seconds, Held { receipt, handle }) = (seconds?, receipt?);
            let outcome = broker.change_visibility(now, &queue, receipt, seconds);
            outcome.map_err(|error| error.of(&handle))
        })
        .await?;
    Ok(Empty {})
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Entry {
    id: Option<String>,
    receipt_handle: Option<String>,
    visibility_timeout: Option<i64>,
}

impl batch::Entry for Entry {
    fn take_id(&mut self) -> Option<String> {
        self.id.take()
    }
}

pub async fn change_batch(
    ctx: &Context<'_>,
    input: Batch<Entry>,
) -> Result<BatchResult<Done>, SqsError> {
    batch::check(ctx, "ChangeMessageVisibilityBatch", input, |entry| {
        let receipt = ctx.receipt(entry.receipt_handle)?;
        Ok((receipt, check_timeout(entry.visibility_timeout)?))
    })?
    .run(ctx, |broker, now, queue, id, (held, seconds)| {
        let outcome = broker.change_visibility(now, queue, held.receipt, seconds);
        outcome.map_err(|error| error.of_entry(&held.handle))?;
        Ok(Done { id })
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
