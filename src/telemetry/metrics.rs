//! A worker's metrics for Prometheus. Like tracing's subscriber, they are global to the process: a
//! process runs one worker, and the counted events occur in all of its layers.

pub mod catalogue;
mod labels;
mod series;

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::registry::Registry;

use crate::domain::{TaskKind, TaskOutcome};
use catalogue as names;
pub use labels::TaskLabels;
pub(super) use labels::short;
pub use series::Gauges;
use series::{Counters, Histograms};

static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::default);

/// The metrics of this process.
#[must_use]
pub fn metrics() -> &'static Metrics {
    &METRICS
}

/// A task between its start and its end.
#[derive(Debug)]
struct Running {
    labels: TaskLabels,
    started: Instant,
    /// Time that its message waited.
    wait: Option<Duration>,
    /// Whether its process has reported an event.
    begun: bool,
    cancelled: bool,
}

/// Counts since the start of the process.
#[derive(Debug)]
pub struct Metrics {
    seen: labels::Seen,
    running: Mutex<HashMap<String, Running>>,
    received: Counters,
    redelivered: Counters,
    started: Counters,
    ended: Counters,
    cancelled: Counters,
    lost: Counters,
    wait: Histograms,
    startup: Histograms,
    run: Histograms,
    leases_extended: Counters,
    leases_lost: Counters,
    broker_errors: Counters,
    storage_errors: Counters,
    heartbeats: Counters,
    heartbeat_failures: Counters,
    host_loads: Counters,
    host_load_failures: Counters,
    host_tasks: Counters,
}

/// Loss of an attempt that was found without an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Its worker or step host was lost.
    Worker,
    /// Its own process died.
    Process,
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            seen: labels::Seen::default(),
            running: Mutex::default(),
            received: Counters::new(&names::TASKS_RECEIVED),
            redelivered: Counters::new(&names::TASKS_REDELIVERED),
            started: Counters::new(&names::TASKS_STARTED),
            ended: Counters::new(&names::TASKS_ENDED),
            cancelled: Counters::new(&names::TASKS_CANCELLED),
            lost: Counters::new(&names::TASKS_LOST),
            wait: Histograms::new(&names::TASK_WAIT),
            startup: Histograms::new(&names::TASK_STARTUP),
            run: Histograms::new(&names::TASK_RUN),
            leases_extended: Counters::new(&names::LEASES_EXTENDED),
            leases_lost: Counters::new(&names::LEASES_LOST),
            broker_errors: Counters::new(&names::BROKER_ERRORS),
            storage_errors: Counters::new(&names::STORAGE_ERRORS),
            heartbeats: Counters::new(&names::HEARTBEATS),
            heartbeat_failures: Counters::new(&names::HEARTBEAT_FAILURES),
            host_loads: Counters::new(&names::HOST_LOADS),
            host_load_failures: Counters::new(&names::HOST_LOAD_FAILURES),
            host_tasks: Counters::new(&names::HOST_TASKS),
        };
        // A counter that appears with its first event has no increase at it; `queue_served` and
        // `task_received` do the same for others.
        metrics.heartbeats.add(&[], 0);
        metrics.heartbeat_failures.add(&[], 0);
        for reason in ["refused", "no_answer"] {
            metrics.storage_errors.add(&[reason], 0);
        }
        for reason in [
            "unreachable",
            "no_such_queue",
            "credentials",
            "denied",
            "refused",
            "store",
            "other",
        ] {
            metrics.broker_errors.add(&[reason], 0);
        }
        metrics
    }
}

impl Metrics {
    /// The labels of a task.
    #[must_use]
    pub fn labels(
        &self,
        queue: &str,
        job: Option<&str>,
        priority: i64,
        kind: TaskKind,
    ) -> TaskLabels {
        self.seen.task(queue, job, priority, kind)
    }

