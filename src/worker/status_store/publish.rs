//! The task that runs a store: events in, coalesced snapshots out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::{Change, StatusStore, replace};
use crate::domain::{Audience, Event, Timestamp, Viewer, WorkerSnapshot};
use crate::protocol::debounce::Debounce;
use crate::worker::log_ring::LogRing;

/// Interval between publications: at most twenty a second, twice the rate of a socket client.
pub(super) const PUBLISH_EVERY: Duration = Duration::from_millis(50);

/// Maximum number of events folded before a publication is considered; a full channel takes eight
/// rounds.
const FOLD_AT_ONCE: usize = 1024;

/// Capacity of the channel of viewers waiting for the current state: as many consoles as a socket
/// accepts.
const LOOKS: usize = 64;

/// A running store's interface for readers. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Published {
    /// The last log lines.
    pub logs: LogRing,
    snapshot: watch::Receiver<Arc<WorkerSnapshot>>,
    audience: Audience,
    looks: mpsc::Sender<oneshot::Sender<()>>,
}

/// A viewer's subscription to a store's snapshots, which are published for it until this is
/// dropped.
#[derive(Debug)]
pub struct Subscription {
    /// The latest snapshot.
    pub snapshot: watch::Receiver<Arc<WorkerSnapshot>>,
    _viewer: Viewer,
}

impl Published {
    /// Subscribes. The snapshot is current, and counts as seen.
    pub async fn look(&self) -> Subscription {
        self.shown(self.look_on()).await
    }

    /// Looks once: as [`Published::look`], for a viewer that is not expected to stay.
    pub async fn glance(&self) -> Subscription {
        let look = Subscription {
            snapshot: self.snapshot.clone(),
            _viewer: self.audience.glance(),
        };
        self.shown(look).await
    }

    /// The current snapshot for the worker itself, which is no viewer: what is only for viewers
    /// need not be done.
    pub async fn current(&self) -> Arc<WorkerSnapshot> {
        let (shown, published) = oneshot::channel();
        // A store that has ended has published its last state.
        if self.looks.send(shown).await.is_ok() {
            let _ = published.await;
        }
        self.snapshot.borrow().clone()
    }

    async fn shown(&self, mut look: Subscription) -> Subscription {
        let (shown, published) = oneshot::channel();
        // A store that has ended has published its last state.
        if self.looks.send(shown).await.is_ok() {
            let _ = published.await;
        }
        look.snapshot.mark_unchanged();
        look
    }

    /// Subscribes without waiting: the snapshot is the last published one.
    #[must_use]
    pub fn look_on(&self) -> Subscription {
        Subscription {
            snapshot: self.snapshot.clone(),
            _viewer: self.audience.enter(),
        }
    }
}

/// Runs a store on its own task until every sink of `events` is gone. `dropped` and `audience` are
/// the sink's [`drop_counter`](crate::domain::EventSink::drop_counter) and
/// [`audience`](crate::domain::EventSink::audience). Snapshots are published only while there are
/// viewers: each is a copy of up to 500 tasks, useless on a worker without a console.
///
/// # Panics
/// Outside a Tokio runtime.
#[must_use = "no one else can see what the store publishes"]
pub fn spawn(
    store: StatusStore,
    events: mpsc::Receiver<Event>,
    dropped: Arc<AtomicU64>,
    audience: Audience,
) -> (Published, tokio::task::JoinHandle<()>) {
    let (publish, snapshot) = watch::channel(Arc::new(store.snapshot(Timestamp::now())));
    let (looks, requests) = mpsc::channel(LOOKS);
    let published = Published {
        logs: store.logs(),
        snapshot,
        audience,
        looks,
    };
    let audience = published.audience.clone();
    let task = tokio::spawn(run(store, events, dropped, publish, audience, requests));
    (published, task)
}

async fn run(
    mut store: StatusStore,
    mut events: mpsc::Receiver<Event>,
    dropped: Arc<AtomicU64>,
    publish: watch::Sender<Arc<WorkerSnapshot>>,
    audience: Audience,
    mut requests: mpsc::Receiver<oneshot::Sender<()>>,
) {
    let mut debounce = Debounce::new(PUBLISH_EVERY);
    let mut batch = Vec::with_capacity(FOLD_AT_ONCE);
    loop {
        tokio::select! {
            count = events.recv_many(&mut batch, FOLD_AT_ONCE) => {
                if count == 0 {
                    break;
                }
                for event in batch.drain(..) {
                    if store.apply(&event) == Change::Snapshot {
                        debounce.touch();
                    }
                }
                if replace(&mut store.worker.dropped_events, dropped.load(Ordering::Relaxed)) {
                    debounce.touch();
                }
            }
            Some(shown) = requests.recv() => {
                // Events from before the viewer came are folded before it gets the snapshot.
                while let Ok(event) = events.try_recv() {
                    store.apply(&event);
                }
                publish.send_replace(Arc::new(store.snapshot(Timestamp::now())));
                debounce.published();
                // The caller may have gone.
                let _ = shown.send(());
            }
            () = debounce.due(), if audience.is_present() => {
                debounce.published();
                publish.send_replace(Arc::new(store.snapshot(Timestamp::now())));
            }
        }
    }
    publish.send_replace(Arc::new(store.snapshot(Timestamp::now())));
}
