//! Rate of publications: at once after a quiet time, otherwise at a fixed rate.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Decides when the next publication is due. A change after a quiet time is due at once; under a
/// steady stream of changes there is one publication per interval.
#[derive(Debug)]
pub(crate) struct Debounce {
    interval: Duration,
    next: Instant,
    dirty: bool,
}

impl Debounce {
    /// At most one publication per `interval`.
    pub(crate) fn new(interval: Duration) -> Self {
        Self {
            interval,
            next: Instant::now(),
            dirty: false,
        }
    }

    /// Marks a change.
    pub(crate) fn touch(&mut self) {
        self.dirty = true;
    }

    /// Completes when there is something to publish and it is due; never otherwise. Safe to drop
    /// and call again.
    pub(crate) async fn due(&self) {
        if self.dirty {
            sleep_until(self.next).await;
        } else {
            std::future::pending::<()>().await;
        }
    }

    /// Marks all changes as published.
    pub(crate) fn published(&mut self) {
        self.dirty = false;
        self.next = Instant::now() + self.interval;
    }
}
