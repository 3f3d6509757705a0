//! AWS JSON 1.0: the action is named by a header, bodies are JSON.

use axum::body::Body;
use axum::http::{HeaderValue, Response, header};
use bytes::Bytes;
use serde_json::json;

use crate::sqs_server::error::SqsError;

const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.0");

/// The action in an `x-amz-target` header: `AmazonSQS.SendMessage`.
#[must_use]
pub fn action_of(target: &str) -> &str {
    target.rsplit('.').next().unwrap_or(target)
}

/// The answer of an action.
#[must_use]
pub fn answer(body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, CONTENT_TYPE);
    response
}

/// The answer of an action that failed. Clients that know the query protocol's codes find them in
/// a header.
#[must_use]
pub fn failure(error: &SqsError) -> Response<Body> {
    let body = json!({
        "__type": format!("{}#{}", error.kind.namespace(), error.shape()),
        "message": error.message,
    });
    let mut response = answer(Bytes::from(body.to_string()));
    *response.status_mut() = error.status();
    let fault = if error.is_sender_fault() {
        "Sender"
    } else {
        "Receiver"
    };
    let code = format!("{};{fault}", error.query_code());
    if let Ok(code) = HeaderValue::try_from(code) {
        response.headers_mut().insert("x-amzn-query-error", code);
    }
    response
}
