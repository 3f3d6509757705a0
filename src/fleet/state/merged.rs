//! The snapshot of the aggregator's whole state.

use std::sync::Arc;

use jiff::SignedDuration;

use super::{FleetState, Linked};
use crate::domain::{Source, SourceHealth, SourceKind, Timestamp};
use crate::fleet::merge::{self, WorkerReport};

impl FleetState {
    /// Merges the snapshot anew; returns whether it changed.
    pub(in crate::fleet) fn merge(&mut self) -> bool {
        let mut changed = std::mem::take(&mut self.runs_changed);
        if self.workers_changed {
            self.disambiguate();
        }
        let reports: Vec<WorkerReport<'_>> =
            self.links.values().filter_map(Linked::report).collect();
        // Of no worker: queues and the broker, as this console sees them itself.
        let direct_queues = self.direct_queues.as_deref().map(|snapshot| WorkerReport {
            snapshot,
            id: "",
            heartbeat_at: Timestamp::MIN,
            clock_behind: SignedDuration::ZERO,
            ended: false,
            linked: true,
        });
        let with_direct_queues: Vec<WorkerReport<'_>> =
            reports.iter().copied().chain(direct_queues).collect();
        let mut sources = merge::sources(&with_direct_queues);
        sources.push(self.webserver.clone());
        sources.extend(self.hosts.iter().map(|(name, host)| Source {
            kind: SourceKind::Host,
            address: name.to_string(),
            health: host.health.clone(),
            seen_at: host.seen_at,
            retry_at: host.retry_at,
        }));
        // One failure for a host that is cut off, not one more for each of its workers.
        let links = self.links.iter();
        let reachable = links.filter(|(address, _)| !self.is_cut_off(address));
        sources.extend(reachable.map(|(address, link)| link.source(address)));
        if self.links.is_empty() && self.hosts.is_empty() {
            let folder = self.settings.folders.first();
            sources.push(Source {
                kind: SourceKind::Worker,
                address: folder
                    .map(|folder| folder.display().to_string())
                    .unwrap_or_default(),
                health: SourceHealth::Absent,
                seen_at: None,
                retry_at: None,
            });
        }
        let current = &mut self.current;
        if current.sources != sources {
            current.sources = sources;
            changed = true;
        }
        if std::mem::take(&mut self.workers_changed) {
            let queues = merge::queues(&with_direct_queues, &current.queues);
            changed |= merge::renew(&mut current.queues, queues);
            changed |= merge::renew(&mut current.workers, merge::workers(&reports));
            changed |= merge::renew(&mut current.fleet, merge::fleet(&reports));
            changed |= merge::renew(&mut current.tasks, merge::tasks(&reports));
            changed |= merge::renew(&mut current.recent, merge::recent(&reports));
            changed |= merge::renew(
                &mut current.priorities,
                merge::priorities(&with_direct_queues),
            );
            let alarms = merge::alarms(&reports);
            if current.alarms.as_deref() != alarms.as_ref() {
                current.alarms = alarms.map(Arc::new);
                changed = true;
            }
            let acknowledged = merge::acknowledged(&reports);
            if current.acknowledged != acknowledged {
                current.acknowledged = acknowledged;
                changed = true;
            }
            let paused_queues = merge::paused_queues(&reports);
            if current.paused_queues != paused_queues {
                current.paused_queues = paused_queues;
                changed = true;
            }
        }
        if std::mem::take(&mut self.logs_changed) {
            current.logs = Arc::new(self.logs.clone());
            changed = true;
        }
        current.revision += u64::from(changed);
        changed
    }
}
