//! Batches: partial failure, and what makes one fail as a whole.

use aws_sdk_sqs::types::{
    BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry,
    DeleteMessageBatchRequestEntry, SendMessageBatchRequestEntry,
};

use crate::sqs::{LONG, Sqs, bodies, handle, refused, shared, text};

const LIMIT: usize = 1_048_576;

fn send(id: &str, body: &str) -> SendMessageBatchRequestEntry {
    let entry = SendMessageBatchRequestEntry::builder().id(id);
    entry.message_body(body).build().unwrap()
}

fn delete(id: &str, handle: &str) -> DeleteMessageBatchRequestEntry {
    let entry = DeleteMessageBatchRequestEntry::builder().id(id);
    entry.receipt_handle(handle).build().unwrap()
}

fn hide(id: &str, handle: &str, seconds: i32) -> ChangeMessageVisibilityBatchRequestEntry {
    let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(id);
    let entry = entry.receipt_handle(handle).visibility_timeout(seconds);
    entry.build().unwrap()
}

fn failures(failed: &[BatchResultErrorEntry]) -> Vec<(&str, &str)> {
    for one in failed {
        assert!(one.sender_fault(), "{one:?}");
        assert!(
            one.message().is_some_and(|text| !text.is_empty()),
            "{one:?}"
        );
    }
    failed.iter().map(|one| (one.id(), one.code())).collect()
}

#[tokio::test]
async fn a_batch_of_sends_fails_in_part() {
    let sqs = shared();
    let url = sqs.queue(&[]).await;
    let entry = SendMessageBatchRequestEntry::builder().message_body("x");
    let delayed = entry.clone().id("delay").delay_seconds(901);
    let attributes = entry
        .id("attributes")
        .message_attributes("a b", text("String", "v"));
    let good = SendMessageBatchRequestEntry::builder()
        .id("good")
        .message_body("1");
    let good = good.message_attributes("k", text("String", "v"));
    let entries = vec![
        good.build().unwrap(),
        send("characters", "\0"),
        send("empty", ""),
        delayed.build().unwrap(),
        attributes.build().unwrap(),
        send("good-2", "2"),
    ];
    let call = sqs.client.send_message_batch().queue_url(&url);
    let answer = call.set_entries(Some(entries)).send().await.unwrap();
    let sent: Vec<_> = answer
        .successful()
        .iter()
        .map(aws_sdk_sqs::types::SendMessageBatchResultEntry::id)
        .collect();
    assert_eq!(sent, ["good", "good-2"]);
    let first = &answer.successful()[0];
    assert_eq!(
        first.md5_of_message_body(),
        "c4ca4238a0b923820dcc509a6f75849b"
    );
    assert!(first.md5_of_message_attributes().is_some());
    assert_eq!(
        failures(answer.failed()),
        [
            ("characters", "InvalidMessageContents"),
            ("empty", "EmptyValue"),
            ("delay", "InvalidParameterValue"),
            ("attributes", "InvalidParameterValue"),
        ]
    );
    assert_eq!(bodies(&sqs.receive(&url).await), ["1", "2"]);
}

#[tokio::test]
async fn batches_of_handles_fail_in_part() {
    let sqs = shared();
    let url = sqs.queue(&[]).await;
    sqs.put(&url, "x").await;
    let message = sqs.take(&url).await;
    let entries = vec![
        hide("good", handle(&message), 9),
        hide("garbage", "garbage", 9),
        hide("long", handle(&message), 43_201),
    ];
    let call = sqs.client.change_message_visibility_batch().queue_url(&url);
    let changed = call.set_entries(Some(entries)).send().await.unwrap();
    assert_eq!(changed.successful()[0].id(), "good");
    assert_eq!(
        failures(changed.failed()),
        [
            ("garbage", "ReceiptHandleIsInvalid"),
            ("long", "InvalidParameterValue")
        ]
    );
    let entries = vec![
        delete("good", handle(&message)),
        delete("garbage", "garbage"),
    ];
    let call = sqs.client.delete_message_batch().queue_url(&url);
    let deleted = call.set_entries(Some(entries)).send().await.unwrap();
    assert_eq!(deleted.successful()[0].id(), "good");
    assert_eq!(
        failures(deleted.failed()),
        [("garbage", "ReceiptHandleIsInvalid")]
    );
    assert_eq!(sqs.counts(&url).await, [0, 0, 0]);
}

