//! Calls of AWS's own SDK that every test makes.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::QueueAttributeName;

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
