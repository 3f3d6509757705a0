//! One warm step host: its lifecycle, and the tasks it runs.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::sync::{mpsc, oneshot, watch};

use super::api::{ForkServerNotice, ForkServerState, Progress, Stream};
use super::link::{Link, ProcessEvent};
use super::protocol::{Exit, FromProcess, Job, PROTOCOL, ToProcess};
use super::spawner::{Mode, Spawner};
use super::sync::lock;
use crate::domain::{ForkServerPhase, Isolation, TaskKind};
use crate::telemetry::metrics::metrics;
use crate::telemetry::proc;

/// Timeout of loading. User code may query databases and import a great deal.
const LOAD: Duration = Duration::from_mins(10);

/// Extra time after a cancel's own signals before an unresponsive host is killed: SIGTERM to
/// SIGKILL takes 5 s on the other side.
const UNRESPONSIVE: Duration = Duration::from_secs(15);

/// End of a task, as seen by its host.
#[derive(Debug)]
pub(super) enum Ended {
    /// Its process was reaped.
    Exit(Box<Exit>),
    /// It was not started: the user's code changed on disk or (then with a reason) lacks something
    /// that the run needs.
    Stale { reason: Option<String> },
    /// It was not started: no process could be created.
    CannotStart { reason: String },
    /// Its process was killed and does not end: it hangs in the kernel, or belongs to another user.
    /// Its host is healthy.
    Undying { pid: Option<u32> },
    /// The host died; the pid is the task's, if it had one, and `begun` whether the task had begun.
    HostDied { pid: Option<u32>, begun: bool },
}

/// Reason why a code location is not loaded.
#[derive(Debug)]
pub(super) enum NotLoaded {
    /// The user's code raised (the exception's last line), or loading timed out.
    Broken(String),
    /// The process ended while loading, by itself or killed, or Dagster's storage was not
    /// available.
    Died(String),
}

struct Task {
    progress: mpsc::Sender<Progress>,
    done: oneshot::Sender<Ended>,
    pid: Option<u32>,
    begun: bool,
    /// Whether another process can resume it if this one is stopped.
    resumable: bool,
}

struct Inner {
    pid: u32,
    location: String,
    notices: mpsc::Sender<ForkServerNotice>,
    tasks: Mutex<HashMap<String, Task>>,
    phase: Mutex<ForkServerPhase>,
    loaded_ms: AtomicU64,
    isolation: Mutex<Option<(Isolation, String)>>,
    /// Number of events dropped on this side.
    dropped: AtomicU64,
    /// Number of frames dropped by the host itself, from its last report.
    dropped_there: AtomicU64,
    dead: watch::Sender<bool>,
    /// Number of answered pings.
    pongs: watch::Sender<u64>,
    loaded: Mutex<Option<oneshot::Sender<Result<(), NotLoaded>>>>,
    retired: AtomicBool,
    outdated: AtomicBool,
    used: Mutex<Instant>,
}

/// Handle to a host. Dropping it closes the socket, and with that ends the host.
pub(super) struct ForkServer {
    inner: Arc<Inner>,
    link: Link,
    loading: tokio::sync::Mutex<Option<oneshot::Receiver<Result<(), NotLoaded>>>>,
}

impl ForkServer {
    /// Starts a process and sends it the code location to load.
    pub async fn spawn(
        spawner: &Spawner,
        location: String,
        load: ToProcess,
        notices: mpsc::Sender<ForkServerNotice>,
    ) -> std::io::Result<Self> {
        let (link, events) = Link::new(spawner.spawn(Mode::Step).await?);
        let (loaded, loading) = oneshot::channel();
        let inner = Arc::new(Inner {
            pid: link.pid,
            location,
            notices,
            tasks: Mutex::default(),
            phase: Mutex::new(ForkServerPhase::Loading),
            loaded_ms: AtomicU64::new(0),
            isolation: Mutex::default(),
            dropped: AtomicU64::new(0),
            dropped_there: AtomicU64::new(0),
            dead: watch::Sender::new(false),
            pongs: watch::Sender::new(0),
            loaded: Mutex::new(Some(loaded)),
            retired: AtomicBool::new(false),
            outdated: AtomicBool::new(false),
            used: Mutex::new(Instant::now()),
        });
        tokio::spawn(Arc::clone(&inner).pump(events));
        link.send(load).await;
        Ok(Self {
            inner,
            link,
            loading: tokio::sync::Mutex::new(Some(loading)),
        })
    }

