//! The embedded broker as the real binary: what a crash, a signal and a client that hangs up leave.

use crate::sdk;
use crate::server;

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{QueueAttributeName, SendMessageBatchRequestEntry};
use rustix::process::Signal;
use sdk::{counts, make_queue, receive, send};
use server::Server;
use tempfile::TempDir;

#[tokio::test]
async fn a_message_is_sent_received_and_deleted() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path());
    let client = server.client();
    let queue = make_queue(&client, "q").await;
    send(&client, &queue, "hello").await;
    let messages = receive(&client, &queue, 0).await;
    assert_eq!(messages[0].body(), Some("hello"));
    assert_eq!(counts(&client, &queue).await, [0, 1, 0]);
    let handle = messages[0].receipt_handle().unwrap();
    client
        .delete_message()
        .queue_url(&queue)
        .receipt_handle(handle)
        .send()
        .await
        .unwrap();
    assert_eq!(counts(&client, &queue).await, [0, 0, 0]);
}

#[tokio::test]
async fn everything_answered_survives_a_kill() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path());
    let client = server.client();
    let queue = make_queue(&client, "q").await;
    for body in ["held", "deleted", "waiting"] {
        send(&client, &queue, body).await;
    }
    let call = client
        .receive_message()
        .queue_url(&queue)
        .max_number_of_messages(2);
    let taken = call.send().await.unwrap().messages.unwrap();
    let handles: Vec<_> = taken
        .iter()
        .map(|one| one.receipt_handle().unwrap())
        .collect();
    client
        .delete_message()
        .queue_url(&queue)
        .receipt_handle(handles[1])
        .send()
        .await
        .unwrap();

    let server = server.crash_and_restart(folder.path());
    let client = server.client();
    assert_eq!(counts(&client, &queue).await, [1, 1, 0]);
    let found = receive(&client, &queue, 0).await;
    assert_eq!(
        found
            .iter()
            .map(|one| one.body().unwrap())
            .collect::<Vec<_>>(),
        ["waiting"]
    );
    client
        .delete_message()
        .queue_url(&queue)
        .receipt_handle(handles[0])
        .send()
        .await
        .unwrap();
    assert_eq!(counts(&client, &queue).await, [0, 1, 0]);
}

#[tokio::test]
async fn fifo_order_locks_and_deduplication_survive_a_kill() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path());
    let client = server.client();
    let call = client.create_queue().queue_name("q.fifo");
    let call = call.attributes(QueueAttributeName::FifoQueue, "true");
    let call = call.attributes(QueueAttributeName::ContentBasedDeduplication, "true");
    let queue = call.send().await.unwrap().queue_url.unwrap();
    let put = async |client: &Client, body: &str| {
        let call = client
            .send_message()
            .queue_url(&queue)
            .message_group_id("g");
        call.message_body(body)
            .send()
            .await
            .unwrap()
            .message_id
            .unwrap()
    };
    let first = put(&client, "1").await;
    put(&client, "2").await;
    put(&client, "3").await;
    let held = client
        .receive_message()
        .queue_url(&queue)
        .send()
        .await
        .unwrap()
        .messages
        .unwrap();

    let server = server.crash_and_restart(folder.path());
    let client = server.client();
    assert_eq!(
        put(&client, "1").await,
        first,
        "the deduplication id is remembered"
    );
    assert!(
        receive(&client, &queue, 0).await.is_empty(),
        "the group is locked"
    );
    let handle = held[0].receipt_handle().unwrap();
    client
        .delete_message()
        .queue_url(&queue)
        .receipt_handle(handle)
        .send()
        .await
        .unwrap();
    let rest = receive(&client, &queue, 0).await;
    assert_eq!(
        rest.iter()
            .map(|one| one.body().unwrap())
            .collect::<Vec<_>>(),
        ["2", "3"]
    );
}

