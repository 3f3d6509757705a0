//! Keeps a worker from taking what it cannot start. Failing is faster than working: one sick machine
//! would go through a whole queue.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, info};

/// Tasks in a row that could not be started before the worker takes no more for a while.
const TOLERATED: u32 = 3;

/// The first pause, doubled up to [`LONGEST`] each time that nothing could be started after one.
const FIRST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_mins(1);

#[derive(Debug, Default)]
struct State {
    /// Failures in a row, before the first pause.
    failures: u32,
    /// Pauses in a row.
    pauses: u32,
    until: Option<Instant>,
}

/// Shared by the pool and the lives of its tasks.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    state: Mutex<State>,
}

impl Breaker {
    /// A task was started here.
    pub fn started(&self) {
        let before = std::mem::take(&mut *self.state());
        if before.pauses > 0 {
            info!("tasks can be started again");
        }
    }

    /// A task could not be started, for a reason that lies with this worker or what it depends on.
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
        let pause = LONGEST.min(FIRST * (1 << state.pauses.min(8)));
        state.pauses += 1;
        state.until = Some(now + pause);
        drop(state);
        error!(
            "{TOLERATED} tasks or more could not be started one after the other ({reason}): taking \
             no more for {} s",
            pause.as_secs()
        );
    }

    /// Until when nothing is to be taken.
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
            // Those that were under way meanwhile do not count.
            breaker.failed(now, "no");
            now += pause;
            assert_eq!(breaker.rests_until(now), None);
        }
        breaker.started();
        breaker.failed(now, "no");
        assert_eq!(breaker.rests_until(now), None);
    }
}
