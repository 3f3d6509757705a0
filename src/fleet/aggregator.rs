//! The aggregator behind a console's [`Handle`]: links every given or discovered worker socket,
//! queries Dagster's webserver, merges everything into one [`Snapshot`], and routes commands to
//! their targets. It never blocks and outlives every source; it ends when the last handle is
//! dropped.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use jiff::SignedDuration;

use super::direct_queues::DirectQueues;
use super::ssh::Ssh;
use super::state::{self, FleetState};
use super::{Handle, dispatcher, link, ssh_host, webserver};
use crate::domain::{AuditEntry, Event, Reply, Snapshot, WorkerSnapshot};
use crate::protocol::audit::{AuditLog, Tail};
use crate::protocol::debounce::Debounce;
use crate::protocol::{Request, socket_folder};

/// At most twenty snapshots a second; a terminal draws thirty frames at most.
const PUBLISH_EVERY: Duration = Duration::from_millis(50);

/// Maximum number of commands awaiting their outcome, and of requests waiting for the aggregator:
/// one for every row that a user marks before giving a command.
const IN_FLIGHT: usize = 4096;

/// Capacity of the channel of messages to the aggregator: a few from each of many links. A full
/// channel slows the links down, and then the workers skip snapshots.
const MAX_PENDING_EVENTS: usize = 256;

/// Options of an aggregator.
#[derive(Debug)]
pub struct AggregatorOptions {
    /// Sockets to link even if no worker listens there yet.
    pub sockets: Vec<PathBuf>,
    /// Folders in which to look for sockets; [`socket_folder::folders`] returns those of this user.
    pub discover: Vec<PathBuf>,
    /// Interval of the look.
    pub discover_every: Duration,
    /// Other hosts whose workers are linked, named as for ssh: [`Ssh::check_host`].
    pub hosts: Vec<String>,
    /// Settings of ssh.
    pub ssh: Ssh,
    /// Dagster's webserver; without one, the first that a worker names is used.
    pub webserver_url: Option<String>,
    /// Refuse every command that is not safe.
    pub read_only: bool,
    /// Time for which the last data of a worker are kept after its process ended.
    pub forget_after: Duration,
    /// Audit log for commands to Dagster; the workers record their own.
    pub audit: Option<PathBuf>,
    /// Access to the queues while no worker is linked.
    pub direct_queues: Option<DirectQueues>,
    /// Starter of workers on this host; without one, they cannot be started.
    pub starter: Option<mpsc::Sender<Request>>,
    /// This process's own events, whose log lines are shown.
    pub own_events: Option<mpsc::Receiver<Event>>,
}

impl Default for AggregatorOptions {
    /// Links every worker of this user on this host, and no webserver.
    fn default() -> Self {
        Self {
            sockets: Vec::new(),
            discover: socket_folder::folders(),
            discover_every: Duration::from_secs(1),
            hosts: Vec::new(),
            ssh: Ssh::default(),
            webserver_url: None,
            read_only: false,
            forget_after: Duration::from_mins(1),
            audit: AuditLog::default_path(),
            direct_queues: None,
            starter: None,
            own_events: None,
        }
    }
}

/// The aggregator; see [`Aggregator::start`].
#[derive(Debug)]
pub struct Aggregator {
    state: FleetState,
    requests: mpsc::Receiver<Request>,
    publish: watch::Sender<Arc<Snapshot>>,
}

impl Aggregator {
    /// Starts an aggregator on its own task. The first snapshot is empty and available at once.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    #[must_use = "the aggregator ends when its handle is dropped"]
    pub fn start(options: AggregatorOptions) -> Handle {
        let (send_request, requests) = mpsc::channel(IN_FLIGHT);
        let (send_link_events, link_events) = mpsc::channel(MAX_PENDING_EVENTS);
        let (send_host_events, host_events) = mpsc::channel(MAX_PENDING_EVENTS);
        let (updates, webserver) = mpsc::channel(8);
        let audit = options.audit.clone().map(AuditLog::new);
        let direct_queues = options
            .direct_queues
            .as_ref()
            .map(|direct_queues| direct_queues.requests.clone());
        let mut dispatcher = dispatcher::Dispatcher::new(
            options.read_only,
            audit,
            updates,
            direct_queues,
            options.starter,
        );
        if let Some(url) = &options.webserver_url {
            dispatcher.use_webserver(url);
        }
        let audit = options.audit.clone().map(Tail::new);
        let every = options.discover_every;
        let mut state = FleetState::new(state::FleetConfig {
            sockets: options.sockets,
            folders: options.discover,
            hosts: options.hosts,
            ssh: options.ssh,
            webserver_url: options.webserver_url,
            read_only: options.read_only,
            forget_after: options.forget_after,
            link_events: send_link_events,
            host_events: send_host_events,
        });
        state.look();
        state.merge();
        let (publish, snapshot) = watch::channel(Arc::new(state.snapshot()));
        let aggregator = Self {
            state,
            requests,
            publish,
        };
        let inputs = Inputs {
            link_events,
            host_events,
            webserver,
            own: options.own_events,
            audit,
            every,
            direct_queues: options
                .direct_queues
                .map(|direct_queues| (direct_queues.snapshots, direct_queues.demand)),
        };
        tokio::spawn(aggregator.run(inputs, dispatcher));
        Handle::new(snapshot, send_request)
    }

