//! `GET /_dtq/peek?queue=NAME[&after=SEQ][&limit=N]`: messages without receiving them, in the form
//! of `ReceiveMessage`, with their stage and without receipt handles.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Response, StatusCode, Uri};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::{key_of, parameter, respond};
use crate::sqs_server::account;
use crate::sqs_server::engine::peek::PeekRequest;
use crate::sqs_server::http::App;
use crate::sqs_server::state::message::{AttributeValue, Message, Payload, Stage};

/// Maximum number of messages in one answer.
const MOST: usize = 100;

/// Maximum size of the bodies in one answer, in bytes; a single message may exceed it.
const BYTES: usize = 4 << 20;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct View {
    message_id: Uuid,
    body: String,
    stage: &'static str,
    attributes: BTreeMap<&'static str, String>,
    message_attributes: BTreeMap<String, AttributeValue>,
}

pub(super) async fn answer(app: &App, uri: &Uri) -> Response<Body> {
    if app.keys.is_some() {
        let error = "this broker wants signed requests: receive messages to see them";
        return respond(StatusCode::FORBIDDEN, &json!({ "error": error }));
    }
    let Some(queue) = parameter(uri, "queue") else {
        let error = "name a queue: /_dtq/peek?queue=NAME";
        return respond(StatusCode::BAD_REQUEST, &json!({ "error": error }));
    };
    let number = |name| parameter(uri, name).and_then(|text| text.parse::<i64>().ok());
    let limit = number("limit").and_then(|limit| usize::try_from(limit).ok());
    let request = PeekRequest {
        queue: key_of(app, queue),
        after: number("after").unwrap_or(i64::MIN),
        max: limit.unwrap_or(MOST).clamp(1, MOST),
        bytes: BYTES,
    };
    match app.engine.peek(request).await {
        Ok(peeked) => {
            let messages: Vec<View> = peeked.messages.into_iter().map(view).collect();
            let answer = json!({ "messages": messages, "next": peeked.next });
            respond(StatusCode::OK, &answer)
        }
        Err(error) => respond(error.status(), &json!({ "error": error.message })),
    }
}

fn view((message, payload): (Message, Arc<Payload>)) -> View {
    let payload = Arc::unwrap_or_clone(payload);
    let extra = payload.extra.unwrap_or_default();
    let source = message.source.map(|queue| {
        let (account, name) = account::split(&queue);
        format!("arn:aws:sqs:us-east-1:{account}:{name}")
    });
    let attributes = [
        ("SentTimestamp", Some(message.sent_at.to_string())),
        (
            "ApproximateReceiveCount",
            Some(message.receive_count.to_string()),
        ),
        ("MessageGroupId", extra.group),
        ("DeadLetterQueueSourceArn", source),
    ];
    View {
        message_id: payload.message_id,
        body: payload.body,
        stage: match message.stage {
            Stage::Waiting => "waiting",
            Stage::Delayed => "delayed",
            Stage::InFlight => "in_flight",
        },
        attributes: attributes
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect(),
        message_attributes: extra.attributes.into_iter().collect(),
    }
}
