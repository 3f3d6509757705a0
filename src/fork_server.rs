//! Supervises the warm Python hosts that run the steps.
//!
//! A **step host** is one Python process per code location. It has imported dagster and the user's
//! definitions, and forks a child for every step and run. Beside the step hosts, one **instance
//! agent** per `DagsterInstance` imports no user code; it writes the worker's heartbeat, detects
//! cancelled runs and writes the end of steps whose process is gone. The Python side is
//! `src/python/_dagster_taskiq_host`.

mod api;
mod cancel;
mod code;
mod descriptors;
mod error;
mod instance_agent;
mod link;
mod location;
mod memory;
mod paused_queues;
mod protocol;
mod resolve;
mod server;
mod spawner;
mod stack;
mod storage_health;
mod supervisor;
mod sync;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

pub use api::{
    AttemptEvents, Capture, Diagnostics, Execution, ExitKind, ForkServerNotice, ForkServerSettings,
    ForkServerState, IsolationSettings, LostPolicy, LostRun, Outcome, Progress, Report, ReportKind,
    Reported, SenderView, StepStatus, Stream, Usage, WorkerIdentity,
};
pub use error::ForkServerError;
pub use storage_health::{Exchange, StorageHealth, StorageOutage, StorageState};

use crate::domain::{Explanation, FleetWorker, PausedQueues, StackReport, TaskKind, UsualTime};
use supervisor::Supervisor;

/// Handle to the Python hosts of this worker; clones share them.
///
/// When the last clone is dropped without [`ForkServers::shutdown`], or this process dies, the
/// sockets of the hosts close. They then kill their tasks and end.
#[derive(Clone)]
pub struct ForkServers {
    supervisor: Arc<Supervisor>,
}

impl ForkServers {
    /// Starts the instance agent. Step hosts are started when their first task arrives.
    ///
    /// # Errors
    /// One sentence, if Python cannot be run or has no dagster, or if `DAGSTER_HOME` is missing or
    /// its `dagster.yaml` does not load.
    pub async fn start(
        settings: ForkServerSettings,
        notices: mpsc::Sender<ForkServerNotice>,
    ) -> Result<Self, ForkServerError> {
        let supervisor = Supervisor::start(settings, notices).await?;
        cancel::watch(&supervisor);
        Ok(Self { supervisor })
    }

    /// Runs a task to its end. `progress` is never waited for; events that do not fit are dropped.
    ///
    /// # Errors
    /// Dagster's storage cannot be read or written, or the hosts are shutting down. The message
    /// should then be received again later.
    pub async fn execute(
        &self,
        execution: Execution,
        progress: mpsc::Sender<Progress>,
    ) -> Result<Outcome, ForkServerError> {
        self.supervisor.execute(execution, progress).await
    }

    /// Interrupts a step: SIGINT to its process group, SIGTERM after the grace period, then
    /// SIGKILL. A run becomes CANCELING, which interrupts its steps too, on every worker.
    ///
    /// # Errors
    /// The cancellation of a run cannot be written to Dagster's storage.
    pub async fn cancel(&self, task_id: &str) -> Result<(), ForkServerError> {
        self.supervisor.cancel_as_requested(task_id).await
    }

    /// Stops the process of a run that another worker can resume. Messages it has sent stay in
    /// flight, and the state of its steps is in Dagster's log. Any other task is left alone.
    pub async fn hand_over(&self, task_id: &str) {
        self.supervisor.hand_over(task_id).await;
    }

    /// Writes the failure of a step or run whose message is removed without having been executed,
    /// unless the run is over or the attempt has an end. An attempt that is running in some process
    /// is left alone.
    ///
    /// # Errors
    /// The message lacks required fields, or Dagster's storage cannot be written to.
    pub async fn report_unstarted(&self, report: Report) -> Result<Reported, ForkServerError> {
        self.supervisor.report_unstarted(&report).await
    }

    /// The events of a step's attempt, for a sender that waits for them. `kwargs` and `attempt` as
    /// in [`Execution`].
    ///
    /// # Errors
    /// The message lacks required fields, or Dagster's storage cannot be read.
    pub async fn attempt_events(
        &self,
        kind: TaskKind,
        kwargs: &serde_json::Value,
        attempt: u32,
    ) -> Result<AttemptEvents, ForkServerError> {
        self.supervisor.attempt_events(kind, kwargs, attempt).await
    }

    /// Writes this worker's heartbeat into Dagster's key-value store; `id`, `incarnation` and
    /// `time` (Unix seconds) are added, `pid` should be this process's.
    ///
    /// # Errors
    /// Dagster's storage cannot be written to.
    pub async fn heartbeat(&self, body: serde_json::Value) -> Result<(), ForkServerError> {
        self.supervisor.heartbeat(body).await
    }

    /// Pauses a queue for every worker of the deployment; each finds it with its next heartbeat.
    ///
    /// # Errors
    /// Dagster's storage cannot be written.
    pub async fn pause_queue(
        &self,
        queue: &str,
        by: &str,
        reason: Option<&str>,
    ) -> Result<(), ForkServerError> {
        let instance_agent = self.supervisor.own_instance_agent();
        instance_agent.pause_queue(queue, by, reason).await
    }

    /// Ends the pause of a queue.
    ///
    /// # Errors
    /// Dagster's storage cannot be written.
    pub async fn resume_queue(&self, queue: &str) -> Result<(), ForkServerError> {
        let instance_agent = self.supervisor.own_instance_agent();
        instance_agent.resume_queue(queue).await
    }

    /// Follows the paused queues, which each heartbeat reads; `None` before the first one.
    #[must_use]
    pub fn paused_queues(&self) -> watch::Receiver<Option<PausedQueues>> {
        self.supervisor.own_instance_agent().paused.watch()
    }

