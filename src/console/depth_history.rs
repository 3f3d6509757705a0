//! Number of waiting messages in each queue over the last day, kept for the next console, too.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::Snapshot;

/// Minutes per figure.
const MINUTES: i64 = 10;

/// Figures of a day.
pub const DAY: usize = 24 * 6;

/// The maximum number of waiting messages in each ten minutes of the last day, by queue. Times
/// without an open console have no figure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DepthHistory {
    /// By the queue's name, then by ten minutes since the Unix epoch.
    queues: BTreeMap<String, BTreeMap<i64, u64>>,
}

fn slot(at: Timestamp) -> i64 {
    at.as_second().div_euclid(60 * MINUTES)
}

impl DepthHistory {
    /// Records the counts of a snapshot.
    pub(super) fn note(&mut self, snapshot: &Snapshot, now: Timestamp) {
        let present = slot(now);
        for queue in snapshot.queues.iter() {
            let Some(counts) = queue.counts else {
                continue;
            };
            let figures = match self.queues.get_mut(&queue.name) {
                Some(figures) => figures,
                None => self.queues.entry(queue.name.clone()).or_default(),
            };
            let most = figures.entry(present).or_default();
            *most = counts.visible.max(*most);
        }
        let oldest = present - i64::try_from(DAY).unwrap_or(i64::MAX);
        self.queues.retain(|_, figures| {
            while figures
                .first_key_value()
                .is_some_and(|(slot, _)| *slot <= oldest)
            {
                figures.pop_first();
            }
            !figures.is_empty()
        });
    }

    /// Whether any message waited in a queue.
    #[must_use]
    pub fn knows(&self, queue: &str) -> bool {
        let mut figures = self.queues.get(queue).into_iter().flatten();
        figures.any(|(_, count)| *count > 0)
    }

    /// A queue's figures, oldest first, in `columns` that together are the last day.
    #[must_use]
    pub fn of(&self, queue: &str, now: Timestamp, columns: usize) -> Vec<Option<u64>> {
        let columns = columns.clamp(1, DAY);
        let mut most = vec![None; columns];
        let known = self.queues.get(queue).into_iter().flatten();
        for (at, count) in known {
            let age = usize::try_from(slot(now) - at).ok();
            let place = age.and_then(|age| (DAY - 1).checked_sub(age));
            if let Some(place) = place {
                let column = &mut most[place * columns / DAY];
                *column = Some(*count).max(*column);
            }
        }
        most
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{QueueCounts, QueueRole, QueueView, Trend};
    use std::sync::Arc;

    fn at(minute: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_mins(minute)
    }

    fn counted(name: &str, visible: u64) -> Snapshot {
        let queue = QueueView {
            name: name.to_owned(),
            url: format!("http://127.0.0.1/{name}"),
            role: QueueRole::Base,
            counts: Some(QueueCounts {
                visible,
                ..QueueCounts::default()
            }),
            counted_at: None,
            oldest: None,
            error: None,
            unreachable: false,
            trend: Trend::default(),
        };
        Snapshot {
            queues: Arc::new(vec![queue]),
            ..Snapshot::default()
        }
    }

    #[test]
    fn each_queue_has_the_most_that_waited_in_each_ten_minutes_of_a_day_and_no_more() {
        let mut days = DepthHistory::default();
        days.note(&counted("gone", 1), at(0));
        for minute in 0..3_000 {
            days.note(
                &counted("q", u64::try_from(minute % 100).unwrap_or(0)),
                at(minute),
            );
        }
        let figures = days.of("q", at(2_999), DAY);
        assert_eq!(figures.len(), DAY);
        assert!(figures.iter().all(Option::is_some));
        assert_eq!(figures[DAY - 2..], [Some(89), Some(99)]);
        assert_eq!(days.of("q", at(2_999), 12), [Some(99); 12]);
        assert_eq!(days.queues.len(), 1, "what is not counted is forgotten");
        let later = days.of("q", at(2_999 + 60), DAY);
        assert_eq!(
            later[DAY - 7..],
            [Some(99), None, None, None, None, None, None]
        );
        let size = serde_json::to_vec(&days).map(|text| text.len());
        assert!(
            size.is_ok_and(|size| size < 3_000),
            "a queue's day is small"
        );
    }
}
