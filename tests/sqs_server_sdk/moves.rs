//! Moving messages out of dead-letter queues.

use std::collections::HashSet;

use aws_sdk_sqs::types::MessageSystemAttributeName as System;
use aws_sdk_sqs::types::{ListMessageMoveTasksResultEntry, QueueAttributeName as Name};

use crate::redrive::redriven;
use crate::sqs::{Sqs, bodies, receives, refused, shared, system, wait_for};

/// A queue, its dead-letter queue with so many messages, and the ids these had.
async fn dead_letters(sqs: &Sqs, number: usize) -> (String, String, HashSet<String>) {
    let (url, dead) = redriven(sqs, 1, &[(Name::VisibilityTimeout, "0")]).await;
    let mut ids = HashSet::new();
    for body in 0..number {
        let sent = sqs.put(&url, &body.to_string()).await;
        ids.insert(sent.message_id.unwrap());
        assert_eq!(sqs.receive(&url).await.len(), 1);
    }
    wait_for("all are dead-lettered", async || {
        sqs.counts(&dead).await == [i64::try_from(number).unwrap(), 0, 0]
    })
    .await;
    (url, dead, ids)
}

async fn tasks(sqs: &Sqs, source: &str) -> Vec<ListMessageMoveTasksResultEntry> {
    let call = sqs.client.list_message_move_tasks().source_arn(source);
    let answer = call.max_results(10).send().await.unwrap();
    answer.results.unwrap_or_default()
}

async fn ended(sqs: &Sqs, source: &str) -> ListMessageMoveTasksResultEntry {
    wait_for("the task ends", async || {
        tasks(sqs, source).await[0].status() != Some("RUNNING")
    })
    .await;
    tasks(sqs, source).await.remove(0)
}

#[tokio::test]
async fn messages_move_back_to_where_they_came_from_as_new_ones() {
    let sqs = shared();
    let (url, dead, ids) = dead_letters(&sqs, 5).await;
    let source = sqs.arn(&dead).await;
    assert!(tasks(&sqs, &source).await.is_empty());
    let start = sqs.client.start_message_move_task().source_arn(&source);
    start.send().await.unwrap();
    let task = ended(&sqs, &source).await;
    assert_eq!(task.status(), Some("COMPLETED"));
    assert_eq!(task.approximate_number_of_messages_moved(), 5);
    assert_eq!(task.approximate_number_of_messages_to_move(), Some(5));
    assert_eq!(task.source_arn(), Some(source.as_str()));
    assert!(task.started_timestamp() > 0);
    assert_eq!(task.task_handle(), None, "only a running task has one");
    assert_eq!(task.destination_arn(), None);
    assert_eq!(sqs.counts(&dead).await, [0, 0, 0]);
    let found = sqs
        .receive_with(&url, |call| call.visibility_timeout(60))
        .await;
    assert_eq!(bodies(&found), ["0", "1", "2", "3", "4"]);
    for one in &found {
        assert_eq!(receives(one), 1);
        assert_eq!(system(one, &System::DeadLetterQueueSourceArn), None);
        assert!(!ids.contains(one.message_id().unwrap()));
    }
}

#[tokio::test]
async fn messages_move_to_a_named_destination() {
    let sqs = shared();
    let (url, dead, _) = dead_letters(&sqs, 3).await;
    let other = sqs.queue(&[]).await;
    let (source, destination) = (sqs.arn(&dead).await, sqs.arn(&other).await);
    let start = sqs.client.start_message_move_task().source_arn(&source);
    start.destination_arn(&destination).send().await.unwrap();
    let task = ended(&sqs, &source).await;
    assert_eq!(task.destination_arn(), Some(destination.as_str()));
    assert_eq!(sqs.counts(&url).await, [0, 0, 0]);
    assert_eq!(sqs.counts(&other).await, [3, 0, 0]);
}

