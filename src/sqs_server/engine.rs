//! The one task that owns the state machine and the journal. It takes all waiting requests, applies
//! them, commits and flushes once, and answers. A call is answered only after its effect is on disk,
//! and many calls share one flush. Receives that found nothing are parked here until a message can
//! be received or their wait time is over.
//!
//! The task and all connections share one thread. A request changes threads nowhere on its way from
//! the socket to the disk and back, because waking a thread costs more than most requests. While
//! the thread waits for the disk, requests gather in the sockets; they share the next flush.

mod actor;
mod flusher;
pub mod peek;
mod polls;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::runtime::{Builder, Handle};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Sender, channel};
use tokio::sync::oneshot;

use super::account::Accounts;
use super::error::SqsError;
use super::journal::Journal;
use super::metrics::Metrics;
use super::receipt::Receipt;
use super::state::Broker;
use super::state::message::{Millis, Payload, Received};
use super::state::receiving::ReceiveRequest;
use actor::EngineActor;
use flusher::Flusher;
use peek::Peek;
use polls::Poll;

/// Requests waiting for the engine. A connection has at most one, so this bounds busy connections;
/// one more is answered with `ServiceUnavailable`, which SDKs retry.
const WAITING_LIMIT: usize = 16_384;

type Answer = Box<dyn FnOnce(Result<(), SqsError>) + Send>;
type Job = Box<dyn FnOnce(Result<(&mut Broker, Millis), SqsError>) -> Answer + Send>;
type Reply = oneshot::Sender<Result<Delivery, SqsError>>;

enum EngineRequest {
    Job(Job),
    Receive(Poll),
    Peek(Peek),
    GiveBack {
        queue: String,
        receipts: Vec<Receipt>,
    },
    Quiesce,
}

/// Hands requests to the engine's task. When the last clone is dropped, the task and its thread end.
#[derive(Debug, Clone)]
pub struct Engine {
    orders: Sender<EngineRequest>,
    accounts: Accounts,
    metrics: Arc<Metrics>,
    runtime: Handle,
}

/// A received message with its body.
#[derive(Debug)]
pub struct Delivered {
    /// Part held in memory.
    pub received: Received,
    /// Part read from disk.
    pub payload: Arc<Payload>,
}

/// Received messages on their way to a client. If dropped before [`Delivery::take`], they are given
/// back: the client has gone.
#[derive(Debug)]
pub struct Delivery {
    queue: String,
    messages: Vec<Delivered>,
    orders: Sender<EngineRequest>,
}

impl Delivery {
    /// Takes the messages; from here on they count as delivered.
    #[must_use]
    pub fn take(mut self) -> Vec<Delivered> {
        std::mem::take(&mut self.messages)
    }

    fn receipts(&self) -> Vec<Receipt> {
        self.messages
            .iter()
            .map(|one| receipt_of(&one.received))
            .collect()
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !self.messages.is_empty() {
            let order = EngineRequest::GiveBack {
                queue: self.queue.clone(),
                receipts: self.receipts(),
            };
            // If the engine is full or gone, the messages return when their visibility timeout
            // ends.
            let _ = self.orders.try_send(order);
        }
    }
}

/// The receipt of a received message.
#[must_use]
pub fn receipt_of(received: &Received) -> Receipt {
    Receipt {
        store: received.store,
        seq: received.seq,
        receive: received.message.receive_count,
    }
}

