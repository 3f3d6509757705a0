//! Ages in words that change seldom.

use jiff::Timestamp;

/// Whole seconds from `since` to `now`; 0 if the clocks disagree.
#[must_use]
pub fn seconds_between(since: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(now.as_second() - since.as_second()).unwrap_or(0)
}

/// An age in coarse steps, so that a screen that shows one rarely changes: `10s`, `20s`, `1m`, `5m`.
#[must_use]
pub fn coarse_age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{}s", seconds / 10 * 10),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}