    /// Adds a queue that the worker receives from, at 0.
    pub fn queue_served(&self, queue: &str) {
        self.leases_extended.add(&[queue], 0);
        self.leases_lost.add(&[queue], 0);
        // Sums over jobs and priorities begin before the first task.
        self.expect(&labels::unknown(queue));
    }

    /// Adds what may become of a task with these labels, at 0.
    fn expect(&self, labels: &TaskLabels) {
        let [queue, job, priority, kind] = labels.values();
        for counters in [&self.redelivered, &self.started, &self.cancelled] {
            counters.add(&labels.values(), 0);
        }
        for outcome in ["success", "failure", "retry", "canceled"] {
            self.ended.add(&[queue, job, priority, kind, outcome], 0);
        }
        for cause in ["worker", "process"] {
            self.lost.add(&[queue, job, priority, kind, cause], 0);
        }
    }

    /// Counts a received task; `again`: SQS had delivered it before.
    pub fn task_received(&self, labels: &TaskLabels, again: bool) {
        self.expect(labels);
        self.received.add(&labels.values(), 1);
        if again {
            self.redelivered.add(&labels.values(), 1);
        }
    }

    /// Counts a task that was given to a host; `wait` is the time since its message was sent.
    pub fn task_started(&self, task_id: &str, labels: &TaskLabels, wait: Option<Duration>) {
        self.started.add(&labels.values(), 1);
        let running = Running {
            labels: labels.clone(),
            started: Instant::now(),
            wait,
            begun: false,
            cancelled: false,
        };
        self.running().insert(task_id.to_owned(), running);
    }

    /// Counts the start of a task's process at its first event; `since_receipt` is the time since
    /// its message was received.
    pub fn task_reported(&self, task_id: &str, since_receipt: impl FnOnce() -> Duration) {
        let mut running = self.running();
        let Some(task) = running.get_mut(task_id).filter(|task| !task.begun) else {
            return;
        };
        task.begun = true;
        // Not at its start: most redeliveries turn out to need no process.
        if let Some(wait) = task.wait {
            let labels = [task.labels.queue.as_str(), task.labels.priority.as_str()];
            self.wait.observe(&labels, wait);
        }
        let labels = [task.labels.queue.as_str(), task.labels.kind];
        self.startup.observe(&labels, since_receipt());
    }

    /// Counts a running task that is interrupted, once.
    pub fn task_cancelled(&self, task_id: &str) {
        let mut running = self.running();
        if let Some(task) = running.get_mut(task_id).filter(|task| !task.cancelled) {
            task.cancelled = true;
            self.cancelled.add(&task.labels.values(), 1);
        }
    }

    /// Counts an attempt that was found without an end.
    pub fn task_lost(&self, labels: &TaskLabels, loss: Loss) {
        let [queue, job, priority, kind] = labels.values();
        let cause = match loss {
            Loss::Worker => "worker",
            Loss::Process => "process",
        };
        self.lost.add(&[queue, job, priority, kind, cause], 1);
    }

    /// Run time of a task; `None` for one that has not started here.
    #[must_use]
    pub fn run_time(&self, task_id: &str) -> Option<Duration> {
        let running = self.running();
        running.get(task_id).map(|task| task.started.elapsed())
    }

    /// Returns the outcome as metrics and traces have it: a step that fails because it is
    /// interrupted counts as cancelled.
    #[must_use]
    pub fn counted(&self, task_id: &str, outcome: &TaskOutcome) -> TaskOutcome {
        let is_cancelled = self
            .running()
            .get(task_id)
            .is_some_and(|task| task.cancelled);
        match outcome {
            TaskOutcome::Failure { .. } if is_cancelled => TaskOutcome::Canceled,
            other => other.clone(),
        }
    }

