//! Trend of a queue's waiting messages over the last hour, and detection of growth.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Number of minutes that are kept.
const MINUTES: i64 = 60;

/// Maximum gap within one trend, in minutes; counts further apart do not belong together.
const GAP: i64 = 3;

/// Minutes without a new peak after which a backlog no longer counts as growing.
const CALM: i64 = 10;

/// Waiting messages of one queue, one count a minute. Minutes without a count are missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Trend {
    /// By minutes since the Unix epoch.
    counts: BTreeMap<i64, u64>,
}

/// A growing backlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth {
    /// Number of waiting messages at its begin.
    pub from: u64,
    /// Number of waiting messages now.
    pub to: u64,
    /// Minutes since its begin.
    pub minutes: i64,
}

impl Trend {
    /// Whether there is no count yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Adds a count; only the first of each minute is kept.
    pub fn note(&mut self, waiting: u64, at: Timestamp) {
        self.counts.entry(minute(at)).or_insert(waiting);
        self.trim();
    }

    /// Adds the counts of another observer of the same queue for minutes that are missing here.
    pub fn join(&mut self, other: &Self) {
        for (minute, count) in &other.counts {
            self.counts.entry(*minute).or_insert(*count);
        }
        self.trim();
    }

    fn trim(&mut self) {
        let last = self.counts.last_key_value().map(|(minute, _)| *minute);
        if let Some(first) = last.map(|last| last - MINUTES) {
            self.counts.retain(|minute, _| *minute >= first);
        }
    }

    /// Growth of the backlog at `now`; `None` without a recent count.
    ///
    /// Growth is reported when a new peak is reached and the increase since the preceding low is:
    /// * over three minutes or more: at least half, and at least sixty messages; or
    /// * over ten minutes or more: at least a tenth, and at least twenty messages.
    ///
    /// The largest rise of a single minute is left out, because one burst is not a trend. A fall by
    /// a tenth is a new low to judge from. Growth stays reported until the backlog has fallen by a
    /// fifth of the peak, the low is reached again, or ten minutes brought no new peak.
    #[must_use]
    pub fn growth(&self, now: Timestamp) -> Option<Growth> {
        let (last, _) = self.counts.last_key_value()?;
        if (minute(now) - last).abs() > GAP {
            return None;
        }
        let mut counts = self.counts.iter().map(|(minute, count)| (*minute, *count));
        let (minute, count) = counts.next()?;
        let rise = counts.fold(Rise::at(minute, count), |rise, (minute, count)| {
            rise.then(minute, count)
        });
        rise.reported.then(|| Growth {
            from: rise.low.count,
            to: rise.last.count,
            minutes: rise.last.minute - rise.low.minute,
        })
    }
}

fn minute(at: Timestamp) -> i64 {
    at.as_second().div_euclid(60)
}

#[derive(Clone, Copy)]
struct Sample {
    minute: i64,
    count: u64,
}

/// A period in which the backlog has not fallen back.
struct Rise {
    low: Sample,
    peak: Sample,
    last: Sample,
    /// The largest rise from one count to the next.
    burst: u64,
    reported: bool,
}

impl Rise {
    fn at(minute: i64, count: u64) -> Self {
        let sample = Sample { minute, count };
        Self {
            low: sample,
            peak: sample,
            last: sample,
            burst: 0,
            reported: false,
        }
    }

    fn then(self, minute: i64, count: u64) -> Self {
        let fell = if self.reported {
            count <= self.peak.count - self.peak.count / 5 || minute - self.peak.minute >= CALM
        } else {
            count < self.peak.count - self.peak.count / 10
        };
        if fell || count <= self.low.count || minute - self.last.minute > GAP {
            return Self::at(minute, count);
        }
        let mut rise = self;
        rise.burst = rise.burst.max(count.saturating_sub(rise.last.count));
        rise.last = Sample { minute, count };
        if count > rise.peak.count {
            rise.peak = rise.last;
            rise.reported |= rise.is_trend();
        }
        rise
    }

