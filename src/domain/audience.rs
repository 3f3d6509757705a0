//! Presence of viewers of a worker. Work that is only for viewers (counts of the queues, snapshots)
//! pauses while there are none.

use std::time::{Duration, Instant};

use tokio::sync::watch;

/// Time for which a viewer counts as present after leaving. A client that polls the status is a
/// viewer, although each request is short.
const LINGER: Duration = Duration::from_secs(10);

/// The viewers of a worker. Cloning is cheap; all clones share one audience.
#[derive(Clone, Debug, Default)]
pub struct Audience {
    viewers: watch::Sender<Viewers>,
}

/// The viewers at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Viewers {
    count: usize,
    glances: usize,
    left_at: Option<Instant>,
}

/// One viewer, until it is dropped.
#[derive(Debug)]
#[must_use = "the viewer leaves when this is dropped"]
pub struct Viewer {
    viewers: watch::Sender<Viewers>,
    is_glance: bool,
}

impl Viewers {
    /// Whether there is a viewer, or was one moments ago.
    #[must_use]
    pub fn are_present(&self) -> bool {
        self.glances > 0 || self.stay()
    }

    /// Whether there is, or was a moment ago, a viewer that needs more than the counts.
    #[must_use]
    pub fn stay(&self) -> bool {
        self.count > 0 || self.left_at.is_some_and(|at| at.elapsed() < LINGER)
    }
}

impl Audience {
    /// Adds a viewer.
    pub fn enter(&self) -> Viewer {
        self.viewers.send_modify(|viewers| viewers.count += 1);
        Viewer {
            viewers: self.viewers.clone(),
            is_glance: false,
        }
    }

    /// Admits a viewer that is not expected to stay: a scrape needs one look at the queues, and
    /// returns after an unknown time.
    pub fn glance(&self) -> Viewer {
        self.viewers.send_modify(|viewers| viewers.glances += 1);
        Viewer {
            viewers: self.viewers.clone(),
            is_glance: true,
        }
    }

    /// Whether there is a viewer, or was one moments ago.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.viewers.borrow().are_present()
    }

    /// A receiver that reports changes of the viewers.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Viewers> {
        self.viewers.subscribe()
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.viewers.send_modify(|viewers| {
            if self.is_glance {
                viewers.glances = viewers.glances.saturating_sub(1);
                return;
            }
            viewers.count = viewers.count.saturating_sub(1);
            viewers.left_at = Some(Instant::now());
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audience_is_present_until_its_last_viewer_has_left_for_a_while() {
        let audience = Audience::default();
        assert!(!audience.is_present());
        let (first, second) = (audience.enter(), audience.clone().enter());
        drop(first);
        let a_while_ago = Instant::now().checked_sub(LINGER);
        let earlier = |viewers: &mut Viewers| viewers.left_at = a_while_ago;
        audience.viewers.send_modify(earlier);
        assert!(audience.is_present(), "the second one looks");
        drop(second);
        assert!(audience.is_present(), "who asks often looks");
        audience.viewers.send_modify(earlier);
        assert!(!audience.is_present());
    }

    #[test]
    fn a_glance_is_over_with_its_viewer_and_is_no_stay() {
        let audience = Audience::default();
        let glance = audience.glance();
        assert!(audience.is_present() && !audience.viewers.borrow().stay());
        drop(glance);
        assert!(!audience.is_present());
    }
}