    /// Waits until the code location is loaded.
    pub async fn loaded(&self) -> Result<(), NotLoaded> {
        let Some(loading) = self.loading.lock().await.take() else {
            return Ok(());
        };
        let result = match tokio::time::timeout(LOAD, loading).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(NotLoaded::Died("its host was given up".to_owned())),
            Err(_) => Err(NotLoaded::Broken(format!(
                "not loaded after {} s",
                LOAD.as_secs()
            ))),
        };
        if let Err(NotLoaded::Broken(reason) | NotLoaded::Died(reason)) = &result {
            *lock(&self.inner.phase) = ForkServerPhase::Failed(reason.clone());
            self.kill();
        }
        result
    }

    /// Runs a task to its end.
    pub async fn run(&self, kind: TaskKind, job: Job, progress: mpsc::Sender<Progress>) -> Ended {
        let (done, ended) = oneshot::channel();
        let id = job.id.clone();
        *lock(&self.inner.used) = Instant::now();
        lock(&self.inner.tasks).insert(
            id.clone(),
            Task {
                progress,
                done,
                pid: None,
                begun: false,
                resumable: false,
            },
        );
        let frame = if kind.is_run() {
            ToProcess::Run(Box::new(job))
        } else {
            ToProcess::Step(Box::new(job))
        };
        if !self.link.send(frame).await || *self.inner.dead.borrow() {
            lock(&self.inner.tasks).remove(&id);
        }
        let ended = ended.await.unwrap_or(Ended::HostDied {
            pid: None,
            begun: false,
        });
        *lock(&self.inner.used) = Instant::now();
        ended
    }

    /// Sends SIGINT, SIGTERM after `grace`, then SIGKILL. A host that does not answer is killed
    /// itself; a process that does not die is given up.
    pub async fn cancel(&self, id: &str, grace: Duration) {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        let sent = self.link.send(ToProcess::Cancel {
            id: id.to_owned(),
            grace_ms,
        });
        let _ = tokio::time::timeout(UNRESPONSIVE, sent).await;
        self.watch_end(id, grace + UNRESPONSIVE);
    }

    /// Whether another process can resume the task if its own is stopped.
    pub fn is_resumable(&self, id: &str) -> bool {
        let tasks = lock(&self.inner.tasks);
        tasks.get(id).is_some_and(|task| task.resumable)
    }

    /// The process that runs the task, once it has one.
    pub fn process_of(&self, id: &str) -> Option<u32> {
        lock(&self.inner.tasks).get(id)?.pid
    }

    /// Sends SIGKILL at once to everything the task started.
    pub async fn kill_task(&self, id: &str) {
        let sent = self.link.send(ToProcess::Kill { id: id.to_owned() });
        let _ = tokio::time::timeout(UNRESPONSIVE, sent).await;
        self.watch_end(id, UNRESPONSIVE);
    }

    fn watch_end(&self, id: &str, limit: Duration) {
        let (inner, link) = (Arc::clone(&self.inner), self.link.clone());
        let id = id.to_owned();
        tokio::spawn(async move {
            tokio::time::sleep(limit).await;
            let pid = match lock(&inner.tasks).get(&id) {
                None => return,
                Some(task) => task.pid,
            };
            if inner.answers(&link).await {
                // One process that does not die must not keep the others from ending.
                inner.end(&id, Ended::Undying { pid });
            } else {
                signal_group(inner.pid, Signal::KILL);
            }
        });
    }

    /// Marks it for replacement by a host that has loaded the current code.
    pub fn outdate(&self) {
        self.inner.outdated.store(true, Ordering::SeqCst);
    }

    /// Whether it is marked for replacement.
    pub fn is_outdated(&self) -> bool {
        self.inner.outdated.load(Ordering::SeqCst)
    }

    /// Stops accepting work; ends when its tasks have ended.
    pub async fn retire(&self) {
        self.inner.retired.store(true, Ordering::SeqCst);
        {
            let mut phase = lock(&self.inner.phase);
            if *phase == ForkServerPhase::Ready {
                *phase = ForkServerPhase::Draining;
            }
        }
        self.link.send(ToProcess::Stop { drain: true }).await;
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.inner.pid
    }

    /// Whether it accepts new work.
    pub fn takes_work(&self) -> bool {
        !self.inner.retired.load(Ordering::SeqCst) && !*self.inner.dead.borrow()
    }

    /// Whether it has not loaded its code location yet.
    pub fn is_loading(&self) -> bool {
        *lock(&self.inner.phase) == ForkServerPhase::Loading
    }

    /// Whether its process has ended.
    pub fn is_dead(&self) -> bool {
        *self.inner.dead.borrow()
    }

    /// Waits for the end of its process.
    pub async fn ended(&self) {
        let _ = self.inner.dead.subscribe().wait_for(|dead| *dead).await;
    }

    /// Kills the process.
    pub fn kill(&self) {
        self.inner.retired.store(true, Ordering::SeqCst);
        if !self.is_dead() {
            signal(self.inner.pid, Signal::KILL);
        }
    }

    /// Time of the last begin or end of a task; `None` while it runs one.
    pub fn idle_since(&self) -> Option<Instant> {
        lock(&self.inner.tasks)
            .is_empty()
            .then(|| *lock(&self.inner.used))
    }

    /// Its state for the console.
    pub fn state(&self) -> ForkServerState {
        let inner = &self.inner;
        ForkServerState {
            pid: inner.pid,
            location: inner.location.clone(),
            phase: lock(&inner.phase).clone(),
            loaded_ms: inner.loaded_ms.load(Ordering::Relaxed),
            children: u32::try_from(lock(&inner.tasks).len()).unwrap_or(u32::MAX),
            pss_kib: proc::pss_kib(inner.pid).unwrap_or(0),
            dropped: inner.dropped.load(Ordering::Relaxed)
                + inner.dropped_there.load(Ordering::Relaxed),
            isolation: lock(&inner.isolation).clone(),
        }
    }
}