    fn is_trend(&self) -> bool {
        let low = self.low.count;
        let more = (self.last.count - low).saturating_sub(self.burst);
        let minutes = self.last.minute - self.low.minute;
        (minutes >= 3 && more >= 60.max(low / 2)) || (minutes >= 10 && more >= 20.max(low / 10))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether growth is reported after each count; one is taken each minute, `None` is a missing
    /// one.
    fn reported(counts: &[Option<u64>]) -> Vec<bool> {
        let mut trend = Trend::default();
        let mut reported = Vec::new();
        for (minute, count) in (0..).zip(counts) {
            let now = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_mins(minute);
            if let Some(count) = count {
                trend.note(*count, now);
            }
            reported.push(trend.growth(now).is_some());
        }
        reported
    }

    fn each(counts: impl IntoIterator<Item = u64>) -> Vec<Option<u64>> {
        counts.into_iter().map(Some).collect()
    }

    fn first(reported: &[bool]) -> Option<usize> {
        reported.iter().position(|reported| *reported)
    }

    #[test]
    fn a_flood_is_reported_after_three_minutes_and_a_slow_growth_after_ten() {
        let flood = reported(&each((0..10).map(|minute| 40 + minute * 100)));
        assert_eq!(first(&flood), Some(3), "{flood:?}");
        let slow = reported(&each((0..15).map(|minute| 40 + minute * 5)));
        assert_eq!(first(&slow), Some(10), "{slow:?}");
    }

    #[test]
    fn a_burst_that_drains_is_not_reported_however_slowly() {
        assert_eq!(
            first(&reported(&each([0, 500, 460, 420, 300, 100, 0]))),
            None
        );
        let slowly = each((0..40).map(|minute| if minute == 0 { 0 } else { 500 - minute }));
        assert_eq!(first(&reported(&slowly)), None);
        let one_more = each([0, 0, 10, 10, 12, 300, 301, 301, 302, 302, 303, 304]);
        assert_eq!(
            first(&reported(&one_more)),
            None,
            "nor one that merely stays"
        );
    }

    #[test]
    fn arrivals_in_bursts_that_do_not_drain_between_them_are_reported() {
        let saw = each([0, 500, 400, 900, 800, 1300, 1200, 1700, 1600, 2100]);
        assert_eq!(first(&reported(&saw)), Some(7));
    }

    #[test]
    fn missing_minutes_are_no_end_of_a_trend_but_a_long_gap_is() {
        let missing = [Some(40), Some(140), None, None, Some(440), Some(540)];
        assert_eq!(first(&reported(&missing)), Some(4));
        let burst = [Some(40), Some(50), None, None, Some(440), Some(450)];
        assert_eq!(
            first(&reported(&burst)),
            None,
            "what came in a gap is one burst"
        );
        let mut gap = vec![Some(40)];
        gap.extend([None; 9]);
        gap.extend(each([900, 1000]));
        assert_eq!(first(&reported(&gap)), None, "no one looked in between");
    }

    #[test]
    fn a_report_stands_until_the_backlog_drains_or_stays_as_it_is() {
        let mut counts: Vec<u64> = (0..6).map(|minute| minute * 100).collect();
        counts.extend([450, 480, 430, 401, 399, 350]);
        let drained = reported(&each(counts));
        let (begins, ends) = (3, 10);
        for (minute, reported) in drained.iter().enumerate() {
            assert_eq!(
                *reported,
                (begins..ends).contains(&minute),
                "minute {minute}"
            );
        }
        let mut counts: Vec<u64> = (0..6).map(|minute| minute * 100).collect();
        counts.extend([500; 12]);
        let flat = reported(&each(counts));
        assert_eq!(
            flat.iter().rposition(|reported| *reported),
            Some(14),
            "{flat:?}"
        );
    }

    #[test]
    fn a_report_names_where_it_began_and_ends_without_counts() {
        let mut trend = Trend::default();
        let at = |minute| Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_mins(minute);
        for (minute, count) in [(0, 90), (1, 40), (2, 140), (3, 240), (4, 340)] {
            trend.note(count, at(minute));
            trend.note(7, at(minute));
        }
        let growth = Growth {
            from: 40,
            to: 340,
            minutes: 3,
        };
        assert_eq!(trend.growth(at(5)), Some(growth));
        assert_eq!(trend.growth(at(8)), None);
    }

    #[test]
    fn an_hour_is_kept_and_observers_complete_each_other() {
        let at = |minute| Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_mins(minute);
        let (mut one, mut other) = (Trend::default(), Trend::default());
        for minute in 0..200 {
            one.note(1, at(minute));
        }
        assert_eq!(one.counts.len(), 61);
        for minute in 150..=220 {
            other.note(2, at(minute));
        }
        one.join(&other);
        let minutes: Vec<i64> = one.counts.keys().copied().collect();
        assert_eq!(minutes, (160..=220).collect::<Vec<_>>());
        assert_eq!((one.counts[&199], one.counts[&200]), (1, 2));
        let text = serde_json::to_string(&one).unwrap_or_default();
        assert_eq!(serde_json::from_str::<Trend>(&text).ok(), Some(one));
    }
}
