//! What operators need: counters, `HEAD /`, encryption.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use crate::certificate::certificate;
use crate::http::{Answer, send_raw};
use crate::server::{BINARY, Server, serve_in_vain_with};
use crate::sqs::on;

fn get(server: &Server, line: &str) -> Answer {
    let host = [format!("Host: {}", server.address())];
    send_raw(server.address(), line, &host, "")
}

/// The values by name and labels.
fn metrics(server: &Server) -> BTreeMap<String, f64> {
    let answer = get(server, "GET /_dtq/metrics");
    assert_eq!(answer.status, 200);
    let kind = answer.header("content-type").unwrap();
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    let lines = answer.body.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

#[tokio::test]
async fn what_was_done_is_counted_for_prometheus() {
    let sqs = on(TempDir::new().unwrap());
    let url = sqs.queue(&[]).await;
    let name = url.rsplit('/').next().unwrap();
    for _ in 0..3 {
        sqs.put(&url, "12345").await;
    }
    let message = sqs.take(&url).await;
    sqs.delete(&url, &message).await.unwrap();
    sqs.take(&url).await;
    let fault = json!({"kind": "error", "code": "OverLimit", "action": "PurgeQueue"});
    let host = [format!("Host: {}", sqs.server.address())];
    let added = fault.to_string();
    send_raw(sqs.server.address(), "POST /_dtq/faults", &host, &added);
    let purge = sqs.client.purge_queue().queue_url(&url).send().await;
    assert!(purge.is_err());
    let found = metrics(&sqs.server);
    let of = |name: &str, labels: &str| {
        let key = format!("dtq_broker_{name}{{{labels}}}");
        *found
            .get(&key)
            .unwrap_or_else(|| panic!("{key} of {found:?}"))
    };
    let exactly = |name: &str, labels: &str, expected: f64| {
        let value = of(name, labels);
        assert!((value - expected).abs() < 0.5, "{name} {labels} {value}");
    };
    let queue = format!("account=\"000000000000\",queue=\"{name}\"");
    exactly("messages_sent_total", &queue, 3.0);
    exactly("messages_received_total", &queue, 2.0);
    exactly("messages_deleted_total", &queue, 1.0);
    for (state, messages) in [("waiting", 1.0), ("in_flight", 1.0), ("delayed", 0.0)] {
        let labels = format!("{queue},state=\"{state}\"");
        exactly("queue_messages", &labels, messages);
    }
    exactly(
        "requests_total",
        "action=\"SendMessage\",outcome=\"ok\"",
        3.0,
    );
    exactly(
        "requests_total",
        "action=\"PurgeQueue\",outcome=\"OverLimit\"",
        1.0,
    );
    exactly("faults_injected_total", "kind=\"error\"", 1.0);
    for (name, least) in [
        ("journal_fsyncs_total", 1.0),
        ("journal_commits_total", 1.0),
        ("journal_written_body_bytes_total", 15.0),
        ("disk_bytes", 1.0),
    ] {
        let value = found[&format!("dtq_broker_{name}")];
        assert!(value >= least, "{name} {value}");
    }
}

#[test]
fn a_probe_by_head_is_answered() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path());
    let answer = get(&server, "HEAD /");
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
}

#[tokio::test]
async fn connections_are_encrypted_with_the_certificate_given() {
    let folder = TempDir::new().unwrap();
    let [cert, key] = certificate(folder.path());
    let flags = ["--tls-cert", &cert, "--tls-key", &key];
    let server = Server::start_on(&folder.path().join("data"), "127.0.0.1:0", &flags);
    assert!(
        server.endpoint.starts_with("https://127.0.0.1:"),
        "{}",
        server.endpoint
    );
    let trusted = reqwest::Certificate::from_pem(&std::fs::read(&cert).unwrap()).unwrap();
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([trusted])
        .build()
        .unwrap();
    let make = |client: &reqwest::Client| {
        let call = client.post(&server.endpoint);
        let call = call.header("x-amz-target", "AmazonSQS.CreateQueue");
        call.body("{\"QueueName\": \"q\"}").send()
    };
    let answer = make(&client).await.unwrap().text().await.unwrap();
    let expected = format!("{{\"QueueUrl\":\"{}/000000000000/q\"}}", server.endpoint);
    assert_eq!(answer, expected);
    let strict = reqwest::Client::builder().no_proxy().build().unwrap();
    assert!(make(&strict).await.is_err(), "its maker is not known");
    // The command line takes the authority from the variable that OpenSSL's tools use.
    let mut status = Command::new(BINARY);
    status.args(["broker", "status", "--endpoint", &server.endpoint]);
    let status = status.env("SSL_CERT_FILE", &cert).output().unwrap();
    let said = String::from_utf8([status.stdout, status.stderr].concat()).unwrap();
    assert!(status.status.success() && said.contains("\nq "), "{said}");
}

#[test]
fn files_that_are_no_certificate_or_key_are_refused_in_a_sentence() {
    let folder = TempDir::new().unwrap();
    let [cert, key] = certificate(folder.path());
    let other = TempDir::new().unwrap();
    let [_, foreign] = certificate(other.path());
    for (cert, key, word) in [
        ("/nowhere.pem", key.as_str(), "--tls-cert"),
        (cert.as_str(), "/nowhere.pem", "--tls-key"),
        (key.as_str(), key.as_str(), "--tls-cert"),
        (cert.as_str(), cert.as_str(), "--tls-key"),
        (cert.as_str(), foreign.as_str(), "made together"),
    ] {
        let flags = ["--tls-cert", cert, "--tls-key", key];
        let refused = serve_in_vain_with(folder.path(), "127.0.0.1:0", &flags);
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(said.lines().count() == 1 && said.contains(word), "{said}");
    }
}
