//! Dead-letter queues: by receives, by timeouts, who may use one.

use aws_sdk_sqs::types::MessageSystemAttributeName as System;
use aws_sdk_sqs::types::QueueAttributeName as Name;
use serde_json::json;

use crate::sqs::{Attributes, Sqs, bodies, receives, refused, shared, system, text};

/// A queue and its dead-letter queue; both FIFO when the attributes say so.
pub async fn redriven(sqs: &Sqs, times: u32, more: Attributes<'_>) -> (String, String) {
    let is_fifo = |one: &&(Name, &str)| one.0 == Name::FifoQueue;
    let kind: Vec<_> = more.iter().filter(is_fifo).cloned().collect();
    let dead = sqs.queue(&kind).await;
    let policy = policy(&sqs.arn(&dead).await, times);
    let source = [&[(Name::RedrivePolicy, policy.as_str())], more].concat();
    (sqs.queue(&source).await, dead)
}

fn policy(target: &str, times: u32) -> String {
    json!({"deadLetterTargetArn": target, "maxReceiveCount": times}).to_string()
}

#[tokio::test]
async fn a_message_is_dead_lettered_by_timeouts_alone_and_keeps_what_it_was() {
    let sqs = shared();
    let (url, dead) = redriven(&sqs, 2, &[(Name::VisibilityTimeout, "1")]).await;
    let call = sqs
        .send(&url, "poison")
        .message_attributes("k", text("String", "v"));
    let sent = call.send().await.unwrap();
    for count in 1..=2 {
        let found = sqs
            .receive_with(&url, |call| call.wait_time_seconds(20))
            .await;
        assert_eq!(receives(&found[0]), count);
    }
    let found = sqs.receive_with(&dead, |call| {
        call.wait_time_seconds(20).message_attribute_names("All")
    });
    let found = found.await.remove(0);
    assert_eq!(found.message_id(), sent.message_id());
    assert_eq!(
        found.message_attributes().unwrap()["k"],
        text("String", "v")
    );
    assert_eq!(receives(&found), 3, "the count goes on");
    let source = system(&found, &System::DeadLetterQueueSourceArn);
    assert_eq!(source, Some(sqs.arn(&url).await));
    assert_eq!(sqs.counts(&url).await, [0, 0, 0]);
    assert_eq!(sqs.counts(&dead).await, [0, 1, 0]);
}

#[tokio::test]
async fn a_message_is_dead_lettered_when_it_is_given_back_too_often() {
    let sqs = shared();
    let (url, dead) = redriven(&sqs, 2, &[]).await;
    sqs.put(&url, "poison").await;
    for _ in 0..2 {
        assert_eq!(sqs.counts(&dead).await, [0, 0, 0]);
        let held = sqs.take(&url).await;
        sqs.hide(&url, &held, 0).await.unwrap();
    }
    assert!(sqs.receive(&url).await.is_empty());
    assert_eq!(bodies(&sqs.receive(&dead).await), ["poison"]);
}

#[tokio::test]
async fn a_poison_head_blocks_nobody_and_a_lowered_limit_counts_at_once() {
    let sqs = shared();
    let (url, dead) = redriven(&sqs, 5, &[(Name::VisibilityTimeout, "0")]).await;
    for number in 0..12 {
        sqs.put(&url, &format!("poison {number}")).await;
    }
    for _ in 0..4 {
        assert_eq!(sqs.receive(&url).await.len(), 10);
    }
    sqs.put(&url, "healthy").await;
    let lower = policy(&sqs.arn(&dead).await, 2);
    sqs.set(&url, &[(Name::RedrivePolicy, &lower)])
        .await
        .unwrap();
    let found = sqs
        .receive_with(&url, |call| call.visibility_timeout(600))
        .await;
    assert!(bodies(&found).contains(&"healthy"));
    assert!(sqs.counts(&dead).await[0] >= 10);
}

#[tokio::test]
async fn a_fifo_head_that_is_dead_frees_its_group_and_order_is_kept() {
    let sqs = shared();
    let kind = [
        (Name::FifoQueue, "true"),
        (Name::ContentBasedDeduplication, "true"),
        (Name::VisibilityTimeout, "0"),
    ];
    let (url, dead) = redriven(&sqs, 1, &kind).await;
    sqs.put_in(&url, "g", &["0", "1", "2"]).await;
    for body in ["0", "1", "2"] {
        let head = sqs.receive_with(&url, |call| call.max_number_of_messages(1));
        assert_eq!(bodies(&head.await), [body]);
    }
    let found = sqs.receive(&dead).await;
    assert_eq!(bodies(&found), ["0", "1", "2"]);
    let group = system(&found[0], &System::MessageGroupId);
    assert_eq!(group.as_deref(), Some("g"));
}

