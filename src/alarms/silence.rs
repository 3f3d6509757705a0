//! When the deployment's workers were last heard of by this host's clock: the clocks of others may
//! be minutes off.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use tokio::time::Instant;

use crate::domain::{FleetWorker, Timestamp};

/// The last heartbeats that were read.
#[derive(Debug, Default)]
pub(super) struct Silence {
    known: BTreeMap<String, Known>,
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
    /// The workers with the times of their heartbeats by this host's clock.
    pub fn seen(
        &mut self,
        fleet: &[FleetWorker],
        now: Instant,
        wall: Timestamp,
    ) -> Vec<FleetWorker> {
        self.known
            .retain(|id, _| fleet.iter().any(|worker| worker.id == *id));
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
            if known.changed {
                let silent = SignedDuration::try_from(now - known.read).unwrap_or_default();
                worker.heartbeat_at = wall.saturating_sub(silent).unwrap_or(wall);
            }
            worker
        });
        seen.collect()
    }
}
