//! A proxy in front of the embedded broker that counts its requests by queue and action.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use tokio::task::JoinHandle;

use super::common::Failure;

#[derive(Clone)]
struct Shared {
    upstream: String,
    http: reqwest::Client,
    counts: Arc<Mutex<BTreeMap<String, u64>>>,
}

/// The proxy; it ends with the value.
pub struct Counting {
    /// `http://127.0.0.1:<port>`
    pub endpoint: String,
    counts: Arc<Mutex<BTreeMap<String, u64>>>,
    task: JoinHandle<()>,
}

impl Counting {
    /// Starts it in front of an endpoint.
    pub async fn start(upstream: &str) -> Result<Self, Failure> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let counts = Arc::default();
        let shared = Shared {
            upstream: upstream.to_owned(),
            http: reqwest::Client::builder().no_proxy().build()?,
            counts: Arc::clone(&counts),
        };
        let router = Router::new().fallback(forward).with_state(shared);
        let task = tokio::spawn(async move {
            // It ends when it is aborted.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self {
            endpoint,
            counts,
            task,
        })
    }

    /// Requests so far.
    pub fn counts(&self) -> Vec<(String, u64)> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts
            .iter()
            .map(|(what, count)| (what.clone(), *count))
            .collect()
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(
    State(shared): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let what = what(&method, &uri, &headers, &body);
    *shared
        .counts
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .entry(what)
        .or_default() += 1;
    let mut request = shared
        .http
        .request(method, format!("{}{uri}", shared.upstream));
    for (name, value) in &headers {
        if name != header::CONTENT_LENGTH {
            request = request.header(name, value);
        }
    }
    let Ok(answer) = request.body(body).send().await else {
        return StatusCode::BAD_GATEWAY.into_response();
    };
    let (status, headers) = (answer.status(), answer.headers().clone());
    let mut response = (status, answer.bytes().await.unwrap_or_default()).into_response();
    for (name, value) in &headers {
        if name != header::CONTENT_LENGTH && name != header::TRANSFER_ENCODING {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

/// `<queue> <action>` of a request in SQS's JSON protocol; another's method and path.
fn what(method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> String {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Named {
        queue_url: Option<String>,
        queue_name: Option<String>,
    }
    let target = headers
        .get("x-amz-target")
        .and_then(|value| value.to_str().ok());
    let Some(action) = target.and_then(|target| target.rsplit('.').next()) else {
        return format!("{method} {}", uri.path());
    };
    let named: Option<Named> = serde_json::from_slice(body).ok();
    let queue = named.and_then(|named| named.queue_url.or(named.queue_name));
    let queue = queue.unwrap_or_default();
    format!("{} {action}", queue.rsplit('/').next().unwrap_or_default())
}
