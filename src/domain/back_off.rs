//! Waits between the tries of something that fails.

use std::time::Duration;

/// A wait that doubles with each failure in a row, up to a longest one.
#[derive(Clone, Copy, Debug)]
pub struct BackOff {
    /// The wait after the first failure.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
}

impl BackOff {
    /// The wait after a failure, by the number of failures in a row before it.
    #[must_use]
    pub fn after(self, earlier: u32) -> Duration {
        let factor = 1_u32.checked_shl(earlier).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_the_longest() {
        let waits = BackOff {
            first: Duration::from_millis(500),
            longest: Duration::from_secs(3),
        };
        let expected = [500, 1000, 2000, 3000, 3000];
        for (earlier, millis) in (0..).zip(expected) {
            assert_eq!(waits.after(earlier), Duration::from_millis(millis));
        }
        assert_eq!(waits.after(u32::MAX), waits.longest);
    }
}
