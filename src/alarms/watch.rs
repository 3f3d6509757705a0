//! Judges a worker's alarms at intervals, publishes them, and agrees with the other workers of the
//! deployment on who records and delivers them.
//!
//! If this process dies after a delivery was granted to it, the grant expires and another worker
//! delivers. While Dagster's storage is away no agreement is possible: then each worker delivers
//! what it sees, because the storage itself may be what the alarm is about.

mod answers;
mod board;
mod recording;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::task::AbortOnDropHandle;
use tracing::error;

use super::facts::{self, Facts};
use super::hooks::{Outcomes, Runner, Sender};
use super::judge::{self, Found};
use super::silence::Silence;
use crate::config::{AlarmHook, AlarmSettings};
use crate::domain::secrets::redact_in_place;
use crate::domain::{
    Acknowledgement, Alarm, AlarmKind, Event, EventSink, Snapshot, Timestamp, WorkerSnapshot,
    WorkerState, coarse_age,
};
use crate::fork_server::ForkServers;
use crate::protocol::Request;
use crate::sqs::Broker;
use board::Agreed;

/// Interval of the judgement.
const EVERY: Duration = Duration::from_secs(2);

/// Maximum number of alarms that one worker reports; the worst ones.
const MAX_ALARMS: usize = 200;

/// Subject of the alarm that Dagster's storage does not answer.
const STORAGE: &str = "storage";

/// Maximum number of requests that wait.
const REQUESTS: usize = 16;

/// Returns the worker's current state.
pub type State = Box<dyn Fn() -> BoxFuture<'static, Arc<WorkerSnapshot>> + Send + Sync>;

/// Parts and settings of a watch.
pub struct Options {
    /// The worker, in every message.
    pub sender: Sender,
    /// Thresholds.
    pub settings: AlarmSettings,
    /// The destinations of alarms.
    pub hooks: Vec<AlarmHook>,
    /// Folders whose disks are watched.
    pub folders: Vec<PathBuf>,
    /// The history's file.
    pub history: PathBuf,
    /// Access to Dagster's storage.
    pub hosts: ForkServers,
    /// The broker, for its clock.
    pub broker: Broker,
    /// Receiver of the alarms.
    pub events: EventSink,
    /// The worker's state.
    pub state: State,
}

/// A running watch; it ends when this is dropped.
#[derive(Debug)]
pub struct Watch {
    /// Takes [`Command::AcknowledgeAlarm`](crate::domain::Command::AcknowledgeAlarm) and
    /// [`Query::AlarmHistory`](crate::domain::Query::AlarmHistory).
    pub requests: mpsc::Sender<Request>,
    _task: AbortOnDropHandle<()>,
}

impl Watch {
    /// Starts judging.
    #[must_use = "the watch ends when this is dropped"]
    pub fn start(options: Options) -> Self {
        let (requests, received) = mpsc::channel(REQUESTS);
        Self {
            requests,
            _task: AbortOnDropHandle::new(tokio::spawn(Watcher::new(options).run(received))),
        }
    }
}

/// An alarm over time.
#[derive(Clone, Debug)]
struct Standing {
    alarm: Alarm,
    begun: Instant,
    seen: Instant,
    /// Deliveries that were made without an agreement, by their keys.
    alone: Vec<String>,
}

/// Outcome of a task of the watcher.
enum Done {
    /// With the ended deliveries that were reported, by their hook's position.
    Synced(Box<Result<Agreed, String>>, Vec<(usize, Outcomes)>),
    Acknowledged(BTreeMap<String, Acknowledgement>),
    Answered,
}

struct Watcher {
    options: Options,
    runners: Vec<Runner>,
    facts: watch::Receiver<Facts>,
    _looks: AbortOnDropHandle<()>,
    silence: Silence,
    standing: BTreeMap<String, Standing>,
    /// Time of the last judgement; alarms that were not seen then may come back.
    judged: Option<Instant>,
    acknowledged: BTreeMap<String, Acknowledgement>,
    work: JoinSet<Done>,
    is_syncing: bool,
    synced: Option<Instant>,
    /// The alarms last reported as open, to report a change at once.
    reported: Vec<String>,
    failing: Option<Instant>,
    /// Whether an alarm on the board ends soon if no worker reports it.
    is_ending: bool,
    /// The alarms whose begin is in this host's history and whose end is not, with their begin on
    /// the board; `None` if it was recorded without an agreement.
    recorded: BTreeMap<String, Option<Timestamp>>,
}

