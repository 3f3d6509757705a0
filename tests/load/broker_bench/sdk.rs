//! Load by AWS's own SDK for Rust, as programs use it: signatures, checksums, typed answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, SendMessageBatchRequestEntry};
use tokio::task::JoinSet;

use super::Failure;
use super::client::{BATCH, BODY};

/// Messages sent, received and deleted at once: by so many senders, and as many receivers.
pub async fn through(
    endpoint: &str,
    queue: &str,
    clients: usize,
    messages: usize,
) -> Result<(), Failure> {
    let left = Arc::new(AtomicUsize::new(messages.div_ceil(BATCH)));
    let done = Arc::new(AtomicUsize::new(0));
    let mut set = JoinSet::new();
    for _ in 0..clients {
        let (sender, receiver) = (client(endpoint), client(endpoint));
        set.spawn(send(sender, queue.to_owned(), left.clone()));
        set.spawn(receive(receiver, queue.to_owned(), done.clone(), messages));
    }
    while let Some(ended) = set.join_next().await {
        ended??;
    }
    Ok(())
}

fn client(endpoint: &str) -> Client {
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("local", "local", None, None, "bench"))
        .endpoint_url(endpoint)
        .build();
    Client::from_conf(config)
}

async fn send(client: Client, queue: String, left: Arc<AtomicUsize>) -> Result<(), Failure> {
    let body = "x".repeat(BODY);
    let take = |n: usize| n.checked_sub(1);
    while left
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
        .is_ok()
    {
        let mut call = client.send_message_batch().queue_url(&queue);
        for id in 0..BATCH {
            let entry = SendMessageBatchRequestEntry::builder().id(id.to_string());
            call = call.entries(entry.message_body(&body).build()?);
        }
        let sent = call.send().await?;
        if sent.successful().len() != BATCH {
            return Err("a batch failed in part".into());
        }
    }
    Ok(())
}

async fn receive(
    client: Client,
    queue: String,
    done: Arc<AtomicUsize>,
    messages: usize,
) -> Result<(), Failure> {
    while done.load(Ordering::Relaxed) < messages {
        let call = client.receive_message().queue_url(&queue);
        let call = call.max_number_of_messages(10).wait_time_seconds(1);
        let got = call.send().await?.messages.unwrap_or_default();
        if got.is_empty() {
            continue;
        }
        let mut call = client.delete_message_batch().queue_url(&queue);
        for (id, message) in got.iter().enumerate() {
            let entry = DeleteMessageBatchRequestEntry::builder().id(id.to_string());
            let handle = message.receipt_handle().unwrap_or_default();
            call = call.entries(entry.receipt_handle(handle).build()?);
        }
        let deleted = call.send().await?;
        if deleted.successful().len() != got.len() {
            return Err("a batch failed in part".into());
        }
        done.fetch_add(got.len(), Ordering::Relaxed);
    }
    Ok(())
}
