//! `ReceiveMessage`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};
use uuid::Uuid;

use super::send::sequence_number;
use super::{Context, check_id, in_range};
use crate::sqs_server::digest;
use crate::sqs_server::engine::{Delivered, receipt_of};
use crate::sqs_server::error::SqsError;
use crate::sqs_server::state::message::{AttributeValue, Payload};
use crate::sqs_server::state::receiving::ReceiveRequest;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ReceiveMessage {
    queue_url: Option<String>,
    attribute_names: Option<Vec<String>>,
    message_system_attribute_names: Option<Vec<String>>,
    message_attribute_names: Option<Vec<String>>,
    max_number_of_messages: Option<i64>,
    visibility_timeout: Option<i64>,
    wait_time_seconds: Option<i64>,
    receive_request_attempt_id: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Messages {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    messages: Vec<Message>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
#[expect(
    clippy::struct_field_names,
    reason = "these are the names of SQS's members"
)]
struct Message {
    message_id: Uuid,
    receipt_handle: String,
    #[serde(rename = "MD5OfBody")]
    md5_of_body: String,
    #[serde(serialize_with = "body_of")]
    body: Arc<Payload>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<&'static str, String>,
    #[serde(
        rename = "MD5OfMessageAttributes",
        skip_serializing_if = "Option::is_none"
    )]
    md5_of_message_attributes: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    message_attributes: BTreeMap<String, AttributeValue>,
}

pub async fn receive(ctx: &Context<'_>, input: ReceiveMessage) -> Result<Messages, SqsError> {
    let queue = ctx.queue_in(input.queue_url)?;
    let max = in_range(
        input.max_number_of_messages,
        "MaxNumberOfMessages",
        1..=10,
        "Must be between 1 and 10, if provided.",
    )?;
    let visibility = in_range(
        input.visibility_timeout,
        "VisibilityTimeout",
        0..=43_200,
        "Must be >= 0 and <= 43200, if provided.",
    )?;
    let wait = in_range(
        input.wait_time_seconds,
        "WaitTimeSeconds",
        0..=20,
        "Must be >= 0 and <= 20, if provided.",
    )?;
    let system = [input.attribute_names, input.message_system_attribute_names];
    let requested = RequestedAttributes {
        system: system.into_iter().flatten().flatten().collect(),
        user: input.message_attribute_names.unwrap_or_default(),
    };
    let request = ReceiveRequest {
        max: max.and_then(|max| usize::try_from(max).ok()).unwrap_or(1),
        visibility,
        attempt: check_id(input.receive_request_attempt_id, "ReceiveRequestAttemptId")?,
        duplicate: ctx.twist.duplicate,
    };
    let wait = wait
        .and_then(|wait| u64::try_from(wait).ok())
        .map(Duration::from_secs);
    if ctx.twist.empty {
        let looked = ctx
            .engine
            .run(move |broker, _| broker.queue(&queue).map(drop));
        looked.await?;
        return Ok(Messages {
            messages: Vec::new(),
        });
    }
    let delivery = ctx.engine.receive(queue.clone(), request, wait).await?;
    let messages: Vec<_> = delivery
        .take()
        .into_iter()
        .map(|one| message_of(ctx, one, &requested))
        .collect();
    ctx.engine.metrics().count_received(&queue, messages.len());
    Ok(Messages { messages })
}

/// Writes the body alone, which is shared with the journal's cache instead of copied.
fn body_of<S: Serializer>(payload: &Payload, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&payload.body)
}

/// Attributes that the request asks for.
struct RequestedAttributes {
    system: Vec<String>,
    user: Vec<String>,
}

impl RequestedAttributes {
    fn has_system(&self, name: &str) -> bool {
        self.system
            .iter()
            .any(|requested| requested == name || requested == "All")
    }

    fn has_user(&self, name: &str) -> bool {
        self.user.iter().any(|requested| {
            matches!(requested.as_str(), "All" | "*" | ".*")
                || requested == name
                || requested
                    .strip_suffix(".*")
                    .is_some_and(|prefix| name.starts_with(prefix))
        })
    }
}

fn message_of(ctx: &Context<'_>, delivered: Delivered, requested: &RequestedAttributes) -> Message {
    let attributes = system_attributes(ctx, &delivered, requested);
    let receipt_handle = ctx.sealer.seal(receipt_of(&delivered.received));
    let payload = delivered.payload;
    let message_attributes: BTreeMap<_, _> = payload
        .extra
        .iter()
        .flat_map(|extra| &extra.attributes)
        .filter(|(name, _)| requested.has_user(name))
        .cloned()
        .collect();
    let computed = || digest::of_body(&payload.body);
    Message {
        message_id: payload.message_id,
        receipt_handle,
        md5_of_body: payload.body_md5.clone().unwrap_or_else(computed),
        body: payload,
        attributes,
        md5_of_message_attributes: digest::of_attributes(
            message_attributes
                .iter()
                .map(|(name, value)| (name.as_str(), value)),
        ),
        message_attributes,
    }
}

fn system_attributes(
    ctx: &Context<'_>,
    delivered: &Delivered,
    requested: &RequestedAttributes,
) -> BTreeMap<&'static str, String> {
    if requested.system.is_empty() {
        return BTreeMap::new();
    }
    let message = &delivered.received.message;
    let extra = delivered.payload.extra.as_ref();
    [
        ("SenderId", Some(ctx.account.to_owned())),
        ("SentTimestamp", Some(message.sent_at.to_string())),
        (
            "ApproximateReceiveCount",
            Some(message.receive_count.to_string()),
        ),
        (
            "ApproximateFirstReceiveTimestamp",
            Some(message.first_received_at.to_string()),
        ),
        (
            "AWSTraceHeader",
            extra.and_then(|extra| extra.trace.clone()),
        ),
        (
            "MessageGroupId",
            extra.and_then(|extra| extra.group.clone()),
        ),
        (
            "MessageDeduplicationId",
            extra.and_then(|extra| extra.dedup.clone()),
        ),
        (
            "SequenceNumber",
            extra.and_then(|extra| extra.sequence).map(sequence_number),
        ),
        (
            "DeadLetterQueueSourceArn",
            message.source.as_ref().map(|name| ctx.arn(name)),
        ),
    ]
    .into_iter()
    .filter(|(name, _)| requested.has_system(name))
    .filter_map(|(name, value)| Some((name, value?)))
    .collect()
}
