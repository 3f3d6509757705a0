//! How long a received message is hidden.

use aws_sdk_sqs::types::QueueAttributeName::VisibilityTimeout;

use tempfile::TempDir;

use crate::moved_clock::advance;
use crate::sqs::{on, receives, refused, shared};

#[tokio::test]
async fn the_queues_timeout_holds_unless_a_receive_names_one() {
    let sqs = shared();
    let url = sqs.queue(&[(VisibilityTimeout, "1")]).await;
    sqs.put(&url, "x").await;
    assert_eq!(sqs.receive(&url).await.len(), 1);
    assert_eq!(receives(&sqs.take(&url).await), 2);
    let ask = sqs.receive_with(&url, |call| call.wait_time_seconds(2));
    assert!(ask.await.is_empty(), "the receive had named ten minutes");
}

#[tokio::test]
async fn it_can_be_prolonged_cut_short_and_ended() {
    let sqs = shared();
    let url = sqs.queue(&[(VisibilityTimeout, "5")]).await;
    sqs.put(&url, "x").await;
    let first = sqs.receive(&url).await.remove(0);
    sqs.hide(&url, &first, 600).await.unwrap();
    let ask = sqs.receive_with(&url, |call| call.wait_time_seconds(6));
    assert!(ask.await.is_empty(), "its first timeout no longer counts");
    sqs.hide(&url, &first, 1).await.unwrap();
    let second = sqs.take(&url).await;
    assert_eq!(receives(&second), 2);
    sqs.hide(&url, &second, 0).await.unwrap();
    assert_eq!(receives(&sqs.receive(&url).await[0]), 3);
}

#[tokio::test]
async fn it_is_at_most_twelve_hours_from_the_receive() {
    let sqs = on(TempDir::new().unwrap());
    let url = sqs.queue(&[]).await;
    sqs.put(&url, "x").await;
    let ask = sqs.receive_with(&url, |call| call.visibility_timeout(43_200));
    let message = ask.await.remove(0);
    for bad in [-1, 43_201] {
        let hide = sqs.hide(&url, &message, bad).await;
        refused(hide, "InvalidParameterValue", "VisibilityTimeout");
    }
    // Whole seconds count.
    advance(sqs.server.address(), 1);
    let hide = sqs.hide(&url, &message, 43_200).await;
    refused(hide, "InvalidParameterValue", "Total VisibilityTimeout");
    sqs.hide(&url, &message, 43_000).await.unwrap();
}

#[tokio::test]
async fn a_message_whose_timeout_ended_stays_visible() {
    let sqs = shared();
    let url = sqs.queue(&[(VisibilityTimeout, "0")]).await;
    sqs.put(&url, "x").await;
    let message = sqs.receive(&url).await.remove(0);
    sqs.hide(&url, &message, 600).await.unwrap();
    assert_eq!(sqs.counts(&url).await, [1, 0, 0]);
    let call = sqs.client.change_message_visibility().queue_url(&url);
    let call = call.receipt_handle(message.receipt_handle().unwrap());
    refused(call.send().await, "MissingParameter", "VisibilityTimeout");
}
