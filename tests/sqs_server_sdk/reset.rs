//! A fresh start without a restart: `POST /_dtq/reset` and `broker reset`.

use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::send_raw;
use crate::server::{BINARY, Server};
use crate::sqs::on;

fn reset(server: &Server, body: &str) -> (u16, Value) {
    let host = [format!("Host: {}", server.address())];
    let answer = send_raw(server.address(), "POST /_dtq/reset", &host, body);
    (answer.status, serde_json::from_str(&answer.body).unwrap())
}

fn command(endpoint: &str, more: &[&str]) -> (bool, String) {
    let mut command = Command::new(BINARY);
    command.args(["broker", "reset", "--endpoint", endpoint]);
    let output = command.args(more).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[tokio::test]
async fn messages_go_and_queues_stay() {
    let sqs = on(TempDir::new().unwrap());
    let (url, ordered) = (sqs.queue(&[]).await, sqs.fifo(&[]).await);
    for _ in 0..3 {
        sqs.put(&url, "x").await;
    }
    let held = sqs
        .receive_with(&url, |call| call.max_number_of_messages(1))
        .await;
    let send = || {
        let call = sqs.client.send_message().queue_url(&ordered);
        call.message_body("x").message_group_id("g").send()
    };
    send().await.unwrap();
    sqs.client
        .purge_queue()
        .queue_url(&url)
        .send()
        .await
        .unwrap();
    sqs.put(&url, "after the purge").await;
    assert_eq!(
        reset(&sqs.server, "{}"),
        (200, json!({"queues_removed": 0, "messages_removed": 2}))
    );
    assert_eq!(sqs.counts(&url).await, [0, 0, 0]);
    send().await.unwrap();
    assert_eq!(sqs.counts(&ordered).await, [1, 0, 0], "no duplicate");
    // A purge need not wait, and what was held is just gone.
    sqs.client
        .purge_queue()
        .queue_url(&url)
        .send()
        .await
        .unwrap();
    for message in held {
        sqs.delete(&url, &message).await.unwrap();
    }
    for body in ["[]", "{\"queue\": true}", "{\"account\": \"12\"}"] {
        assert_eq!(reset(&sqs.server, body).0, 400, "{body}");
    }
}

#[tokio::test]
async fn queues_go_too_where_it_is_asked_for_and_survive_a_kill_no_more() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("broker.yaml");
    let text =
        "queues: {kept: {attributes: {DelaySeconds: 3}}}\nfaults: [{kind: error, queue: bad}]\n";
    std::fs::write(&file, text).unwrap();
    let data = folder.path().join("data");
    let config = ["--config", file.to_str().unwrap()];
    let server = Server::start_on(&data, "127.0.0.1:0", &config);
    let client = server.client();
    let made = client.create_queue().queue_name("other").send().await;
    let other = made.unwrap().queue_url.unwrap();
    let send = client.send_message().queue_url(&other).message_body("x");
    send.send().await.unwrap();
    let host = [format!("Host: {}", server.address())];
    let removed = send_raw(server.address(), "DELETE /_dtq/faults", &host, "");
    assert_eq!(removed.body, "{\"removed\":1}");
    let (done, said) = command(&server.endpoint, &["--queues"]);
    assert!(done, "{said}");
    assert!(said.contains("2 queues and 1 messages removed"), "{said}");
    let listed = send_raw(server.address(), "GET /_dtq/faults", &host, "");
    assert!(
        listed.body.contains("\"queue\":\"bad\""),
        "the file's are back: {}",
        listed.body
    );
    let names = async |client: &aws_sdk_sqs::Client| {
        let listed = client.list_queues().send().await.unwrap();
        let urls = listed.queue_urls.unwrap_or_default();
        let name = |url: String| url.rsplit('/').next().unwrap().to_owned();
        urls.into_iter().map(name).collect::<Vec<_>>()
    };
    assert_eq!(names(&client).await, ["kept"]);
    // Its name does not rest.
    client
        .create_queue()
        .queue_name("other")
        .send()
        .await
        .unwrap();
    assert_eq!(reset(&server, "{\"queues\": true}").0, 200);
    let server = server.crash_and_restart(&data);
    assert_eq!(names(&server.client()).await, ["kept"]);
}

#[tokio::test]
async fn one_account_is_reset_alone() {
    let sqs = on(TempDir::new().unwrap());
    let url = sqs.queue(&[]).await;
    sqs.put(&url, "x").await;
    let other = sqs.server.client_with("111111111111", "any");
    let made = other.create_queue().queue_name("q").send().await.unwrap();
    let made = made.queue_url.unwrap();
    let send = other.send_message().queue_url(&made).message_body("x");
    send.send().await.unwrap();
    let (done, said) = command(&sqs.server.endpoint, &["--account", "111111111111"]);
    assert!(done && said.contains("0 queues and 1 messages"), "{said}");
    assert_eq!(sqs.counts(&made).await, [0, 0, 0]);
    assert_eq!(sqs.counts(&url).await, [1, 0, 0]);
    let (done, said) = command(&sqs.server.endpoint, &["--account", "one"]);
    assert!(!done && said.contains("twelve digits"), "{said}");
}

#[test]
fn a_broker_with_keys_is_reset_by_whoever_has_them() {
    let folder = TempDir::new().unwrap();
    let keys = ["--access-key", "team", "--secret-key", "s3cret"];
    let server = Server::start_on(folder.path(), "127.0.0.1:0", &keys);
    let (done, said) = command(&server.endpoint, &[]);
    assert!(!done && said.contains("--access-key"), "{said}");
    let wrong = ["--access-key", "team", "--secret-key", "other"];
    assert!(!command(&server.endpoint, &wrong).0);
    let (done, said) = command(&server.endpoint, &keys);
    assert!(done, "{said}");
}
