//! Calls of AWS's own SDK that every test makes.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::time::{Duration, Instant};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::SdkError;
use aws_sdk_sqs::operation::send_message_batch::SendMessageBatchError;
use aws_sdk_sqs::types::{
    DeleteMessageBatchRequestEntry, QueueAttributeName, SendMessageBatchRequestEntry,
};

const PATIENCE: Duration = Duration::from_mins(2);

pub async fn make_queue(client: &Client, name: &str) -> String {
    client
        .create_queue()
        .queue_name(name)
        .send()
        .await
        .unwrap()
        .queue_url
        .unwrap()
}

pub async fn send(client: &Client, queue: &str, body: &str) {
    client
        .send_message()
        .queue_url(queue)
        .message_body(body)
        .send()
        .await
        .unwrap();
}

pub async fn receive(client: &Client, queue: &str, wait: i32) -> Vec<aws_sdk_sqs::types::Message> {
    let call = client
        .receive_message()
        .queue_url(queue)
        .max_number_of_messages(10);
    call.wait_time_seconds(wait)
        .send()
        .await
        .unwrap()
        .messages
        .unwrap_or_default()
}

/// Visible, in flight, delayed.
pub async fn counts(client: &Client, queue: &str) -> [i64; 3] {
    let call = client.get_queue_attributes().queue_url(queue);
    let answer = call
        .attribute_names(QueueAttributeName::All)
        .send()
        .await
        .unwrap();
    let attributes = answer.attributes.unwrap();
    [
        QueueAttributeName::ApproximateNumberOfMessages,
        QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        QueueAttributeName::ApproximateNumberOfMessagesDelayed,
    ]
    .map(|name| attributes[&name].parse().unwrap())
}

/// Looks until the condition holds.
pub async fn wait_for(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < until, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Sends ten bodies in one batch; what the broker said when it refused it.
pub async fn send_ten(
    client: &Client,
    queue: &str,
    bodies: impl Iterator<Item = String>,
) -> Result<(), SendMessageBatchError> {
    let entries = bodies.enumerate().map(|(id, body)| {
        let entry = SendMessageBatchRequestEntry::builder().id(id.to_string());
        entry.message_body(body).build().unwrap()
    });
    let call = client.send_message_batch().queue_url(queue);
    let sent = call.set_entries(Some(entries.collect())).send().await;
    let sent = sent.map_err(SdkError::into_service_error)?;
    assert!(sent.failed().is_empty());
    Ok(())
}

/// Receives everything that waits, and deletes it.
pub async fn take_all(client: &Client, queue: &str) -> Vec<String> {
    let mut bodies = Vec::new();
    loop {
        let batch = receive(client, queue, 0).await;
        if batch.is_empty() {
            return bodies;
        }
        let entries = batch.iter().enumerate().map(|(id, message)| {
            DeleteMessageBatchRequestEntry::builder()
                .id(id.to_string())
                .set_receipt_handle(message.receipt_handle.clone())
                .build()
                .unwrap()
        });
        let call = client.delete_message_batch().queue_url(queue);
        let call = call.set_entries(Some(entries.collect()));
        assert!(call.send().await.unwrap().failed().is_empty());
        bodies.extend(batch.into_iter().map(|one| one.body.unwrap()));
    }
}
