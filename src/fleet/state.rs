//! The aggregator's state: its links, their last reports, and the resulting snapshot.

mod hosts;
mod linked;
mod merged;
mod names;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use jiff::SignedDuration;

use super::link::{self, Address, AddressedEvent, LinkEvent};
use super::ssh_host::HostEvent;
use super::{merge, webserver};
use crate::dagster::without_credentials as shown;
use crate::domain::{
    AuditEntry, LogLevel, LogLine, Snapshot, Source, SourceHealth, SourceKind, Timestamp,
    WorkerSnapshot, is_loopback,
};
use crate::fleet::ssh::Ssh;
use crate::protocol::frames::own_host;
use crate::protocol::socket_folder;
use hosts::Remote;
pub(super) use linked::Linked;

/// Maximum number of log lines of all sources together. The whole deque is copied when it grows
/// while a console looks at it, at most twenty times a second.
const MAX_LOGS: usize = 2_000;

/// Time without a linked worker after which the queues are read without one.
const NO_WORKER_DELAY: Duration = Duration::from_secs(3);

/// Settings that never change.
#[derive(Debug)]
pub(super) struct FleetConfig {
    pub(super) sockets: Vec<PathBuf>,
    pub(super) folders: Vec<PathBuf>,
    pub(super) hosts: Vec<String>,
    pub(super) ssh: Ssh,
    pub(super) webserver_url: Option<String>,
    pub(super) read_only: bool,
    pub(super) forget_after: Duration,
    pub(super) link_events: mpsc::Sender<AddressedEvent>,
    pub(super) host_events: mpsc::Sender<(Arc<str>, HostEvent)>,
}

/// The aggregator's state.
#[derive(Debug)]
pub(super) struct FleetState {
    settings: FleetConfig,
    host: String,
    hosts: BTreeMap<Arc<str>, Remote>,
    links: BTreeMap<Address, Linked>,
    webserver: Source,
    logs: VecDeque<LogLine>,
    current: Snapshot,
    workers_changed: bool,
    logs_changed: bool,
    runs_changed: bool,
    /// The direct access to the queues's last report, while it is in use.
    direct_queues: Option<Arc<WorkerSnapshot>>,
    /// Time since which no worker is linked.
    unlinked_since: Option<Instant>,
    /// This host's audit log.
    audit: Vec<AuditEntry>,
}

impl FleetState {
    pub(super) fn new(settings: FleetConfig) -> Self {
        let webserver = Source {
            kind: SourceKind::Webserver,
            address: shown(settings.webserver_url.as_deref().unwrap_or_default()),
            health: match settings.webserver_url {
                Some(_) => SourceHealth::Connecting,
                None => SourceHealth::Absent,
            },
            seen_at: None,
            retry_at: None,
        };
        let mut state = Self {
            host: own_host(),
            hosts: BTreeMap::new(),
            links: BTreeMap::new(),
            webserver,
            logs: VecDeque::new(),
            current: Snapshot::default(),
            workers_changed: true,
            logs_changed: false,
            runs_changed: false,
            direct_queues: None,
            unlinked_since: None,
            audit: Vec::new(),
            settings,
        };
        for socket in state.settings.sockets.clone() {
            state.link(Address { host: None, socket }, true);
        }
        for name in state.settings.hosts.clone() {
            state.link_host(name.into());
        }
        state.merge();
        state
    }

    /// The links to workers that are up now.
    pub(super) fn up(&self) -> impl Iterator<Item = (&str, &Linked)> {
        self.links
            .values()
            .filter(|link| link.health == SourceHealth::Up)
            .filter_map(|link| Some((link.id()?, link)))
    }

    /// Whether the queues must be read without a worker. A link that is restored at once is not a
    /// reason.
    pub(super) fn needs_direct_queues(&mut self) -> bool {
        let linked = self.up().next().is_some();
        if linked {
            self.unlinked_since = None;
            self.workers_changed |= self.direct_queues.take().is_some();
            return false;
        }
        self.unlinked_since
            .get_or_insert_with(Instant::now)
            .elapsed()
            >= NO_WORKER_DELAY
    }

    /// Handles a report of the direct access to the queues.
    pub(super) fn on_direct_queues_snapshot(&mut self, snapshot: Arc<WorkerSnapshot>) {
        if self.unlinked_since.is_some() {
            self.direct_queues = Some(snapshot);
            self.workers_changed = true;
        }
    }

