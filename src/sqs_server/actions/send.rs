//! `SendMessage` and its batch.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::batch::{self, Batch, BatchResult};
use super::{Context, check_id, in_range, message_attributes, priority, required};
use crate::sqs_server::digest;
use crate::sqs_server::error::{ErrorKind, SqsError};
use crate::sqs_server::state::message::{AttributeValue, NewMessage, Sent, Seq};
use crate::sqs_server::state::queue::Queue;
use crate::sqs_server::state::sending::{WRONG_TYPE, fifo_ids, foreign};
use crate::sqs_server::state::settings::MAX_MESSAGE_BYTES;

/// The input of `SendMessage`, and an entry of its batch. One type for both: sharing a part by
/// `flatten` would copy every body once more.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SendMessage {
    /// Present in a single message.
    queue_url: Option<String>,
    /// Present in an entry of a batch.
    id: Option<String>,
    message_body: Option<String>,
    delay_seconds: Option<i64>,
    message_attributes: Option<BTreeMap<String, AttributeValue>>,
    message_system_attributes: Option<BTreeMap<String, AttributeValue>>,
    message_deduplication_id: Option<String>,
    message_group_id: Option<String>,
}

impl batch::Entry for SendMessage {
    fn take_id(&mut self) -> Option<String> {
        self.id.take()
    }
}

/// The MD5 sums a sender can compare, computed before the message goes to the engine.
#[derive(Debug)]
struct Sums {
    body: String,
    attributes: Option<String>,
    system_attributes: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SendResult {
    /// Present in an entry of a batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(rename = "MD5OfMessageBody")]
    md5_of_body: String,
    #[serde(
        rename = "MD5OfMessageAttributes",
        skip_serializing_if = "Option::is_none"
    )]
    md5_of_attributes: Option<String>,
    #[serde(
        rename = "MD5OfMessageSystemAttributes",
        skip_serializing_if = "Option::is_none"
    )]
    md5_of_system_attributes: Option<String>,
    message_id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence_number: Option<String>,
}

impl SendResult {
    fn of(id: Option<String>, sums: Sums, sent: &Sent) -> Self {
        Self {
            id,
            md5_of_body: sums.body,
            md5_of_attributes: sums.attributes,
            md5_of_system_attributes: sums.system_attributes,
            message_id: sent.message_id,
            sequence_number: sent.sequence.map(sequence_number),
        }
    }
}

pub async fn send(ctx: &Context<'_>, mut input: SendMessage) -> Result<SendResult, SqsError> {
    let queue = ctx.queue_in(input.queue_url.take())?;
    let checked = check(ctx, input);
    let name = queue.clone();
    let sent = ctx
        .engine
        .run(move |broker, now| {
            // A missing queue is reported before any error of the message.
            broker.queue(&queue)?;
            let (new, sums) = checked?;
            Ok(SendResult::of(None, sums, &broker.send(now, &queue, new)?))
        })
        .await?;
    ctx.engine.metrics().count_sent(&name, 1);
    Ok(sent)
}

pub async fn send_batch(
    ctx: &Context<'_>,
    input: Batch<SendMessage>,
) -> Result<BatchResult<SendResult>, SqsError> {
    let mut number = 0;
    let checked = batch::check(ctx, "SendMessageBatch", input, |entry| {
        number += 1;
        if entry.message_body.as_deref() == Some("") {
            // Recorded: in a batch this is not MissingParameter.
            let text =
                format!("No Value Found for SendMessageBatchRequestEntry.{number}.MessageBody.");
            return Err(SqsError::new(ErrorKind::EmptyValue, text));
        }
        check(ctx, entry)
    })?;
    let size: usize = checked.good().map(|(new, _)| new.size).sum();
    if size > MAX_MESSAGE_BYTES {
        return Err(SqsError::new(
            ErrorKind::BatchRequestTooLong,
            format!(
                "Batch requests cannot be longer than {MAX_MESSAGE_BYTES} bytes. You have sent \
                 {size} bytes."
            ),
        ));
    }
    let needs_ids = |queue: &Queue, (new, _): &(NewMessage, Sums)| match fifo_ids(queue, new) {
        // Recorded: in a batch this is not MissingParameter, and no entry is sent.
        Err(error) => Err(SqsError::new(
            ErrorKind::InvalidParameterValue,
            error.message,
        )),
        good => good,
    };
    let queue = checked.queue().to_owned();
    let result = checked
        .run_if(ctx, needs_ids, |broker, now, queue, id, (new, sums)| {
            let found = broker.queue(queue)?;
            if foreign(found, &new).is_some() {
                return Err(SqsError::new(ErrorKind::InvalidParameterValue, WRONG_TYPE));
            }
            let limit = found.settings.max_message_bytes;
            if new.size > limit {
                return Err(SqsError::new(
                    ErrorKind::InvalidParameterValue,
                    format!(
                        "One or more parameters cannot be validated. Reason: Message must be \
                         shorter than {limit} bytes."
                    ),
                ));
            }
            let sent = broker.send(now, queue, new)?;
            Ok(SendResult::of(Some(id), sums, &sent))
        })
        .await?;
    ctx.engine.metrics().count_sent(&queue, result.successes());
    Ok(result)
}

/// A FIFO sequence number: 20 digits, increasing.
pub fn sequence_number(seq: Seq) -> String {
    (18_800_000_000_000_000_000_u128 + u128::from(seq.unsigned_abs())).to_string()
}

fn check(ctx: &Context<'_>, input: SendMessage) -> Result<(NewMessage, Sums), SqsError> {
    let body = required(input.message_body, "MessageBody")?;
    message_attributes::check_characters(&body)?;
    let reason = "DelaySeconds must be >= 0 and <= 900.";
    let delay = in_range(input.delay_seconds, "DelaySeconds", 0..=900, reason)?;
    let attributes = input.message_attributes.unwrap_or_default();
    let size = body.len() + message_attributes::check(&attributes)?;
    let system_sum = input
        .message_system_attributes
        .as_ref()
        .and_then(|attributes| {
            digest::of_attributes(
                attributes
                    .iter()
                    .map(|(name, value)| (name.as_str(), value)),
            )
        });
    let trace = message_attributes::trace_header(input.message_system_attributes)?
        .or_else(|| ctx.trace.map(str::to_owned));
    let body_md5 = digest::of_body(&body);
    let sums = Sums {
        body: body_md5.clone(),
        attributes: digest::of_attributes(
            attributes
                .iter()
                .map(|(name, value)| (name.as_str(), value)),
        ),
        system_attributes: system_sum,
    };
    let new = NewMessage {
        message_id: Uuid::new_v4(),
        priority: priority::of_body(&body),
        body,
        body_md5,
        size,
        delay,
        attributes: attributes.into_iter().collect(),
        trace,
        group: check_id(input.message_group_id, "MessageGroupId")?,
        dedup: check_id(input.message_deduplication_id, "MessageDeduplicationId")?,
    };
    Ok((new, sums))
}
