//! A proxy in front of a broker that answers AWS's `AccessDeniedException` to some actions, and
//! does not let the broker say that it is the embedded one. Like servers of some years ago it does
//! not know `MessageSystemAttributeNames`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

const DENIED: &str = r#"{"__type":"com.amazon.coral.service#AccessDeniedException","Message":
    "User: arn:aws:iam::000000000000:user/worker is not authorized to perform this action"}"#;

/// The proxy; it ends with the value.
pub struct Proxy {
    /// `http://127.0.0.1:<port>`
    pub endpoint: String,
    asked: Arc<Mutex<Vec<String>>>,
    _runtime: tokio::runtime::Runtime,
}

#[derive(Clone)]
struct Settings {
    upstream: String,
    denied: Vec<String>,
    asked: Arc<Mutex<Vec<String>>>,
    http: reqwest::Client,
}

impl Proxy {
    /// Starts one in front of `upstream` that refuses these actions.
    pub fn start(upstream: &str, denied: &[&str]) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let settings = Settings {
            asked: Arc::clone(&asked),
            upstream: upstream.to_owned(),
            denied: denied.iter().map(|&action| action.to_owned()).collect(),
            http: reqwest::Client::new(),
        };
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(pass).with_state(settings);
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self {
            endpoint,
            asked,
            _runtime: runtime,
        }
    }

    /// How often clients of the Rust SDK, which are workers, have asked for an action.
    pub fn asked(&self, action: &str) -> usize {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().filter(|&known| known == action).count()
    }
}

/// A request without what older servers ignore in it.
fn as_older_servers_read(body: Bytes) -> Bytes {
    match serde_json::from_slice::<serde_json::Value>(&body) {
        Ok(serde_json::Value::Object(mut members)) => {
            match members.remove("MessageSystemAttributeNames") {
                Some(_) => serde_json::to_vec(&members).unwrap().into(),
                None => body,
            }
        }
        _ => body,
    }
}

async fn pass(
    State(settings): State<Settings>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let target = headers
        .get("x-amz-target")
        .and_then(|value| value.to_str().ok());
    let Some(action) = target.and_then(|target| target.rsplit('.').next()) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let agent = headers.get("user-agent").map(HeaderValue::as_bytes);
    if agent.is_some_and(|agent| agent.starts_with(b"aws-sdk-rust")) {
        let mut asked = settings
            .asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        asked.push(action.to_owned());
    }
    if settings.denied.iter().any(|denied| denied == action) {
        return (StatusCode::BAD_REQUEST, DENIED).into_response();
    }
    let mut headers = headers.clone();
    headers.remove("host");
    headers.remove("content-length");
    let answer = settings
        .http
        .request(method, format!("{}{uri}", settings.upstream))
        .headers(headers)
        .body(as_older_servers_read(body))
        .timeout(Duration::from_mins(1))
        .send()
        .await;
    match answer {
        Ok(answer) => {
            let (status, headers) = (answer.status(), answer.headers().clone());
            (status, headers, answer.bytes().await.unwrap_or_default()).into_response()
        }
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}
