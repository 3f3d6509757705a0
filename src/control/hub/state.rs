//! What the hub knows: its links, what each last told, and the snapshot made of it.

mod linked;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::host::{self, HostHandle, HostNews};
use super::link::{self, Address, LinkNews, News};
use super::merge::{self, Told};
use super::poller;
use crate::control::protocol::own_host;
use crate::control::ssh::Ssh;
use crate::control::{runtime, server};
use crate::domain::{
    AuditEntry, LogLevel, LogLine, Snapshot, Source, SourceHealth, SourceKind, Timestamp,
};
pub(super) use linked::Linked;
use linked::Presence;

/// Log lines of all sources together. The whole deque is copied when it grows while a console
/// looks at it, at most twenty times a second.
const MAX_LOGS: usize = 2_000;

/// What never changes.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) sockets: Vec<PathBuf>,
    pub(super) folders: Vec<PathBuf>,
    pub(super) hosts: Vec<String>,
    pub(super) ssh: Ssh,
    pub(super) webserver_url: Option<String>,
    pub(super) read_only: bool,
    pub(super) forget_after: Duration,
    pub(super) news: mpsc::Sender<LinkNews>,
    pub(super) host_news: mpsc::Sender<(Arc<str>, HostNews)>,
}

/// One host reached through ssh.
#[derive(Debug)]
struct Remote {
    handle: HostHandle,
    health: SourceHealth,
    seen_at: Option<Timestamp>,
    retry_at: Option<Timestamp>,
}

/// Where older runs begin: as the last poll told, or after the last page that was asked for.
#[derive(Debug)]
enum Older {
    NotAsked(Option<String>),
    Next(Option<String>),
}

/// The hub's state.
#[derive(Debug)]
pub(super) struct State {
    settings: Settings,
    host: String,
    hosts: BTreeMap<Arc<str>, Remote>,
    links: BTreeMap<Address, Linked>,
    webserver: Source,
    logs: VecDeque<LogLine>,
    current: Snapshot,
    older: Older,
    workers_changed: bool,
    logs_changed: bool,
    runs_changed: bool,
}

