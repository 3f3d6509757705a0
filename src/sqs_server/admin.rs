//! Endpoints beyond SQS: identity, exact waiting counts by priority, messages without receiving
//! them, the state for `broker status`, counters, a clock that can be advanced, fault injection,
//! and a reset.

mod clock;
mod faults;
mod peek;
mod reset;

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Response, StatusCode, Uri, header};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::account;
use super::error::SqsError;
use super::guard::Reach;
use super::http::App;
use super::protocol::query;
use super::state::queue::Counts;
use crate::telemetry::exposition::CONTENT_TYPE;
pub use reset::{Gone, RESET, Reset};

/// The name by which the server identifies itself at `GET /`.
pub const SERVER_NAME: &str = "dagster-taskiq-tui";

/// Path prefix of every endpoint that is not SQS.
pub const PREFIX: &str = "/_dtq/";

/// The answer of `GET /_dtq/status`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Status {
    /// [`SERVER_NAME`].
    pub server: String,
    /// The server's version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Bytes of its database on disk.
    pub disk_bytes: u64,
    /// Its queues, by name.
    pub queues: BTreeMap<String, Counts>,
}

/// The answer to a request that is refused or failed.
#[derive(Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// The reason.
    pub error: String,
}

/// Answers a plain GET.
pub async fn answer(app: &App, uri: &Uri) -> Response<Body> {
    match uri.path() {
        "/" => respond(StatusCode::OK, &identity()),
        "/_dtq/health" => health(app).await,
        "/_dtq/priorities" => priorities(app, uri).await,
        "/_dtq/peek" => peek::answer(app, uri).await,
        "/_dtq/status" => status(app).await,
        "/_dtq/metrics" => metrics(app).await,
        faults::FAULTS => faults::list(app),
        path if path.starts_with(PREFIX) => nothing_at(uri),
        _ => query::no_operation(),
    }
}

/// Answers requests that change something; `reach` is the permitted extent.
pub async fn change(app: &App, reach: Reach, parts: &Parts, body: &Bytes) -> Response<Body> {
    if reach != Reach::All {
        let error = "a followed link must not change anything: send the request by a program";
        return respond(StatusCode::FORBIDDEN, &json!({ "error": error }));
    }
    let (method, uri) = (&parts.method, &parts.uri);
    match uri.path() {
        clock::CLOCK if method == Method::POST => clock::answer(app, body).await,
        RESET if method == Method::POST => reset::answer(app, body).await,
        path if path.starts_with(faults::FAULTS) => faults::change(app, method, uri, body),
        _ => nothing_at(uri),
    }
}

fn nothing_at(uri: &Uri) -> Response<Body> {
    let error = format!("there is nothing at {}", uri.path());
    respond(StatusCode::NOT_FOUND, &json!({ "error": error }))
}

fn refuse(error: &str) -> Response<Body> {
    respond(StatusCode::BAD_REQUEST, &json!({ "error": error }))
}

async fn metrics(app: &App) -> Response<Body> {
    let queues = match counts(app).await {
        Ok(queues) => queues,
        Err(error) => return failure(&error),
    };
    let queues: Vec<_> = queues.into_iter().collect();
    let text = app
        .engine
        .metrics()
        .text(&queues, app.folder.disk_bytes())
        .unwrap_or_default();
    let mut response = Response::new(Body::from(text));
    let kind = HeaderValue::from_static(CONTENT_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

async fn counts(app: &App) -> Result<BTreeMap<String, Counts>, SqsError> {
    let counts = app.engine.run(|broker, _| {
        Ok(broker
            .queues()
            .map(|queue| (queue.name.to_string(), queue.counts()))
            .collect())
    });
    counts.await
}

/// Whether the broker takes requests: 200 when the engine answers and can write, 503 otherwise.
async fn health(app: &App) -> Response<Body> {
    match app.engine.run(|_, _| Ok(())).await {
        Ok(()) => respond(StatusCode::OK, &json!({ "status": "ok" })),
        Err(error) => failure(&error),
    }
}

/// A refusal of a plain GET.
#[must_use]
pub fn failure(error: &SqsError) -> Response<Body> {
    let refusal = Refusal {
        error: error.message.clone(),
    };
    respond(error.status(), &refusal)
}

fn identity() -> Value {
    json!({
        "server": SERVER_NAME,
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
    })
}

async fn priorities(app: &App, uri: &Uri) -> Response<Body> {
    let Some(name) = parameter(uri, "queue") else {
        let error = "name a queue: /_dtq/priorities?queue=NAME";
        return respond(StatusCode::BAD_REQUEST, &json!({ "error": error }));
    };
    let queue = key_of(app, name);
    let waiting = app
        .engine
        .run(move |broker, _| {
            let queue = broker.queue(&queue)?;
            Ok((queue.waiting_by_priority().clone(), queue.oldest_sent_at()))
        })
        .await;
    match waiting {
        Ok((waiting, oldest)) => respond(
            StatusCode::OK,
            &json!({ "queue": name, "waiting": waiting, "oldest_sent_at": oldest }),
        ),
        Err(error) => failure(&error),
    }
}

async fn status(app: &App) -> Response<Body> {
    match counts(app).await {
        Ok(queues) => {
            let status = Status {
                server: SERVER_NAME.to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                pid: std::process::id(),
                disk_bytes: app.folder.disk_bytes(),
                queues,
            };
            respond(StatusCode::OK, &status)
        }
        Err(error) => failure(&error),
    }
}

/// A parameter of the query; queue names and numbers need no escapes.
fn parameter<'a>(uri: &'a Uri, name: &str) -> Option<&'a str> {
    let mut pairs = uri.query().unwrap_or_default().split('&');
    pairs.find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// The key of the queue in a parameter: `NAME`, or `ACCOUNT/NAME`.
fn key_of(app: &App, text: &str) -> String {
    let text = text.replace("%2F", "/").replace("%2f", "/");
    let (account, name) = account::split(&text);
    app.engine
        .accounts()
        .locate(account::DEFAULT, account, name)
}

fn respond(status: StatusCode, body: &impl Serialize) -> Response<Body> {
    let text = serde_json::to_string(body).unwrap_or_default();
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}
