//! Fair queues: message groups of standard queues.

use aws_sdk_sqs::types::MessageSystemAttributeName as System;

use crate::sqs::{bodies, refused, shared, system};

#[tokio::test]
async fn a_quiet_tenants_messages_come_before_a_noisy_ones_backlog() {
    let sqs = shared();
    let url = sqs.queue(&[]).await;
    let noisy: Vec<_> = (0..40).map(|number| format!("noisy {number}")).collect();
    let noisy: Vec<_> = noisy.iter().map(String::as_str).collect();
    sqs.put_in(&url, "noisy", &noisy).await;
    for _ in 0..3 {
        let held = sqs.receive(&url).await;
        assert_eq!(
            held.len(),
            10,
            "one group's messages are in flight together"
        );
        let group = system(&held[0], &System::MessageGroupId);
        assert_eq!(group.as_deref(), Some("noisy"));
        assert_eq!(system(&held[0], &System::SequenceNumber), None);
    }
    sqs.put_in(&url, "quiet", &["quiet 1", "quiet 2"]).await;
    sqs.put(&url, "alone").await;
    let found = sqs.receive_with(&url, |call| call.max_number_of_messages(4));
    assert_eq!(
        bodies(&found.await),
        ["quiet 1", "quiet 2", "alone", "noisy 30"]
    );
}

#[tokio::test]
async fn a_group_id_has_its_characters_and_a_deduplication_id_is_fifos() {
    let sqs = shared();
    let url = sqs.queue(&[]).await;
    for bad in ["", "a b", "ä", &"x".repeat(129)] {
        let send = sqs.send(&url, "x").message_group_id(bad).send().await;
        refused(send, "InvalidParameterValue", "MessageGroupId");
    }
    let send = sqs.send(&url, "x").message_deduplication_id("d");
    refused(
        send.send().await,
        "InvalidParameterValue",
        "MessageDeduplicationId",
    );
    let attempt = sqs.client.receive_message().queue_url(&url);
    let attempt = attempt.receive_request_attempt_id("one");
    sqs.put(&url, "1").await;
    sqs.put(&url, "2").await;
    for body in ["1", "2"] {
        let found = attempt.clone().send().await.unwrap();
        assert_eq!(
            bodies(found.messages()),
            [body],
            "an attempt id means nothing here"
        );
    }
}
