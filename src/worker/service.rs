//! Notifications to systemd of a worker that is its service (`Type=notify`, `WatchdogSec`): ready,
//! stopping, and that all of its loops are alive. Does nothing unless systemd requests it.

use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::{error, warn};

use crate::domain::WorkerState;
use crate::telemetry::vitals::vitals;

/// Watchdog of a worker that starts again, in microseconds: loading the code may take its time.
const RESTART: u32 = 300_000_000;

/// Longest wait for the last note to be sent.
const LAST: Duration = Duration::from_secs(1);

/// The service manager's side of a pool.
pub(super) struct Service {
    watchdog: Option<Interval>,
}

impl Service {
    /// Reads systemd's variables from the environment.
    pub fn new() -> Self {
        let every = sd_notify::watchdog_enabled().map(|limit| limit / 2);
        let watchdog = every.filter(|every| *every > Duration::ZERO).map(|every| {
            let mut watchdog = interval(every);
            watchdog.set_missed_tick_behavior(MissedTickBehavior::Delay);
            watchdog
        });
        Self { watchdog }
    }

    /// Reports a change of the pool's state. The service of a worker that restarts does not stop: its
    /// process goes on as another program, which has as long as at its start. Of the last state it is
    /// waited for a moment that it is sent: the process ends, or becomes another one.
    pub fn report(state: WorkerState, restarts: bool) {
        let (sent, is_sent) = sync_channel(1);
        post(Note::State(state, restarts, sent));
        if state == WorkerState::Stopped {
            let _ = is_sent.recv_timeout(LAST);
        }
    }

    /// Completes when the watchdog is due, after notifying it unless a part of the worker hangs.
    /// Pending for ever without a watchdog.
    pub async fn watched(&mut self) {
        let Some(watchdog) = &mut self.watchdog else {
            return std::future::pending().await;
        };
        watchdog.tick().await;
        match vitals().health(Instant::now()) {
            Ok(()) => post(Note::Alive),
            Err(problem) => error!("systemd's watchdog is not fed: {problem}"),
        }
    }

    /// Goes on with that; never completes.
    pub async fn keep_watched(&mut self) {
        loop {
            self.watched().await;
        }
    }
}

/// A notification for the service manager.
enum Note {
    Alive,
    /// A state, whether the worker restarts, and the receiver of "it was sent".
    State(WorkerState, bool, SyncSender<()>),
}

/// Notifications to be sent. The manager's socket takes ten that it has not read; the next one blocks,
/// which must not hold up the pool. Those beyond sixteen are dropped.
static OUTBOX: LazyLock<Option<SyncSender<Note>>> = LazyLock::new(|| {
    std::env::var_os("NOTIFY_SOCKET")?;
    let (outbox, notes) = sync_channel(16);
    let sender = thread::Builder::new().name("sd-notify".to_owned());
    match sender.spawn(move || send_all(&notes)) {
        Ok(_) => Some(outbox),
        Err(problem) => {
            warn!("cannot notify systemd: {problem}");
            None
        }
    }
});

/// Leaves a notification to be sent; without a service manager it is dropped, and so is the sender in
/// it.
fn post(note: Note) {
    if let Some(outbox) = &*OUTBOX {
        let _ = outbox.try_send(note);
    }
}

fn send_all(notes: &Receiver<Note>) {
    while let Ok(note) = notes.recv() {
        match note {
            Note::Alive => notify(&[NotifyState::Watchdog]),
            Note::State(state, restarts, sent) => {
                notify_of(state, restarts);
                let _ = sent.try_send(());
            }
        }
    }
}

fn notify_of(state: WorkerState, restarts: bool) {
    let word = format!("worker is {}", state.word());
    let status = NotifyState::Status(&word);
    match state {
        WorkerState::Starting | WorkerState::Lost => {}
        WorkerState::Running | WorkerState::Paused => {
            let limit = sd_notify::watchdog_enabled();
            let limit = limit.and_then(|limit| u32::try_from(limit.as_micros()).ok());
            notify(&[NotifyState::Ready, status]);
            if let Some(limit) = limit {
                notify(&[NotifyState::WatchdogUsec(limit)]);
            }
        }
        WorkerState::Stopped if restarts => {
            notify(&[status, NotifyState::WatchdogUsec(RESTART)]);
        }
        WorkerState::Draining | WorkerState::Stopping if restarts => notify(&[status]),
        WorkerState::Draining | WorkerState::Stopping | WorkerState::Stopped => {
            notify(&[NotifyState::Stopping, status]);
        }
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(problem) = sd_notify::notify(states) {
        warn!("cannot notify systemd: {problem}");
    }
}