    /// Counts a task that ended for this worker, after the run time `run` (see
    /// [`Metrics::run_time`]).
    pub fn task_ended(
        &self,
        task_id: &str,
        labels: &TaskLabels,
        outcome: &TaskOutcome,
        run: Option<Duration>,
    ) {
        let outcome = self.counted(task_id, outcome);
        let running = run.and_then(|_| self.running().remove(task_id));
        let was_cancelled = running.as_ref().is_some_and(|task| task.cancelled);
        if outcome == TaskOutcome::Canceled && !was_cancelled {
            self.cancelled.add(&labels.values(), 1);
        }
        self.count_end(labels, &outcome);
        let ran = running.is_some_and(|task| task.begun)
            && matches!(
                outcome,
                TaskOutcome::Success
                    | TaskOutcome::Failure { .. }
                    | TaskOutcome::UpForRetry { .. }
                    | TaskOutcome::Canceled
            );
        if let Some(run) = run.filter(|_| ran) {
            self.run.observe(&[&labels.job, labels.kind], run);
        }
    }

    /// Counts an unreadable message that was dead-lettered or given back.
    pub fn unreadable_ended(&self, queue: &str, outcome: &TaskOutcome) {
        self.count_end(&labels::unknown(queue), outcome);
    }

    fn count_end(&self, labels: &TaskLabels, outcome: &TaskOutcome) {
        let [queue, job, priority, kind] = labels.values();
        let outcome = outcome.word().replace(' ', "_");
        self.ended.add(&[queue, job, priority, kind, &outcome], 1);
    }

    /// Counts renewed leases.
    pub fn leases_extended(&self, queue: &str, leases: usize) {
        self.leases_extended.add(&[queue], leases as u64);
    }

    /// Counts a lease that can no longer be renewed.
    pub fn lease_lost(&self, queue: &str) {
        self.leases_lost.add(&[queue], 1);
    }

    /// Counts a failed call to SQS or S3; `reason` is one of the catalogue's.
    pub fn broker_failed(&self, reason: &'static str) {
        self.broker_errors.add(&[reason], 1);
    }

    /// Counts a request to Dagster's storage that was refused, or was not answered.
    pub fn storage_failed(&self, answered: bool) {
        let reason = if answered { "refused" } else { "no_answer" };
        self.storage_errors.add(&[reason], 1);
    }

    /// Counts a heartbeat that was written, or failed.
    pub fn heartbeat(&self, written: bool) {
        let counter = if written {
            &self.heartbeats
        } else {
            &self.heartbeat_failures
        };
        counter.add(&[], 1);
    }

    /// Counts a code location that was loaded, or failed to load.
    pub fn location_loaded(&self, location: &str, loaded: bool) {
        let counter = if loaded {
            &self.host_loads
        } else {
            &self.host_load_failures
        };
        counter.add(&[&self.location(location)], 1);
    }

    /// Counts a process of a step or run of a code location that has ended.
    pub fn host_task(&self, location: &str) {
        self.host_tasks.add(&[&self.location(location)], 1);
    }

    /// A code location's label; its counters begin at 0 with it.
    #[must_use]
    pub fn location(&self, location: &str) -> String {
        let label = self.seen.location(location);
        for counters in [&self.host_loads, &self.host_load_failures, &self.host_tasks] {
            counters.add(&[&label], 0);
        }
        label
    }

    /// Registers all metrics, to be rendered.
    pub fn register(&self, registry: &mut Registry) {
        for counters in [
            &self.received,
            &self.redelivered,
            &self.started,
            &self.ended,
            &self.cancelled,
            &self.lost,
        ] {
            counters.register(registry);
        }
        for histograms in [&self.wait, &self.startup, &self.run] {
            histograms.register(registry);
        }
        for counters in [
            &self.leases_extended,
            &self.leases_lost,
            &self.broker_errors,
            &self.storage_errors,
            &self.heartbeats,
            &self.heartbeat_failures,
            &self.host_loads,
            &self.host_load_failures,
            &self.host_tasks,
        ] {
            counters.register(registry);
        }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<String, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
