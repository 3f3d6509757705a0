//! What systemd is told of a worker that is its service (`Type=notify`, `WatchdogSec`): ready,
//! stopping, and that the pool's loop still turns. Does nothing where systemd does not ask for it.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::warn;

use crate::domain::WorkerState;

/// The service manager's side of a pool.
pub(super) struct Service {
    watchdog: Option<Interval>,
}

impl Service {
    /// Reads what systemd has put into the environment.
    pub fn new() -> Self {
        let every = sd_notify::watchdog_enabled().map(|limit| limit / 2);
        let watchdog = every.filter(|every| *every > Duration::ZERO).map(|every| {
            let mut watchdog = interval(every);
            watchdog.set_missed_tick_behavior(MissedTickBehavior::Delay);
            watchdog
        });
        Self { watchdog }
    }

    /// Reports a change of the pool's state.
    pub fn report(state: WorkerState) {
        let word = format!("worker is {}", state.word());
        let status = NotifyState::Status(&word);
        match state {
            WorkerState::Starting | WorkerState::Lost => {}
            WorkerState::Running | WorkerState::Paused => notify(&[NotifyState::Ready, status]),
            WorkerState::Draining | WorkerState::Stopping | WorkerState::Stopped => {
                notify(&[NotifyState::Stopping, status]);
            }
        }
    }

    /// Completes when the watchdog is due, which is then fed. Pending for ever without one.
    pub async fn watched(&mut self) {
        match &mut self.watchdog {
            Some(watchdog) => {
                watchdog.tick().await;
                notify(&[NotifyState::Watchdog]);
            }
            None => std::future::pending().await,
        }
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(problem) = sd_notify::notify(states) {
        warn!("cannot notify systemd: {problem}");
    }
}