#[tokio::test]
async fn without_its_dead_letter_queue_a_message_stays() {
    let sqs = shared();
    let (url, dead) = redriven(&sqs, 1, &[(Name::VisibilityTimeout, "0")]).await;
    let delete = sqs.client.delete_queue().queue_url(&dead);
    delete.send().await.unwrap();
    sqs.put(&url, "x").await;
    for count in 1..=3 {
        assert_eq!(receives(&sqs.receive(&url).await[0]), count);
    }
}

#[tokio::test]
async fn bad_redrive_policies_are_refused() {
    let sqs = shared();
    let (standard, fifo) = (sqs.queue(&[]).await, sqs.fifo(&[]).await);
    let target = sqs.arn(&standard).await;
    for (bad, words) in [
        ("no json".to_owned(), "JSON"),
        (
            json!({"maxReceiveCount": 1}).to_string(),
            "deadLetterTargetArn",
        ),
        (
            json!({"deadLetterTargetArn": target}).to_string(),
            "maxReceiveCount",
        ),
        (policy(&target, 0), "maxReceiveCount"),
        (policy(&target, 1_001), "maxReceiveCount"),
        (policy(&format!("{target}x"), 1), "does not exist"),
        (policy(&sqs.arn(&fifo).await, 1), "same type"),
    ] {
        let url = sqs.queue(&[]).await;
        let set = sqs.set(&url, &[(Name::RedrivePolicy, &bad)]).await;
        refused(set, "InvalidParameterValue", words);
    }
}

#[tokio::test]
async fn the_allow_policy_decides_who_may_dead_letter_here() {
    let sqs = shared();
    let (dead, url, other) = (
        sqs.queue(&[]).await,
        sqs.queue(&[]).await,
        sqs.queue(&[]).await,
    );
    let wanted = policy(&sqs.arn(&dead).await, 5);
    let wanted = [(Name::RedrivePolicy, wanted.as_str())];
    let source = sqs.arn(&url).await;
    let allow = async |permission: &str, sources: &[&str]| {
        let policy = json!({"redrivePermission": permission, "sourceQueueArns": sources});
        sqs.set(&dead, &[(Name::RedriveAllowPolicy, &policy.to_string())])
            .await
    };
    allow("denyAll", &[]).await.unwrap();
    refused(
        sqs.set(&url, &wanted).await,
        "InvalidParameterValue",
        "permission",
    );
    allow("byQueue", &[&source]).await.unwrap();
    sqs.set(&url, &wanted).await.unwrap();
    refused(
        sqs.set(&other, &wanted).await,
        "InvalidParameterValue",
        "permission",
    );
    allow("allowAll", &[]).await.unwrap();
    sqs.set(&other, &wanted).await.unwrap();
    let many = [source.as_str(); 11];
    for (permission, sources) in [
        ("byQueue", &many[..0]),
        ("byQueue", &many[..]),
        ("allowAll", &many[..1]),
        ("nonsense", &many[..0]),
    ] {
        let set = allow(permission, sources).await;
        refused(set, "InvalidParameterValue", "RedriveAllowPolicy");
    }
}

#[tokio::test]
async fn the_sources_of_a_dead_letter_queue_are_listed_in_pages() {
    let sqs = shared();
    let dead = sqs.queue(&[]).await;
    let list = sqs.client.list_dead_letter_source_queues().queue_url(&dead);
    assert_eq!(
        list.clone().send().await.unwrap().queue_urls(),
        [] as [&str; 0]
    );
    let wanted = policy(&sqs.arn(&dead).await, 5);
    let mut sources = Vec::new();
    for _ in 0..5 {
        sources.push(sqs.queue(&[(Name::RedrivePolicy, &wanted)]).await);
    }
    sources.sort();
    assert_eq!(list.clone().send().await.unwrap().queue_urls(), sources);
    let mut pages = list.clone().max_results(2).into_paginator().send();
    let mut found = Vec::new();
    while let Some(page) = pages.try_next().await.unwrap() {
        assert!(page.queue_urls().len() <= 2);
        found.extend(page.queue_urls);
    }
    assert_eq!(found, sources);
    sqs.set(&sources[0], &[(Name::RedrivePolicy, "")])
        .await
        .unwrap();
    assert_eq!(list.send().await.unwrap().queue_urls(), &sources[1..]);
}
