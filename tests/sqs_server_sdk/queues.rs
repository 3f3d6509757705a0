//! Making, finding, listing, emptying and removing queues; their tags.

use std::collections::HashMap;

use aws_sdk_sqs::types::QueueAttributeName::{DelaySeconds, FifoQueue, VisibilityTimeout};

use crate::sqs::{LONG, bodies, new_name, refused, shared};

#[tokio::test]
async fn creating_is_idempotent_and_a_conflict_names_the_attribute() {
    let sqs = shared();
    let name = new_name("");
    let url = sqs.create(&name, &[(DelaySeconds, "3")]).await.unwrap();
    assert_eq!(
        url,
        format!("{}/000000000000/{name}", sqs.server.endpoint),
        "a queue's URL is at the host the client used"
    );
    assert_eq!(sqs.create(&name, &[]).await.unwrap(), url);
    let same = sqs.create(&name, &[(DelaySeconds, "3")]).await;
    assert_eq!(same.unwrap(), url);
    let default = sqs.create(&name, &[(VisibilityTimeout, "30")]).await;
    assert_eq!(default.unwrap(), url, "its value, though nobody set it");
    let found = sqs.client.get_queue_url().queue_name(&name).send().await;
    assert_eq!(found.unwrap().queue_url(), Some(url.as_str()));
    let conflict = sqs.create(&name, &[(VisibilityTimeout, "9")]).await;
    refused(conflict, "QueueAlreadyExists", "VisibilityTimeout");
    let conflict = sqs.create(&name, &[(DelaySeconds, "4")]).await.unwrap_err();
    assert!(conflict.into_service_error().is_queue_name_exists());
}

#[tokio::test]
async fn names_follow_the_rules() {
    let sqs = shared();
    let longest = new_name(&"x".repeat(46));
    assert_eq!(longest.len(), 80);
    sqs.create(&longest, &[]).await.unwrap();
    for bad in ["a b", &format!("{longest}x"), "ä", "a/b", "a.b", "x.fifo"] {
        let made = sqs.create(bad, &[]).await;
        refused(made, "InvalidParameterValue", "alphanumeric");
    }
    refused(sqs.create("", &[]).await, "MissingParameter", "QueueName");
    let upper = sqs
        .client
        .get_queue_url()
        .queue_name(longest.to_uppercase());
    let error = upper.send().await.unwrap_err();
    assert!(error.into_service_error().is_queue_does_not_exist());
}

#[tokio::test]
async fn the_ending_fifo_and_the_attribute_go_together() {
    let sqs = shared();
    let kind = [(FifoQueue, "true")];
    sqs.create(&new_name(".fifo"), &kind).await.unwrap();
    let longest = new_name(&format!("{}.fifo", "x".repeat(41)));
    assert_eq!(longest.len(), 80);
    sqs.create(&longest, &kind).await.unwrap();
    for bad in ["plain", ".fifo", &format!("x{longest}")] {
        refused(
            sqs.create(bad, &kind).await,
            "InvalidParameterValue",
            ".fifo",
        );
    }
    let no_fifo = sqs.create(&new_name(""), &[(FifoQueue, "false")]).await;
    refused(no_fifo, "InvalidAttributeName", "FifoQueue");
}

#[tokio::test]
async fn a_deleted_queue_is_gone_and_its_name_rests() {
    let sqs = shared();
    let name = new_name("");
    let url = sqs.create(&name, &[]).await.unwrap();
    sqs.put(&url, "x").await;
    let delete = sqs.client.delete_queue().queue_url(&url);
    delete.clone().send().await.unwrap();
    let missing = format!("{LONG}NonExistentQueue");
    refused(delete.send().await, &missing, "does not exist");
    refused(sqs.send(&url, "x").send().await, &missing, "does not exist");
    let receive = sqs.client.receive_message().queue_url(&url);
    refused(receive.send().await, &missing, "does not exist");
    let listed = sqs.client.list_queues().queue_name_prefix(&name);
    assert_eq!(listed.send().await.unwrap().queue_urls(), [] as [&str; 0]);
    let again = sqs.create(&name, &[]).await;
    refused(again, &format!("{LONG}QueueDeletedRecently"), "60 seconds");
}

