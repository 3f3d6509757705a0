//! Receives: limits, delays, exact counts, deletes, receipt handles.

use aws_sdk_sqs::types::QueueAttributeName::DelaySeconds;

use crate::sqs::{LONG, bodies, handle, refused, shared};

#[tokio::test]
async fn what_a_receive_asks_for_has_limits() {
    let sqs = shared();
    let url = sqs.queue(&[]).await;
    let ask = || sqs.client.receive_message().queue_url(&url);
    for (call, name) in [
        (ask().max_number_of_messages(0), "MaxNumberOfMessages"),
        (ask().max_number_of_messages(11), "MaxNumberOfMessages"),
        (ask().wait_time_seconds(-1), "WaitTimeSeconds"),
        (ask().wait_time_seconds(21), "WaitTimeSeconds"),
        (ask().visibility_timeout(-1), "VisibilityTimeout"),
        (ask().visibility_timeout(43_201), "VisibilityTimeout"),
        (
            ask().receive_request_attempt_id("a b"),
            "ReceiveRequestAttemptId",
        ),
    ] {
        refused(call.send().await, "InvalidParameterValue", name);
    }
}

#[tokio::test]
async fn one_message_is_the_default_and_ten_the_most() {
    let sqs = shared();
    let url = sqs.queue(&[]).await;
    for number in 0..15 {
        sqs.put(&url, &number.to_string()).await;
    }
    let first = sqs.client.receive_message().queue_url(&url).send().await;
    assert_eq!(bodies(first.unwrap().messages()), ["0"]);
    assert_eq!(sqs.receive(&url).await.len(), 10);
    assert_eq!(sqs.receive(&url).await.len(), 4);
    let empty = sqs.client.receive_message().queue_url(&url).send().await;
    assert_eq!(empty.unwrap().messages, None);
    assert_eq!(sqs.counts(&url).await, [0, 15, 0]);
}

#[tokio::test]
async fn counts_are_exact_at_every_stage() {
    let sqs = shared();
    let url = sqs.queue(&[]).await;
    for body in ["1", "2", "3", "4"] {
        sqs.put(&url, body).await;
        let later = sqs.send(&url, body).delay_seconds(900);
        later.send().await.unwrap();
    }
    assert_eq!(sqs.counts(&url).await, [4, 0, 4]);
    let held = sqs
        .receive_with(&url, |call| call.max_number_of_messages(3))
        .await;
    assert_eq!(sqs.counts(&url).await, [1, 3, 4]);
    sqs.delete(&url, &held[0]).await.unwrap();
    assert_eq!(sqs.counts(&url).await, [1, 2, 4]);
    sqs.hide(&url, &held[1], 0).await.unwrap();
    assert_eq!(sqs.counts(&url).await, [2, 1, 4]);
}

#[tokio::test]
async fn a_messages_own_delay_overrides_the_queues_and_both_have_limits() {
    let sqs = shared();
    let url = sqs.queue(&[(DelaySeconds, "900")]).await;
    sqs.put(&url, "later").await;
    sqs.send(&url, "now").delay_seconds(0).send().await.unwrap();
    assert_eq!(bodies(&sqs.receive(&url).await), ["now"]);
    sqs.set(&url, &[(DelaySeconds, "0")]).await.unwrap();
    assert_eq!(
        sqs.counts(&url).await,
        [0, 1, 1],
        "a delay once given stays"
    );
    for bad in [-1, 901] {
        let send = sqs.send(&url, "x").delay_seconds(bad).send().await;
        refused(send, "InvalidParameterValue", "DelaySeconds");
    }
}

#[tokio::test]
async fn a_delete_is_idempotent_and_works_after_the_visibility_ended() {
    let sqs = shared();
    let url = sqs.queue(&[]).await;
    sqs.put(&url, "x").await;
    let late = sqs
        .receive_with(&url, |call| call.visibility_timeout(0))
        .await;
    sqs.delete(&url, &late[0]).await.unwrap();
    assert_eq!(sqs.counts(&url).await, [0, 0, 0]);
    sqs.delete(&url, &late[0]).await.unwrap();
    let hide = sqs.hide(&url, &late[0], 5).await;
    refused(hide, "InvalidParameterValue", "Message does not exist");
}

#[tokio::test]
async fn each_receive_has_a_handle_of_its_own_and_an_old_one_still_deletes() {
    let sqs = shared();
    let url = sqs.queue(&[]).await;
    sqs.put(&url, "x").await;
    let first = sqs
        .receive_with(&url, |call| call.visibility_timeout(0))
        .await;
    let second = sqs.take(&url).await;
    assert_eq!(first[0].message_id(), second.message_id());
    assert_ne!(first[0].receipt_handle(), second.receipt_handle());
    sqs.delete(&url, &first[0]).await.unwrap();
    assert_eq!(sqs.counts(&url).await, [0, 0, 0]);
}

#[tokio::test]
async fn garbage_and_another_queues_handle_are_invalid() {
    let sqs = shared();
    let (url, other) = (sqs.queue(&[]).await, sqs.queue(&[]).await);
    sqs.put(&url, "x").await;
    let message = sqs.take(&url).await;
    for bad in ["garbage", "AQEB", &"AAAA".repeat(20), "ä"] {
        let delete = sqs.client.delete_message().queue_url(&url);
        let delete = delete.receipt_handle(bad).send().await;
        refused(delete, "ReceiptHandleIsInvalid", bad);
        let hide = sqs.client.change_message_visibility().queue_url(&url);
        let hide = hide.receipt_handle(bad).visibility_timeout(1).send().await;
        refused(hide, "ReceiptHandleIsInvalid", bad);
    }
    let delete = sqs.delete(&other, &message).await;
    refused(delete, "ReceiptHandleIsInvalid", "");
    assert_eq!(sqs.counts(&url).await, [0, 1, 0]);
    let delete = sqs.client.delete_message().queue_url(&url).send().await;
    refused(delete, "MissingParameter", "ReceiptHandle");
    let missing = sqs.client.delete_message().queue_url(format!("{url}-not"));
    let missing = missing.receipt_handle(handle(&message)).send().await;
    refused(
        missing,
        &format!("{LONG}NonExistentQueue"),
        "does not exist",
    );
}
