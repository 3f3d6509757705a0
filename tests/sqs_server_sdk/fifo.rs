//! FIFO queues: order, group locks, deduplication, sequence numbers.

use aws_sdk_sqs::types::MessageSystemAttributeName as System;
use aws_sdk_sqs::types::QueueAttributeName as Name;

use crate::sqs::{LONG, bodies, receives, refused, shared, system};

#[tokio::test]
async fn a_receive_takes_several_of_one_group_in_order_then_of_the_next() {
    let sqs = shared();
    let url = sqs.fifo(&[]).await;
    sqs.put_in(&url, "a", &["a0"]).await;
    sqs.put_in(&url, "b", &["b0"]).await;
    sqs.put_in(&url, "a", &["a1"]).await;
    let found = sqs.receive(&url).await;
    assert_eq!(bodies(&found), ["a0", "a1", "b0"]);
    let number = |index: usize| system(&found[index], &System::SequenceNumber).unwrap();
    assert!(
        found
            .iter()
            .enumerate()
            .all(|(index, _)| number(index).len() == 20)
    );
    assert!(
        number(0) < number(2) && number(2) < number(1),
        "as they were sent"
    );
}

#[tokio::test]
async fn a_group_is_locked_until_all_it_has_in_flight_is_deleted() {
    let sqs = shared();
    let url = sqs.fifo(&[]).await;
    sqs.put_in(&url, "a", &["a0", "a1", "a2"]).await;
    sqs.put_in(&url, "b", &["b0"]).await;
    let held = sqs
        .receive_with(&url, |call| call.max_number_of_messages(2))
        .await;
    assert_eq!(bodies(&held), ["a0", "a1"]);
    assert_eq!(bodies(&sqs.receive(&url).await), ["b0"]);
    sqs.delete(&url, &held[0]).await.unwrap();
    assert!(sqs.receive(&url).await.is_empty(), "a1 is still in flight");
    sqs.delete(&url, &held[1]).await.unwrap();
    assert_eq!(bodies(&sqs.receive(&url).await), ["a2"]);
}

#[tokio::test]
async fn order_is_kept_when_messages_come_back() {
    let sqs = shared();
    let url = sqs.fifo(&[(Name::VisibilityTimeout, "600")]).await;
    sqs.put_in(&url, "g", &["0", "1", "2"]).await;
    let held = sqs
        .receive_with(&url, |call| call.max_number_of_messages(2))
        .await;
    sqs.hide(&url, &held[1], 0).await.unwrap();
    assert!(sqs.receive(&url).await.is_empty(), "0 is still in flight");
    sqs.hide(&url, &held[0], 1).await.unwrap();
    let again = sqs
        .receive_with(&url, |call| call.wait_time_seconds(20))
        .await;
    assert_eq!(bodies(&again), ["0", "1", "2"]);
    let counts: Vec<_> = again.iter().map(receives).collect();
    assert_eq!(counts, [2, 2, 1]);
}

#[tokio::test]
async fn a_message_that_was_given_back_comes_before_those_in_flight_behind_it() {
    let sqs = shared();
    let url = sqs.fifo(&[(Name::VisibilityTimeout, "600")]).await;
    sqs.put_in(&url, "a", &["a0", "a1", "a2"]).await;
    let held = sqs
        .receive_with(&url, |call| call.max_number_of_messages(2))
        .await;
    sqs.put_in(&url, "b", &["b0"]).await;
    sqs.hide(&url, &held[0], 0).await.unwrap();
    assert_eq!(bodies(&sqs.receive(&url).await), ["b0", "a0"]);
}

#[tokio::test]
async fn one_entry_without_a_group_fails_the_batch() {
    let sqs = shared();
    let url = sqs.fifo(&[]).await;
    let entry = |id: &str, group: Option<&str>| {
        let entry = aws_sdk_sqs::types::SendMessageBatchRequestEntry::builder();
        let entry = entry.id(id).message_body(id);
        let entry = entry.set_message_group_id(group.map(str::to_owned));
        entry.build().unwrap()
    };
    let entries = vec![entry("good", Some("g")), entry("bad", None)];
    let call = sqs.client.send_message_batch().queue_url(&url);
    let sent = call.set_entries(Some(entries)).send().await;
    refused(sent, "InvalidParameterValue", "MessageGroupId");
    assert_eq!(sqs.counts(&url).await, [0, 0, 0]);
}

#[tokio::test]
async fn a_purge_forgets_deduplication_ids() {
    let sqs = shared();
    let url = sqs.fifo(&[]).await;
    let first = sqs.put_in(&url, "g", &["x"]).await.remove(0);
    let purge = sqs.client.purge_queue().queue_url(&url);
    purge.send().await.unwrap();
    let second = sqs.put_in(&url, "g", &["x"]).await.remove(0);
    assert_ne!(first.message_id(), second.message_id());
    assert_eq!(bodies(&sqs.receive(&url).await), ["x"]);
}

