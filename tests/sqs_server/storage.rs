//! What the embedded broker keeps in its folder: what is there after a kill and a torn log, and what is
//! given back to the disk.

use crate::clock;
use crate::earlier;
use crate::sdk;
use crate::server;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::time::Instant;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::{
    MessageAttributeValue, MessageSystemAttributeName, MessageSystemAttributeNameForSends,
    MessageSystemAttributeValue, QueueAttributeName,
};
use sdk::{counts, make_queue, receive, send, send_ten, take_all, wait_for};
use server::Server;
use tempfile::TempDir;

#[tokio::test]
async fn attributes_tags_delays_and_the_pause_after_a_purge_survive_a_kill() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path());
    let client = server.client();
    let call = client.create_queue().queue_name("q");
    let call = call.attributes(QueueAttributeName::VisibilityTimeout, "77");
    let call = call.tags("team", "data");
    let queue = call.send().await.unwrap().queue_url.unwrap();
    let call = client.tag_queue().queue_url(&queue).tags("stage", "prod");
    call.send().await.unwrap();
    let call = client.add_permission().queue_url(&queue).label("readers");
    let call = call
        .aws_account_ids("111111111111")
        .actions("ReceiveMessage");
    call.send().await.unwrap();
    client.purge_queue().queue_url(&queue).send().await.unwrap();
    let call = client.send_message().queue_url(&queue).message_body("late");
    call.delay_seconds(900).send().await.unwrap();
    let shown = async |client: &Client| {
        let call = client.get_queue_attributes().queue_url(&queue);
        let call = call.attribute_names(QueueAttributeName::All);
        let attributes = call.send().await.unwrap().attributes.unwrap();
        let tags = client.list_queue_tags().queue_url(&queue).send().await;
        (attributes, tags.unwrap().tags.unwrap())
    };
    let before = shown(&client).await;
    assert_eq!(before.0[&QueueAttributeName::VisibilityTimeout], "77");
    assert_eq!(
        before.0[&QueueAttributeName::ApproximateNumberOfMessagesDelayed],
        "1"
    );
    assert!(before.0[&QueueAttributeName::Policy].contains("readers"));
    assert_eq!(before.1.len(), 2);

    let server = server.crash_and_restart(folder.path());
    let client = server.client();
    assert_eq!(shown(&client).await, before);
    let again = client.purge_queue().queue_url(&queue).send().await;
    assert!(
        again
            .unwrap_err()
            .into_service_error()
            .is_purge_queue_in_progress()
    );
}

#[tokio::test]
async fn a_message_with_all_it_carries_and_its_receive_count_survive_a_kill() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path());
    let queue = make_queue(&server.client(), "q").await;
    let text = MessageAttributeValue::builder().data_type("Number.int");
    let bytes = MessageAttributeValue::builder().data_type("Binary");
    let trace = MessageSystemAttributeValue::builder().data_type("String");
    let call = server.client().send_message().queue_url(&queue);
    let call = call
        .message_body("body \u{1F980} \"quoted\"\n")
        .message_attributes("n", text.string_value("12").build().unwrap())
        .message_attributes(
            "b",
            bytes.binary_value(Blob::new([0, 255, 1])).build().unwrap(),
        )
        .message_system_attributes(
            MessageSystemAttributeNameForSends::AwsTraceHeader,
            trace
                .string_value("Root=1-5759e988-bd862e3fe1be46a994272793")
                .build()
                .unwrap(),
        );
    let sent = call.message_group_id("tenant").send().await.unwrap();
    let take = async |client: &Client| {
        let call = client
            .receive_message()
            .queue_url(&queue)
            .visibility_timeout(0);
        let call = call.message_attribute_names("All");
        let call = call.message_system_attribute_names(MessageSystemAttributeName::All);
        call.send().await.unwrap().messages.unwrap().remove(0)
    };
    let before = take(&server.client()).await;
    assert_eq!(before.message_id, sent.message_id);
    let server = server.crash_and_restart(folder.path());
    let after = take(&server.client()).await;
    assert_eq!(after.message_id, before.message_id);
    assert_eq!(after.body, before.body);
    assert_eq!(after.message_attributes, before.message_attributes);
    assert_eq!(after.message_attributes().unwrap().len(), 2);
    let (mut was, mut is) = (before.attributes.unwrap(), after.attributes.unwrap());
    let count = MessageSystemAttributeName::ApproximateReceiveCount;
    assert_eq!(was.remove(&count).unwrap(), "1");
    assert_eq!(is.remove(&count).unwrap(), "2");
    assert_eq!(is, was);
    assert!(is.contains_key(&MessageSystemAttributeName::AwsTraceHeader));
}

