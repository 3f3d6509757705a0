//! Whether anybody looks at a worker. What is made only for viewers (counts of the queues,
//! snapshots) rests while nobody does.

use tokio::sync::watch;

/// How many viewers a worker has. Cloning is cheap; all clones are of one audience.
#[derive(Clone, Debug, Default)]
pub struct Audience {
    viewers: watch::Sender<usize>,
}

/// One viewer, until it is dropped.
#[derive(Debug)]
#[must_use = "the viewer leaves when this is dropped"]
pub struct Viewer {
    viewers: watch::Sender<usize>,
}

impl Audience {
    /// Lets a viewer in.
    pub fn enter(&self) -> Viewer {
        self.viewers.send_modify(|count| *count += 1);
        Viewer {
            viewers: self.viewers.clone(),
        }
    }

    /// Whether anybody looks now.
    #[must_use]
    pub fn is_present(&self) -> bool {
        *self.viewers.borrow() > 0
    }

    /// The number of viewers, to be waited for.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<usize> {
        self.viewers.subscribe()
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.viewers
            .send_modify(|count| *count = count.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audience_is_present_until_its_last_viewer_has_left() {
        let audience = Audience::default();
        assert!(!audience.is_present());
        let (first, second) = (audience.enter(), audience.clone().enter());
        drop(first);
        assert!(audience.is_present());
        drop(second);
        assert!(!audience.is_present());
    }
}