#[tokio::test]
async fn an_expired_handle_neither_deletes_nor_hides() {
    let sqs = shared();
    let url = sqs.fifo(&[]).await;
    sqs.put_in(&url, "g", &["x"]).await;
    let expired = sqs
        .receive_with(&url, |call| call.visibility_timeout(0))
        .await;
    let delete = sqs.delete(&url, &expired[0]).await;
    refused(delete, "InvalidParameterValue", "expired");
    let hide = sqs.hide(&url, &expired[0], 5).await;
    refused(hide, &format!("{LONG}MessageNotInflight"), "in flight");
    let held = sqs.take(&url).await;
    let delete = sqs.delete(&url, &expired[0]).await;
    refused(delete, "InvalidParameterValue", "expired");
    sqs.delete(&url, &held).await.unwrap();
    sqs.delete(&url, &held).await.unwrap();
    assert_eq!(sqs.counts(&url).await, [0, 0, 0]);
}

#[tokio::test]
async fn content_makes_duplicates_which_are_answered_with_the_first_message() {
    let sqs = shared();
    let url = sqs.fifo(&[]).await;
    let first = sqs.put_in(&url, "g", &["x"]).await.remove(0);
    let message = sqs.take(&url).await;
    let sum = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";
    let id = system(&message, &System::MessageDeduplicationId);
    assert_eq!(id.as_deref(), Some(sum), "SHA-256 of the body");
    sqs.delete(&url, &message).await.unwrap();
    for group in ["g", "other"] {
        let again = sqs.put_in(&url, group, &["x"]).await.remove(0);
        assert_eq!(again.message_id(), first.message_id());
        assert_eq!(again.sequence_number(), first.sequence_number());
    }
    assert_eq!(sqs.counts(&url).await, [0, 0, 0]);
}

#[tokio::test]
async fn a_given_id_overrides_the_contents() {
    let sqs = shared();
    let url = sqs.fifo(&[]).await;
    for (body, id) in [("x", "1"), ("x", "2"), ("y", "1")] {
        let call = sqs.send(&url, body).message_group_id("g");
        call.message_deduplication_id(id).send().await.unwrap();
    }
    assert_eq!(bodies(&sqs.receive(&url).await), ["x", "x"]);
}

#[tokio::test]
async fn the_scope_of_deduplication_can_be_the_group() {
    let sqs = shared();
    let scope = [
        (Name::DeduplicationScope, "messageGroup"),
        (Name::FifoThroughputLimit, "perMessageGroupId"),
    ];
    let url = sqs.fifo(&scope).await;
    let found = sqs.attributes(&url).await;
    assert_eq!(found[&Name::DeduplicationScope], "messageGroup");
    assert_eq!(found[&Name::FifoThroughputLimit], "perMessageGroupId");
    for group in ["a", "b", "b"] {
        sqs.put_in(&url, group, &["x"]).await;
    }
    assert_eq!(sqs.counts(&url).await, [2, 0, 0]);
    let plain = sqs.fifo(&[]).await;
    let alone = sqs.set(&plain, &scope[1..]).await;
    refused(alone, "InvalidAttributeValue", "messageGroup");
    for (name, _) in scope {
        let nonsense = sqs.set(&plain, &[(name.clone(), "nonsense")]).await;
        refused(nonsense, "InvalidAttributeValue", name.as_str());
    }
}

#[tokio::test]
async fn a_send_needs_a_group_and_a_deduplication_id() {
    let sqs = shared();
    let url = sqs.queue(&[(Name::FifoQueue, "true")]).await;
    let no_group = sqs.send(&url, "x").message_deduplication_id("d");
    refused(no_group.send().await, "MissingParameter", "MessageGroupId");
    let no_id = sqs.send(&url, "x").message_group_id("g");
    refused(
        no_id.clone().send().await,
        "InvalidParameterValue",
        "ContentBasedDeduplication",
    );
    for bad in ["", "a b", "ä", &"x".repeat(129)] {
        let id = no_id.clone().message_deduplication_id(bad);
        refused(
            id.send().await,
            "InvalidParameterValue",
            "MessageDeduplicationId",
        );
    }
    let punctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
    let call = sqs.send(&url, "x").message_group_id(punctuation);
    call.message_deduplication_id(punctuation)
        .send()
        .await
        .unwrap();
    let message = sqs.take(&url).await;
    let group = system(&message, &System::MessageGroupId);
    assert_eq!(group.as_deref(), Some(punctuation));
}

#[tokio::test]
async fn a_messages_own_delay_may_be_zero_and_means_the_queues() {
    let sqs = shared();
    let url = sqs.fifo(&[(Name::DelaySeconds, "900")]).await;
    let call = |seconds| {
        let call = sqs.send(&url, "x").message_group_id("g");
        call.delay_seconds(seconds).send()
    };
    call(0).await.unwrap();
    assert_eq!(sqs.counts(&url).await, [0, 0, 1]);
    refused(call(1).await, "InvalidParameterValue", "DelaySeconds");
    sqs.set(&url, &[(Name::DelaySeconds, "0")]).await.unwrap();
    assert_eq!(
        bodies(&sqs.receive(&url).await),
        ["x"],
        "a change holds for what is there"
    );
}