    /// The last merged snapshot.
    pub(super) fn snapshot(&self) -> Snapshot {
        self.current.clone()
    }

    pub(super) fn audited(&mut self, entries: Vec<AuditEntry>) {
        self.audit = entries;
        self.audit_grew();
    }

    fn link(&mut self, address: Address, explicit: bool) {
        let (read_only, events) = (self.settings.read_only, self.settings.link_events.clone());
        let host = address.host.as_ref().and_then(|host| self.hosts.get(host));
        let opener = host.map(|host| host.handle.opener.clone());
        let handle = link::start(address.clone(), opener, read_only, events);
        self.links.insert(address, Linked::new(handle, explicit));
        self.workers_changed = true;
    }

    /// Looks for new sockets and forgets ended workers; returns whether anything changed.
    pub(super) fn look(&mut self) -> bool {
        let found: Vec<PathBuf> = self
            .settings
            .folders
            .iter()
            .flat_map(|folder| socket_folder::sockets(folder))
            .collect();
        for socket in found {
            let address = Address { host: None, socket };
            // A dead worker's socket is ignored.
            if !self.links.contains_key(&address) && socket_folder::is_live(&address.socket) {
                self.link(address, false);
            }
        }
        let (host, forget_after) = (self.host.as_str(), self.settings.forget_after);
        let mut changed = false;
        self.links.retain(|address, link| {
            changed |= link.notice_end(host, address);
            let forgotten = link
                .ended
                .is_some_and(|ended| ended.elapsed() >= forget_after);
            if forgotten && link.explicit {
                changed |= link.snapshot.take().is_some();
            }
            changed |= forgotten && !link.explicit;
            link.explicit || !forgotten
        });
        self.workers_changed |= changed;
        self.workers_changed
    }

    /// Handles a message from a link.
    pub(super) fn on_link_event(&mut self, AddressedEvent { address, event }: AddressedEvent) {
        let Some(link) = self.links.get_mut(&address) else {
            return;
        };
        if let LinkEvent::Logs { lines, missed } = event {
            let worker = link
                .hello
                .as_ref()
                .map_or("?", |hello| hello.worker.as_str());
            let gap = (missed > 0).then(|| gap(worker, missed, lines.first()));
            let worker = worker.to_owned();
            let lines = lines.into_iter().map(|line| LogLine {
                worker: Some(worker.clone()),
                ..line
            });
            let behind = link.differs();
            self.log(gap.into_iter().chain(lines), behind);
            return;
        }
        link.on_event(event);
        self.workers_changed = true;
    }

    /// The webserver that a linked worker's configuration names, returned once, if none was known.
    /// A loopback address of another host is not reachable from here.
    pub(super) fn learn_webserver(&mut self) -> Option<String> {
        if self.webserver.health != SourceHealth::Absent {
            return None;
        }
        let url = self.links.iter().find_map(|(address, link)| {
            let url = link.hello.as_ref()?.webserver_url.as_ref()?;
            (address.host.is_none() || !is_loopback(url)).then(|| url.clone())
        })?;
        self.webserver.address = shown(&url);
        self.webserver.health = SourceHealth::Connecting;
        Some(url)
    }

    /// Adds log lines in the order of their times by our clock; `behind` is the offset of their
    /// host's clock.
    pub(super) fn log(&mut self, lines: impl IntoIterator<Item = LogLine>, behind: SignedDuration) {
        for mut line in lines {
            line.at = line.at.saturating_add(behind).unwrap_or(line.at);
            let at = self.logs.partition_point(|known| known.at <= line.at);
            if self.logs.len() == MAX_LOGS {
                if at == 0 {
                    continue;
                }
                self.logs.pop_front();
                self.logs.insert(at - 1, line);
            } else {
                self.logs.insert(at, line);
            }
            self.logs_changed = true;
        }
    }

