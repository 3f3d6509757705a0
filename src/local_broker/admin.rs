//! What this server answers beyond SQS: who it is, exact waiting counts by priority, messages as
//! they lie, its state for `broker status`, and a clock that can be moved.

mod clock;
mod peek;

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, Uri, header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::SqsError;
use super::http::App;
use super::protocol::query;
use super::state::queue::Counts;
pub use clock::{CLOCK, answer as move_clock};

/// The name by which the server identifies itself at `GET /`.
pub const SERVER_NAME: &str = "dagster-taskiq-tui";

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

/// The answer to a request that is refused or fails.
#[derive(Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// Why.
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
        path if path.starts_with("/_dtq/") => {
            let error = format!("there is nothing at {path}");
            respond(StatusCode::NOT_FOUND, &json!({ "error": error }))
        }
        _ => query::no_operation(),
    }
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
    respond(error.kind.status(), &refusal)
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
    let queue = name.to_owned();
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
    let queues = app.engine.run(|broker, _| {
        Ok(broker
            .queues()
            .map(|queue| (queue.name.to_string(), queue.counts()))
            .collect())
    });
    match queues.await {
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
