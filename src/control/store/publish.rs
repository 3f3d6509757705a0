//! The task that runs a store: events in, coalesced snapshots out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::{Change, Store, replace};
use crate::control::logs::LogRing;
use crate::control::pace::Pace;
use crate::domain::{Event, Timestamp, WorkerSnapshot};

/// At most twenty publications a second: twice what a socket client is sent.
pub(super) const PUBLISH_EVERY: Duration = Duration::from_millis(50);

/// Events folded before a publication is considered; a full channel takes eight rounds.
const FOLD_AT_ONCE: usize = 1024;

/// What a running store offers to readers. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Published {
    /// The latest snapshot.
    pub snapshot: watch::Receiver<Arc<WorkerSnapshot>>,
    /// The last log lines.
    pub logs: LogRing,
}

/// Runs a store on a task of its own until every sink of `events` is gone. `dropped` is the sink's
/// [`drop_counter`](crate::domain::EventSink::drop_counter).
///
/// # Panics
/// Outside a Tokio runtime.
#[must_use = "nobody else can see what the store publishes"]
pub fn spawn(
    store: Store,
    events: mpsc::Receiver<Event>,
    dropped: Arc<AtomicU64>,
) -> (Published, tokio::task::JoinHandle<()>) {
    let (publish, snapshot) = watch::channel(Arc::new(store.snapshot(Timestamp::now())));
    let logs = store.logs();
    let task = tokio::spawn(run(store, events, dropped, publish));
    (Published { snapshot, logs }, task)
}

async fn run(
    mut store: Store,
    mut events: mpsc::Receiver<Event>,
    dropped: Arc<AtomicU64>,
    publish: watch::Sender<Arc<WorkerSnapshot>>,
) {
    let mut pace = Pace::new(PUBLISH_EVERY);
    let mut batch = Vec::with_capacity(FOLD_AT_ONCE);
    loop {
        tokio::select! {
            count = events.recv_many(&mut batch, FOLD_AT_ONCE) => {
                if count == 0 {
                    break;
                }
                for event in batch.drain(..) {
                    if store.apply(&event) == Change::Snapshot {
                        pace.touch();
                    }
                }
                if replace(&mut store.worker.dropped_events, dropped.load(Ordering::Relaxed)) {
                    pace.touch();
                }
            }
            () = pace.due() => {
                pace.published();
                publish.send_replace(Arc::new(store.snapshot(Timestamp::now())));
            }
        }
    }
    publish.send_replace(Arc::new(store.snapshot(Timestamp::now())));
}
