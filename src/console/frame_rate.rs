//! Frame rate: on average no more frames than the limit, but a key is answered at once, as long as
//! only few were pressed recently, and before data that are slow to show.

use std::env;
use std::time::Duration;

use tokio::time::Instant;

/// Number of frames that keys may be ahead of the limit.
const AHEAD: u32 = 3;

/// Frame budget: each drawn frame delays the next one.
#[derive(Debug)]
pub(super) struct FrameLimiter {
    frame: Duration,
    /// Time from which the next frame may be drawn for input that can wait.
    pub(super) due: Instant,
}

impl FrameLimiter {
    pub(super) fn new(frame: Duration) -> Self {
        let due = Instant::now();
        Self { frame, due }
    }

    /// Whether a frame may be drawn now, which is then counted; `typed` if a key requires it.
    pub(super) fn takes(&mut self, now: Instant, typed: bool) -> bool {
        let ahead = self.due.saturating_duration_since(now);
        let most = if typed {
            self.frame * (AHEAD - 1)
        } else {
            Duration::ZERO
        };
        if ahead > most {
            return false;
        }
        self.due = self.due.max(now) + self.frame;
        true
    }
}

/// Minimum time between two frames. Under ssh every frame is a packet.
pub(super) fn frame_time(max_fps: Option<u32>) -> Duration {
    let usual = if env::var_os("SSH_CONNECTION").is_some() {
        10
    } else {
        30
    };
    Duration::from_secs(1) / max_fps.unwrap_or(usual).max(1)
}

/// A snapshot that waits for its frame. A snapshot that takes long to show, because it renews a
/// list of many thousand rows, does not delay the answer to a key.
#[derive(Debug, Default)]
pub(super) struct PendingSnapshot {
    /// Start of the wait.
    since: Option<Instant>,
    /// Time that showing the last one took.
    cost: Duration,
}

impl PendingSnapshot {
    /// Acceptable delay of the answer to a key.
    const CHEAP: Duration = Duration::from_millis(3);
    /// Maximum delay of data by a key that is held down.
    const AT_MOST: Duration = Duration::from_millis(500);

    pub(super) fn arrived(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    pub(super) fn wait(&self) -> bool {
        self.since.is_some()
    }

    /// Whether the waiting data are shown with this frame, which a key required if `typed`; if so,
    /// they no longer wait.
    pub(super) fn is_due(&mut self, now: Instant, typed: bool) -> bool {
        let wait = |since: Instant| {
            let waited = now.saturating_duration_since(since);
            typed && self.cost > Self::CHEAP && waited < Self::AT_MOST
        };
        match self.since {
            Some(since) if !wait(since) => self.since.take().is_some(),
            _ => false,
        }
    }

    /// Records the time that showing the data took.
    pub(super) fn cost(&mut self, cost: Duration) {
        self.cost = cost;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_costly_snapshot_lets_a_key_go_first_but_not_for_ever() {
        let start = Instant::now();
        let later = |ms| start + Duration::from_millis(ms);
        let mut pending = PendingSnapshot::default();
        assert!(!pending.is_due(start, false), "there are none");
        pending.arrived(start);
        assert!(pending.is_due(start, true), "nothing says that they cost");
        assert!(!pending.wait());
        pending.cost(Duration::from_millis(20));
        pending.arrived(start);
        pending.arrived(later(400));
        assert!(!pending.is_due(later(400), true));
        assert!(
            pending.is_due(later(500), true),
            "they wait since the first"
        );
        pending.arrived(later(600));
        assert!(pending.is_due(later(600), false), "no key asks for it");
        pending.cost(Duration::from_millis(1));
        pending.arrived(later(700));
        assert!(pending.is_due(later(700), true), "they cost little again");
    }

    #[test]
    fn keys_are_answered_at_once_and_the_rate_holds_all_the_same() {
        let frame = Duration::from_millis(100);
        let mut limiter = FrameLimiter::new(frame);
        let start = limiter.due;
        assert!(limiter.takes(start, false));
        assert!(!limiter.takes(start, false), "news wait for the next frame");
        assert!(limiter.takes(start, true) && limiter.takes(start, true));
        assert!(
            !limiter.takes(start, true),
            "a held key does not outrun the limit"
        );
        assert!(
            !limiter.takes(start + frame * 2, false),
            "what keys took is paid back"
        );
        assert!(limiter.takes(start + frame * 3, false));
        let mut streamed = FrameLimiter::new(frame);
        let start = streamed.due;
        let drawn =
            (0..1000).filter(|ms| streamed.takes(start + Duration::from_millis(*ms), false));
        assert_eq!(drawn.count(), 10, "a stream of news");
        let mut held = FrameLimiter::new(frame);
        let start = held.due;
        let drawn = (0..1000).filter(|ms| held.takes(start + Duration::from_millis(*ms), true));
        assert!(drawn.count() <= 13);
    }
}
