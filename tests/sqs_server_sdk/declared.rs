//! `broker serve --config FILE`: queues that are there from the start, templates, and what is refused.

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::QueueAttributeName as Name;
use tempfile::TempDir;

use crate::http::send_raw;
use crate::server::{Server, serve_in_vain_with};

const FILE: &str = "\
queues:
  orders:
    attributes:
      VisibilityTimeout: 45
      ReceiveMessageWaitTimeSeconds: '2'
    redrive: {queue: orders-dead, max_receive_count: 3}
    tags: {team: data, tier: 1}
  orders-dead:
    attributes: {MessageRetentionPeriod: 1209600}
  events.fifo:
    attributes: {ContentBasedDeduplication: true}
  111111111111/orders:
templates:
  run-*:
    attributes: {DelaySeconds: 5}
    redrive: {queue: run-*-dead, max_receive_count: 2}
  run-special-*:
    attributes: {DelaySeconds: 7}
";

fn start(folder: &TempDir, text: &str) -> Server {
    let file = folder.path().join("broker.yaml");
    std::fs::write(&file, text).unwrap();
    let data = folder.path().join("data");
    Server::start_on(&data, "127.0.0.1:0", &["--config", file.to_str().unwrap()])
}

async fn url(client: &Client, name: &str) -> String {
    let found = client.get_queue_url().queue_name(name).send().await;
    found.unwrap().queue_url.unwrap()
}

async fn attribute(client: &Client, url: &str, name: Name) -> Option<String> {
    let asked = client.get_queue_attributes().queue_url(url);
    let found = asked.attribute_names(name.clone()).send().await.unwrap();
    found.attributes?.remove(&name)
}

#[tokio::test]
async fn declared_queues_are_there_with_attributes_redrive_and_tags() {
    let folder = TempDir::new().unwrap();
    let server = start(&folder, FILE);
    let client = server.client();
    let orders = url(&client, "orders").await;
    for (name, expected) in [
        (Name::VisibilityTimeout, "45"),
        (Name::ReceiveMessageWaitTimeSeconds, "2"),
        (Name::DelaySeconds, "0"),
    ] {
        assert_eq!(attribute(&client, &orders, name).await.unwrap(), expected);
    }
    let policy = attribute(&client, &orders, Name::RedrivePolicy).await;
    let policy: serde_json::Value = serde_json::from_str(&policy.unwrap()).unwrap();
    let dead = "arn:aws:sqs:us-east-1:000000000000:orders-dead";
    assert_eq!(policy["deadLetterTargetArn"], dead);
    assert_eq!(policy["maxReceiveCount"], 3);
    let tags = client.list_queue_tags().queue_url(&orders).send().await;
    let tags = tags.unwrap().tags.unwrap();
    assert_eq!((&*tags["team"], &*tags["tier"]), ("data", "1"));
    let dead = url(&client, "orders-dead").await;
    let kept = attribute(&client, &dead, Name::MessageRetentionPeriod).await;
    assert_eq!(kept.unwrap(), "1209600");
    let events = url(&client, "events.fifo").await;
    for name in [Name::FifoQueue, Name::ContentBasedDeduplication] {
        assert_eq!(attribute(&client, &events, name).await.unwrap(), "true");
    }
    let other = server.client_with("111111111111", "any");
    let listed = other.list_queues().send().await.unwrap();
    assert_eq!(listed.queue_urls().len(), 1);
}

#[tokio::test]
async fn a_declared_queue_keeps_its_messages_and_takes_the_files_attributes_at_each_start() {
    let folder = TempDir::new().unwrap();
    let server = start(&folder, FILE);
    let client = server.client();
    let orders = url(&client, "orders").await;
    let send = client.send_message().queue_url(&orders).message_body("x");
    send.send().await.unwrap();
    let set = client.set_queue_attributes().queue_url(&orders);
    let set = set.attributes(Name::DelaySeconds, "1");
    set.attributes(Name::VisibilityTimeout, "9")
        .send()
        .await
        .unwrap();
    drop(server);
    let server = start(&folder, FILE);
    let client = server.client();
    let orders = url(&client, "orders").await;
    let visibility = attribute(&client, &orders, Name::VisibilityTimeout).await;
    let delay = attribute(&client, &orders, Name::DelaySeconds).await;
    assert_eq!(
        (visibility.as_deref(), delay.as_deref()),
        (Some("45"), Some("1"))
    );
    let messages = attribute(&client, &orders, Name::ApproximateNumberOfMessages).await;
    assert_eq!(messages.unwrap(), "1");
}

#[tokio::test]
async fn a_queue_that_fits_a_template_is_made_when_it_is_first_used() {
    let folder = TempDir::new().unwrap();
    let server = start(&folder, FILE);
    let client = server.client();
    let host = [format!("Host: {}", server.address())];
    let line = "GET /?Action=GetQueueUrl&QueueName=run-7&Version=2012-11-05";
    let answer = send_raw(server.address(), line, &host, "");
    assert_eq!(answer.status, 400, "an unsigned GET makes nothing");
    let seven = url(&client, "run-7").await;
    assert_eq!(
        attribute(&client, &seven, Name::DelaySeconds)
            .await
            .unwrap(),
        "5"
    );
    url(&client, "run-7-dead").await;
    let eight = seven.replace("run-7", "run-special-8");
    let send = client.send_message().queue_url(&eight).message_body("x");
    send.send().await.unwrap();
    let longer = attribute(&client, &eight, Name::DelaySeconds).await;
    assert_eq!(longer.unwrap(), "7", "the longest pattern");
    let other = client.get_queue_url().queue_name("walk-1").send().await;
    assert!(other.is_err());
    let gone = seven.replace("run-7", "run-9");
    assert!(client.delete_queue().queue_url(&gone).send().await.is_err());
}

#[test]
fn a_mistake_in_the_file_is_named_with_file_line_and_key_in_one_sentence() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("broker.yaml");
    for (text, words) in [
        ("queues:\n  q: {}\nqeues: {}\n", ["`qeues`", "line 3"]),
        (
            "queues:\n  q:\n    atributes: {}\n",
            ["`atributes`", "line 3"],
        ),
        (
            "queues:\n  q:\n    attributes:\n      DelaySeconds: 1\n      VisibilityTimout: 1\n",
            ["`VisibilityTimout`", "line 5"],
        ),
        (
            "queues:\n  q:\n    redrive: {queue: d}\n",
            ["max_receive_count", "line 3"],
        ),
        (
            "faults:\n- kind: throttle\n  shore: 1\n",
            ["`shore`", "line 3"],
        ),
        (
            "faults:\n- kind: throttle\n  share: 2\n",
            ["share", "line 2"],
        ),
        (
            "queues:\n  q: {attributes: {DelaySeconds: 901}}\n",
            ["queue q", "DelaySeconds"],
        ),
        ("queues:\n  a b: {}\n", ["queue a b", "alphanumeric"]),
        ("templates:\n  a b*: {}\n", ["a b*", "alphanumeric"]),
        ("queues: [\n", ["line 1", "broker.yaml"]),
    ] {
        std::fs::write(&file, text).unwrap();
        let more = ["--config", file.to_str().unwrap()];
        let refused = serve_in_vain_with(&folder.path().join("data"), "127.0.0.1:0", &more);
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(words.iter().all(|word| said.contains(word)), "{text}{said}");
    }
    let gone = ["--config", "/nowhere/broker.yaml"];
    let refused = serve_in_vain_with(folder.path(), "127.0.0.1:0", &gone);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("/nowhere/broker.yaml"), "{said}");
}
