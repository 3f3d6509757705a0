//! Load on an SQS endpoint: `cargo run --release --example broker_load -- URL [MESSAGES] [BACKLOG]`.
//!
//! Puts BACKLOG messages of 1 KiB into a new queue, then sends, receives and deletes MESSAGES
//! more in batches of 10 through four senders and four receivers at once, and prints messages per
//! second; then sends 200 messages a second one by one and prints how long each took to arrive.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, SendMessageBatchRequestEntry};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const WORKERS: usize = 4;
const PACED: usize = 1_000;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let endpoint = arguments
        .next()
        .ok_or("name an endpoint, such as http://127.0.0.1:9324")?;
    let messages = arguments
        .next()
        .map_or(Ok(50_000), |number| number.parse::<usize>())?;
    let backlog = arguments
        .next()
        .map_or(Ok(0), |number| number.parse::<usize>())?;
    let client = client(&endpoint);

    let queue = make_queue(&client).await?;
    send(&client, &queue, backlog).await?;
    let began = Instant::now();
    let sending = send(&client, &queue, messages);
    let receiving = receive(&client, &queue, messages);
    tokio::try_join!(sending, receiving)?;
    let rate = u128::try_from(messages)? * 1_000 / began.elapsed().as_millis().max(1);
    println!("{messages} messages with {backlog} waiting: {rate} messages/s");
    client.delete_queue().queue_url(&queue).send().await?;

    let queue = make_queue(&client).await?;
    let mut took = paced(&client, &queue).await?;
    took.sort();
    let at = |percent: usize| took[(took.len() - 1) * percent / 100];
    println!("paced at 200/s: p50 {:?}, p99 {:?}", at(50), at(99));
    client.delete_queue().queue_url(&queue).send().await?;
    Ok(())
}

fn client(endpoint: &str) -> Client {
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("local", "local", None, None, "load"))
        .endpoint_url(endpoint)
        .build();
    Client::from_conf(config)
}

async fn make_queue(client: &Client) -> Result<String, Failure> {
    let name = format!("load-{}", uuid::Uuid::new_v4());
    let made = client.create_queue().queue_name(name).send().await?;
    made.queue_url
        .ok_or_else(|| "no queue URL was answered".into())
}

async fn send(client: &Client, queue: &str, messages: usize) -> Result<(), Failure> {
    let left = Arc::new(AtomicUsize::new(messages / 10));
    let workers = (0..WORKERS).map(|_| {
        let (client, queue, left) = (client.clone(), queue.to_owned(), left.clone());
        tokio::spawn(async move {
            while left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                .is_ok()
            {
                let entries = (0..10)
                    .map(|id| {
                        let entry = SendMessageBatchRequestEntry::builder().id(id.to_string());
                        entry.message_body("x".repeat(1_024)).build()
                    })
                    .collect::<Result<_, _>>()?;
                let call = client.send_message_batch().queue_url(&queue);
                call.set_entries(Some(entries)).send().await?;
            }
            Ok::<_, Failure>(())
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await??;
    }
    Ok(())
}

async fn receive(client: &Client, queue: &str, messages: usize) -> Result<(), Failure> {
    let done = Arc::new(AtomicUsize::new(0));
    let workers = (0..WORKERS).map(|_| {
        let (client, queue, done) = (client.clone(), queue.to_owned(), done.clone());
        tokio::spawn(async move {
            while done.load(Ordering::Relaxed) < messages {
                let call = client
                    .receive_message()
                    .queue_url(&queue)
                    .max_number_of_messages(10);
                let got = call
                    .wait_time_seconds(1)
                    .send()
                    .await?
                    .messages
                    .unwrap_or_default();
                if got.is_empty() {
                    continue;
                }
                let entries = got
                    .iter()
                    .enumerate()
                    .map(|(id, message)| {
                        let entry = DeleteMessageBatchRequestEntry::builder().id(id.to_string());
                        entry
                            .set_receipt_handle(message.receipt_handle.clone())
                            .build()
                    })
                    .collect::<Result<_, _>>()?;
                let call = client.delete_message_batch().queue_url(&queue);
                call.set_entries(Some(entries)).send().await?;
                done.fetch_add(got.len(), Ordering::Relaxed);
            }
            Ok::<_, Failure>(())
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await??;
    }
    Ok(())
}

/// From the call of a send to the answer of the long poll that got it.
async fn paced(client: &Client, queue: &str) -> Result<Vec<Duration>, Failure> {
    let began = Instant::now();
    let (sender, receiver) = (client.clone(), client.clone());
    let (to, from) = (queue.to_owned(), queue.to_owned());
    let sending = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        for _ in 0..PACED {
            ticks.tick().await;
            let at = began.elapsed().as_micros();
            let call = sender.send_message().queue_url(&to);
            call.message_body(format!("{at:01024}")).send().await?;
        }
        Ok::<_, Failure>(())
    });
    let mut took = Vec::new();
    while took.len() < PACED {
        let call = receiver
            .receive_message()
            .queue_url(&from)
            .max_number_of_messages(10);
        let got = call
            .wait_time_seconds(5)
            .send()
            .await?
            .messages
            .unwrap_or_default();
        for message in got {
            let at: u64 = message.body().unwrap_or_default().parse()?;
            took.push(began.elapsed().saturating_sub(Duration::from_micros(at)));
            let handle = message.receipt_handle.unwrap_or_default();
            let call = receiver.delete_message().queue_url(&from);
            call.receipt_handle(handle).send().await?;
        }
    }
    sending.await??;
    Ok(took)
}