    /// Whether its end has begun, after which the instance agent is not started again.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.supervisor.stopping.load(Ordering::SeqCst)
    }

    /// Whether Dagster's storage answers, as the worker's heartbeats have found it.
    #[must_use]
    pub fn storage(&self) -> &StorageHealth {
        &self.supervisor.own_instance_agent().storage
    }

    /// The deployment's workers on all machines that have reported within a day, by id. Without
    /// `all` they are some seconds old, and of a large fleet only the silent ones and enough others
    /// to know which queues are served: what alarms need, at a cost that does not grow with it.
    ///
    /// # Errors
    /// Dagster's storage cannot be read.
    pub async fn fleet(&self, all: bool) -> Result<Vec<FleetWorker>, ForkServerError> {
        self.supervisor.fleet(all).await
    }

    /// Dagster's daemons and failed runs, as JSON; `window` in seconds.
    ///
    /// # Errors
    /// Dagster's storage cannot be read.
    pub async fn alarm_facts(&self, window: u64) -> Result<serde_json::Value, ForkServerError> {
        self.supervisor
            .own_instance_agent()
            .alarm_facts(window)
            .await
    }

    /// Agrees with the deployment's other workers on alarms and their deliveries, through Dagster's
    /// key-value store.
    ///
    /// # Errors
    /// Dagster's storage cannot be read or written.
    pub async fn alarm_sync(
        &self,
        request: &serde_json::Value,
    ) -> Result<serde_json::Value, ForkServerError> {
        self.supervisor
            .own_instance_agent()
            .alarm_sync(request)
            .await
    }

    /// Acknowledges an alarm until a time in Unix seconds, or withdraws that; returns all
    /// acknowledgements as JSON.
    ///
    /// # Errors
    /// Dagster's storage cannot be written.
    pub async fn alarm_acknowledge(
        &self,
        alarm: &str,
        until: Option<f64>,
        by: &str,
    ) -> Result<serde_json::Value, ForkServerError> {
        let instance_agent = self.supervisor.own_instance_agent();
        instance_agent.alarm_acknowledge(alarm, until, by).await
    }

    /// Finds runs that no live worker executes, and returns those that seem to have no message
    /// left, to be sent again. Called at intervals by a worker with a free run slot: a run must be
    /// missing at several looks. None if any worker looked within `every`.
    ///
    /// # Errors
    /// Dagster's storage cannot be read.
    pub async fn lost_runs(&self, every: Duration) -> Result<Vec<LostRun>, ForkServerError> {
        self.supervisor.lost_runs(every).await
    }

    /// Versions and properties of Python, Dagster and its instance, determined by using them: a
    /// claim is taken and given back.
    ///
    /// # Errors
    /// Dagster's storage cannot be read, or grants no claim.
    pub async fn about(&self) -> Result<Diagnostics, ForkServerError> {
        self.supervisor.about().await
    }

    /// Location of a step's captured output.
    ///
    /// # Errors
    /// The instance cannot be queried.
    pub async fn capture(&self, run_id: &str, file_key: &str) -> Result<Capture, ForkServerError> {
        self.supervisor.capture(run_id, file_key).await
    }

    /// Explains from Dagster's storage why a run or one of its steps does not start. `run_id` may
    /// be the beginning of an id.
    ///
    /// # Errors
    /// There is no such run or step, or Dagster's storage cannot be queried.
    pub async fn explain(
        &self,
        run_id: &str,
        step_key: Option<&str>,
    ) -> Result<Explanation, ForkServerError> {
        self.supervisor.explain(run_id, step_key).await
    }

    /// The process that runs the task; `None` before it has one, and once it has ended.
    #[must_use]
    pub fn process_of(&self, task_id: &str) -> Option<u32> {
        self.supervisor.process_of(task_id)
    }

    /// Reads the Python stacks of a running task's process, without disturbing it.
    ///
    /// # Errors
    /// One sentence: the task has no process, or the process does not answer.
    pub async fn stack(&self, task_id: &str) -> Result<StackReport, String> {
        self.supervisor.stack(task_id).await
    }

    /// Durations of a step in earlier runs of its job; `None` if too few of them succeeded.
    ///
    /// # Errors
    /// Dagster's storage cannot be queried.
    pub async fn usual_time(
        &self,
        run_id: &str,
        step_key: &str,
    ) -> Result<Option<UsualTime>, ForkServerError> {
        self.supervisor.usual_time(run_id, step_key).await
    }

    /// Gives back the concurrency pool's slot of a step that no longer needs it; returns the
    /// outcome in one sentence.
    ///
    /// # Errors
    /// The step may need the slot, or Dagster's storage cannot be queried.
    pub async fn free_slot(&self, run_id: &str, step_key: &str) -> Result<String, ForkServerError> {
        self.supervisor.free_slot(run_id, step_key).await
    }

    /// State of the hosts and the instance agent.
    #[must_use]
    pub fn states(&self) -> Vec<ForkServerState> {
        self.supervisor.states()
    }

    /// Directs new work to new hosts, which load the user's code afresh; the old hosts end with
    /// their tasks.
    pub async fn reload(&self) {
        self.supervisor.reload().await;
    }

    /// Stops accepting tasks, waits up to `grace` for running ones, then ends them: a step counts
    /// as lost with its worker, a run is to be given back. Ends every host; Dagster's storage can
    /// still be used.
    pub async fn end_hosts(self, grace: Duration) {
        self.supervisor.end_hosts(grace).await;
    }

    /// Like [`ForkServers::end_hosts`]; also ends the instance agent.
    pub async fn shutdown(self, grace: Duration) {
        self.supervisor.shutdown(grace).await;
    }
}
