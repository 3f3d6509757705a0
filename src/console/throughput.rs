//! Tasks that ended per interval, from the recent ones.

use jiff::{SignedDuration, Timestamp};

use crate::domain::{MAX_RECENT_TASKS, Phase, Snapshot, TaskOutcome, TaskView};

/// Seconds per column of the sparkline.
pub const BUCKET_SECONDS: i64 = 5;

/// Time span of the sparkline.
pub const WINDOW: SignedDuration = SignedDuration::from_secs(BUCKET_SECONDS * 120);

/// End of the newest of the recent tasks.
#[must_use]
pub fn last_end(snapshot: &Snapshot) -> Option<Timestamp> {
    snapshot.recent.first().and_then(ended_at)
}

/// End of a task, if it has ended.
#[must_use]
pub fn ended_at(task: &TaskView) -> Option<Timestamp> {
    match task.phase {
        Phase::Done { at, .. } => Some(at),
        _ => None,
    }
}

/// Tasks that ran to an end in each of the last `buckets` intervals, oldest first. `None` if
/// unknown: before the oldest task that is still kept.
#[must_use]
pub fn buckets(snapshot: &Snapshot, now: Timestamp, buckets: usize) -> Vec<Option<u64>> {
    let bucket_of = |at: Timestamp| at.as_second().div_euclid(BUCKET_SECONDS);
    let present = bucket_of(now);
    let age = |at: Timestamp| usize::try_from(present - bucket_of(at)).ok();
    let mut counts = vec![Some(0); buckets];
    for at in snapshot
        .recent
        .iter()
        .filter(|task| ran(task))
        .filter_map(ended_at)
    {
        let slot = age(at).and_then(|age| buckets.checked_sub(age + 1));
        if let Some(Some(count)) = slot.and_then(|slot| counts.get_mut(slot)) {
            *count += 1;
        }
    }
    if snapshot.recent.len() >= MAX_RECENT_TASKS {
        let oldest = snapshot.recent.last().and_then(ended_at).and_then(age);
        let known = oldest.unwrap_or(0).min(buckets);
        counts[..buckets - known].fill(None);
    }
    counts
}

/// Tasks that ended in the last minute.
#[must_use]
pub fn last_minute(snapshot: &Snapshot, now: Timestamp) -> u64 {
    let minute = usize::try_from(60 / BUCKET_SECONDS).unwrap_or(1);
    buckets(snapshot, now, minute).into_iter().flatten().sum()
}

fn ran(task: &TaskView) -> bool {
    matches!(
        task.phase,
        Phase::Done {
            outcome: TaskOutcome::Success
                | TaskOutcome::Failure { .. }
                | TaskOutcome::UpForRetry { .. },
            ..
        }
    )
}
