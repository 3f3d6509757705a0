//! Load through aws-sdk-sqs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, SendMessageBatchRequestEntry};
use tokio::task::JoinSet;

use super::Failure;

const PACED: usize = 2_000;

/// A number of clients on one endpoint.
pub struct Load {
    client: Client,
    clients: usize,
}

impl Load {
    /// Clients for an endpoint; any credentials will do.
    pub fn new(endpoint: &str, clients: usize) -> Self {
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("local", "local", None, None, "load"))
            .endpoint_url(endpoint)
            .build();
        Self {
            client: Client::from_conf(config),
            clients,
        }
    }

    /// Makes a queue; answers its URL.
    pub async fn make_queue(&self) -> Result<String, Failure> {
        let name = format!("load-{}", uuid::Uuid::new_v4());
        let made = self.client.create_queue().queue_name(name).send().await?;
        made.queue_url
            .ok_or_else(|| "no queue URL was answered".into())
    }

    /// Messages a second through a new queue with so many waiting.
    pub async fn through(&self, messages: usize, backlog: usize) -> Result<f64, Failure> {
        let queue = self.make_queue().await?;
        self.send(&queue, backlog).await?;
        let rate = self.through_queue(&queue, messages).await?;
        self.client.delete_queue().queue_url(&queue).send().await?;
        Ok(rate)
    }

    /// Messages a second sent, received and deleted at once.
    pub async fn through_queue(&self, queue: &str, messages: usize) -> Result<f64, Failure> {
        let began = Instant::now();
        tokio::try_join!(self.send(queue, messages), self.receive(queue, messages))?;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let messages = messages as f64;
        Ok(messages / began.elapsed().as_secs_f64())
    }

    /// Sends messages of 1 KiB.
    pub async fn send(&self, queue: &str, messages: usize) -> Result<(), Failure> {
        let left = Arc::new(AtomicUsize::new(messages / 10));
        let mut senders = JoinSet::new();
        for _ in 0..self.clients {
            let (client, queue, left) = (self.client.clone(), queue.to_owned(), left.clone());
            senders.spawn(async move {
                while left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                    .is_ok()
                {
                    send_batch(&client, &queue).await?;
                }
                Ok::<_, Failure>(())
            });
        }
        all(senders).await
    }

    /// Receives and deletes so many messages.
    async fn receive(&self, queue: &str, messages: usize) -> Result<(), Failure> {
        let done = Arc::new(AtomicUsize::new(0));
        let mut receivers = JoinSet::new();
        for _ in 0..self.clients {
            let (client, queue, done) = (self.client.clone(), queue.to_owned(), done.clone());
            receivers.spawn(async move {
                while done.load(Ordering::Relaxed) < messages {
                    let got = receive_batch(&client, &queue).await?;
                    done.fetch_add(got, Ordering::Relaxed);
                }
                Ok::<_, Failure>(())
            });
        }
        all(receivers).await
    }

    /// Long polls on an empty queue, until the set is dropped.
    pub async fn park_polls(&self, polls: usize) -> Result<JoinSet<()>, Failure> {
        let queue = self.make_queue().await?;
        let mut set = JoinSet::new();
        for _ in 0..polls {
            let call = self.client.receive_message().queue_url(&queue);
            let call = call.wait_time_seconds(20);
            set.spawn(async move { while call.clone().send().await.is_ok() {} });
        }
        Ok(set)
    }

    /// 200 messages a second, one by one: from the call of each send to the answer of the long
    /// poll that got it.
    pub async fn paced(&self) -> Result<Vec<Duration>, Failure> {
        let queue = self.make_queue().await?;
        let began = Instant::now();
        let (sender, to) = (self.client.clone(), queue.clone());
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
        let mut deletes = JoinSet::new();
        while took.len() < PACED {
            let call = self.client.receive_message().queue_url(&queue);
            let call = call.max_number_of_messages(10).wait_time_seconds(5);
            for message in call.send().await?.messages.unwrap_or_default() {
                let at: u64 = message.body().unwrap_or_default().parse()?;
                took.push(began.elapsed().saturating_sub(Duration::from_micros(at)));
                let handle = message.receipt_handle.unwrap_or_default();
                let call = self.client.delete_message().queue_url(&queue);
                let call = call.receipt_handle(handle);
                deletes.spawn(async move {
                    call.send().await?;
                    Ok::<_, Failure>(())
                });
            }
        }
        sending.await??;
        all(deletes).await?;
        self.client.delete_queue().queue_url(&queue).send().await?;
        Ok(took)
    }
}

async fn send_batch(client: &Client, queue: &str) -> Result<(), Failure> {
    let entries = (0..10)
        .map(|id| {
            let entry = SendMessageBatchRequestEntry::builder().id(id.to_string());
            entry.message_body("x".repeat(1_024)).build()
        })
        .collect::<Result<_, _>>()?;
    let call = client.send_message_batch().queue_url(queue);
    call.set_entries(Some(entries)).send().await?;
    Ok(())
}

/// Receives and deletes up to ten; answers how many.
async fn receive_batch(client: &Client, queue: &str) -> Result<usize, Failure> {
    let call = client.receive_message().queue_url(queue);
    let call = call.max_number_of_messages(10).wait_time_seconds(1);
    let got = call.send().await?.messages.unwrap_or_default();
    if got.is_empty() {
        return Ok(0);
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
    let call = client.delete_message_batch().queue_url(queue);
    call.set_entries(Some(entries)).send().await?;
    Ok(got.len())
}

async fn all(mut set: JoinSet<Result<(), Failure>>) -> Result<(), Failure> {
    while let Some(ended) = set.join_next().await {
        ended??;
    }
    Ok(())
}