    async fn run(mut self, mut inputs: Inputs, mut dispatcher: dispatcher::Dispatcher) {
        let mut debounce = Debounce::new(PUBLISH_EVERY);
        let mut look = interval(inputs.every);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut under_way: JoinSet<()> = JoinSet::new();
        loop {
            tokio::select! {
                request = self.requests.recv() => {
                    let Some(request) = request else { return };
                    if under_way.len() < IN_FLIGHT {
                        under_way.spawn(dispatcher.dispatch(request, &self.state));
                    } else {
                        let text = "too many commands wait for their outcome; try again";
                        // The caller may have gone.
                        let _ = request.reply.send(Reply::Failed(text.to_owned()));
                    }
                }
                Some(_) = under_way.join_next() => {}
                Some(event) = inputs.link_events.recv() => {
                    self.state.on_link_event(event);
                    if let Some(url) = self.state.learn_webserver() {
                        dispatcher.use_webserver(&url);
                    }
                    debounce.touch();
                }
                Some((host, event)) = inputs.host_events.recv() => {
                    self.state.on_host_event(&host, event);
                    debounce.touch();
                }
                Some(update) = inputs.webserver.recv() => {
                    self.state.on_webserver_update(update);
                    debounce.touch();
                }
                event = receive(&mut inputs.own) => {
                    if let Event::Log { line } = event {
                        self.state.log([line], SignedDuration::ZERO);
                        debounce.touch();
                    }
                }
                snapshot = next_direct_queues_snapshot(&mut inputs.direct_queues) => {
                    self.state.on_direct_queues_snapshot(snapshot);
                    debounce.touch();
                }
                _ = look.tick() => {
                    let needed = self.state.needs_direct_queues();
                    if let Some((_, demand)) = &inputs.direct_queues
                        && demand.send_if_modified(|known| std::mem::replace(known, needed) != needed)
                    {
                        debounce.touch();
                    }
                    if self.state.look() {
                        debounce.touch();
                    }
                    if let Some(entries) = inputs.audited() {
                        self.state.audited(entries);
                        debounce.touch();
                    }
                }
                () = debounce.due() => {
                    debounce.published();
                    if self.state.merge() {
                        self.publish.send_replace(Arc::new(self.state.snapshot()));
                    }
                }
            }
        }
    }
}

/// All inputs of the aggregator.
struct Inputs {
    link_events: mpsc::Receiver<link::AddressedEvent>,
    host_events: mpsc::Receiver<(Arc<str>, ssh_host::HostEvent)>,
    webserver: mpsc::Receiver<webserver::WebserverUpdate>,
    own: Option<mpsc::Receiver<Event>>,
    audit: Option<Tail>,
    every: Duration,
    direct_queues: Option<(watch::Receiver<Arc<WorkerSnapshot>>, watch::Sender<bool>)>,
}

impl Inputs {
    /// The audit log's newest entries, if some were added. A read error is only logged, because
    /// nothing else can be done about it here.
    fn audited(&mut self) -> Option<Vec<AuditEntry>> {
        let added = self.audit.as_mut()?.read_new();
        added
            .inspect_err(|error| tracing::debug!("cannot read the audit log: {error}"))
            .ok()
            .flatten()
    }
}

/// The next message of the direct access to the queues, or never.
async fn next_direct_queues_snapshot(
    direct_queues: &mut Option<(watch::Receiver<Arc<WorkerSnapshot>>, watch::Sender<bool>)>,
) -> Arc<WorkerSnapshot> {
    if let Some((snapshots, _)) = direct_queues {
        if snapshots.changed().await.is_ok() {
            return Arc::clone(&snapshots.borrow_and_update());
        }
        *direct_queues = None;
    }
    std::future::pending().await
}

/// The next event, or never.
async fn receive(events: &mut Option<mpsc::Receiver<Event>>) -> Event {
    if let Some(receiver) = events {
        if let Some(event) = receiver.recv().await {
            return event;
        }
        *events = None;
    }
    std::future::pending().await
}