impl State {
    pub(super) fn new(settings: Settings) -> Self {
        let webserver = Source {
            kind: SourceKind::Webserver,
            address: settings.webserver_url.clone().unwrap_or_default(),
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
            older: Older::NotAsked(None),
            workers_changed: true,
            logs_changed: false,
            runs_changed: false,
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

    /// The links to workers that answer now.
    pub(super) fn up(&self) -> impl Iterator<Item = (&str, &Linked)> {
        self.links
            .values()
            .filter(|link| link.health == SourceHealth::Up)
            .filter_map(|link| Some((link.hello.as_ref()?.worker.as_str(), link)))
    }

    /// The snapshot as it was last merged.
    pub(super) fn snapshot(&self) -> Snapshot {
        self.current.clone()
    }

    pub(super) fn audited(&mut self, entries: Vec<AuditEntry>) {
        self.current.audit = Arc::new(entries);
        // Published with whatever else the webserver told.
        self.runs_changed = true;
    }

    fn link_host(&mut self, name: Arc<str>) {
        let (ssh, news) = (self.settings.ssh.clone(), self.settings.host_news.clone());
        let remote = Remote {
            handle: host::start(Arc::clone(&name), ssh, news),
            health: SourceHealth::Connecting,
            seen_at: None,
            retry_at: None,
        };
        self.hosts.insert(name, remote);
    }

    fn link(&mut self, address: Address, explicit: bool) {
        let (read_only, news) = (self.settings.read_only, self.settings.news.clone());
        let host = address.host.as_ref().and_then(|host| self.hosts.get(host));
        let opener = host.map(|host| host.handle.opener.clone());
        let handle = link::start(address.clone(), opener, read_only, news);
        self.links.insert(address, Linked::new(handle, explicit));
        self.workers_changed = true;
    }

    /// Looks for new sockets and forgets workers that ended; whether anything changed.
    pub(super) fn look(&mut self) -> bool {
        let found: Vec<PathBuf> = self
            .settings
            .folders
            .iter()
            .flat_map(|folder| runtime::sockets(folder))
            .collect();
        for socket in found {
            let address = Address { host: None, socket };
            // A dead worker's socket is no news.
            if !self.links.contains_key(&address) && server::is_live(&address.socket) {
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

    /// Takes in what a link has to say.
    pub(super) fn heard(&mut self, LinkNews { address, news }: LinkNews) {
        let Some(link) = self.links.get_mut(&address) else {
            return;
        };
        if let News::Logs { lines, missed } = news {
            let worker = link
                .hello
                .as_ref()
                .map_or("?", |hello| hello.worker.as_str());
            let gap = (missed > 0).then(|| gap(worker, missed, lines.first()));
            self.log(gap.into_iter().chain(lines));
            return;
        }
        link.heard(news);
        self.workers_changed = true;
    }

    /// Takes in what a host has to say.
    pub(super) fn host_heard(&mut self, name: &Arc<str>, news: HostNews) {
        let Some(host) = self.hosts.get_mut(name) else {
            return;
        };
        let at = |socket| Address {
            host: Some(Arc::clone(name)),
            socket,
        };
        if let HostNews::Down(reason, retry_at) = news {
            host.health = SourceHealth::Down { reason };
            host.retry_at = Some(retry_at);
            return;
        }
        host.seen_at = Some(Timestamp::now());
        match news {
            HostNews::Found(socket) => {
                let address = at(socket);
                match self.links.get_mut(&address) {
                    Some(link) => {
                        link.presence = Presence::Here;
                        link.handle.try_again();
                    }
                    None => self.link(address, false),
                }
            }
            HostNews::Gone(socket) => {
                if let Some(link) = self.links.get_mut(&at(socket)) {
                    link.presence = Presence::Gone;
                }
            }
            HostNews::Up(hello) => {
                self.doubt(name, Presence::Here, Presence::Unsure);
                tracing::info!(
                    "linked {name}: {} with dagster-taskiq-tui {}",
                    hello.host,
                    hello.version
                );
            }
            HostNews::Alive => {
                // What is there was named before.
                host.health = SourceHealth::Up;
                host.retry_at = None;
                self.doubt(name, Presence::Unsure, Presence::Gone);
            }
            HostNews::Down(..) => {}
        }
    }

    /// Changes what is thought of the workers of a host.
    fn doubt(&mut self, host: &str, before: Presence, after: Presence) {
        let links = self.links.iter_mut();
        for (_, link) in links.filter(|(address, _)| address.host.as_deref() == Some(host)) {
            if link.presence == before {
                link.presence = after;
            }
        }
    }

    /// Whether the way to an address is known to be broken.
    fn is_cut_off(&self, address: &Address) -> bool {
        let host = address.host.as_ref().and_then(|host| self.hosts.get(host));
        host.is_some_and(|host| matches!(host.health, SourceHealth::Down { .. }))
    }

    /// Adds log lines, in the order of their times.
    pub(super) fn log(&mut self, lines: impl IntoIterator<Item = LogLine>) {
        for line in lines {
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

    /// Takes in what the webserver has to say.
    pub(super) fn told(&mut self, told: poller::Told) {
        match told {
            poller::Told::Runs(runs, next) => {
                let runs = match self.older {
                    Older::NotAsked(_) => {
                        self.older = Older::NotAsked(next);
                        runs
                    }
                    Older::Next(_) => merge::runs(runs, &self.current.runs),
                };
                self.runs_changed |= merge::renew(&mut self.current.runs, runs);
            }
            poller::Told::Older(page) => {
                let next = if page.follows {
                    page.next
                } else {
                    self.older_runs_after()
                };
                self.older = Older::Next(next);
                // What was there before is as fresh.
                let known = (*self.current.runs).clone();
                let runs = merge::runs(known, &page.runs);
                self.runs_changed |= merge::renew(&mut self.current.runs, runs);
            }
            poller::Told::Jobs(jobs) => {
                self.runs_changed |= merge::renew(&mut self.current.jobs, jobs);
            }
            poller::Told::Up => {
                self.webserver.health = SourceHealth::Up;
                self.webserver.retry_at = None;
                self.webserver.seen_at = Some(Timestamp::now());
            }
            poller::Told::Down(reason, retry_at) => {
                self.webserver.health = SourceHealth::Down { reason };
                self.webserver.retry_at = retry_at;
            }
        }
    }

    /// After which run the page after those that are known begins; `None` if there is none.
    pub(super) fn older_runs_after(&self) -> Option<String> {
        let (Older::NotAsked(next) | Older::Next(next)) = &self.older;
        next.clone()
    }

    /// Makes the snapshot anew; whether it is another one.
    pub(super) fn merge(&mut self) -> bool {
        let mut changed = std::mem::take(&mut self.runs_changed);
        let told: Vec<Told<'_>> = self.links.values().filter_map(Linked::told).collect();
        let mut sources = merge::sources(&told);
        sources.push(self.webserver.clone());
        sources.extend(self.hosts.iter().map(|(name, host)| Source {
            kind: SourceKind::Host,
            address: name.to_string(),
            health: host.health.clone(),
            seen_at: host.seen_at,
            retry_at: host.retry_at,
        }));
        // One sentence for a host that is cut off, not one more for each of its workers.
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
            changed |= merge::renew(&mut current.queues, merge::queues(&told));
            changed |= merge::renew(&mut current.workers, merge::workers(&told));
            changed |= merge::renew(&mut current.fleet, merge::fleet(&told));
            changed |= merge::renew(&mut current.tasks, merge::tasks(&told));
            changed |= merge::renew(&mut current.recent, merge::recent(&told));
            changed |= merge::renew(&mut current.priorities, merge::priorities(&told));
        }
        if std::mem::take(&mut self.logs_changed) {
            current.logs = Arc::new(self.logs.clone());
            changed = true;
        }
        current.revision += u64::from(changed);
        changed
    }
}

/// What stands in the log where lines were lost on the way.
fn gap(worker: &str, missed: u64, next: Option<&LogLine>) -> LogLine {
    LogLine {
        at: next.map_or_else(Timestamp::now, |line| line.at),
        level: LogLevel::Warn,
        target: "control".to_owned(),
        run_id: None,
        step_key: None,
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

    #[tokio::test]
    async fn log_lines_of_several_workers_are_in_the_order_of_their_times_and_bounded() {
        let (news, _heard) = mpsc::channel(1);
        let mut state = State::new(Settings {
            sockets: Vec::new(),
            folders: Vec::new(),
            hosts: Vec::new(),
            ssh: Ssh::default(),
            webserver_url: None,
            read_only: false,
            forget_after: Duration::ZERO,
            news,
            host_news: mpsc::channel(1).0,
        });
        state.log([line(2), line(4)]);
        state.log([line(3), line(1)]);
        let seconds = |state: &State| -> Vec<i64> {
            state.logs.iter().map(|line| line.at.as_second()).collect()
        };
        assert_eq!(seconds(&state), [1, 2, 3, 4]);
        state.log((5..=3_000).map(line));
        assert_eq!(seconds(&state), (1_001..=3_000).collect::<Vec<i64>>());
        state.log([line(7)]);
        assert_eq!(seconds(&state).first(), Some(&1_001));
    }
}
