//! Long polls: what wakes them, and what they must not do to others.

use std::time::{Duration, Instant};

use aws_sdk_sqs::types::{Message, QueueAttributeName};
use tokio::task::{JoinHandle, JoinSet};

use crate::sqs::{LONG, Sqs, bodies, receives, refused, shared, wait_for};

/// A long poll that is under way, for one message. One that nothing wakes ends without messages.
fn poll(sqs: &Sqs, url: &str) -> JoinHandle<Vec<Message>> {
    let call = sqs.client.receive_message().queue_url(url);
    let call = call.wait_time_seconds(20).visibility_timeout(600);
    let call = call.message_system_attribute_names("All".into());
    tokio::spawn(async move { call.send().await.unwrap().messages.unwrap_or_default() })
}

#[tokio::test]
async fn a_poll_wakes_on_a_send() {
    let sqs = shared();
    let url = sqs.queue(&[]).await;
    let waiting = poll(&sqs, &url);
    sqs.put(&url, "x").await;
    assert_eq!(bodies(&waiting.await.unwrap()), ["x"]);
}

#[tokio::test]
async fn a_poll_wakes_on_the_end_of_a_delay() {
    let sqs = shared();
    let url = sqs.queue(&[]).await;
    sqs.send(&url, "x").delay_seconds(1).send().await.unwrap();
    assert_eq!(bodies(&poll(&sqs, &url).await.unwrap()), ["x"]);
}

#[tokio::test]
async fn a_poll_wakes_on_an_expired_visibility_and_on_one_of_zero() {
    let sqs = shared();
    let url = sqs.queue(&[]).await;
    sqs.put(&url, "x").await;
    let first = sqs.receive_with(&url, |call| call.visibility_timeout(1));
    assert_eq!(first.await.len(), 1);
    let second = poll(&sqs, &url).await.unwrap();
    assert_eq!(receives(&second[0]), 2);
    let waiting = poll(&sqs, &url);
    sqs.hide(&url, &second[0], 0).await.unwrap();
    assert_eq!(receives(&waiting.await.unwrap()[0]), 3);
}

#[tokio::test]
async fn an_empty_poll_lasts_as_long_as_it_or_its_queue_asks() {
    let sqs = shared();
    let wait = QueueAttributeName::ReceiveMessageWaitTimeSeconds;
    let url = sqs.queue(&[(wait.clone(), "1")]).await;
    let began = Instant::now();
    assert!(sqs.receive(&url).await.is_empty());
    assert!(began.elapsed() >= Duration::from_millis(900));
    sqs.set(&url, &[(wait, "20")]).await.unwrap();
    let began = Instant::now();
    let asked = sqs.receive_with(&url, |call| call.wait_time_seconds(1));
    assert!(asked.await.is_empty());
    let took = began.elapsed();
    assert!(
        took >= Duration::from_millis(900) && took < Duration::from_secs(19),
        "{took:?}"
    );
}

#[tokio::test]
async fn a_poll_on_a_queue_that_is_deleted_ends_with_its_error() {
    let sqs = shared();
    let url = sqs.queue(&[]).await;
    let call = sqs.client.receive_message().queue_url(&url);
    let waiting = tokio::spawn(call.wait_time_seconds(20).send());
    let delete = sqs.client.delete_queue().queue_url(&url);
    delete.send().await.unwrap();
    let missing = format!("{LONG}NonExistentQueue");
    refused(waiting.await.unwrap(), &missing, "does not exist");
}

#[tokio::test]
async fn sixty_idle_polls_keep_nobody_waiting_and_share_what_comes() {
    let sqs = shared();
    let (idle, busy) = (sqs.queue(&[]).await, sqs.queue(&[]).await);
    let polls: JoinSet<_> = (0..60)
        .map(|_| {
            let waiting = poll(&sqs, &idle);
            async move { waiting.await.unwrap() }
        })
        .collect();
    for number in 0..20 {
        sqs.put(&busy, &number.to_string()).await;
        let message = sqs.take(&busy).await;
        sqs.delete(&busy, &message).await.unwrap();
    }
    for number in 0..60 {
        sqs.put(&idle, &number.to_string()).await;
    }
    let found = polls.join_all().await.concat();
    let mut numbers: Vec<u32> = bodies(&found)
        .iter()
        .map(|body| body.parse().unwrap())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..60).collect::<Vec<_>>());
}

#[tokio::test]
async fn clients_that_hang_up_in_a_poll_take_nothing_and_count_no_receive() {
    let sqs = shared();
    let url = sqs.queue(&[]).await;
    for number in 0..8 {
        // A client of its own: dropping its call closes the connection.
        let call = sqs.server.client().receive_message().queue_url(&url);
        let call = tokio::spawn(call.wait_time_seconds(20).send());
        // At different moments: before the request is sent, on its way, and while it waits.
        tokio::time::sleep(Duration::from_millis(number * 20)).await;
        call.abort();
        let _ = call.await;
    }
    sqs.put(&url, "x").await;
    let message = sqs.take(&url).await;
    assert_eq!(receives(&message), 1);
    sqs.delete(&url, &message).await.unwrap();
    wait_for("nothing is left in flight", async || {
        sqs.counts(&url).await == [0, 0, 0]
    })
    .await;
}
