//! Whether anybody looks at a worker. What is made only for viewers (counts of the queues,
//! snapshots) rests while nobody does.

use std::time::{Duration, Instant};

use tokio::sync::watch;

/// How long a viewer who has left is expected back. Who asks for the status again and again looks,
/// although each question is over in a moment.
const LINGER: Duration = Duration::from_secs(10);

/// Who looks at a worker. Cloning is cheap; all clones are of one audience.
#[derive(Clone, Debug, Default)]
pub struct Audience {
    viewers: watch::Sender<Viewers>,
}

/// The viewers at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Viewers {
    count: usize,
    left_at: Option<Instant>,
}

/// One viewer, until it is dropped.
#[derive(Debug)]
#[must_use = "the viewer leaves when this is dropped"]
pub struct Viewer {
    viewers: watch::Sender<Viewers>,
}

impl Viewers {
    /// Whether anybody looks, or has done so moments ago.
    #[must_use]
    pub fn are_present(&self) -> bool {
        self.count > 0 || self.left_at.is_some_and(|at| at.elapsed() < LINGER)
    }
}

impl Audience {
    /// Lets a viewer in.
    pub fn enter(&self) -> Viewer {
        self.viewers.send_modify(|viewers| viewers.count += 1);
        Viewer {
            viewers: self.viewers.clone(),
        }
    }

    /// Whether anybody looks now, or has done so moments ago.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.viewers.borrow().are_present()
    }

    /// The viewers, to be waited for.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Viewers> {
        self.viewers.subscribe()
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.viewers.send_modify(|viewers| {
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
}
