//! Faults that are asked for over the wire, as a client of the SDK sees them.

use std::time::{Duration, Instant};

use aws_sdk_sqs::error::ProvideErrorMetadata as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::send_raw;
use crate::server::Server;
use crate::sqs::{Sqs, on, receives};

fn admin(server: &Server, line: &str, body: &str) -> (u16, Value) {
    let host = [format!("Host: {}", server.address())];
    let answer = send_raw(server.address(), line, &host, body);
    let value = serde_json::from_str(&answer.body).unwrap_or_default();
    (answer.status, value)
}

/// Adds a fault; its number.
fn fault(server: &Server, fault: &Value) -> u64 {
    let (status, added) = admin(server, "POST /_dtq/faults", &fault.to_string());
    assert_eq!(status, 200, "{added}");
    added["id"].as_u64().unwrap()
}

fn clear(server: &Server) {
    assert_eq!(admin(server, "DELETE /_dtq/faults", "").0, 200);
}

fn broker() -> Sqs {
    let mut sqs = on(TempDir::new().unwrap());
    sqs.client = sqs.server.client_without_retries();
    sqs
}

#[tokio::test]
async fn requests_are_throttled_or_fail_by_action_queue_share_and_count() {
    let sqs = broker();
    let (url, other) = (sqs.queue(&[]).await, sqs.queue(&[]).await);
    let name = url.rsplit('/').next().unwrap();
    let send = |url: &str| {
        let call = sqs.client.send_message().queue_url(url);
        call.message_body("x").send()
    };
    let throttle = json!({"kind": "throttle", "action": "SendMessage", "queue": name, "count": 2});
    fault(&sqs.server, &throttle);
    for _ in 0..2 {
        let error = send(&url).await.unwrap_err();
        assert_eq!(error.raw_response().unwrap().status().as_u16(), 403);
        let error = error.into_service_error();
        assert!(error.is_request_throttled(), "{error:?}");
    }
    send(&url).await.unwrap();
    send(&other).await.unwrap();
    clear(&sqs.server);

    for (asked, status, code) in [
        (json!({"kind": "error"}), 500, "InternalFailure"),
        (
            json!({"kind": "error", "code": "OverLimit"}),
            403,
            "OverLimit",
        ),
        (
            json!({"kind": "error", "code": "ServiceUnavailable"}),
            503,
            "ServiceUnavailable",
        ),
        (
            json!({"kind": "error", "code": "Odd", "status": 418}),
            418,
            "Odd",
        ),
    ] {
        fault(&sqs.server, &asked);
        let error = send(&url).await.unwrap_err();
        assert_eq!(error.raw_response().unwrap().status().as_u16(), status);
        let error = error.into_service_error();
        assert_eq!(error.code(), Some(code), "{error:?}");
        clear(&sqs.server);
    }

    let some = json!({"kind": "error", "share": 0.5, "seed": 3, "queue": name});
    let mut rows = Vec::new();
    for _ in 0..2 {
        fault(&sqs.server, &some);
        let mut row = Vec::new();
        for _ in 0..20 {
            row.push(send(&url).await.is_ok());
        }
        rows.push(row);
        clear(&sqs.server);
    }
    assert_eq!(rows[0], rows[1], "a seed repeats them");
    assert!(rows[0].contains(&true) && rows[0].contains(&false));
}

