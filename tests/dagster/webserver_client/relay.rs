//! A relay in front of the real webserver that can be told to answer with an error, and a console's
//! aggregator that asks through it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use dagster_taskiq_tui::domain::{Snapshot, Source, SourceHealth};
use dagster_taskiq_tui::fleet::{Aggregator, AggregatorOptions};
use tokio::sync::watch;

use super::webserver;

#[derive(Clone)]
struct Relay {
    upstream: String,
    /// How many questions are still answered with an error.
    failures: Arc<AtomicU32>,
    http: reqwest::Client,
}

async fn answer(relay: &Relay, method: Method, uri: Uri, body: Bytes) -> Response {
    let one_less = |left: u32| left.checked_sub(1);
    let (order, failures) = (Ordering::SeqCst, &relay.failures);
    if failures.fetch_update(order, order, one_less).is_ok() {
        return (StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error").into_response();
    }
    let request = relay
        .http
        .request(method, format!("{}{uri}", relay.upstream));
    let request = request.header("content-type", "application/json");
    match request.body(body).send().await {
        Ok(answer) => (answer.status(), answer.bytes().await.unwrap_or_default()).into_response(),
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}

/// Each connection is for one question, so that none outlives the relay.
async fn pass(State(relay): State<Relay>, method: Method, uri: Uri, body: Bytes) -> Response {
    let answer = answer(&relay, method, uri, body).await;
    ([(header::CONNECTION, "close")], answer).into_response()
}

fn webserver_of(snapshot: &Snapshot) -> &Source {
    snapshot.webserver().expect("the webserver is a source")
}

/// Waits for a state of the webserver, with every state on the way.
async fn until(
    watch: &mut watch::Receiver<Arc<Snapshot>>,
    wanted: impl Fn(&Source) -> bool,
) -> Vec<SourceHealth> {
    let mut seen = Vec::new();
    let waiting = async {
        loop {
            let source = webserver_of(&watch.borrow_and_update()).clone();
            seen.push(source.health.clone());
            if wanted(&source) {
                return;
            }
            watch.changed().await.expect("the aggregator lives");
        }
    };
    let outcome = tokio::time::timeout(Duration::from_mins(1), waiting).await;
    outcome.unwrap_or_else(|_| panic!("{seen:?}"));
    seen
}

#[tokio::test]
async fn one_answer_with_an_error_is_no_alarm_and_several_are_told_as_such() {
    let failures = Arc::new(AtomicU32::new(0));
    let relay = Relay {
        upstream: webserver().await.url.clone(),
        failures: Arc::clone(&failures),
        http: reqwest::Client::new(),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(pass).with_state(relay);
    let relaying = tokio::spawn(async move { axum::serve(listener, app).await });
    let handle = Aggregator::start(AggregatorOptions {
        discover: Vec::new(),
        webserver_url: Some(url),
        audit: None,
        ..AggregatorOptions::default()
    });
    let mut watch = handle.watch();
    until(&mut watch, |source| source.health == SourceHealth::Up).await;

    let before = webserver_of(&watch.borrow()).seen_at;
    failures.store(1, Ordering::SeqCst);
    let is_over = |source: &Source| failures.load(Ordering::SeqCst) == 0 && source.seen_at > before;
    let seen = until(&mut watch, is_over).await;
    let all_up = seen.iter().all(|health| *health == SourceHealth::Up);
    assert!(all_up, "the next answer was well: {seen:?}");

    failures.store(u32::MAX, Ordering::SeqCst);
    let errs = |source: &Source| {
        let problem = source.health.problem().unwrap_or_default();
        matches!(source.health, SourceHealth::Failing { .. }) && problem.contains("500")
    };
    until(&mut watch, errs).await;
    failures.store(0, Ordering::SeqCst);
    until(&mut watch, |source| source.health == SourceHealth::Up).await;

    relaying.abort();
    let down = |source: &Source| matches!(source.health, SourceHealth::Down { .. });
    until(&mut watch, down).await;
}
