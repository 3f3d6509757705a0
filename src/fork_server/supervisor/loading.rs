//! Loads code locations on hosts, and remembers load failures. A code location that is being
//! deployed is broken for some seconds, and its steps must not fail because of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Supervisor;
use crate::domain::{ForkServerPhase, WorkerState};
use crate::fork_server::api::{Execution, ForkServerNotice, ForkServerState, Outcome};
use crate::fork_server::descriptors;
use crate::fork_server::error::ForkServerError;
use crate::fork_server::location::LocationKey;
use crate::fork_server::protocol::{Manner, RunOrigin, ToProcess};
use crate::fork_server::server::{ForkServer, NotLoaded};
use crate::fork_server::sync::lock;
use crate::telemetry::metrics::metrics;
use crate::telemetry::vitals::vitals;

/// Time for which a location that failed to load is not retried: long enough not to spin on a queue
/// full of its messages, short enough to pick up a fixed file.
const REMEMBER_FAILURE: Duration = Duration::from_secs(5);

/// Interval after which two failures of a location count as unrelated.
const FORGET_FAILURE: Duration = Duration::from_mins(5);

/// Number of receives up to which a task whose code does not load is left to other workers, if
/// neither settings nor queue limit them.
const RECEIVES: u32 = 10;

/// How a task was received.
pub(super) struct Received {
    pub queue: String,
    /// Whether it may be given back once more without its queue putting it away.
    pub may_come_again: bool,
}

impl Received {
    pub fn new(execution: &Execution, limit: u32) -> Self {
        let limit = if limit == 0 { RECEIVES } else { limit };
        Self {
            queue: execution.queue.clone(),
            may_come_again: execution.receive_count < limit,
        }
    }
}

/// Failure to load a code location, until it loads again.
pub(super) struct LoadFailure {
    at: Instant,
    /// Time of the first failure.
    since: Instant,
    location: String,
    reason: String,
    /// Whether its code is the cause; otherwise its host died, or Dagster's storage was not
    /// available.
    broken: bool,
}

/// A host to run a task on.
pub(super) struct Loaded {
    pub runner: Arc<ForkServer>,
    /// Whether its code has changed on disk and the new code does not load.
    pub outdated: bool,
}

impl Supervisor {
    /// The outcome of a task whose code does not load. Code that is being copied is broken for some
    /// seconds, so its steps are not failed at once. On a host that lacks the code they are left to
    /// the other workers: this one is idle, and would take and fail the whole queue.
    pub(super) async fn broken(
        &self,
        key: &LocationKey,
        origin: &Received,
        reason: String,
    ) -> Outcome {
        let failing = lock(&self.failures)
            .get(key)
            .map(|failure| failure.since.elapsed());
        let grace = self.settings.load_grace;
        let is_in_grace = failing.is_some_and(|time| time < grace);
        if is_in_grace
            || (!grace.is_zero() && origin.may_come_again && self.has_peer_on(&origin.queue).await)
        {
            let by_code = true;
            Outcome::NotStarted { reason, by_code }
        } else {
            Outcome::Unrunnable { reason }
        }
    }

    /// Whether another live worker receives from a queue. A storage that does not answer proves
    /// nothing, so that the task waits. In a fleet of more than 64 the list has only some workers of
    /// each queue, and it may be this one alone: then the task fails after its grace.
    async fn has_peer_on(&self, queue: &str) -> bool {
        let Ok(workers) = self.fleet(false).await else {
            return true;
        };
        let (own, now) = (&self.settings.worker.id, jiff::Timestamp::now());
        workers.iter().any(|worker| {
            worker.id != *own
                && worker.state == Some(WorkerState::Running)
                && !worker.is_silent(now)
                && worker.queues.iter().any(|name| name == queue)
        })
    }

