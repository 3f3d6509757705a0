//! Notifications to systemd of a worker that is its service (`Type=notify`, `WatchdogSec`): ready,
//! stopping, and that all of its loops are alive. Does nothing unless systemd requests it.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::{error, warn};

use crate::domain::WorkerState;
use crate::telemetry::vitals::vitals;

/// Watchdog of a worker that starts again, in microseconds: loading the code may take its time.
const RESTART: u32 = 300_000_000;

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
    /// process goes on as another program, which has as long as at its start.
    pub fn report(state: WorkerState, restarts: bool) {
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

    /// Completes when the watchdog is due, after notifying it unless a part of the worker hangs.
    /// Pending for ever without a watchdog.
    pub async fn watched(&mut self) {
        let Some(watchdog) = &mut self.watchdog else {
            return std::future::pending().await;
        };
        watchdog.tick().await;
        match vitals().health(Instant::now()) {
            Ok(()) => notify(&[NotifyState::Watchdog]),
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

fn notify(states: &[NotifyState<'_>]) {
    if let Err(problem) = sd_notify::notify(states) {
        warn!("cannot notify systemd: {problem}");
    }
}
