//! Load of many clients at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::Failure;
use super::client::{BATCH, Batch, Client};

/// Messages a second of [`Load::paced`].
pub const PACE: u32 = 200;
/// For how long [`Load::paced`] sends.
const PACED_FOR: Duration = Duration::from_secs(10);

/// A number of clients on one endpoint.
pub struct Load {
    pub client: Client,
    clients: usize,
}

impl Load {
    /// So many senders, and as many receivers, for an endpoint.
    pub fn new(endpoint: &str, clients: usize) -> Result<Self, Failure> {
        Ok(Self {
            client: Client::new(endpoint)?,
            clients,
        })
    }

    /// Messages sent, received and deleted at once, by senders and receivers.
    pub async fn through(&self, queue: &str, messages: usize) -> Result<(), Failure> {
        tokio::try_join!(self.send(queue, messages), self.receive(queue, messages))?;
        Ok(())
    }

    /// Sends messages, in batches.
    pub async fn send(&self, queue: &str, messages: usize) -> Result<(), Failure> {
        let left = Arc::new(AtomicUsize::new(messages.div_ceil(BATCH)));
        let batch = Batch::new(queue);
        let mut senders = JoinSet::new();
        for _ in 0..self.clients {
            let (client, batch, left) = (self.client.clone(), batch.clone(), left.clone());
            senders.spawn(async move {
                while left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                    .is_ok()
                {
                    client.send_batch(&batch).await?;
                }
                Ok::<_, Failure>(())
            });
        }
        all(senders).await
    }

    /// Receives and deletes at least so many messages.
    pub async fn receive(&self, queue: &str, messages: usize) -> Result<(), Failure> {
        let done = Arc::new(AtomicUsize::new(0));
        let mut receivers = JoinSet::new();
        for _ in 0..self.clients {
            let (client, queue, done) = (self.client.clone(), queue.to_owned(), done.clone());
            receivers.spawn(async move {
                while done.load(Ordering::Relaxed) < messages {
                    let got = client.receive(&queue, Duration::from_secs(1)).await?;
                    if !got.is_empty() {
                        client.delete_batch(&queue, &got).await?;
                        done.fetch_add(got.len(), Ordering::Relaxed);
                    }
                }
                Ok::<_, Failure>(())
            });
        }
        all(receivers).await
    }

    /// Long polls on a new, empty queue, until the set is dropped.
    pub async fn park_polls(&self, polls: usize) -> Result<JoinSet<()>, Failure> {
        let queue = self.client.make_queue().await?;
        let mut set = JoinSet::new();
        for _ in 0..polls {
            let (client, queue) = (self.client.clone(), queue.clone());
            set.spawn(async move {
                while client
                    .receive(&queue, Duration::from_secs(20))
                    .await
                    .is_ok()
                {}
            });
        }
        Ok(set)
    }

    /// [`PACE`] messages a second, one by one: how long each took from the call that sent it to the
    /// answer of the long poll that got it, sorted.
    pub async fn paced(&self) -> Result<Vec<Duration>, Failure> {
        let queue = self.client.make_queue().await?;
        let began = Instant::now();
        let messages = usize::try_from(u64::from(PACE) * PACED_FOR.as_secs())?;
        let (sender, to) = (self.client.clone(), queue.clone());
        let sending = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(1) / PACE);
            let mut sends = JoinSet::new();
            for _ in 0..messages {
                ticks.tick().await;
                let at = u64::try_from(began.elapsed().as_micros())?;
                let (sender, to) = (sender.clone(), to.clone());
                // Not awaited here: a slow answer must not slow the pace.
                sends.spawn(async move { sender.send(&to, at).await });
            }
            all(sends).await
        });
        let mut took = Vec::new();
        let mut deletes = JoinSet::new();
        while took.len() < messages {
            let got = self.client.receive(&queue, Duration::from_secs(5)).await?;
            let now = began.elapsed();
            took.extend(
                got.iter()
                    .map(|one| now.saturating_sub(Duration::from_micros(one.number))),
            );
            let (client, queue) = (self.client.clone(), queue.clone());
            deletes.spawn(async move {
                if got.is_empty() {
                    return Ok(());
                }
                client.delete_batch(&queue, &got).await
            });
        }
        sending.await??;
        all(deletes).await?;
        self.client.delete_queue(&queue).await?;
        took.sort();
        Ok(took)
    }
}

async fn all(mut set: JoinSet<Result<(), Failure>>) -> Result<(), Failure> {
    while let Some(ended) = set.join_next().await {
        ended??;
    }
    Ok(())
}
