//! Human-readable figures: durations, ages, sizes, counts.

use jiff::{Timestamp, tz::TimeZone};

pub use crate::domain::{coarse_age, seconds_between};

/// A duration to the second: `7s`, `3m 07s`, `2h 05m`, `3d 04h`.
#[must_use]
pub fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    if days > 0 {
        format!("{days}d {:02}h", hours % 24)
    } else if hours > 0 {
        format!("{hours}h {:02}m", minutes % 60)
    } else if minutes > 0 {
        format!("{minutes}m {:02}s", seconds % 60)
    } else {
        format!("{seconds}s")
    }
}

/// Time of the next retry, in steps of ten seconds: `retry <10s`, `retry <20s`.
#[must_use]
pub fn retry(at: Timestamp, now: Timestamp) -> String {
    // A retry itself takes a moment; a long one is shown.
    const LONG: u64 = 5;
    if seconds_between(at, now) >= LONG {
        return String::from("trying");
    }
    let steps = seconds_between(now, at).div_ceil(10).max(1);
    format!("retry <{}s", steps * 10)
}

/// A duration between two times, with tenths if it is short: `0.4s`, `12.3s`, `3m 07s`.
#[must_use]
pub fn span(since: Timestamp, until: Timestamp) -> String {
    let millis = u64::try_from(until.as_millisecond() - since.as_millisecond()).unwrap_or(0);
    if millis < 60_000 {
        format!("{}.{}s", millis / 1000, millis % 1000 / 100)
    } else {
        duration(millis / 1000)
    }
}

/// Bytes in binary units: `27M`, `1.2G`.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;
    if bytes >= GIB {
        format!("{}.{}G", bytes / GIB, bytes % GIB * 10 / GIB)
    } else if bytes >= MIB {
        format!("{}M", bytes / MIB)
    } else {
        format!("{}K", bytes / 1024)
    }
}

/// A count in at most five columns: `42`, `9999`, `12k`, `3.4M`.
#[must_use]
pub fn count(n: u64) -> String {
    match n {
        0..10_000 => n.to_string(),
        10_000..1_000_000 => format!("{}k", n / 1000),
        1_000_000..10_000_000 => format!("{}.{}M", n / 1_000_000, n % 1_000_000 / 100_000),
        _ => format!("{}M", n / 1_000_000),
    }
}

/// The time of day in `zone`.
#[must_use]
pub fn clock(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned_datetime(zone.clone())
        .strftime("%H:%M:%S")
        .to_string()
}

/// Name of `zone` at a time: `UTC`, an abbreviation such as `CET`, or else its offset, `+05:30`.
#[must_use]
pub fn zone(at: Timestamp, zone: &TimeZone) -> String {
    let zoned = at.to_zoned_datetime(zone.clone());
    let name = zoned.strftime("%Z").to_string();
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphabetic());
    if is_name {
        name
    } else {
        zoned.strftime("%:z").to_string()
    }
}

/// Date and time of day in `zone`.
#[must_use]
pub fn date(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned_datetime(zone.clone())
        .strftime("%Y-%m-%d %H:%M:%S")
        .to_string()
}

/// Date and time of day in `zone`, to the millisecond, with the offset from UTC.
#[must_use]
pub fn date_millis(at: Timestamp, zone: &TimeZone) -> String {
    let format = if *zone == TimeZone::UTC {
        "%Y-%m-%d %H:%M:%S%.3f"
    } else {
        "%Y-%m-%d %H:%M:%S%.3f%:z"
    };
    at.to_zoned_datetime(zone.clone())
        .strftime(format)
        .to_string()
}

/// The first eight characters of a run id, as Dagster's own pages show it.
#[must_use]
pub fn short_id(id: &str) -> &str {
    id.char_indices().nth(8).map_or(id, |(at, _)| &id[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_grow_coarser_with_their_length() {
        let shown: Vec<String> = [7, 187, 7500, 273_600].map(duration).into();
        assert_eq!(shown, ["7s", "3m 07s", "2h 05m", "3d 04h"]);
    }

    #[test]
    fn a_retry_counts_down_in_steps_and_a_long_try_is_shown() {
        let shown = [31, 30, 12, 3, 0, -4, -5].map(|seconds| {
            let now = Timestamp::UNIX_EPOCH;
            retry(now + jiff::SignedDuration::from_secs(seconds), now)
        });
        let (forty, thirty, twenty, ten) = ("retry <40s", "retry <30s", "retry <20s", "retry <10s");
        assert_eq!(shown, [forty, thirty, twenty, ten, ten, ten, "trying"]);
    }

    #[test]
    fn a_zone_has_its_abbreviation_or_else_its_offset() {
        let shown = |name: &str, at: i64| {
            let at = Timestamp::from_second(at).unwrap_or_default();
            TimeZone::get(name).map(|named| zone(at, &named)).ok()
        };
        let (winter, summer) = (1_768_000_000, 1_784_000_000);
        for (name, at, expected) in [
            ("UTC", winter, "UTC"),
            ("Europe/Vienna", winter, "CET"),
            ("Europe/Vienna", summer, "CEST"),
            ("America/Sao_Paulo", winter, "-03:00"),
            ("Asia/Kathmandu", winter, "+05:45"),
        ] {
            assert_eq!(shown(name, at).as_deref(), Some(expected), "{name}");
        }
    }

    #[test]
    fn counts_and_sizes_stay_narrow() {
        assert_eq!(
            [9999, 12_345, 3_400_000].map(count),
            ["9999", "12k", "3.4M"]
        );
        assert_eq!([28_311_552, 1_288_490_188].map(bytes), ["27M", "1.1G"]);
    }
}
