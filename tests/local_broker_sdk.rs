//! The life of messages and queues through AWS's own SDK for Rust, on the real binary.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

#[path = "local_broker/sdk.rs"]
mod sdk;
#[path = "local_broker/server.rs"]
mod server;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry,
    MessageAttributeValue, MessageSystemAttributeName, QueueAttributeName,
    SendMessageBatchRequestEntry,
};
use sdk::{counts, make_queue, receive, send};
use server::Server;
use tempfile::TempDir;

async fn make_with(
    client: &Client,
    name: &str,
    attributes: &[(QueueAttributeName, &str)],
) -> String {
    let attributes = attributes
        .iter()
        .map(|(name, value)| (name.clone(), (*value).to_owned()))
        .collect();
    let call = client.create_queue().queue_name(name);
    let made = call.set_attributes(Some(attributes)).send().await.unwrap();
    made.queue_url.unwrap()
}

async fn arn(client: &Client, queue: &str) -> String {
    let name = QueueAttributeName::QueueArn;
    let call = client.get_queue_attributes().queue_url(queue);
    let answer = call.attribute_names(name.clone()).send().await.unwrap();
    answer.attributes.unwrap()[&name].clone()
}

#[tokio::test]
async fn attributes_sums_and_system_attributes_pass_the_sdks_own_checks() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path());
    let client = server.client();
    let queue = make_queue(&client, "q").await;
    let attribute = |kind: &str| MessageAttributeValue::builder().data_type(kind);
    let call = client.send_message().queue_url(&queue).message_body("bödy");
    let sent = call
        .message_attributes(
            "text",
            attribute("String").string_value("ä").build().unwrap(),
        )
        .message_attributes(
            "number",
            attribute("Number").string_value("1.5").build().unwrap(),
        )
        .message_attributes(
            "bytes",
            attribute("Binary")
                .binary_value(aws_sdk_sqs::primitives::Blob::new([0, 255]))
                .build()
                .unwrap(),
        )
        .send()
        .await
        .unwrap();
    let call = client.receive_message().queue_url(&queue);
    let answer = call
        .message_attribute_names("All")
        .message_system_attribute_names(MessageSystemAttributeName::All)
        .send()
        .await
        .unwrap();
    let message = &answer.messages()[0];
    assert_eq!(message.message_id(), sent.message_id());
    assert_eq!(message.body(), Some("bödy"));
    assert_eq!(
        message.md5_of_message_attributes(),
        sent.md5_of_message_attributes()
    );
    let attributes = message.message_attributes().unwrap();
    assert_eq!(attributes["text"].string_value(), Some("ä"));
    assert_eq!(
        attributes["bytes"].binary_value().unwrap().as_ref(),
        [0, 255]
    );
    let system = message.attributes().unwrap();
    assert_eq!(
        system[&MessageSystemAttributeName::ApproximateReceiveCount],
        "1"
    );
}

#[tokio::test]
async fn batches_send_hide_and_delete_with_partial_failure() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path());
    let client = server.client();
    let queue = make_queue(&client, "q").await;
    let entries = ["1", "2", "\u{0}"].iter().enumerate().map(|(id, body)| {
        let entry = SendMessageBatchRequestEntry::builder().id(id.to_string());
        entry.message_body(*body).build().unwrap()
    });
    let call = client.send_message_batch().queue_url(&queue);
    let answer = call
        .set_entries(Some(entries.collect()))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.successful().len(), 2);
    assert_eq!(answer.failed()[0].code(), "InvalidMessageContents");
    assert!(answer.failed()[0].sender_fault());

    let messages = receive(&client, &queue, 0).await;
    let mut handles: Vec<_> = messages
        .into_iter()
        .map(|one| one.receipt_handle.unwrap())
        .collect();
    handles.push("garbage".to_owned());
    let entries = handles.iter().enumerate().map(|(id, handle)| {
        let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(id.to_string());
        entry
            .receipt_handle(handle)
            .visibility_timeout(600)
            .build()
            .unwrap()
    });
    let call = client.change_message_visibility_batch().queue_url(&queue);
    let answer = call
        .set_entries(Some(entries.collect()))
        .send()
        .await
        .unwrap();
    assert_eq!((answer.successful().len(), answer.failed().len()), (2, 1));
    let entries = handles.iter().enumerate().map(|(id, handle)| {
        let entry = DeleteMessageBatchRequestEntry::builder().id(id.to_string());
        entry.receipt_handle(handle).build().unwrap()
    });
    let call = client.delete_message_batch().queue_url(&queue);
    let answer = call
        .set_entries(Some(entries.collect()))
        .send()
        .await
        .unwrap();
    assert_eq!((answer.successful().len(), answer.failed().len()), (2, 1));
    assert_eq!(counts(&client, &queue).await, [0, 0, 0]);
}

