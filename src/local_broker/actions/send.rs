//! `SendMessage` and its batch.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::batch::{BatchResult, check_ids};
use super::{Context, in_range, message_attributes, priority, queue_in, required};
use crate::local_broker::digest;
use crate::local_broker::error::{ErrorKind, SqsError};
use crate::local_broker::state::message::{AttributeValue, NewMessage, Sent, Seq};
use crate::local_broker::state::settings::MAX_MESSAGE_BYTES;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SendMessage {
    queue_url: Option<String>,
    #[serde(flatten)]
    message: MessageInput,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MessageInput {
    message_body: Option<String>,
    delay_seconds: Option<i64>,
    message_attributes: Option<BTreeMap<String, AttributeValue>>,
    message_system_attributes: Option<BTreeMap<String, AttributeValue>>,
    message_deduplication_id: Option<String>,
    message_group_id: Option<String>,
}

/// The sums a sender can compare, taken before the message goes to the engine.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Sums {
    #[serde(rename = "MD5OfMessageBody")]
    body: String,
    #[serde(
        rename = "MD5OfMessageAttributes",
        skip_serializing_if = "Option::is_none"
    )]
    attributes: Option<String>,
    #[serde(
        rename = "MD5OfMessageSystemAttributes",
        skip_serializing_if = "Option::is_none"
    )]
    system_attributes: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SendResult {
    #[serde(flatten)]
    sums: Sums,
    message_id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence_number: Option<String>,
}

impl SendResult {
    fn of(sums: Sums, sent: &Sent) -> Self {
        let sequence_number = sent.sequence.map(sequence_number);
        Self {
            sums,
            message_id: sent.message_id,
            sequence_number,
        }
    }
}

pub async fn send(ctx: &Context<'_>, input: SendMessage) -> Result<SendResult, SqsError> {
    let queue = queue_in(input.queue_url)?;
    let checked = check(input.message);
    ctx.engine
        .run(move |broker, now| {
            // That there is no such queue is said before anything is said of the message.
            broker.queue(&queue)?;
            let (new, sums) = checked?;
            Ok(SendResult::of(sums, &broker.send(now, &queue, new)?))
        })
        .await
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SendMessageBatch {
    queue_url: Option<String>,
    entries: Option<Vec<Entry>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    id: Option<String>,
    #[serde(flatten)]
    message: MessageInput,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SentEntry {
    id: String,
    #[serde(flatten)]
    result: SendResult,
}

pub async fn send_batch(
    ctx: &Context<'_>,
    input: SendMessageBatch,
) -> Result<BatchResult<SentEntry>, SqsError> {
    let queue = queue_in(input.queue_url)?;
    let entries = input.entries.unwrap_or_default();
    let ids = check_ids(
        "SendMessageBatch",
        entries.iter().map(|entry| entry.id.as_ref()),
    )?;
    let checked: Vec<_> = entries
        .into_iter()
        .map(|entry| check(entry.message))
        .collect();
    let size: usize = checked.iter().flatten().map(|(new, _)| new.size).sum();
    if size > MAX_MESSAGE_BYTES {
        return Err(SqsError::new(
            ErrorKind::BatchRequestTooLong,
            format!(
                "Batch requests cannot be longer than {MAX_MESSAGE_BYTES} bytes. You have sent \
                 {size} bytes."
            ),
        ));
    }
    ctx.engine
        .run(move |broker, now| {
            broker.queue(&queue)?;
            let outcomes = ids.into_iter().zip(checked).map(|(id, checked)| {
                let outcome = checked.and_then(|(new, sums)| {
                    let result = SendResult::of(sums, &broker.send(now, &queue, new)?);
                    Ok(SentEntry {
                        id: id.clone(),
                        result,
                    })
                });
                (id, outcome)
            });
            Ok(BatchResult::of(outcomes))
        })
        .await
}

/// A FIFO sequence number: 20 digits that grow.
pub fn sequence_number(seq: Seq) -> String {
    (18_800_000_000_000_000_000_u128 + u128::from(seq.unsigned_abs())).to_string()
}

fn check(input: MessageInput) -> Result<(NewMessage, Sums), SqsError> {
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
    let trace = message_attributes::trace_header(input.message_system_attributes)?;
    let sums = Sums {
        body: digest::of_body(&body),
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
        size,
        delay,
        attributes: attributes.into_iter().collect(),
        trace,
        group: check_id(input.message_group_id, "MessageGroupId")?,
        dedup: check_id(input.message_deduplication_id, "MessageDeduplicationId")?,
    };
    Ok((new, sums))
}

/// Group and deduplication ids: 1 to 128 letters, digits and punctuation.
fn check_id(id: Option<String>, name: &str) -> Result<Option<String>, SqsError> {
    match id {
        Some(id)
            if id.is_empty() || id.len() > 128 || !id.bytes().all(|b| b.is_ascii_graphic()) =>
        {
            let reason = format!(
                "{name} can only include alphanumeric and punctuation characters. 1 to 128 in \
                 length."
            );
            Err(SqsError::invalid(name, id, &reason))
        }
        good => Ok(good),
    }
}
