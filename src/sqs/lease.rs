//! Leases: the visibility of every message in progress is renewed from its receive until its
//! release.
//!
//! A message may be delivered again while it is in progress, because its lease lapsed or SQS
//! released it after twelve hours. It then has a new receipt handle, with which the lease
//! continues.
//!
//! A release is awaited before the message is deleted or given back, so a pending renewal cannot
//! hide it again afterwards.

mod outage;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, Notify};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::{Span, warn};

use super::client::{Broker, Refused};
use super::delivery::Delivery;
use super::error::BrokerError;
use super::queue_set::Queue;
use crate::telemetry::metrics::metrics;
use outage::Outages;

/// Number of leases that SQS renews in one call.
const BATCH: usize = 10;

/// Leases that fall due within this time are renewed together.
const GATHER: Duration = Duration::from_secs(1);

/// The leases of a worker. Cloning is cheap; renewal ends when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Leases {
    shared: Arc<Shared>,
    _keeper: Arc<AbortOnDropHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    broker: Broker,
    held: Mutex<HashMap<String, Lease>>,
    /// Held while renewals are in progress.
    renewing: AsyncMutex<Outages>,
    registered: Notify,
}

#[derive(Debug)]
struct Lease {
    queue: Arc<Queue>,
    message_id: String,
    due: Instant,
    /// Span of the task, if it was known.
    span: Span,
}

impl Leases {
    /// Starts the renewal task for a broker's leases.
    #[must_use]
    pub fn start(broker: Broker) -> Self {
        let shared = Arc::new(Shared {
            broker,
            held: Mutex::new(HashMap::new()),
            renewing: AsyncMutex::default(),
            registered: Notify::new(),
        });
        let keeper = tokio::spawn(keep(Arc::clone(&shared)));
        Self {
            shared,
            _keeper: Arc::new(AbortOnDropHandle::new(keeper)),
        }
    }

    /// Starts renewing this delivery's lease. Later log lines about it carry the current span.
    pub fn register(&self, delivery: &Delivery) {
        let lease = Lease {
            queue: Arc::clone(&delivery.queue),
            message_id: delivery.message_id.clone(),
            due: Instant::now() + self.shared.period(),
            span: Span::current(),
        };
        self.shared.held().insert(delivery.receipt.handle(), lease);
        self.shared.registered.notify_one();
    }

    /// Continues with the handle of a later receive of the same message as `delivery`. Both were
    /// registered; from here on they are one lease. Returns false and changes nothing if the later
    /// one is a separate message (a copy) and the earlier one's lease is valid.
    #[must_use]
    pub fn adopt(&self, delivery: &Delivery, newer: &Delivery) -> bool {
        let mut held = self.shared.held();
        let handle = delivery.receipt.handle();
        let is_same = delivery.receipt.is_of_message_of(&newer.receipt);
        if delivery.queue.url != newer.queue.url || (!is_same && held.contains_key(&handle)) {
            return false;
        }
        held.remove(&handle);
        delivery.receipt.adopt(&newer.receipt);
        true
    }

    /// Ends the lease of a delivery whose message was received again and is not adopted; its
    /// replacement will be.
    pub fn lapse(&self, delivery: &Delivery) {
        self.shared.held().remove(&delivery.receipt.handle());
    }

    /// Whether this delivery's lease is renewed.
    #[must_use]
    pub fn holds(&self, delivery: &Delivery) -> bool {
        self.shared.held().contains_key(&delivery.receipt.handle())
    }

    /// Stops renewing, and waits for a renewal in progress.
    pub async fn release(&self, delivery: &Delivery) {
        self.shared.held().remove(&delivery.receipt.handle());
        drop(self.shared.renewing.lock().await);
    }
}

impl Shared {
    /// Renewal interval, a third of the visibility timeout: two renewals may fail before the lease
    /// is lost.
    fn period(&self) -> Duration {
        self.broker.visibility() / 3
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<String, Lease>> {
        // Every statement leaves the map consistent, so a panic elsewhere does no harm.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time at which the next lease falls due.
    fn next_due(&self) -> Option<Instant> {
        self.held().values().map(|lease| lease.due).min()
    }

    /// Handles that are due, by queue.
    fn due(&self) -> Vec<(Arc<Queue>, Vec<String>)> {
        let until = Instant::now() + GATHER;
        let mut by_queue: HashMap<String, (Arc<Queue>, Vec<String>)> = HashMap::new();
        for (handle, lease) in self.held().iter().filter(|(_, lease)| lease.due <= until) {
            let (_, handles) = by_queue
                .entry(lease.queue.url.clone())
                .or_insert_with(|| (Arc::clone(&lease.queue), Vec::new()));
            handles.push(handle.clone());
        }
        by_queue.into_values().collect()
    }

    /// Renews all leases that are due.
    async fn renew(&self) {
        let mut outages = self.renewing.lock().await;
        for (queue, handles) in self.due() {
            for batch in handles.chunks(BATCH) {
                self.renew_batch(&queue, batch, &mut outages).await;
            }
        }
    }

    /// Time until the next renewal of the requested leases, and the refused ones.
    fn judged(&self, answer: Result<Vec<Refused>, BrokerError>) -> (Duration, Vec<Refused>) {
        match answer {
            Ok(refused) => (self.period(), refused),
            Err(BrokerError::Denied { .. }) => (self.period(), Vec::new()),
            // Retry soon, but not in a hot loop.
            Err(_) => (self.period() / 4, Vec::new()),
        }
    }

    async fn renew_batch(&self, queue: &Queue, handles: &[String], outages: &mut Outages) {
        let requested_at = Instant::now();
        let time = self.broker.visibility();
        let answer = self.broker.extend(queue, handles, time).await;
        outages.record(&queue.name, &answer, time);
        if let Ok(refused) = &answer {
            metrics().leases_extended(&queue.name, handles.len() - refused.len());
        }
        let (period, refused) = self.judged(answer);
        let mut held = self.held();
        for handle in handles {
            if let Some(lease) = held.get_mut(handle) {
                lease.due = requested_at + period;
            }
        }
        for refused in refused {
            let Refused { handle, reason, .. } = &refused;
            if !refused.is_final {
                if let Some(lease) = held.get_mut(handle) {
                    lease.due = requested_at + self.period() / 4;
                    let (id, name) = (&lease.message_id, &queue.name);
                    let _entered = lease.span.enter();
                    warn!(
                        "cannot renew the lease of message {id} on {name} ({reason}); trying again"
                    );
                }
            } else if let Some(lease) = held.remove(handle) {
                metrics().lease_lost(&queue.name);
                let _entered = lease.span.enter();
                warn!(
                    "the lease of message {} on {} cannot be renewed ({reason}); it comes \
                     back, and this worker or another that finds its claim held keeps it",
                    lease.message_id, queue.name
                );
            }
        }
    }
}

async fn keep(shared: Arc<Shared>) {
    loop {
        let due = shared.next_due();
        tokio::select! {
            () = shared.registered.notified() => {}
            () = sleep_until(due) => shared.renew().await,
        }
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