#[tokio::test]
async fn a_message_given_back_is_received_again_and_then_dead_lettered_and_moved_back() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path());
    let client = server.client();
    let dead = make_queue(&client, "dead").await;
    let source = arn(&client, &dead).await;
    let policy = format!("{{\"deadLetterTargetArn\":\"{source}\",\"maxReceiveCount\":2}}");
    let queue = make_with(
        &client,
        "q",
        &[(QueueAttributeName::RedrivePolicy, &policy)],
    )
    .await;
    send(&client, &queue, "poison").await;
    for _ in 0..2 {
        let messages = receive(&client, &queue, 0).await;
        let call = client.change_message_visibility().queue_url(&queue);
        let call = call.receipt_handle(messages[0].receipt_handle().unwrap());
        call.visibility_timeout(0).send().await.unwrap();
    }
    assert_eq!(counts(&client, &queue).await, [0, 0, 0]);
    assert_eq!(counts(&client, &dead).await, [1, 0, 0]);
    let sources = client.list_dead_letter_source_queues().queue_url(&dead);
    assert_eq!(
        sources.send().await.unwrap().queue_urls(),
        std::slice::from_ref(&queue)
    );

    client
        .start_message_move_task()
        .source_arn(&source)
        .send()
        .await
        .unwrap();
    let deadline = Instant::now() + Duration::from_mins(1);
    while counts(&client, &queue).await != [1, 0, 0] {
        assert!(Instant::now() < deadline, "the message does not come back");
    }
    let tasks = client
        .list_message_move_tasks()
        .source_arn(&source)
        .send()
        .await
        .unwrap();
    assert_eq!(tasks.results()[0].approximate_number_of_messages_moved(), 1);
}

#[tokio::test]
async fn a_fifo_queue_keeps_order_locks_groups_and_drops_duplicates() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path());
    let client = server.client();
    let kind = [(QueueAttributeName::FifoQueue, "true")];
    let queue = make_with(&client, "q.fifo", &kind).await;
    let mut ids = HashMap::new();
    for body in ["a1", "a2", "b1", "a1"] {
        let call = client.send_message().queue_url(&queue).message_body(body);
        let call = call
            .message_group_id(&body[..1])
            .message_deduplication_id(body);
        let sent = call.send().await.unwrap();
        let id = sent.message_id.unwrap();
        assert_eq!(ids.entry(body).or_insert_with(|| id.clone()), &id);
        assert_eq!(sent.sequence_number.unwrap().len(), 20);
    }
    let call = client
        .receive_message()
        .queue_url(&queue)
        .receive_request_attempt_id("one");
    let first = call.clone().send().await.unwrap();
    let again = call.send().await.unwrap();
    assert_eq!(first.messages()[0].body(), Some("a1"));
    assert_eq!(
        first.messages()[0].receipt_handle(),
        again.messages()[0].receipt_handle()
    );
    let others = receive(&client, &queue, 0).await;
    assert_eq!(
        others
            .iter()
            .map(|one| one.body().unwrap())
            .collect::<Vec<_>>(),
        ["b1"]
    );
}

#[tokio::test]
async fn errors_are_the_sdks_own_types() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path());
    let client = server.client();
    let absent = format!("{}/000000000000/absent", server.endpoint);
    let error = client
        .receive_message()
        .queue_url(&absent)
        .send()
        .await
        .unwrap_err();
    assert!(error.into_service_error().is_queue_does_not_exist());
    let queue = make_queue(&client, "q").await;
    let delete = client
        .delete_message()
        .queue_url(&queue)
        .receipt_handle("garbage");
    let error = delete.send().await.unwrap_err();
    assert!(error.into_service_error().is_receipt_handle_is_invalid());
    let send = client
        .send_message()
        .queue_url(&queue)
        .message_body("\u{1}");
    let error = send.send().await.unwrap_err();
    assert!(error.into_service_error().is_invalid_message_contents());
    client.purge_queue().queue_url(&queue).send().await.unwrap();
    let error = client
        .purge_queue()
        .queue_url(&queue)
        .send()
        .await
        .unwrap_err();
    assert!(error.into_service_error().is_purge_queue_in_progress());
    let conflict = client.create_queue().queue_name("q");
    let conflict = conflict.attributes(QueueAttributeName::DelaySeconds, "5");
    let error = conflict.send().await.unwrap_err();
    assert!(error.into_service_error().is_queue_name_exists());
    client
        .delete_queue()
        .queue_url(&queue)
        .send()
        .await
        .unwrap();
    let error = client
        .create_queue()
        .queue_name("q")
        .send()
        .await
        .unwrap_err();
    assert!(error.into_service_error().is_queue_deleted_recently());
}