/// Each of the three batches with these ids is refused so.
async fn all_refused(sqs: &Sqs, url: &str, ids: &[&str], code: &str) {
    let code = format!("{LONG}{code}");
    let entries = ids.iter().map(|id| send(id, "x")).collect();
    let call = sqs.client.send_message_batch().queue_url(url);
    refused(call.set_entries(Some(entries)).send().await, &code, "");
    let entries = ids.iter().map(|id| delete(id, "garbage")).collect();
    let call = sqs.client.delete_message_batch().queue_url(url);
    refused(call.set_entries(Some(entries)).send().await, &code, "");
    let entries = ids.iter().map(|id| hide(id, "garbage", 1)).collect();
    let call = sqs.client.change_message_visibility_batch().queue_url(url);
    refused(call.set_entries(Some(entries)).send().await, &code, "");
}

#[tokio::test]
async fn a_bad_batch_fails_as_a_whole() {
    let sqs = shared();
    let url = sqs.queue(&[]).await;
    let eleven: Vec<_> = (0..11).map(|id| id.to_string()).collect();
    let eleven: Vec<_> = eleven.iter().map(String::as_str).collect();
    all_refused(&sqs, &url, &[], "EmptyBatchRequest").await;
    all_refused(&sqs, &url, &eleven, "TooManyEntriesInBatchRequest").await;
    all_refused(&sqs, &url, &["a", "a"], "BatchEntryIdsNotDistinct").await;
    for bad in ["a b", "", &"x".repeat(81)] {
        all_refused(&sqs, &url, &[bad], "InvalidBatchEntryId").await;
    }
    let missing = format!("{url}-not");
    all_refused(&sqs, &missing, &["a"], "NonExistentQueue").await;
    assert_eq!(sqs.counts(&url).await, [0, 0, 0]);
}

#[tokio::test]
async fn a_batch_is_limited_as_a_whole_in_bytes() {
    let sqs = shared();
    let url = sqs.queue(&[]).await;
    let call = |last: usize| {
        let sizes = [LIMIT / 2, LIMIT / 2 - 10, last];
        let entries = sizes.iter().enumerate();
        let entries = entries.map(|(id, size)| send(&id.to_string(), &"x".repeat(*size)));
        let call = sqs.client.send_message_batch().queue_url(&url);
        call.set_entries(Some(entries.collect())).send()
    };
    let code = format!("{LONG}BatchRequestTooLong");
    refused(call(11).await, &code, &LIMIT.to_string());
    assert_eq!(sqs.counts(&url).await, [0, 0, 0]);
    assert_eq!(call(10).await.unwrap().successful().len(), 3);
}

#[tokio::test]
async fn a_fifo_batch_keeps_its_order_and_finds_its_duplicates() {
    let sqs = shared();
    let url = sqs.fifo(&[]).await;
    let bodies_sent = ["1", "2", "2", "3"];
    let entries = bodies_sent.iter().enumerate().map(|(id, body)| {
        let entry = SendMessageBatchRequestEntry::builder().id(id.to_string());
        let entry = entry.message_body(*body).message_group_id("g");
        entry.build().unwrap()
    });
    let call = sqs.client.send_message_batch().queue_url(&url);
    let sent = call
        .set_entries(Some(entries.collect()))
        .send()
        .await
        .unwrap();
    let sent = sent.successful();
    assert_eq!(sent[1].message_id(), sent[2].message_id());
    let numbers: Vec<_> = sent
        .iter()
        .map(|one| one.sequence_number().unwrap())
        .collect();
    assert!(numbers[0] < numbers[1] && numbers[1] == numbers[2] && numbers[2] < numbers[3]);
    assert_eq!(bodies(&sqs.receive(&url).await), ["1", "2", "3"]);
}