#[tokio::test]
async fn a_move_keeps_to_its_rate_and_can_be_cancelled() {
    let sqs = shared();
    let (url, dead, _) = dead_letters(&sqs, 12).await;
    let source = sqs.arn(&dead).await;
    let start = sqs.client.start_message_move_task().source_arn(&source);
    let started = start.clone().max_number_of_messages_per_second(1);
    let handle = started.send().await.unwrap().task_handle.unwrap();
    let second = start.clone().send().await;
    refused(second, "InvalidParameterValue", "already a task running");
    let task = tasks(&sqs, &source).await.remove(0);
    assert_eq!(task.status(), Some("RUNNING"));
    assert_eq!(task.task_handle(), Some(handle.as_str()));
    assert_eq!(task.max_number_of_messages_per_second(), Some(1));
    wait_for("two are moved", async || sqs.counts(&url).await[0] >= 2).await;
    let cancel = sqs.client.cancel_message_move_task().task_handle(&handle);
    let cancelled = cancel.clone().send().await.unwrap();
    let moved = cancelled.approximate_number_of_messages_moved();
    let task = tasks(&sqs, &source).await.remove(0);
    assert_eq!(task.status(), Some("CANCELLED"));
    assert_eq!(sqs.counts(&url).await, [moved, 0, 0]);
    assert_eq!(sqs.counts(&dead).await, [12 - moved, 0, 0]);
    refused(cancel.send().await, "InvalidParameterValue", "active");
    start.send().await.unwrap();
    ended(&sqs, &source).await;
    assert_eq!(sqs.counts(&url).await, [12, 0, 0]);
    assert_eq!(tasks(&sqs, &source).await.len(), 2);
}

#[tokio::test]
async fn a_message_that_was_sent_there_has_no_way_back() {
    let sqs = shared();
    let (_, dead, _) = dead_letters(&sqs, 0).await;
    sqs.put(&dead, "sent directly").await;
    let source = sqs.arn(&dead).await;
    let start = sqs.client.start_message_move_task().source_arn(&source);
    start.send().await.unwrap();
    let task = ended(&sqs, &source).await;
    assert_eq!(task.status(), Some("FAILED"));
    assert_eq!(
        task.failure_reason(),
        Some("CouldNotDetermineMessageSource")
    );
    assert_eq!(sqs.counts(&dead).await, [1, 0, 0]);
}

#[tokio::test]
async fn what_a_move_task_needs() {
    let sqs = shared();
    let (url, dead, _) = dead_letters(&sqs, 0).await;
    let source = sqs.arn(&dead).await;
    let absent = format!("{source}x");
    let start = || sqs.client.start_message_move_task();
    let unknown = start().source_arn(&absent).send().await;
    refused(unknown, "ResourceNotFoundException", "SourceArn");
    let unknown = start().source_arn(&source).destination_arn(&absent);
    refused(
        unknown.send().await,
        "ResourceNotFoundException",
        "DestinationArn",
    );
    let invalid = "InvalidParameterValue";
    let no_dead_letters = start().source_arn(sqs.arn(&url).await);
    refused(no_dead_letters.send().await, invalid, "Dead Letter Queue");
    refused(
        start().source_arn(&dead).send().await,
        invalid,
        "arn:<partition>",
    );
    let fifo = sqs.arn(&sqs.fifo(&[]).await).await;
    for (destination, words) in [(&fifo, "same type"), (&source, "different")] {
        let call = start().source_arn(&source).destination_arn(destination);
        refused(call.send().await, invalid, words);
    }
    for rate in [0, 501] {
        let call = start().source_arn(&source);
        let call = call.max_number_of_messages_per_second(rate);
        refused(call.send().await, invalid, "MaxNumberOfMessagesPerSecond");
    }
    for most in [0, 11] {
        let call = sqs.client.list_message_move_tasks().source_arn(&source);
        refused(call.max_results(most).send().await, invalid, "MaxResults");
    }
    let cancel = sqs.client.cancel_message_move_task().task_handle("garbage");
    refused(cancel.send().await, invalid, "TaskHandle");
    refused(start().send().await, "MissingParameter", "SourceArn");
}
