//! When the deployment's workers were last heard of by this host's clock: the clocks of others may
//! be minutes off.
//!
//! Silence is counted up to the last read of Dagster's storage. While the storage is away no worker
//! can be heard of; once it is back, each has time to write before its silence counts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::Instant;

use crate::domain::{FleetWorker, Timestamp};
use crate::fork_server::StorageState;

/// Time after an outage in which no further worker becomes silent: the longest pause before a worker
/// tries to start its instance agent again. The usual time for a heartbeat follows.
const RETURNS: Duration = Duration::from_secs(30);

/// The last heartbeats that were read.
#[derive(Debug, Default)]
pub(super) struct Silence {
    known: BTreeMap<String, Known>,
    /// The workers that were silent at the last look; they stay so over an outage.
    silent: BTreeSet<String>,
}

#[derive(Debug)]
struct Known {
    heartbeat_at: Timestamp,
    /// Time at which that was first read.
    read: Instant,
    /// Whether it was seen to change: then the time of its change counts, not what it says.
    changed: bool,
}

impl Silence {
    /// The workers with the times of their heartbeats by this host's clock, and as if the storage
    /// had been read just now.
    pub fn seen(
        &mut self,
        fleet: &[FleetWorker],
        storage: &StorageState,
        now: Instant,
        wall: Timestamp,
    ) -> Vec<FleetWorker> {
        self.known
            .retain(|id, _| fleet.iter().any(|worker| worker.id == *id));
        let read_at = storage.sound_at.unwrap_or(now);
        let read_ago = signed(now - read_at);
        let longest = storage
            .back_at
            .map(|back| signed(read_at.saturating_duration_since(back + RETURNS)));
        let mut silent = BTreeSet::new();
        let seen = fleet.iter().map(|worker| {
            let mut worker = worker.clone();
            let known = self.known.entry(worker.id.clone()).or_insert(Known {
                heartbeat_at: worker.heartbeat_at,
                read: now,
                changed: false,
            });
            if known.heartbeat_at != worker.heartbeat_at {
                *known = Known {
                    heartbeat_at: worker.heartbeat_at,
                    read: now,
                    changed: true,
                };
            }
            let mut age = if known.changed {
                signed(read_at.saturating_duration_since(known.read))
            } else {
                wall.duration_since(worker.heartbeat_at) - read_ago
            };
            if let Some(longest) = longest.filter(|_| !self.silent.contains(&worker.id)) {
                age = age.min(longest);
            }
            worker.heartbeat_at = wall.saturating_sub(age).unwrap_or(wall);
            if worker.is_silent(wall) {
                silent.insert(worker.id.clone());
            }
            worker
        });
        let seen = seen.collect();
        self.silent = silent;
        seen
    }
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Slots, WorkerState};

    fn worker(id: &str, heartbeat_at: Timestamp) -> FleetWorker {
        FleetWorker {
            id: id.to_owned(),
            hostname: String::new(),
            pid: None,
            version: String::new(),
            state: Some(WorkerState::Running),
            steps: Slots::free(1),
            runs: Slots::free(1),
            queues: Vec::new(),
            heartbeat_at,
        }
    }

    /// Looks at two workers: `live` reports while the storage can be used, `dead` ended long ago.
    #[derive(Default)]
    struct Looks {
        silence: Silence,
        storage: StorageState,
        beats: u64,
    }

    impl Looks {
        fn after(&mut self, begun: Instant, seconds: u64) -> Vec<String> {
            let wall = |seconds| {
                Timestamp::UNIX_EPOCH + Duration::from_hours(1) + Duration::from_secs(seconds)
            };
            let now = begun + Duration::from_secs(seconds);
            let fleet = [
                worker("live", wall(self.beats)),
                worker("dead", wall(0) - Duration::from_mins(2)),
            ];
            let seen = self.silence.seen(&fleet, &self.storage, now, wall(seconds));
            let silent = seen.iter().filter(|it| it.is_silent(wall(seconds)));
            silent.map(|worker| worker.id.clone()).collect()
        }
    }

    #[test]
    fn an_outage_of_the_storage_makes_no_worker_silent_and_ends_no_silence() {
        let begun = Instant::now();
        let at = |seconds| Some(begun + Duration::from_secs(seconds));
        let mut looks = Looks::default();
        for seconds in [0, 15] {
            looks.storage.sound_at = at(seconds);
            looks.beats = seconds;
            assert_eq!(looks.after(begun, seconds), ["dead"]);
        }
        // The storage is away for ten minutes.
        for seconds in (20..600).step_by(20) {
            assert_eq!(looks.after(begun, seconds), ["dead"], "{seconds}");
        }
        // It is back, and the other one needs a while to write.
        looks.storage.back_at = at(600);
        for seconds in (600..660).step_by(15) {
            looks.storage.sound_at = at(seconds);
            assert_eq!(looks.after(begun, seconds), ["dead"], "{seconds}");
        }
        // One that does not write now has ended in the meantime.
        looks.storage.sound_at = at(661);
        assert_eq!(looks.after(begun, 661), ["live", "dead"]);
        looks.beats = 661;
        assert_eq!(looks.after(begun, 662), ["dead"]);
    }

    #[test]
    fn a_worker_that_stops_writing_is_silent_once_that_was_read() {
        let begun = Instant::now();
        let mut looks = Looks::default();
        for (seconds, expected) in [
            (0, false),
            (15, false),
            (30, false),
            (45, false),
            (60, true),
        ] {
            looks.storage.sound_at = Some(begun + Duration::from_secs(seconds));
            looks.beats = seconds.min(15);
            let silent = looks.after(begun, seconds);
            assert_eq!(
                silent.contains(&String::from("live")),
                expected,
                "{seconds}"
            );
        }
    }
}
