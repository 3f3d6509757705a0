//! What the hub knows: its links, what each last told, and the snapshot made of it.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::Pid;
use tokio::sync::mpsc;

use super::host::{self, HostHandle, HostNews};
use super::link::{self, Address, LinkHandle, LinkNews, News};
use super::merge::{self, Told};
use super::poller;
use crate::control::protocol::{ServerHello, own_host};
use crate::control::ssh::Ssh;
use crate::control::{runtime, server};
use crate::domain::{
    AuditEntry, LogLevel, LogLine, Snapshot, Source, SourceHealth, SourceKind, Timestamp,
    WorkerSnapshot, WorkerState,
};

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

/// One worker socket.
#[derive(Debug)]
pub(super) struct Linked {
    pub(super) handle: LinkHandle,
    pub(super) hello: Option<ServerHello>,
    pub(super) snapshot: Option<Arc<WorkerSnapshot>>,
    pub(super) health: SourceHealth,
    seen_at: Option<Timestamp>,
    heartbeat_at: Timestamp,
    /// Since when its process is known to be gone.
    ended: Option<Instant>,
    /// What its own host says, where that is another one.
    presence: Presence,
    /// Named by the user: kept even when nobody listens.
    explicit: bool,
}

/// Whether a worker's socket is still there, by the word of another host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    /// It was found.
    Here,
    /// The host was linked anew and has not named it yet.
    Unsure,
    /// Nobody listens on it any more.
    Gone,
}

/// One host reached through ssh.
#[derive(Debug)]
struct Remote {
    handle: HostHandle,
    health: SourceHealth,
    seen_at: Option<Timestamp>,
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
        };
        self.hosts.insert(name, remote);
    }

    fn link(&mut self, address: Address, explicit: bool) {
        let (read_only, news) = (self.settings.read_only, self.settings.news.clone());
        let host = address.host.as_ref().and_then(|host| self.hosts.get(host));
        let opener = host.map(|host| host.handle.opener.clone());
        let linked = Linked {
            handle: link::start(address.clone(), opener, read_only, news),
            hello: None,
            snapshot: None,
            health: SourceHealth::Connecting,
            seen_at: None,
            heartbeat_at: Timestamp::MIN,
            ended: None,
            presence: Presence::Here,
            explicit,
        };
        self.links.insert(address, linked);
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
        if let HostNews::Down(reason) = news {
            host.health = SourceHealth::Down { reason };
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
                self.doubt(name, Presence::Unsure, Presence::Gone);
            }
            HostNews::Down(_) => {}
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
                self.webserver.seen_at = Some(Timestamp::now());
            }
            poller::Told::Down(reason) => self.webserver.health = SourceHealth::Down { reason },
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

impl Linked {
    fn heard(&mut self, news: News) {
        let now = Timestamp::now();
        match news {
            News::Up(hello) => {
                let another = self
                    .hello
                    .as_ref()
                    .is_some_and(|known| known.pid != hello.pid);
                if another {
                    self.snapshot = None;
                    self.heartbeat_at = Timestamp::MIN;
                }
                self.hello = Some(hello);
                self.ended = None;
                self.health = SourceHealth::Up;
                self.seen_at = Some(now);
            }
            News::State(snapshot) => {
                self.snapshot = Some(snapshot);
                self.seen_at = Some(now);
            }
            News::Alive(at) => {
                self.heartbeat_at = at;
                self.seen_at = Some(now);
            }
            News::Down(reason) => self.health = SourceHealth::Down { reason },
            News::Logs { .. } => {}
        }
    }

    /// Finds out whether the process behind a broken link is gone; whether that is news.
    fn notice_end(&mut self, host: &str, address: &Address) -> bool {
        let down = matches!(self.health, SourceHealth::Down { .. });
        if !down || self.ended.is_some() {
            return false;
        }
        let gone = match (&self.snapshot, &self.hello) {
            (Some(last), _) if last.worker.state == WorkerState::Stopped => true,
            _ if address.host.is_some() => self.presence == Presence::Gone,
            (Some(last), Some(hello)) if last.worker.hostname == host => is_gone(hello.pid),
            (Some(_), _) => false,
            // It never told anything: there is nothing to keep once its socket is gone.
            (None, _) => !address.socket.exists(),
        };
        if gone {
            self.ended = Some(Instant::now());
        }
        gone
    }

    fn told(&self) -> Option<Told<'_>> {
        Some(Told {
            snapshot: self.snapshot.as_deref()?,
            heartbeat_at: self.heartbeat_at,
            ended: self.ended.is_some(),
            linked: self.health == SourceHealth::Up,
        })
    }

    fn source(&self, address: &Address) -> Source {
        Source {
            kind: SourceKind::Worker,
            address: address.label().display().to_string(),
            health: self.health.clone(),
            seen_at: self.seen_at,
        }
    }
}

/// Whether a process of this host is no more.
fn is_gone(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) == Err(Errno::SRCH))
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

    #[test]
    fn a_process_is_gone_once_it_has_ended() {
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        assert!(!is_gone(child.id()));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(is_gone(child.id()));
    }

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