#[tokio::test]
async fn receives_are_late_empty_or_delivered_twice() {
    let sqs = broker();
    let url = sqs.queue(&[]).await;
    sqs.put(&url, "x").await;
    fault(&sqs.server, &json!({"kind": "empty_receive", "count": 1}));
    let began = Instant::now();
    let long = sqs.receive_with(&url, |call| call.wait_time_seconds(20));
    assert!(long.await.is_empty());
    assert!(began.elapsed() < Duration::from_secs(20), "at once");

    fault(&sqs.server, &json!({"kind": "duplicate", "count": 1}));
    let first = sqs.take(&url).await;
    let again = sqs.take(&url).await;
    assert_eq!(
        (receives(&first), receives(&again)),
        (1, 1),
        "no receive is spent"
    );
    assert_eq!(first.message_id, again.message_id);
    assert_eq!(first.body, again.body);
    assert_ne!(first.receipt_handle, again.receipt_handle);
    sqs.delete(&url, &first).await.unwrap();
    assert_eq!(
        sqs.counts(&url).await,
        [0, 1, 0],
        "each is deleted for itself"
    );
    sqs.delete(&url, &again).await.unwrap();
    assert_eq!(sqs.counts(&url).await, [0, 0, 0]);

    fault(
        &sqs.server,
        &json!({"kind": "latency", "latency_ms": 300, "count": 1}),
    );
    let began = Instant::now();
    sqs.receive(&url).await;
    assert!(began.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn an_answer_that_is_lost_has_had_its_effect() {
    let sqs = broker();
    let url = sqs.queue(&[]).await;
    fault(
        &sqs.server,
        &json!({"kind": "lose_answer", "action": "SendMessage"}),
    );
    let send = sqs.client.send_message().queue_url(&url).message_body("x");
    let error = send.send().await.unwrap_err();
    assert!(error.raw_response().is_none(), "{error:?}");
    assert_eq!(sqs.counts(&url).await, [1, 0, 0]);
    fault(
        &sqs.server,
        &json!({"kind": "lose_answer", "action": "ReceiveMessage"}),
    );
    let lost = sqs.client.receive_message().queue_url(&url).send().await;
    assert!(lost.is_err());
    assert_eq!(sqs.counts(&url).await, [0, 1, 0], "in flight, as on AWS");
}

#[tokio::test]
async fn faults_are_listed_and_removed() {
    let sqs = broker();
    let url = sqs.queue(&[]).await;
    let first = fault(
        &sqs.server,
        &json!({"kind": "error", "action": ["SendMessage"]}),
    );
    let second = fault(
        &sqs.server,
        &json!({"kind": "throttle", "queue": "nothing-*"}),
    );
    let send = sqs.client.send_message().queue_url(&url).message_body("x");
    assert!(send.send().await.is_err());
    let (status, listed) = admin(&sqs.server, "GET /_dtq/faults", "");
    assert_eq!(status, 200);
    let expected = json!({"faults": [
        {"id": first, "kind": "error", "action": ["SendMessage"], "share": 1.0, "seed": 0,
            "matched": 1, "injected": 1},
        {"id": second, "kind": "throttle", "queue": "nothing-*", "share": 1.0, "seed": 0,
            "matched": 0, "injected": 0},
    ]});
    assert_eq!(listed, expected);
    let line = format!("DELETE /_dtq/faults/{first}");
    assert_eq!(admin(&sqs.server, &line, ""), (200, json!({"removed": 1})));
    assert_eq!(admin(&sqs.server, &line, "").0, 404);
    sqs.put(&url, "x").await;
    let rest = admin(&sqs.server, "DELETE /_dtq/faults", "");
    assert_eq!(rest, (200, json!({"removed": 1})));
    for body in [
        "",
        "[]",
        "{\"kind\": \"explode\"}",
        "{\"kind\": \"latency\"}",
    ] {
        assert_eq!(
            admin(&sqs.server, "POST /_dtq/faults", body).0,
            400,
            "{body}"
        );
    }
}

#[tokio::test]
async fn a_page_or_a_stranger_asks_for_no_fault_and_resets_nothing() {
    let folder = TempDir::new().unwrap();
    let keys = ["--access-key", "team", "--secret-key", "s3cret"];
    let server = Server::start_on(folder.path(), "127.0.0.1:0", &keys);
    let open = Server::start(&folder.path().join("open"));
    let fault = "{\"kind\": \"throttle\"}";
    for (line, body) in [
        ("POST /_dtq/faults", fault),
        ("DELETE /_dtq/faults", ""),
        ("POST /_dtq/reset", "{}"),
        ("POST /_dtq/clock", "{\"advance_seconds\": 1}"),
    ] {
        let status = admin(&server, line, body).0;
        assert_eq!(status, 403, "{line} without a signature");
        for header in ["Origin: http://evil.example", "Sec-Fetch-Site: cross-site"] {
            let headers = [format!("Host: {}", open.address()), header.to_owned()];
            let answer = send_raw(open.address(), line, &headers, body);
            assert_eq!(answer.status, 403, "{line} {header}");
        }
    }
    let (_, listed) = admin(&open, "GET /_dtq/faults", "");
    assert_eq!(listed, json!({"faults": []}));
}
