//! How often frames are drawn: on the average no more often than the limit, but a key is answered at
//! once, as long as only few were pressed lately.

use std::time::Duration;

use tokio::time::Instant;

/// Frames that keys may be ahead of the limit.
const AHEAD: u32 = 3;

/// The account of frames: each one drawn moves the moment on at which the next may follow.
#[derive(Debug)]
pub(super) struct Pace {
    frame: Duration,
    /// When the next frame may be drawn for something that can wait.
    pub(super) due: Instant,
}

impl Pace {
    pub(super) fn new(frame: Duration) -> Self {
        let due = Instant::now();
        Self { frame, due }
    }

    /// Whether a frame may be drawn now, which it then counts; `typed` if a key asks for it.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_answered_at_once_and_the_rate_holds_all_the_same() {
        let frame = Duration::from_millis(100);
        let mut pace = Pace::new(frame);
        let start = pace.due;
        assert!(pace.takes(start, false));
        assert!(!pace.takes(start, false), "news wait for the next frame");
        assert!(pace.takes(start, true) && pace.takes(start, true));
        assert!(
            !pace.takes(start, true),
            "a held key does not outrun the limit"
        );
        assert!(
            !pace.takes(start + frame * 2, false),
            "what keys took is paid back"
        );
        assert!(pace.takes(start + frame * 3, false));
        let mut held = Pace::new(frame);
        let start = held.due;
        let drawn = (0..1000).filter(|ms| held.takes(start + Duration::from_millis(*ms), true));
        assert!(drawn.count() <= 13);
    }
}
