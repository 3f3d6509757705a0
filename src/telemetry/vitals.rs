//! Whether a worker's loops are alive, and whether it can take messages and run them: the state
//! behind `/healthz` and `/readyz`. Every part records its own signs; an answer needs no queries.
//!
//! A worker that is cut off from its broker or from Dagster's storage is not ready, but healthy: a
//! restart would not help, and would interrupt the steps that wait for the storage.

use std::collections::BTreeSet;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::metrics::short;
use crate::domain::WorkerState;

/// Maximum silence of the pool's loop, which wakes at least every 30 s.
const POOL: Duration = Duration::from_secs(90);

/// Maximum silence of receives: each takes up to 30 s, and is tried three times.
const RECEIVES: Duration = Duration::from_mins(4);

/// Maximum silence of heartbeats: one is tried every 5 s, and waits for a restarting instance agent
/// up to twice, for less than a minute each time.
const HEARTBEAT: Duration = Duration::from_mins(3);

/// Age of the last heartbeat that was written from which other workers may call this one silent.
const STALE: Duration = Duration::from_secs(20);

static VITALS: LazyLock<Vitals> = LazyLock::new(Vitals::default);

/// The vital signs of this process's worker.
#[must_use]
pub fn vitals() -> &'static Vitals {
    &VITALS
}

/// Vital signs.
#[derive(Debug)]
pub struct Vitals {
    signs: Mutex<Signs>,
}

#[derive(Debug)]
struct Signs {
    state: WorkerState,
    /// Whether it takes nothing for a while because nothing could be started.
    rests: bool,
    /// Whether it has no slot at all, so that it takes nothing.
    is_without_slots: bool,
    pool: Option<Instant>,
    /// Time at which a receive last ended, or none was open.
    receives: Option<Instant>,
    heartbeat: Option<Instant>,
    /// Whether the last heartbeat was written.
    stored: bool,
    /// When a heartbeat was last written.
    written: Option<Instant>,
    silent_queues: BTreeSet<String>,
    broken_locations: BTreeSet<String>,
}

impl Default for Vitals {
    fn default() -> Self {
        let signs = Mutex::new(Signs {
            state: WorkerState::Starting,
            rests: false,
            is_without_slots: false,
            pool: None,
            receives: None,
            heartbeat: None,
            stored: false,
            written: None,
            silent_queues: BTreeSet::new(),
            broken_locations: BTreeSet::new(),
        });
        Self { signs }
    }
}

impl Vitals {
    /// Records a turn of the pool's loop.
    pub fn turned(&self, state: WorkerState, rests: bool, receives_are_open: bool) {
        let now = Instant::now();
        let mut signs = self.signs();
        signs.state = state;
        signs.rests = rests;
        signs.pool = Some(now);
        if !receives_are_open || signs.receives.is_none() {
            signs.receives = Some(now);
        }
    }

    /// Records the number of slots, for steps and runs together.
    pub fn slots(&self, number: u32) {
        self.signs().is_without_slots = number == 0;
    }

    /// Records the end of a receive from a queue, successful or not.
    pub fn received(&self, queue: &str, well: bool) {
        let mut signs = self.signs();
        signs.receives = Some(Instant::now());
        if well {
            signs.silent_queues.remove(queue);
        } else {
            signs.silent_queues.insert(queue.to_owned());
        }
    }

    /// Records whether a heartbeat was written.
    pub fn heartbeat(&self, written: bool) {
        let now = Instant::now();
        let mut signs = self.signs();
        signs.heartbeat = Some(now);
        signs.stored = written;
        if written {
            signs.written = Some(now);
        }
    }

    /// Records whether a code location was loaded.
    pub fn location(&self, location: &str, loaded: bool) {
        let mut signs = self.signs();
        if loaded {
            signs.broken_locations.remove(location);
        } else {
            signs.broken_locations.insert(location.to_owned());
        }
    }

    /// Forgets which code locations failed to load, because each is tried again.
    pub fn forget_locations(&self) {
        self.signs().broken_locations.clear();
    }

    /// Whether the loops are alive.
    ///
    /// # Errors
    /// One sentence with the loop that is not.
    pub fn health(&self, now: Instant) -> Result<(), String> {
        let signs = self.signs();
        if signs.state.is_over() {
            return Ok(());
        }
        for (what, at, bound) in [
            ("the pool's loop has not turned", signs.pool, POOL),
            ("no receive has ended", signs.receives, RECEIVES),
            ("no heartbeat was tried", signs.heartbeat, HEARTBEAT),
        ] {
            // Parts that have not begun yet are covered by the state.
            let silence = at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
            if silence > bound {
                return Err(format!("{what} for {} s", silence.as_secs()));
            }
        }
        Ok(())
    }