impl Engine {
    /// Starts the thread with the loaded state.
    ///
    /// # Errors
    /// The operating system refuses to start a thread.
    pub fn start(journal: Journal, broker: Broker) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (orders, waiting) = channel(WAITING_LIMIT);
        let metrics = Arc::<Metrics>::default();
        let flusher = Flusher::new(journal.log(), metrics.clone());
        let accounts = Accounts::default();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let engine = Self {
            orders,
            accounts: accounts.clone(),
            metrics,
            runtime: runtime.handle().clone(),
        };
        let thread = std::thread::Builder::new()
            .name("broker".to_owned())
            .spawn(move || {
                let actor = EngineActor::new(journal, broker, flusher, accounts);
                let actor = runtime.spawn(actor.run(waiting));
                // A panic in it has been reported by the panic hook.
                let _ = runtime.block_on(actor);
            })?;
        Ok((engine, thread))
    }

    /// The runtime of the engine's thread, for what hands requests to the engine. Another runtime
    /// works too; each request changes threads twice then.
    #[must_use]
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// The accounts that have queues.
    #[must_use]
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// The metrics of the broker.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Runs `job` on the state machine and answers once its changes are on disk.
    ///
    /// # Errors
    /// The error of the job, or `ServiceUnavailable` when storage fails or the engine is
    /// overloaded.
    pub async fn run<T, F>(&self, job: F) -> Result<T, SqsError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Broker, Millis) -> Result<T, SqsError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |state| {
            let outcome = state.and_then(|(broker, now)| job(broker, now));
            Box::new(move |written| {
                // A client that hung up does not read its answer.
                let _ = reply.send(written.and(outcome));
            })
        });
        self.give(EngineRequest::Job(job))?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Receives messages, waiting up to `wait` for the first.
    ///
    /// # Errors
    /// As [`Broker::receive`], or `ServiceUnavailable`.
    pub async fn receive(
        &self,
        queue: String,
        request: ReceiveRequest,
        wait: Option<Duration>,
    ) -> Result<Delivery, SqsError> {
        let (reply, answer) = oneshot::channel();
        let orders = self.orders.clone();
        self.give(EngineRequest::Receive(Poll {
            queue,
            request,
            wait,
            reply,
            orders,
        }))?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Answers every parked receive now and parks no more.
    pub async fn quiesce(&self) {
        // An engine that has ended has no parked receives.
        let _ = self.orders.send(EngineRequest::Quiesce).await;
    }

    fn give(&self, order: EngineRequest) -> Result<(), SqsError> {
        self.orders.try_send(order).map_err(|error| match error {
            TrySendError::Full(_) => SqsError::new(
                super::error::ErrorKind::ServiceUnavailable,
                "Too many requests are waiting for the broker's disk; try again.",
            ),
            TrySendError::Closed(_) => stopped(),
        })
    }
}

fn stopped() -> SqsError {
    SqsError::new(
        super::error::ErrorKind::ServiceUnavailable,
        "The broker is shutting down.",
    )
}

/// Milliseconds since the epoch, by the machine's clock. Queues use the engine's own clock, which
/// may be ahead of it.
#[must_use]
pub fn wall_clock() -> Millis {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Millis::try_from(since.as_millis()).unwrap_or(Millis::MAX)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

    use std::collections::BTreeMap;

    use futures::future::join_all;

    use super::*;
    use crate::sqs_server::journal::Durability;

    #[test]
    fn requests_that_arrive_together_share_a_flush_and_the_thread_ends_with_the_engine() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broker.sqlite");
        let mut journal = Journal::open(&path, Durability::Disk).unwrap();
        let broker = journal.load().unwrap().broker;
        let (engine, thread) = Engine::start(journal, broker).unwrap();
        let runtime = engine.runtime().clone();
        let requests = runtime.spawn(async move {
            let create = |number: u32| {
                let none = BTreeMap::new();
                let name = number.to_string();
                engine.run(move |broker, now| broker.create_queue(now, &name, none.clone(), none))
            };
            let answers = join_all((0..10).map(create)).await;
            assert!(answers.iter().all(Result::is_ok), "{answers:?}");
            engine.metrics().fsyncs.get()
        });
        assert_eq!(runtime.block_on(requests).unwrap(), 1);
        thread.join().unwrap();
        let mut journal = Journal::open(&path, Durability::Disk).unwrap();
        assert_eq!(journal.load().unwrap().broker.queues().count(), 10);
    }
}