    /// The host of a code location, started and loaded if necessary. The inner error contains the
    /// reason why the location does not load, in a sentence.
    ///
    /// Code that has changed on disk is served by its old host until the new one has loaded it.
    pub(super) async fn runner(
        &self,
        code: &RunOrigin,
        key: &LocationKey,
    ) -> Result<Result<Loaded, NotLoaded>, ForkServerError> {
        let slot = Arc::clone(lock(&self.slots).entry(key.clone()).or_default());
        let mut current = slot.lock().await;
        if self.stopping.load(Ordering::SeqCst) {
            return Err(ForkServerError::ShuttingDown);
        }
        let old = current.take().filter(|runner| runner.takes_work());
        if let Some(runner) = old.clone().filter(|runner| !runner.is_outdated()) {
            *current = Some(Arc::clone(&runner));
            let outdated = false;
            return Ok(Ok(Loaded { runner, outdated }));
        }
        let failed = match self.recent_failure(key) {
            Some(reason) => NotLoaded::Broken(reason),
            None => match self.load(code, key).await? {
                Ok(runner) => {
                    *current = Some(Arc::clone(&runner));
                    if let Some(old) = old {
                        old.retire().await;
                    }
                    let outdated = false;
                    return Ok(Ok(Loaded { runner, outdated }));
                }
                Err(failed) => failed,
            },
        };
        let Some(runner) = old else {
            return Ok(Err(failed));
        };
        *current = Some(Arc::clone(&runner));
        let outdated = true;
        Ok(Ok(Loaded { runner, outdated }))
    }

    /// Starts a host that loads its code location.
    async fn load(
        &self,
        code: &RunOrigin,
        key: &LocationKey,
    ) -> Result<Result<Arc<ForkServer>, NotLoaded>, ForkServerError> {
        let runner = self.start_runner(code, key).await?;
        let failed = match runner.loaded().await {
            Ok(()) => {
                lock(&self.failures).remove(key);
                note_loaded(&code.location, true);
                return Ok(Ok(runner));
            }
            Err(failed) => failed,
        };
        if self.stopping.load(Ordering::SeqCst) {
            // The end of the worker implies nothing about the location.
            return Err(ForkServerError::ShuttingDown);
        }
        Ok(Err(match failed {
            NotLoaded::Broken(reason) => {
                NotLoaded::Broken(self.load_failed(code, key, &reason, true))
            }
            NotLoaded::Died(reason) => NotLoaded::Died(self.load_failed(code, key, &reason, false)),
        }))
    }

    async fn start_runner(
        &self,
        code: &RunOrigin,
        key: &LocationKey,
    ) -> Result<Arc<ForkServer>, ForkServerError> {
        let isolation = &self.settings.isolation;
        let load = ToProcess::Load {
            origin: code.origin.clone(),
            instance_ref: key.instance.clone(),
            manner: Manner {
                isolation: isolation.of(&code.target()),
                max_steps: isolation.max_steps.max(1),
                max_memory_mib: isolation.max_memory_mib,
                descriptors: descriptors::before(),
            },
        };
        let location = code.location.clone();
        let runner = ForkServer::spawn(&self.spawner, location, load, self.notices.clone())
            .await
            .map_err(|source| ForkServerError::Spawn {
                python: self.settings.python.clone(),
                source,
            })?;
        let runner = Arc::new(runner);
        let mut runners = lock(&self.runners);
        runners.retain(|runner| !runner.is_dead());
        runners.push(Arc::clone(&runner));
        Ok(runner)
    }

    fn recent_failure(&self, key: &LocationKey) -> Option<String> {
        let failures = lock(&self.failures);
        let failure = failures
            .get(key)
            .filter(|failure| failure.broken && failure.at.elapsed() < REMEMBER_FAILURE)?;
        Some(sentence(&failure.location, &failure.reason))
    }

    fn load_failed(
        &self,
        code: &RunOrigin,
        key: &LocationKey,
        reason: &str,
        broken: bool,
    ) -> String {
        let location = code.location.clone();
        let text = sentence(&location, reason);
        let at = Instant::now();
        let mut failures = lock(&self.failures);
        let before = failures
            .get(key)
            .filter(|failure| failure.at.elapsed() < FORGET_FAILURE);
        let failure = LoadFailure {
            at,
            since: before.map_or(at, |failure| failure.since),
            location: location.clone(),
            reason: reason.to_owned(),
            broken,
        };
        failures.insert(key.clone(), failure);
        drop(failures);
        note_loaded(&location, false);
        let _ = self.notices.try_send(ForkServerNotice::LoadFailed {
            location,
            reason: reason.to_owned(),
        });
        text
    }
}

impl LoadFailure {
    pub fn state(&self) -> ForkServerState {
        ForkServerState {
            pid: 0,
            location: self.location.clone(),
            phase: ForkServerPhase::Failed(self.reason.clone()),
            loaded_ms: 0,
            children: 0,
            pss_kib: 0,
            dropped: 0,
            isolation: None,
        }
    }
}

fn note_loaded(location: &str, loaded: bool) {
    metrics().location_loaded(location, loaded);
    vitals().location(location, loaded);
}

fn sentence(location: &str, reason: &str) -> String {
    format!("code location {location} does not load: {reason}")
}