#[tokio::test]
async fn a_move_task_goes_on_after_kills_and_moves_each_message_once() {
    let folder = TempDir::new().unwrap();
    let mut server = Server::start(folder.path());
    let client = server.client();
    let dead = make_queue(&client, "dead").await;
    let policy = r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:0:dead","maxReceiveCount":1}"#;
    let call = client.create_queue().queue_name("q");
    let call = call.attributes(QueueAttributeName::RedrivePolicy, policy);
    let queue = call.send().await.unwrap().queue_url.unwrap();
    for batch in 0..30 {
        let bodies = (0..10).map(|n| (batch * 10 + n).to_string());
        send_ten(&client, &dead, bodies).await.unwrap();
    }
    let source = "arn:aws:sqs:us-east-1:000000000000:dead";
    let call = client.start_message_move_task().source_arn(source);
    let call = call.destination_arn("arn:aws:sqs:us-east-1:000000000000:q");
    call.max_number_of_messages_per_second(100)
        .send()
        .await
        .unwrap();
    for kill in 1..=3 {
        let client = server.client();
        wait_for("some are moved", async || {
            counts(&client, &queue).await[0] > kill * 40
        })
        .await;
        server = server.crash_and_restart(folder.path());
    }
    let client = server.client();
    wait_for("the task ends", async || {
        let call = client.list_message_move_tasks().source_arn(source);
        let tasks = call.send().await.unwrap();
        tasks.results()[0].status() == Some("COMPLETED")
    })
    .await;
    assert_eq!(counts(&client, &dead).await, [0, 0, 0]);
    let moved = take_all(&client, &queue).await;
    assert_eq!(moved.len(), 300);
    assert_eq!(moved.into_iter().collect::<BTreeSet<_>>().len(), 300);
}

/// Damages the end of the log of a copy of the folder, and answers what a broker finds in it.
async fn found_after(folder: &Path, queue: &str, damage: impl FnOnce(&File)) -> Vec<String> {
    let copy = TempDir::new().unwrap();
    for file in fs::read_dir(folder).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    let log = copy.path().join("broker.sqlite-wal");
    damage(&File::options().read(true).write(true).open(log).unwrap());
    let server = Server::start(copy.path());
    let found = take_all(&server.client(), queue).await;
    send(&server.client(), queue, "afterwards").await;
    assert_eq!(take_all(&server.client(), queue).await, ["afterwards"]);
    found
}

#[tokio::test]
async fn a_torn_tail_of_the_log_keeps_it_neither_from_starting_nor_from_what_was_before() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path());
    let queue = make_queue(&server.client(), "q").await;
    let all: Vec<_> = (0..50).map(|number| number.to_string()).collect();
    for body in &all {
        send(&server.client(), &queue, body).await;
    }
    drop(server);
    let length = |log: &File| log.metadata().unwrap().len();
    // What a crash leaves that was on its way while nothing had been answered yet.
    let longer = found_after(folder.path(), &queue, |log| {
        log.write_all_at(&[0xA5; 3_000], length(log)).unwrap();
    });
    assert_eq!(longer.await, all);
    // What a disk leaves that lost what it had promised: the last commit is gone, no other.
    let cut = found_after(folder.path(), &queue, |log| {
        log.set_len(length(log) - 10).unwrap();
    });
    assert_eq!(cut.await, all[..49]);
    let flipped = found_after(folder.path(), &queue, |log| {
        log.write_all_at(&[0xA5; 64], length(log) - 1_000).unwrap();
    });
    assert_eq!(flipped.await, all[..49]);
}

#[tokio::test]
async fn the_space_of_deleted_messages_is_given_back_to_the_disk() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path());
    let client = server.client();
    let queue = make_queue(&client, "q").await;
    let used = || -> u64 {
        let files = fs::read_dir(folder.path()).unwrap();
        files
            .map(|file| file.unwrap().metadata().unwrap().blocks() * 512)
            .sum()
    };
    for _ in 0..30 {
        let bodies = (0..10).map(|_| "x".repeat(90_000));
        send_ten(&client, &queue, bodies).await.unwrap();
    }
    let full = used();
    assert!(full > 27_000_000, "{full}");
    assert_eq!(take_all(&client, &queue).await.len(), 300);
    wait_for("the files shrink", async || used() < 4_000_000).await;
    send(&client, &queue, "afterwards").await;
    let server = server.crash_and_restart(folder.path());
    assert_eq!(take_all(&server.client(), &queue).await, ["afterwards"]);
}

#[tokio::test]
async fn a_hundred_thousand_stored_messages_are_there_at_the_start() {
    let folder = earlier::folder(&[|broker, now| {
        let none = BTreeMap::new();
        broker.create_queue(now, "q", none.clone(), none).unwrap();
        for number in 0..100_000 {
            broker.send(now, "q", clock::message(number)).unwrap();
        }
    }]);
    let began = Instant::now();
    let server = Server::start(folder.path());
    println!("started in {:?}", began.elapsed());
    let client = server.client();
    let queue = client
        .get_queue_url()
        .queue_name("q")
        .send()
        .await
        .unwrap()
        .queue_url
        .unwrap();
    assert_eq!(counts(&client, &queue).await, [100_000, 0, 0]);
    assert_eq!(receive(&client, &queue, 0).await[0].body(), Some("0"));
}