impl Inner {
    /// Handles the host's messages until it is dead, then resolves its tasks.
    async fn pump(self: Arc<Self>, mut events: mpsc::Receiver<ProcessEvent>) {
        let mut why = String::new();
        while let Some(item) = events.recv().await {
            match item {
                ProcessEvent::Frame(frame) => self.take(frame),
                ProcessEvent::Line(line) => self.notice(ForkServerNotice::Line {
                    location: self.location.clone(),
                    line,
                }),
                ProcessEvent::Died(reason) => {
                    why = reason;
                    break;
                }
            }
        }
        self.dead.send_replace(true);
        if let Some(loaded) = lock(&self.loaded).take() {
            let reason = format!("its host ended while it loaded: {why}");
            let _ = loaded.send(Err(NotLoaded::Died(reason)));
        }
        let tasks: Vec<Task> = lock(&self.tasks).drain().map(|(_, task)| task).collect();
        if !tasks.is_empty() || !self.retired.load(Ordering::SeqCst) {
            self.notice(ForkServerNotice::Died {
                location: self.location.clone(),
                pid: self.pid,
            });
        }
        for task in tasks {
            // The kernel ended the task's own process with the host; its children live on in its
            // process group.
            if let Some(pid) = task.pid {
                signal_group(pid, Signal::KILL);
            }
            let Task {
                done, pid, begun, ..
            } = task;
            let _ = done.send(Ended::HostDied { pid, begun });
        }
    }

    /// Whether the host answers a ping.
    async fn answers(&self, link: &Link) -> bool {
        let mut pongs = self.pongs.subscribe();
        let answer = async { link.send(ToProcess::Ping).await && pongs.changed().await.is_ok() };
        let is_alive = tokio::time::timeout(UNRESPONSIVE, answer).await;
        is_alive.unwrap_or(false)
    }

    fn notice(&self, notice: ForkServerNotice) {
        let _ = self.notices.try_send(notice);
    }