#[tokio::test]
async fn listing_has_prefixes_and_pages() {
    let sqs = shared();
    let prefix = new_name("");
    let mut made = Vec::new();
    for number in 0..5 {
        let name = format!("{prefix}-{number}");
        made.push(sqs.create(&name, &[]).await.unwrap());
    }
    let list = sqs.client.list_queues().queue_name_prefix(&prefix);
    let whole = list.clone().send().await.unwrap();
    assert_eq!(whole.queue_urls(), made);
    assert_eq!(whole.next_token(), None);
    let mut pages = list.max_results(2).into_paginator().send();
    let mut found = Vec::new();
    let mut sizes = Vec::new();
    while let Some(page) = pages.try_next().await.unwrap() {
        sizes.push(page.queue_urls().len());
        found.extend(page.queue_urls.unwrap());
    }
    assert_eq!((sizes, found), (vec![2, 2, 1], made));
    for bad in [0, 1_001] {
        let page = sqs.client.list_queues().max_results(bad).send().await;
        refused(page, "InvalidParameterValue", "MaxResults");
    }
    let page = sqs.client.list_queues().max_results(1).next_token("?");
    refused(page.send().await, "InvalidParameterValue", "NextToken");
}

#[tokio::test]
async fn tags_are_added_replaced_removed_and_limited() {
    let sqs = shared();
    let call = sqs.client.create_queue().queue_name(new_name(""));
    let url = call.tags("a", "1").send().await.unwrap().queue_url.unwrap();
    let tag = sqs.client.tag_queue().queue_url(&url);
    let some = tag.clone().tags("b", "2").tags("a", "3");
    some.send().await.unwrap();
    let list = sqs.client.list_queue_tags().queue_url(&url);
    let of = |pairs: &[(&str, &str)]| -> HashMap<String, String> {
        let pairs = pairs.iter();
        pairs.map(|(k, v)| ((*k).into(), (*v).into())).collect()
    };
    let found = list.clone().send().await.unwrap();
    assert_eq!(found.tags, Some(of(&[("a", "3"), ("b", "2")])));
    let untag = sqs.client.untag_queue().queue_url(&url);
    let gone = untag.tag_keys("a").tag_keys("never-there");
    gone.send().await.unwrap();
    let found = list.send().await.unwrap();
    assert_eq!(found.tags, Some(of(&[("b", "2")])));
    for (key, value) in [("", 1), (&"k".repeat(129), 1), ("k", 257)] {
        let call = tag.clone().tags(key, "v".repeat(value));
        refused(call.send().await, "InvalidParameterValue", "characters");
    }
    let many = (0..50).map(|n| (format!("k{n}"), String::new())).collect();
    let call = tag.set_tags(Some(many));
    refused(call.send().await, "InvalidParameterValue", "50");
}

#[tokio::test]
async fn a_purge_removes_waiting_delayed_and_held_messages_once_a_minute() {
    let sqs = shared();
    let url = sqs.queue(&[]).await;
    sqs.put(&url, "held").await;
    let held = sqs.take(&url).await;
    sqs.put(&url, "waiting").await;
    let delayed = sqs.send(&url, "delayed").delay_seconds(900);
    delayed.send().await.unwrap();
    assert_eq!(sqs.counts(&url).await, [1, 1, 1]);
    let purge = sqs.client.purge_queue().queue_url(&url);
    purge.clone().send().await.unwrap();
    assert_eq!(sqs.counts(&url).await, [0, 0, 0]);
    sqs.delete(&url, &held).await.unwrap();
    let again = purge.send().await;
    refused(again, &format!("{LONG}PurgeQueueInProgress"), "60 seconds");
    sqs.put(&url, "after").await;
    assert_eq!(bodies(&sqs.receive(&url).await), ["after"]);
    let missing = sqs.client.purge_queue().queue_url(format!("{url}-not"));
    let error = missing.send().await.unwrap_err();
    assert!(error.into_service_error().is_queue_does_not_exist());
}
