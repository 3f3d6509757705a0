//! Stops a worker from taking tasks that it cannot start. Failing is faster than working: one
//! broken machine would go through a whole queue.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{error, info};

use crate::domain::BackOff;

/// Consecutive start failures after which the worker takes no more tasks for a while.
const TOLERATED: u32 = 3;

/// First and longest pause; it doubles each time that nothing could be started after a pause.
const BACK_OFF: BackOff = BackOff {
    first: Duration::from_secs(5),
    longest: Duration::from_mins(1),
};

#[derive(Debug, Default)]
struct State {
    /// Consecutive failures before the first pause.
    failures: u32,
    /// Consecutive pauses.
    pauses: u32,
    until: Option<Instant>,
    /// Whether Dagster's storage refused the last heartbeat.
    storage_is_away: bool,
}

/// Circuit breaker shared by the pool and the lives of its tasks.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    state: Mutex<State>,
    recovered: Notify,
}

impl Breaker {
    /// Records that a task was started here.
    pub fn started(&self) {
        let mut state = self.state();
        if state.pauses > 0 {
            info!("tasks can be started again");
        }
        *state = State {
            storage_is_away: state.storage_is_away,
            ..State::default()
        };
    }

    /// Records whether a heartbeat was written: a storage that is back ends a pause.
    pub fn heartbeat(&self, written: bool) {
        let mut state = self.state();
        if written && state.storage_is_away {
            *state = State::default();
            self.recovered.notify_one();
        }
        state.storage_is_away = !written;
    }

    /// Waits until a pause is ended early.
    pub async fn recovered(&self) {
        self.recovered.notified().await;
    }

    /// Records that a task could not be started because of this worker or one of its dependencies.
    pub fn failed(&self, now: Instant, reason: &str) {
        let mut state = self.state();
        if state.until.is_some_and(|until| now < until) {
            // Begun before the pause.
            return;
        }
        state.failures += 1;
        if state.failures < TOLERATED && state.pauses == 0 {
            return;
        }
        let pause = BACK_OFF.after(state.pauses);
        state.pauses += 1;
        state.until = Some(now + pause);
        drop(state);
        error!(
            "{TOLERATED} tasks or more could not be started one after the other ({reason}): taking \
             no more for {} s",
            pause.as_secs()
        );
    }

    /// End of the current pause; `None` if tasks may be taken.
    pub fn rests_until(&self, now: Instant) -> Option<Instant> {
        self.state().until.filter(|until| now < *until)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_until_a_task_is_started() {
        let breaker = Breaker::default();
        let mut now = Instant::now();
        for _ in 1..TOLERATED {
            breaker.failed(now, "no");
            assert_eq!(breaker.rests_until(now), None);
        }
        for pause in [5, 10, 20, 40, 60, 60].map(Duration::from_secs) {
            breaker.failed(now, "no");
            assert_eq!(breaker.rests_until(now), Some(now + pause));
            // Failures of tasks that were under way meanwhile do not count.
            breaker.failed(now, "no");
            now += pause;
            assert_eq!(breaker.rests_until(now), None);
        }
        breaker.started();
        breaker.failed(now, "no");
        assert_eq!(breaker.rests_until(now), None);
    }

    #[test]
    fn a_storage_that_is_back_ends_a_pause() {
        let breaker = Breaker::default();
        let now = Instant::now();
        breaker.heartbeat(false);
        (0..TOLERATED).for_each(|_| breaker.failed(now, "no"));
        assert!(breaker.rests_until(now).is_some());
        breaker.heartbeat(true);
        assert_eq!(breaker.rests_until(now), None);
        // A storage that was available all the time is not the cause.
        (0..TOLERATED).for_each(|_| breaker.failed(now, "no"));
        breaker.heartbeat(true);
        assert!(breaker.rests_until(now).is_some());
    }
}