impl Watcher {
    fn new(options: Options) -> Self {
        let (facts, looks) = facts::start(
            options.settings.clone(),
            options.folders.clone(),
            options.hosts.clone(),
            options.broker.clone(),
        );
        let start = |hook: &AlarmHook| Runner::start(hook.clone(), options.sender.clone());
        let runners = options.hooks.iter().map(start).collect();
        let recorded = recording::open(&options.history);
        Self {
            runners,
            facts,
            _looks: looks,
            silence: Silence::default(),
            standing: BTreeMap::new(),
            judged: None,
            acknowledged: BTreeMap::new(),
            work: JoinSet::new(),
            is_syncing: false,
            synced: None,
            reported: Vec::new(),
            failing: None,
            is_ending: false,
            recorded,
            options,
        }
    }

    async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.tick().await,
                Some(request) = requests.recv() => self.answer(request),
                Some(done) = self.work.join_next() => match done {
                    Ok(Done::Synced(agreed, ended)) => self.agreed(*agreed, ended),
                    Ok(Done::Acknowledged(acknowledged)) => {
                        self.acknowledged = acknowledged;
                        self.publish();
                    }
                    Ok(Done::Answered) => {}
                    Err(problem) => {
                        error!("a request about alarms failed: {problem}");
                        self.is_syncing = false;
                    }
                },
            }
        }
    }

    async fn tick(&mut self) {
        let state = (self.options.state)().await;
        // A worker that ends sees things that are about its own end only.
        if matches!(
            state.worker.state,
            WorkerState::Running | WorkerState::Paused
        ) {
            self.judge(&state);
            self.publish();
        }
        self.sync();
    }

    fn judge(&mut self, state: &WorkerSnapshot) {
        let (now, wall) = (Instant::now(), Timestamp::now());
        self.judged = Some(now);
        let settings = &self.options.settings;
        let mut found = Found::default();
        let mut snapshot = snapshot(state);
        let storage = self.options.hosts.storage().state();
        snapshot.fleet = Arc::new(self.silence.seen(&state.fleet, &storage, now, wall));
        judge::worker(&snapshot, settings, wall, &mut found);
        if let Some(outage) = &storage.outage {
            let age = coarse_age((now - outage.since).as_secs());
            let reason = &outage.reason;
            let text = format!("Dagster's storage does not answer for {age}: {reason}");
            found.critical(AlarmKind::Unreachable, STORAGE, text);
        }
        let host = &self.options.sender.host;
        self.facts.borrow().judge(settings, host, wall, &mut found);
        for runner in &self.runners {
            runner.judge(&mut found);
        }
        let mut alarms = found.0;
        alarms.retain(|alarm| settings.judges(alarm.kind));
        alarms.sort_by_key(|alarm| alarm.severity);
        alarms.truncate(MAX_ALARMS);
        for mut alarm in alarms {
            redact_in_place(&mut alarm.text);
            redact_in_place(&mut alarm.about);
            let known = self.standing.entry(alarm.id()).or_insert_with(|| Standing {
                alarm: alarm.clone(),
                begun: now,
                seen: now,
                alone: Vec::new(),
            });
            alarm.since = known.alarm.since.or(Some(wall));
            known.alarm = alarm;
            known.seen = now;
        }
        let hold = Duration::from_secs(settings.hold);
        let mut gone = Vec::new();
        self.standing.retain(|_, known| {
            let is_seen = known.seen == now;
            // One that did not last is forgotten, one that did is kept while it may come back.
            let stays = is_seen || (known.seen - known.begun >= hold && now - known.seen < hold);
            if !stays {
                gone.push(known.clone());
            }
            stays
        });
        self.end_alone(&gone, wall);
    }

    /// The alarms that are seen now.
    fn publish(&self) {
        let seen = self
            .standing
            .values()
            .filter(|known| Some(known.seen) == self.judged);
        let alarms = seen.map(|known| {
            let mut alarm = known.alarm.clone();
            alarm.acknowledged = self.acknowledged.get(&alarm.id()).cloned();
            alarm
        });
        self.options.events.send(Event::Alarms {
            alarms: alarms.collect(),
            acknowledged: self.acknowledged.clone(),
        });
    }
}

/// A worker's state as a snapshot of itself alone.
fn snapshot(state: &WorkerSnapshot) -> Snapshot {
    Snapshot {
        revision: 1,
        sources: state.sources.clone(),
        queues: Arc::new(state.queues.clone()),
        workers: Arc::new(vec![state.worker.clone()]),
        fleet: Arc::new(state.fleet.clone()),
        tasks: Arc::new(state.tasks.clone()),
        recent: Arc::new(state.recent.iter().cloned().collect()),
        ..Snapshot::default()
    }
}