    fn take(&self, frame: FromProcess) {
        match frame {
            FromProcess::Hello {
                protocol,
                dagster_taskiq,
                // The worker's own instance agent has said it.
                dagster_warning: _,
            } => self.greeted(protocol, dagster_taskiq),
            FromProcess::Ready {
                load_ms,
                isolation,
                why,
            } => self.ready(load_ms, &isolation, why),
            FromProcess::Isolation { isolation, why } => self.isolated(&isolation, why),
            FromProcess::LoadError { reason, passing } => {
                if let Some(loaded) = lock(&self.loaded).take() {
                    let _ = loaded.send(Err(if passing {
                        NotLoaded::Died(reason)
                    } else {
                        NotLoaded::Broken(reason)
                    }));
                }
            }
            FromProcess::Stale { id, reason } => self.end(&id, Ended::Stale { reason }),
            FromProcess::CannotStart { id, reason } => self.end(&id, Ended::CannotStart { reason }),
            FromProcess::Forked { id, pid } => {
                if let Some(task) = lock(&self.tasks).get_mut(&id) {
                    task.pid = Some(pid);
                }
                self.progress(&id, Progress::Forked { pid });
            }
            FromProcess::Begun { id } => {
                if let Some(task) = lock(&self.tasks).get_mut(&id) {
                    task.begun = true;
                }
            }
            FromProcess::Resumable { id } => {
                if let Some(task) = lock(&self.tasks).get_mut(&id) {
                    task.resumable = true;
                }
            }
            FromProcess::Event {
                id,
                event_type,
                message,
            } => {
                self.progress(
                    &id,
                    Progress::Event {
                        event_type,
                        message,
                    },
                );
            }
            FromProcess::Log { id, stream, line } => {
                let stream = if stream == "stderr" {
                    Stream::Stderr
                } else {
                    Stream::Stdout
                };
                self.progress(&id, Progress::Log { stream, line });
            }
            FromProcess::Exit(exit) => {
                self.dropped_there.store(exit.dropped, Ordering::Relaxed);
                metrics().host_task(&self.location);
                let id = exit.id.clone();
                self.end(&id, Ended::Exit(exit));
            }
            FromProcess::Pong => self.pongs.send_modify(|count| *count += 1),
            FromProcess::Answer { .. } => {}
        }
    }

    fn greeted(&self, protocol: u32, installed: Option<String>) {
        if protocol != PROTOCOL {
            tracing::error!(protocol, "a Python host speaks another protocol");
        }
        if let Some(installed) = installed.filter(|version| version != env!("CARGO_PKG_VERSION")) {
            let location = self.location.clone();
            self.notice(ForkServerNotice::VersionDiffers {
                location,
                installed,
            });
        }
    }

    fn ready(&self, load_ms: u64, isolation: &str, why: String) {
        self.loaded_ms.store(load_ms, Ordering::Relaxed);
        {
            let mut phase = lock(&self.phase);
            if *phase == ForkServerPhase::Loading {
                *phase = ForkServerPhase::Ready;
            }
        }
        let location = self.location.clone();
        self.notice(ForkServerNotice::Ready {
            location,
            pid: self.pid,
            loaded_ms: load_ms,
        });
        self.isolated(isolation, why);
        if let Some(loaded) = lock(&self.loaded).take() {
            let _ = loaded.send(Ok(()));
        }
    }

    fn isolated(&self, isolation: &str, why: String) {
        let Ok(mode) = isolation.parse::<Isolation>() else {
            return;
        };
        *lock(&self.isolation) = Some((mode, why.clone()));
        self.notice(ForkServerNotice::Isolation {
            location: self.location.clone(),
            mode,
            reason: why,
        });
    }

    fn end(&self, id: &str, ended: Ended) {
        if let Some(task) = lock(&self.tasks).remove(id) {
            let _ = task.done.send(ended);
        }
    }

    /// Sends progress to the follower of the task; events that do not fit are dropped and counted.
    fn progress(&self, id: &str, progress: Progress) {
        let tasks = lock(&self.tasks);
        if let Some(task) = tasks.get(id)
            && let Err(mpsc::error::TrySendError::Full(_)) = task.progress.try_send(progress)
        {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn as_pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = as_pid(pid) {
        let _ = kill_process(pid, signal);
    }
}

fn signal_group(pid: u32, signal: Signal) {
    if let Some(pid) = as_pid(pid) {
        let _ = kill_process_group(pid, signal);
    }
}