    /// Handles an update from the webserver.
    pub(super) fn on_webserver_update(&mut self, update: webserver::WebserverUpdate) {
        match update {
            webserver::WebserverUpdate::Runs(runs) => {
                self.runs_changed |= merge::renew(&mut self.current.runs, runs);
            }
            webserver::WebserverUpdate::Jobs(jobs) => {
                self.runs_changed |= merge::renew(&mut self.current.jobs, jobs);
            }
            webserver::WebserverUpdate::LostDaemons(daemons) => {
                self.runs_changed |= merge::renew(&mut self.current.lost_daemons, daemons);
            }
            webserver::WebserverUpdate::BrokenLocations(broken) => {
                self.runs_changed |= merge::renew(&mut self.current.broken_locations, broken);
            }
            webserver::WebserverUpdate::Up => {
                self.webserver.health = SourceHealth::Up;
                self.webserver.retry_at = None;
                self.webserver.seen_at = Some(Timestamp::now());
            }
            webserver::WebserverUpdate::Problem(health, retry_at) => {
                self.webserver.health = health;
                self.webserver.retry_at = retry_at;
            }
        }
    }
}

/// Log line that marks lines lost on the way.
fn gap(worker: &str, missed: u64, next: Option<&LogLine>) -> LogLine {
    LogLine {
        at: next.map_or_else(Timestamp::now, |line| line.at),
        level: LogLevel::Warn,
        target: "control".to_owned(),
        run_id: None,
        step_key: None,
        worker: Some(worker.to_owned()),
        message: format!("{missed} log lines of worker {worker} were dropped: they came too fast"),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn line(second: i64) -> LogLine {
        LogLine {
            at: Timestamp::from_second(second).unwrap(),
            ..gap("one", 1, None)
        }
    }

    /// Creates a state without workers, whose ssh ends at once.
    pub(super) fn state() -> FleetState {
        let ssh = Ssh {
            command: vec!["false".to_owned()],
            ..Ssh::default()
        };
        FleetState::new(FleetConfig {
            sockets: Vec::new(),
            folders: Vec::new(),
            hosts: Vec::new(),
            ssh,
            webserver_url: None,
            read_only: false,
            forget_after: Duration::ZERO,
            link_events: mpsc::channel(1).0,
            host_events: mpsc::channel(1).0,
        })
    }

    #[tokio::test]
    async fn log_lines_of_several_workers_are_in_the_order_of_their_times_and_bounded() {
        let mut state = state();
        state.log([line(2), line(4)], SignedDuration::ZERO);
        state.log([line(3), line(1)], SignedDuration::ZERO);
        let seconds = |state: &FleetState| -> Vec<i64> {
            state.logs.iter().map(|line| line.at.as_second()).collect()
        };
        assert_eq!(seconds(&state), [1, 2, 3, 4]);
        state.log((5..=3_000).map(line), SignedDuration::ZERO);
        assert_eq!(seconds(&state), (1_001..=3_000).collect::<Vec<i64>>());
        state.log([line(7)], SignedDuration::ZERO);
        assert_eq!(seconds(&state).first(), Some(&1_001));
    }

    #[tokio::test]
    async fn a_heartbeat_counts_from_its_arrival_whatever_the_workers_clock_shows() {
        for behind in [60, -3_600, 1] {
            let mut state = state();
            let address = Address {
                host: None,
                socket: "none".into(),
            };
            state.link(address.clone(), true);
            let now = Timestamp::now();
            let at = now - SignedDuration::from_secs(behind);
            state.on_link_event(AddressedEvent {
                address: address.clone(),
                event: LinkEvent::Alive(at),
            });
            let link = &state.links[&address];
            assert!(link.heartbeat_at >= now, "{behind}");
            let expected = if behind == 1 { 0 } else { behind };
            let differs = link.differs().as_secs();
            assert!(
                (expected..expected + 5).contains(&differs),
                "{behind}: {differs}"
            );
        }
    }

    #[tokio::test]
    async fn lines_of_a_host_whose_clock_is_behind_stand_where_they_came() {
        let mut state = state();
        let hour = SignedDuration::from_hours(1);
        state.log(
            (1..=2_000).map(|second| line(3_600 + second)),
            SignedDuration::ZERO,
        );
        // As old as the oldest by their own clock.
        state.log([line(1_999), line(2_000)], hour);
        let last: Vec<i64> = state
            .logs
            .iter()
            .rev()
            .take(4)
            .map(|line| line.at.as_second())
            .collect();
        assert_eq!(last, [5_600, 5_600, 5_599, 5_599]);
    }
}
