//! The embedded broker killed as `kill -9` does it, at random moments under load, again and again:
//! what was answered holds, and nothing else happens either.

use crate::clients;
use crate::group_clients;
use crate::group_ledger;
use crate::ledger;
use crate::sdk;
use crate::server;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{MessageSystemAttributeName, QueueAttributeName};
use clients::{consume_on, delete, random, receive_noted, refuse_some, send_on};
use group_clients::{consume_groups, consume_once, send_again, send_in_order};
use group_ledger::GroupLedger;
use ledger::{Ledger, receive_count};
use sdk::{counts, make_queue};
use server::Server;
use tempfile::TempDir;
use tokio::task::JoinSet;

/// How often each test kills the broker.
const KILLS: u32 = 5;
/// Everything must have come by then; far more than it takes.
const PATIENCE: Duration = Duration::from_mins(3);

/// Waits until some more sends were answered, and then a random moment longer.
async fn under_load(answered: impl Fn() -> usize) {
    let (enough, until) = (answered() + 15, Instant::now() + PATIENCE);
    while answered() < enough {
        assert!(Instant::now() < until, "the broker answers no sends");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(random(500).into())).await;
}

/// Kills the broker under its clients, and starts it again once none of them is left that could
/// speak to the new one.
async fn kill_under(server: Server, data_dir: &Path, mut clients: JoinSet<()>) -> Server {
    let address = server.crash();
    clients.abort_all();
    while let Some(ended) = clients.join_next().await {
        if let Err(error) = ended
            && error.is_panic()
        {
            // A client's check failed, and so does the test.
            std::panic::resume_unwind(error.into_panic());
        }
    }
    Server::start_on(data_dir, &address, &[])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standard_queue_keeps_its_promises_through_kills_under_load() {
    let folder = TempDir::new().unwrap();
    let mut server = Server::start(folder.path());
    let url = make_queue(&server.client(), "q").await;
    let ledger = Arc::new(Ledger::default());
    for round in 0..KILLS {
        let client = server.client_without_retries();
        let mut clients = JoinSet::new();
        for number in 0..3 {
            let name = format!("{round}-{number}");
            clients.spawn(send_on(client.clone(), url.clone(), ledger.clone(), name));
        }
        for _ in 0..4 {
            clients.spawn(consume_on(client.clone(), url.clone(), ledger.clone()));
        }
        under_load(|| ledger.acknowledged()).await;
        server = kill_under(server, folder.path(), clients).await;
        check_counts(&server.client(), &url, &ledger).await;
        delete_by_old_handles(&server.client(), &url, &ledger).await;
    }
    drain(&server.client(), &url, &ledger).await;
    ledger.check_emptied();
}

async fn check_counts(client: &Client, url: &str, ledger: &Ledger) {
    let total: i64 = counts(client, url).await.iter().sum();
    let total = usize::try_from(total).unwrap();
    let (fewest, most) = ledger.bounds();
    assert!(
        (fewest..=most).contains(&total),
        "{total} messages instead of {fewest} to {most}"
    );
}

/// What was received before the kill can be deleted after it, each by its old handle.
async fn delete_by_old_handles(client: &Client, url: &str, ledger: &Ledger) {
    let held = ledger.held(5);
    let before: i64 = counts(client, url).await.iter().sum();
    for (body, handle) in &held {
        ledger.deleting(body);
        let call = client.delete_message().queue_url(url);
        call.receipt_handle(handle).send().await.unwrap();
        ledger.deleted(body);
    }
    let after: i64 = counts(client, url).await.iter().sum();
    assert_eq!(before - after, i64::try_from(held.len()).unwrap());
}

async fn drain(client: &Client, url: &str, ledger: &Ledger) {
    let until = Instant::now() + PATIENCE;
    while counts(client, url).await != [0, 0, 0] {
        assert!(
            Instant::now() < until,
            "{:?} are left",
            counts(client, url).await
        );
        let batch = receive_noted(client, url, ledger, 1).await.unwrap();
        assert!(delete(client, url, ledger, &batch).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fifo_queue_keeps_order_locks_and_deduplication_through_kills_under_load() {
    let folder = TempDir::new().unwrap();
    let mut server = Server::start(folder.path());
    let call = server.client().create_queue().queue_name("q.fifo");
    let call = call.attributes(QueueAttributeName::FifoQueue, "true");
    let url = call.send().await.unwrap().queue_url.unwrap();
    let ledger = Arc::new(GroupLedger::default());
    let groups: Vec<_> = (0..4).map(|n| format!("group-{n}")).collect();
    for _ in 0..KILLS {
        let client = server.client_without_retries();
        let mut clients = JoinSet::new();
        for group in &groups {
            let (client, url, ledger) = (client.clone(), url.clone(), ledger.clone());
            clients.spawn(send_in_order(client, url, ledger, group.clone()));
        }
        for _ in 0..4 {
            clients.spawn(consume_groups(client.clone(), url.clone(), ledger.clone()));
        }
        under_load(|| ledger.acknowledged()).await;
        server = kill_under(server, folder.path(), clients).await;
        send_again(&server.client(), &url, &ledger, &groups).await;
    }
    let client = server.client();
    let until = Instant::now() + PATIENCE;
    while counts(&client, &url).await != [0, 0, 0] {
        assert!(
            Instant::now() < until,
            "{:?} are left",
            counts(&client, &url).await
        );
        assert!(consume_once(&client, &url, &ledger, true).await);
    }
    assert_eq!(ledger.left(), 0, "lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_in_one_of_queue_and_dead_letter_queue_through_kills_under_load() {
    let folder = TempDir::new().unwrap();
    let mut server = Server::start(folder.path());
    let client = server.client();
    let dead = make_queue(&client, "dead").await;
    let policy = r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:0:dead","maxReceiveCount":2}"#;
    let call = client.create_queue().queue_name("q");
    let call = call.attributes(QueueAttributeName::RedrivePolicy, policy);
    let url = call.send().await.unwrap().queue_url.unwrap();
    let ledger = Arc::new(Ledger::default());
    for round in 0..KILLS {
        let client = server.client_without_retries();
        let mut clients = JoinSet::new();
        for number in 0..2 {
            let name = format!("{round}-{number}");
            clients.spawn(send_on(client.clone(), url.clone(), ledger.clone(), name));
        }
        for _ in 0..3 {
            let (client, url) = (client.clone(), url.clone());
            clients.spawn(async move { while refuse_some(&client, &url).await.is_some() {} });
        }
        under_load(|| ledger.acknowledged()).await;
        server = kill_under(server, folder.path(), clients).await;
        let client = server.client();
        // While nobody receives, only timers move messages, and each count is of one moment.
        let all = counts(&client, &url).await.iter().sum::<i64>()
            + counts(&client, &dead).await.iter().sum::<i64>();
        let (fewest, most) = ledger.bounds();
        assert!(
            usize::try_from(all).unwrap() <= most,
            "{all} of at most {most}"
        );
        assert!(
            usize::try_from(all).unwrap() >= fewest,
            "{all} of at least {fewest}"
        );
    }
    let client = server.client();
    let until = Instant::now() + PATIENCE;
    while counts(&client, &url).await != [0, 0, 0] {
        assert!(
            Instant::now() < until,
            "{:?} are left",
            counts(&client, &url).await
        );
        refuse_some(&client, &url).await.unwrap();
    }
    while counts(&client, &dead).await != [0, 0, 0] {
        assert!(
            Instant::now() < until,
            "{:?} are left",
            counts(&client, &dead).await
        );
        let batch = receive_noted(&client, &dead, &ledger, 1).await.unwrap();
        for message in &batch {
            assert!(receive_count(message) > 2, "the count did not go on");
            let source = MessageSystemAttributeName::DeadLetterQueueSourceArn;
            assert!(message.attributes().unwrap()[&source].ends_with(":q"));
        }
        assert!(delete(&client, &dead, &ledger, &batch).await);
    }
    ledger.check_emptied();
}