#[tokio::test]
async fn a_dead_lettered_message_is_in_one_queue_after_a_kill() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path());
    let client = server.client();
    let dead = make_queue(&client, "dead").await;
    let policy = r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:0:dead","maxReceiveCount":1}"#;
    let call = client.create_queue().queue_name("q");
    let call = call.attributes(QueueAttributeName::RedrivePolicy, policy);
    let call = call.attributes(QueueAttributeName::VisibilityTimeout, "0");
    let queue = call.send().await.unwrap().queue_url.unwrap();
    send(&client, &queue, "poison").await;
    assert_eq!(receive(&client, &queue, 0).await.len(), 1);

    let server = server.crash_and_restart(folder.path());
    let client = server.client();
    assert_eq!(receive(&client, &dead, 5).await.len(), 1);
    assert_eq!(counts(&client, &queue).await, [0, 0, 0]);
    let server = server.crash_and_restart(folder.path());
    assert_eq!(counts(&server.client(), &dead).await, [0, 1, 0]);
}

#[tokio::test]
async fn a_long_poll_wakes_on_a_send() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path());
    let client = server.client();
    let queue = make_queue(&client, "q").await;
    let began = Instant::now();
    let poll = tokio::spawn({
        let (client, queue) = (server.client(), queue.clone());
        async move { receive(&client, &queue, 20).await }
    });
    send(&client, &queue, "now").await;
    assert_eq!(poll.await.unwrap().len(), 1);
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_client_that_hangs_up_in_a_long_poll_takes_no_message() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path());
    let client = server.client();
    let queue = make_queue(&client, "q").await;
    let body = format!("{{\"QueueUrl\":\"{queue}\",\"WaitTimeSeconds\":20}}");
    for _ in 0..5 {
        let mut poll = TcpStream::connect(server.address()).unwrap();
        write!(
            poll,
            "POST / HTTP/1.1\r\nHost: {}\r\nX-Amz-Target: AmazonSQS.ReceiveMessage\r\n\
             Content-Type: application/x-amz-json-1.0\r\nContent-Length: {}\r\n\r\n{body}",
            server.address(),
            body.len()
        )
        .unwrap();
        drop(poll);
    }
    send(&client, &queue, "for somebody who listens").await;
    let call = client
        .receive_message()
        .queue_url(&queue)
        .wait_time_seconds(5);
    let call = call.message_system_attribute_names("ApproximateReceiveCount".into());
    let messages = call.send().await.unwrap().messages.unwrap();
    assert_eq!(messages.len(), 1);
    let attributes = messages[0].attributes().unwrap();
    assert_eq!(
        attributes.values().collect::<Vec<_>>(),
        ["1"],
        "the lost receives do not count"
    );
}

#[tokio::test]
async fn sigterm_and_sigint_with_open_long_polls_end_it_soon() {
    for signal in [Signal::TERM, Signal::INT] {
        let folder = TempDir::new().unwrap();
        let server = Server::start(folder.path());
        let client = server.client();
        let queue = make_queue(&client, "q").await;
        let polls: Vec<_> = (0..8)
            .map(|_| {
                let (client, queue) = (client.clone(), queue.clone());
                tokio::spawn(async move { receive(&client, &queue, 20).await })
            })
            .collect();
        // A later request is answered after the polls have arrived, or before: both are fine.
        counts(&client, &queue).await;
        let (took, status) = server.end(signal);
        assert!(took < Duration::from_secs(5), "{took:?}");
        assert!(status.success(), "{status}");
        polls.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

#[tokio::test]
async fn priorities_are_counted_exactly() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path());
    let client = server.client();
    let queue = make_queue(&client, "q").await;
    let bodies = [
        "plain",
        r#"{"labels":{"priority":"9"}}"#,
        r#"{"labels":{"priority":9}}"#,
    ];
    let entries = bodies.iter().enumerate().map(|(id, body)| {
        let entry = SendMessageBatchRequestEntry::builder().id(id.to_string());
        entry.message_body(*body).build().unwrap()
    });
    let call = client.send_message_batch().queue_url(&queue);
    let sent = call
        .set_entries(Some(entries.collect()))
        .send()
        .await
        .unwrap();
    assert_eq!(sent.successful().len(), 3);
    let url = format!("{}/_dtq/priorities?queue=q", server.endpoint);
    let counted: serde_json::Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    assert_eq!(counted["queue"], "q");
    assert_eq!(counted["waiting"], serde_json::json!({"5": 1, "9": 2}));
    let identity = reqwest::get(&server.endpoint).await.unwrap();
    assert!(
        identity.headers()["server"]
            .to_str()
            .unwrap()
            .starts_with("dagster-taskiq-tui/")
    );
    let identity: serde_json::Value = identity.json().await.unwrap();
    assert_eq!(identity["server"], "dagster-taskiq-tui");
}