    /// Whether messages can be taken and run.
    ///
    /// # Errors
    /// The reason in one sentence; it contains no external text, which might include secrets.
    pub fn readiness(&self, now: Instant) -> Result<(), String> {
        self.health(now)?;
        let signs = self.signs();
        if signs.state != WorkerState::Running {
            return Err(format!("the worker is {}", signs.state.word()));
        }
        if let Some(queue) = signs.silent_queues.first() {
            return Err(format!("queue {queue} cannot be received from"));
        }
        if !signs.stored {
            let heartbeat = if signs.heartbeat.is_some() {
                "Dagster's storage did not take the last heartbeat"
            } else {
                "no heartbeat was written yet"
            };
            return Err(heartbeat.to_owned());
        }
        // A storage that hangs fails no heartbeat for a while.
        let age = signs.written.map(|at| now.saturating_duration_since(at));
        if let Some(age) = age.filter(|age| *age > STALE) {
            let age = age.as_secs();
            return Err(format!("the last heartbeat was written {age} s ago"));
        }
        if signs.rests {
            return Err(String::from(
                "tasks could not be started: it takes no more for a while",
            ));
        }
        if signs.is_without_slots {
            return Err(String::from(
                "it has no slots, neither for steps nor for runs",
            ));
        }
        if let Some(location) = signs.broken_locations.first() {
            let location = short(location);
            return Err(format!("code location {location} does not load"));
        }
        Ok(())
    }

    fn signs(&self) -> MutexGuard<'_, Signs> {
        self.signs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready() -> Vitals {
        let vitals = Vitals::default();
        vitals.turned(WorkerState::Running, false, true);
        vitals.heartbeat(true);
        vitals
    }

    #[test]
    fn a_loop_that_stands_still_is_unhealthy_and_named() {
        let vitals = ready();
        let now = Instant::now();
        assert_eq!(vitals.health(now), Ok(()));
        let problem = vitals.health(now + POOL + Duration::from_secs(1));
        assert!(problem.is_err_and(|why| why.starts_with("the pool's loop has not turned for 9")));
        // The pool's loop is alive, but its receive hangs.
        let later = now + RECEIVES + Duration::from_secs(1);
        {
            let mut signs = vitals.signs();
            signs.pool = Some(later);
            signs.heartbeat = Some(later);
        }
        let problem = vitals.health(later);
        assert!(problem.is_err_and(|why| why.starts_with("no receive has ended for 24")));
        vitals.signs().receives = Some(later);
        vitals.signs().heartbeat = Some(now);
        let problem = vitals.health(later);
        assert!(problem.is_err_and(|why| why.starts_with("no heartbeat was tried for 24")));
    }

    #[test]
    fn a_worker_is_ready_only_when_it_can_take_messages_and_run_them() {
        let now = Instant::now;
        let vitals = Vitals::default();
        assert_eq!(vitals.health(now()), Ok(()));
        assert_eq!(
            vitals.readiness(now()),
            Err("the worker is starting".into())
        );
        let vitals = ready();
        assert_eq!(vitals.readiness(now()), Ok(()));
        vitals.received("tasks", false);
        let problem = vitals.readiness(now());
        assert_eq!(problem, Err("queue tasks cannot be received from".into()));
        vitals.received("tasks", true);
        vitals.location("/home/ada/defs.py", false);
        let problem = vitals.readiness(now());
        assert_eq!(problem, Err("code location defs.py does not load".into()));
        vitals.forget_locations();
        vitals.heartbeat(false);
        assert!(
            vitals
                .readiness(now())
                .is_err_and(|why| why.contains("storage"))
        );
        vitals.heartbeat(true);
        let problem = vitals.readiness(now() + STALE + Duration::from_secs(1));
        assert!(problem.is_err_and(|why| why.contains("was written 21 s ago")));
        for state in [WorkerState::Paused, WorkerState::Draining] {
            vitals.turned(state, false, false);
            let problem = format!("the worker is {}", state.word());
            assert_eq!(vitals.readiness(now()), Err(problem));
            assert_eq!(vitals.health(now()), Ok(()));
        }
        vitals.turned(WorkerState::Running, true, false);
        assert!(
            vitals
                .readiness(now())
                .is_err_and(|why| why.contains("could not be started"))
        );
        vitals.turned(WorkerState::Running, false, false);
        vitals.slots(0);
        assert!(
            vitals
                .readiness(now())
                .is_err_and(|why| why.contains("no slots"))
        );
        vitals.slots(1);
        assert_eq!(vitals.readiness(now()), Ok(()));
    }
}
