//! Exposes a worker over HTTP: metrics for Prometheus, health and readiness for its supervisor.
//!
//! The server changes nothing and requires no secret, so every client is untrusted. A request has a
//! bounded head and no body, a connection has one answer and a few seconds, and the metrics are
//! rendered at most a few times a second, whatever the number of requests. Answers contain names
//! and numbers, but no addresses with passwords, no folders and no external text.

mod gauges;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, Response, StatusCode, header};
use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, warn};

use super::status_store::Published;
use crate::domain::{Source, SourceKind, Timestamp, WorkerSnapshot};
use crate::telemetry::exposition::{CONTENT_TYPE, render};
use crate::telemetry::metrics::metrics;
use crate::telemetry::vitals::vitals;

/// Maximum number of concurrent connections; further ones wait until one ends.
const CONNECTIONS: usize = 32;

/// The largest request head: hyper takes no smaller bound.
const MAX_HEAD: usize = 8 * 1024;
const MAX_HEADERS: usize = 64;

/// Time limit for a client's request.
const HEAD_WITHIN: Duration = Duration::from_secs(2);

/// Maximum duration of a connection: an answer takes a second or two.
const CONNECTION: Duration = Duration::from_secs(10);

/// Time for which the same text answers all requests.
const FRESH: Duration = Duration::from_millis(250);

/// Age beyond which queue counts are read again.
const COUNTED: Duration = Duration::from_secs(2);

/// Time for which a scrape waits for counts. A slower broker is shown with its last counts.
const COUNTS_WITHIN: Duration = Duration::from_secs(1);

/// Pause when the system has no more descriptors.
const RECOVERY: Duration = Duration::from_millis(100);

/// Reason why metrics are not served.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot serve metrics on {listen}: {source}; stop what listens there, or give another address with \
     --metrics-listen or metrics_listen"
)]
pub struct ListenError {
    /// The address.
    listen: SocketAddr,
    /// The system's error.
    source: std::io::Error,
}

/// A bound address. It does not answer yet.
#[derive(Debug)]
pub struct Exporter {
    listener: TcpListener,
    address: SocketAddr,
}

/// Inputs of the answers.
#[derive(Debug)]
struct Scene {
    published: Published,
    /// The last text, and the time at which it was rendered; locked during rendering.
    text: Mutex<Option<(Instant, Bytes)>>,
}

impl Exporter {
    /// Binds an address.
    ///
    /// # Errors
    /// The address is taken or not this host's.
    pub async fn bind(listen: SocketAddr) -> Result<Self, ListenError> {
        let refuse = |source| ListenError { listen, source };
        let listener = TcpListener::bind(listen).await.map_err(refuse)?;
        let address = listener.local_addr().map_err(refuse)?;
        Ok(Self { listener, address })
    }

    /// The address, with the port that was chosen for port 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers from the data that a worker's store publishes, until the handle is dropped.
    #[must_use = "dropping it ends the server"]
    pub fn serve(self, published: Published) -> AbortOnDropHandle<()> {
        let scene = Arc::new(Scene {
            published,
            text: Mutex::default(),
        });
        AbortOnDropHandle::new(tokio::spawn(accept(self.listener, scene)))
    }
}

async fn accept(listener: TcpListener, scene: Arc<Scene>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    // The semaphore is never closed.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(connection(stream, Arc::clone(&scene), place));
            }
            Err(error) => {
                warn!(%error, "a connection for metrics could not be accepted");
                tokio::time::sleep(RECOVERY).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, scene: Arc<Scene>, _place: OwnedSemaphorePermit) {
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let scene = Arc::clone(&scene);
        async move { Ok::<_, Infallible>(answer(&scene, request.method(), request.uri().path()).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "a connection for metrics ended"),
        Err(_) => debug!("a connection for metrics took too long"),
    }
}

async fn answer(scene: &Scene, method: &Method, path: &str) -> Response<Body> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, "give GET or HEAD\n");
        let allowed = HeaderValue::from_static("GET, HEAD");
        refusal.headers_mut().insert(header::ALLOW, allowed);
        return refusal;
    }
    match path {
        "/metrics" => respond(StatusCode::OK, CONTENT_TYPE, scene.metrics().await),
        "/healthz" => verdict(vitals().health(Instant::now())),
        "/readyz" => verdict(vitals().readiness(Instant::now())),
        _ => text(
            StatusCode::NOT_FOUND,
            "there are /metrics, /healthz and /readyz\n",
        ),
    }
}

fn verdict(found: Result<(), String>) -> Response<Body> {
    match found {
        Ok(()) => text(StatusCode::OK, "ok\n"),
        Err(problem) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{problem}\n")),
    }
}

fn text(status: StatusCode, body: impl Into<Body>) -> Response<Body> {
    respond(status, "text/plain; charset=utf-8", body)
}

fn respond(status: StatusCode, kind: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl Scene {
    /// The metrics, at most a moment old.
    async fn metrics(&self) -> Bytes {
        let mut last = self.text.lock().await;
        if let Some((at, text)) = &*last
            && at.elapsed() < FRESH
        {
            return text.clone();
        }
        let text = Bytes::from(self.render().await);
        *last = Some((Instant::now(), text.clone()));
        text
    }

    async fn render(&self) -> String {
        let mut look = self.published.glance().await;
        // The worker counts its queues once for each look; the broker's entry shows that it has
        // done so.
        let since = Timestamp::now() - COUNTED;
        let before = broker(&look.snapshot.borrow()).cloned();
        let is_counted = |snapshot: &Arc<WorkerSnapshot>| {
            let now = broker(snapshot);
            let seen_at = now.and_then(|broker| broker.seen_at);
            now != before.as_ref() || seen_at.is_some_and(|at| at >= since)
        };
        let _ = timeout(COUNTS_WITHIN, look.snapshot.wait_for(is_counted)).await;
        let snapshot = Arc::clone(&look.snapshot.borrow());
        drop(look);
        let mut registry = Registry::default();
        metrics().register(&mut registry);
        for gauges in gauges::of(&snapshot, Timestamp::now()) {
            gauges.register(&mut registry);
        }
        render(&registry).unwrap_or_default()
    }
}

/// State of the worker's broker.
fn broker(snapshot: &WorkerSnapshot) -> Option<&Source> {
    let mut sources = snapshot.sources.iter();
    sources.find(|source| source.kind == SourceKind::Broker)
}
