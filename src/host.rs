//! Supervises the warm Python hosts that run the steps.
//!
//! A **step host** is one Python process per code location that has imported dagster and the user's
//! definitions and forks a child for every step and run. Beside them one **ledger** per
//! `DagsterInstance` imports no user code; it beats the worker's heart, notices cancelled runs and
//! writes the end of steps whose process is gone. The Python side is `src/python/_dagster_taskiq_host`.

mod api;
mod cancel;
mod code;
mod descriptors;
mod error;
mod ledger;
mod link;
mod location;
mod memory;
mod protocol;
mod resolve;
mod runner;
mod spawner;
mod supervisor;
mod sync;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

pub use api::{
    About, AttemptEvents, Capture, Execution, ExitKind, HostNotice, HostSettings, HostState,
    IsolationSettings, LostPolicy, LostRun, Outcome, Progress, Report, ReportKind, Reported,
    StepStatus, Stream, Usage, WorkerIdentity,
};
pub use error::HostError;

use crate::domain::{FleetWorker, TaskKind};
use supervisor::Supervisor;

/// Handle to the Python hosts of this worker; clones share them.
///
/// When the last clone is dropped without [`Hosts::shutdown`], or this process dies, the hosts notice
/// that their socket closed, kill what they run and end.
#[derive(Clone)]
pub struct Hosts {
    supervisor: Arc<Supervisor>,
}

impl Hosts {
    /// Starts the ledger. Step hosts are started when their first task arrives.
    ///
    /// # Errors
    /// With one sentence when Python cannot be run, has no dagster, or `DAGSTER_HOME` is missing or
    /// its `dagster.yaml` does not load.
    pub async fn start(
        settings: HostSettings,
        notices: mpsc::Sender<HostNotice>,
    ) -> Result<Self, HostError> {
        let supervisor = Supervisor::start(settings, notices).await?;
        cancel::watch(&supervisor);
        Ok(Self { supervisor })
    }

    /// Runs a task to its end. `progress` is never waited for: what it does not take is dropped.
    ///
    /// # Errors
    /// When Dagster's storage cannot be asked or written to, or the hosts are shutting down. The
    /// message should then be received again later.
    pub async fn execute(
        &self,
        execution: Execution,
        progress: mpsc::Sender<Progress>,
    ) -> Result<Outcome, HostError> {
        self.supervisor.execute(execution, progress).await
    }

    /// Interrupts a step: SIGINT to its process group, after the grace SIGTERM, then SIGKILL. A run
    /// becomes CANCELING, which interrupts its steps too, wherever they are.
    ///
    /// # Errors
    /// When Dagster's storage cannot be told of a run's cancellation.
    pub async fn cancel(&self, task_id: &str) -> Result<(), HostError> {
        self.supervisor.cancel_as_asked(task_id).await
    }

    /// Stops the process of a run that another worker can go on with, as it is: what it has sent is
    /// in flight, and what it waits for is in Dagster's log. Any other task is left alone.
    pub async fn hand_over(&self, task_id: &str) {
        self.supervisor.hand_over(task_id).await;
    }

    /// Writes the failure of a step or run whose message is removed without having been executed,
    /// unless the run is over or the attempt has an end. An attempt that some process runs right now
    /// is left alone.
    ///
    /// # Errors
    /// When the message lacks what is needed, or Dagster's storage cannot be written to.
    pub async fn report_unstarted(&self, report: Report) -> Result<Reported, HostError> {
        self.supervisor.report_unstarted(&report).await
    }

    /// The events of a step's attempt, for a sender that waits for them. `kwargs` and `attempt` as
    /// in [`Execution`].
    ///
    /// # Errors
    /// When the message lacks what is needed, or Dagster's storage cannot be asked.
    pub async fn attempt_events(
        &self,
        kind: TaskKind,
        kwargs: &serde_json::Value,
        attempt: u32,
    ) -> Result<AttemptEvents, HostError> {
        self.supervisor.attempt_events(kind, kwargs, attempt).await
    }

    /// Writes this worker's heartbeat into Dagster's key-value store; `id`, `incarnation` and `time`
    /// (Unix seconds) are added, `pid` should be this process's.
    ///
    /// # Errors
    /// When Dagster's storage cannot be written to.
    pub async fn heartbeat(&self, body: serde_json::Value) -> Result<(), HostError> {
        self.supervisor.heartbeat(body).await
    }

    /// The deployment's workers, on whatever host, that have reported within a day, by id.
    ///
    /// # Errors
    /// When Dagster's storage cannot be asked.
    pub async fn fleet(&self) -> Result<Vec<FleetWorker>, HostError> {
        self.supervisor.fleet().await
    }

    /// Looks for runs that no live worker has; those of which no message seems to be left, to be
    /// sent again. For a worker with a free run slot, at intervals: a run must be missing at several
    /// looks.
    ///
    /// # Errors
    /// When Dagster's storage cannot be asked.
    pub async fn lost_runs(&self) -> Result<Vec<LostRun>, HostError> {
        self.supervisor.lost_runs().await
    }

    /// What Python, Dagster and its instance are, found out by using them: a claim is taken and
    /// given back.
    ///
    /// # Errors
    /// When Dagster's storage cannot be asked, or gives no claim.
    pub async fn about(&self) -> Result<About, HostError> {
        self.supervisor.about().await
    }

    /// Where the output that was captured of a step lies.
    ///
    /// # Errors
    /// When the instance cannot be asked.
    pub async fn capture(&self, run_id: &str, file_key: &str) -> Result<Capture, HostError> {
        self.supervisor.capture(run_id, file_key).await
    }

    /// How the hosts and the ledger stand.
    #[must_use]
    pub fn states(&self) -> Vec<HostState> {
        self.supervisor.states()
    }

    /// New work goes to new hosts, which load the user's code afresh; old ones end with their tasks.
    pub async fn reload(&self) {
        self.supervisor.reload().await;
    }

    /// Takes no new tasks, waits up to `grace` for those that run, then ends them: a step counts as
    /// lost with its worker, a run is to be given back. Ends every host and the ledger.
    pub async fn shutdown(self, grace: Duration) {
        self.supervisor.shutdown(grace).await;
    }
}
