//! The hosts of this worker: the host of each code location, and the host of each task.

mod idle;
mod loading;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::mpsc;

use super::api::{
    AttemptEvents, Capture, Diagnostics, Execution, ForkServerNotice, ForkServerSettings,
    ForkServerState, LostPolicy, LostRun, Outcome, Progress, Report, Reported,
};
use super::code::CodeKey;
use super::error::ForkServerError;
use super::instance_agent::{InstanceAgent, LOCATION};
use super::location::{LocationKey, Subject};
use super::protocol::{Job, Lost, RunCode, RunOrigin, Worker};
use super::server::{Ended, ForkServer, NotLoaded};
use super::spawner::Spawner;
use super::sync::lock;
use super::{descriptors, resolve, stack};
use crate::domain::{Explanation, FleetWorker, ForkServerPhase, StackReport, TaskKind, UsualTime};
use crate::telemetry::metrics::metrics;
use crate::telemetry::proc;
use loading::{LoadFailure, Loaded, Received};

/// Number of tries for a task that finds its host dead or outdated before it is started; each takes
/// a fresh host.
const TRIES: u32 = 3;

/// Maximum time for killed processes to be reaped and reported at shutdown.
const REAP: Duration = Duration::from_secs(20);

/// The sentence about a task without a process.
const NO_PROCESS: &str = "it has no process: it has not been started yet, or has just ended";

/// Maximum number of remembered runs for which a code location was loaded again, so that it happens
/// once.
const MAX_RELOADED: usize = 1000;

/// A task that is in flight.
pub(super) struct Running {
    pub run_id: String,
    pub is_run: bool,
    pub instance: Option<String>,
    pub runner: Option<Arc<ForkServer>>,
    pub canceled: bool,
    /// Span of the task, for log lines written elsewhere.
    pub span: tracing::Span,
    /// Its process was stopped so that another worker resumes it.
    pub handed_over: bool,
}

/// Removes a task from the list when its execution ends in any way: a shutdown waits for the listed
/// tasks.
struct InFlight<'a> {
    tasks: &'a Mutex<HashMap<String, Running>>,
    id: String,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        lock(self.tasks).remove(&self.id);
    }
}

/// The host of one code location; locked while it is being started.
type Slot = Arc<tokio::sync::Mutex<Option<Arc<ForkServer>>>>;

/// Shared by all clones of [`super::ForkServers`].
pub(super) struct Supervisor {
    pub settings: Arc<ForkServerSettings>,
    pub notices: mpsc::Sender<ForkServerNotice>,
    pub tasks: Mutex<HashMap<String, Running>>,
    pub stopping: AtomicBool,
    spawner: Arc<Spawner>,
    own_instance_agent: Arc<InstanceAgent>,
    /// Instance agents of instances that messages named, if those are trusted.
    other_instance_agents: tokio::sync::Mutex<HashMap<String, Arc<InstanceAgent>>>,
    slots: Mutex<HashMap<LocationKey, Slot>>,
    runners: Mutex<Vec<Arc<ForkServer>>>,
    failures: Mutex<HashMap<LocationKey, LoadFailure>>,
    pub codes: Mutex<HashMap<CodeKey, RunOrigin>>,
    /// Code locations with the runs for which they were loaded again.
    reloaded: Mutex<HashSet<(LocationKey, String)>>,
}

impl Supervisor {
    pub async fn start(
        settings: ForkServerSettings,
        notices: mpsc::Sender<ForkServerNotice>,
    ) -> Result<Arc<Self>, ForkServerError> {
        descriptors::raise();
        let spawner = Spawner::start(&settings).map_err(|source| ForkServerError::Spawn {
            python: settings.python.clone(),
            source,
        })?;
        let (settings, spawner) = (Arc::new(settings), Arc::new(spawner));
        let own_instance_agent = InstanceAgent::start(
            Arc::clone(&settings),
            Arc::clone(&spawner),
            None,
            notices.clone(),
        )
        .await?;
        Ok(Arc::new(Self {
            settings,
            notices,
            tasks: Mutex::default(),
            stopping: AtomicBool::new(false),
            spawner,
            own_instance_agent: Arc::new(own_instance_agent),
            other_instance_agents: tokio::sync::Mutex::default(),
            slots: Mutex::default(),
            runners: Mutex::default(),
            failures: Mutex::default(),
            codes: Mutex::default(),
            reloaded: Mutex::default(),
        }))
    }

    pub async fn execute(
        &self,
        execution: Execution,
        progress: mpsc::Sender<Progress>,
    ) -> Result<Outcome, ForkServerError> {
        let subject = Subject::read(execution.kind, &execution.kwargs, execution.attempt)
            .and_then(Subject::runnable);
        let subject = match subject {
            Ok(subject) => subject,
            Err(reason) => return Ok(Outcome::Unrunnable { reason }),
        };
        let instance = subject.instance(self.settings.trust_message_instance);
        let id = execution.task_id.clone();
        lock(&self.tasks).insert(
            id.clone(),
            Running {
                run_id: subject.run_id.clone(),
                is_run: subject.step_key.is_none(),
                instance: instance.clone(),
                runner: None,
                canceled: false,
                span: tracing::Span::current(),
                handed_over: false,
            },
        );
        let in_flight = InFlight {
            tasks: &self.tasks,
            id,
        };
        let outcome = match self.code(&subject, instance.as_deref()).await {
            Ok(RunCode::Code(code)) => {
                let key = LocationKey::new(&code, instance);
                let ended = self.run(execution, &subject, &code, &key, progress).await;
                ended.map(|outcome| self.or_handed_over(outcome, &in_flight.id))
            }
            Ok(RunCode::Finished { status }) => Ok(Outcome::RunFinished { status }),
            Ok(RunCode::Missing { reason } | RunCode::Refused { reason }) => {
                Ok(Outcome::Unrunnable { reason })
            }
            Err(problem) => Err(problem),
        };
        drop(in_flight);
        self.end_idle().await;
        outcome
    }

    async fn run(
        &self,
        execution: Execution,
        subject: &Subject,
        code: &RunOrigin,
        key: &LocationKey,
        progress: mpsc::Sender<Progress>,
    ) -> Result<Outcome, ForkServerError> {
        let kind = execution.kind;
        let id = execution.task_id.clone();
        let limit = max_deliveries(self.settings.max_deliveries, execution.max_receives);
        let received = Received::new(&execution, limit);
        let job = self.job(execution, subject, key);
        let mut last = format!(
            "the host of {} ended {TRIES} times before the task began",
            code.location
        );
        // What the run needs and the loaded code lacks.
        let mut lacking = None;
        for _ in 0..TRIES {
            let loaded = match self.runner(code, key).await? {
                Ok(loaded) => loaded,
                Err(NotLoaded::Broken(reason)) => {
                    return Ok(self.broken(key, &received, reason).await);
                }
                // Perhaps it was killed, or the machine was out of memory for a moment.
                Err(NotLoaded::Died(reason)) => {
                    last = reason;
                    continue;
                }
            };
            if let Some(reason) = lacking.take_if(|_| loaded.outdated) {
                return Ok(self.broken(key, &received, reason).await);
            }
            let Loaded { runner, outdated } = loaded;
            let canceled = self.assign(&id, &runner);
            let mut job = job.clone();
            job.outdated = outdated;
            job.reload = !self.was_reloaded(key, &subject.run_id);
            let running = runner.run(kind, job, progress.clone());
            let ended = if canceled {
                let grace = self.settings.cancel_grace;
                tokio::join!(running, runner.cancel(&id, grace)).0
            } else {
                running.await
            };
            match ended {
                Ended::Stale { reason } => {
                    if let Some(reason) = &reason {
                        self.note_reload(&subject.run_id, code, key, reason);
                    }
                    lacking = reason;
                    runner.outdate();
                }
                Ended::CannotStart { reason } => {
                    let location = code.location.clone();
                    return Err(ForkServerError::CannotStart { location, reason });
                }
                Ended::Undying { pid } => {
                    let (location, pid) = (code.location.clone(), pid.unwrap_or_default());
                    return Err(ForkServerError::Undying { location, pid });
                }
                Ended::HostDied { pid: None, .. } => {}
                Ended::HostDied {
                    pid: Some(pid),
                    begun,
                } => {
                    return resolve::host_died(self, subject, key, pid, begun).await;
                }
                Ended::Exit(exit) => return resolve::exited(self, subject, key, *exit).await,
            }
        }
        Ok(Outcome::NotStarted {
            reason: last,
            by_code: false,
        })
    }

    /// Turns the outcome into `HandedOver` if the run's process was stopped with its worker, or for
    /// it.
    fn or_handed_over(&self, outcome: Outcome, id: &str) -> Outcome {
        let is_ours = || {
            let tasks = lock(&self.tasks);
            tasks.get(id).is_some_and(|running| running.handed_over)
        };
        match outcome {
            Outcome::Interrupted { reason }
                if self.stopping.load(Ordering::SeqCst) || is_ours() =>
            {
                Outcome::HandedOver { reason }
            }
            outcome => outcome,
        }
    }

    /// Stops the process of a run that another worker can resume.
    pub async fn hand_over(&self, task_id: &str) {
        let runner = {
            let mut tasks = lock(&self.tasks);
            let running = tasks
                .get_mut(task_id)
                .filter(|running| !running.handed_over);
            let Some(running) = running else { return };
            let runner = running.runner.clone();
            let Some(runner) = runner.filter(|runner| runner.is_resumable(task_id)) else {
                return;
            };
            running.handed_over = true;
            runner
        };
        runner.kill_task(task_id).await;
    }

    /// Whether the code was loaded again for this run, because it lacked something that the run
    /// needs.
    fn was_reloaded(&self, key: &LocationKey, run_id: &str) -> bool {
        lock(&self.reloaded).contains(&(key.clone(), run_id.to_owned()))
    }

    fn note_reload(&self, run_id: &str, code: &RunOrigin, key: &LocationKey, reason: &str) {
        let mut reloaded = lock(&self.reloaded);
        if reloaded.len() >= MAX_RELOADED {
            // These runs were reloaded long ago: at worst one of them causes one more reload.
            reloaded.clear();
        }
        if reloaded.insert((key.clone(), run_id.to_owned())) {
            tracing::warn!(run_id = %run_id, "{} is loaded again: {reason}", code.location);
        }
    }

    /// Records the host of the task; returns whether the task was cancelled meanwhile.
    fn assign(&self, id: &str, runner: &Arc<ForkServer>) -> bool {
        let mut tasks = lock(&self.tasks);
        let Some(running) = tasks.get_mut(id) else {
            return false;
        };
        running.runner = Some(Arc::clone(runner));
        running.canceled
    }

    fn job(&self, execution: Execution, subject: &Subject, key: &LocationKey) -> Job {
        let (policy, max) = self.lost_policy();
        Job {
            id: execution.task_id,
            task: execution.kind.task_name(),
            run_id: subject.run_id.clone(),
            kwargs: execution.kwargs,
            attempt: subject.attempt,
            receive_count: execution.receive_count,
            message_id: execution.message_id,
            queue: execution.queue,
            worker: self.worker(),
            lost: Lost { policy, max },
            max_deliveries: max_deliveries(self.settings.max_deliveries, execution.max_receives),
            policy: self.policy(key.instance.as_deref()),
            isolation: execution.isolation,
            reload: true,
            outdated: false,
        }
    }

    /// Identity of this worker in Dagster's events.
    pub fn worker(&self) -> Worker {
        let worker = &self.settings.worker;
        Worker {
            id: worker.id.clone(),
            hostname: worker.hostname.clone(),
            pid: std::process::id().to_string(),
            incarnation: worker.incarnation.clone(),
        }
    }

    pub fn lost_policy(&self) -> (&'static str, u32) {
        match self.settings.on_worker_lost {
            LostPolicy::Retry { max } => ("retry", max),
            LostPolicy::Fail => ("fail", 0),
        }
    }

    /// The instance agent of an instance; started when the first message that names it needs one.
    pub async fn instance_agent(
        &self,
        instance: Option<&str>,
    ) -> Result<Arc<InstanceAgent>, ForkServerError> {
        let Some(instance) = instance else {
            return Ok(Arc::clone(&self.own_instance_agent));
        };
        let mut others = self.other_instance_agents.lock().await;
        if let Some(instance_agent) = others.get(instance) {
            return Ok(Arc::clone(instance_agent));
        }
        let (settings, spawner) = (Arc::clone(&self.settings), Arc::clone(&self.spawner));
        let named = Some(instance.to_owned());
        let instance_agent =
            Arc::new(InstanceAgent::start(settings, spawner, named, self.notices.clone()).await?);
        others.insert(instance.to_owned(), Arc::clone(&instance_agent));
        Ok(instance_agent)
    }

    /// Interrupts a step. A run is set to CANCELING in Dagster, and every worker then interrupts
    /// its tasks of the run. Without that, the interrupted run would fail.
    pub async fn cancel_as_requested(&self, task_id: &str) -> Result<(), ForkServerError> {
        let run = lock(&self.tasks)
            .get(task_id)
            .filter(|running| running.is_run)
            .map(|running| (running.run_id.clone(), running.instance.clone()));
        if let Some((run_id, instance)) = run {
            let instance_agent = self.instance_agent(instance.as_deref()).await?;
            return instance_agent.cancel_run(&run_id).await;
        }
        self.cancel(task_id).await;
        Ok(())
    }

    pub async fn cancel(&self, task_id: &str) {
        let runner = {
            let mut tasks = lock(&self.tasks);
            let Some(running) = tasks.get_mut(task_id) else {
                return;
            };
            running.canceled = true;
            metrics().task_cancelled(task_id);
            running.runner.clone()
        };
        if let Some(runner) = runner {
            runner.cancel(task_id, self.settings.cancel_grace).await;
        }
    }

    pub async fn report_unstarted(&self, report: &Report) -> Result<Reported, ForkServerError> {
        let subject = Subject::read(report.kind, &report.kwargs, report.attempt)
            .map_err(|reason| ForkServerError::Unreadable { reason })?;
        let instance = subject.instance(self.settings.trust_message_instance);
        resolve::unstarted(self, &subject, instance.as_deref(), report).await
    }

    pub async fn attempt_events(
        &self,
        kind: TaskKind,
        kwargs: &Value,
        attempt: u32,
    ) -> Result<AttemptEvents, ForkServerError> {
        let subject = Subject::read(kind, kwargs, attempt)
            .map_err(|reason| ForkServerError::Unreadable { reason })?;
        let instance = subject.instance(self.settings.trust_message_instance);
        let instance_agent = self.instance_agent(instance.as_deref()).await?;
        let step = subject.step_key.as_deref().unwrap_or_default();
        instance_agent
            .attempt_events(&subject.run_id, step, subject.attempt)
            .await
    }

    pub async fn heartbeat(&self, mut body: Value) -> Result<(), ForkServerError> {
        let worker = &self.settings.worker;
        body["incarnation"] = Value::from(worker.incarnation.as_str());
        self.own_instance_agent.heartbeat(&worker.id, &body).await
    }

    /// This worker's own instance agent.
    pub fn own_instance_agent(&self) -> &InstanceAgent {
        &self.own_instance_agent
    }

    pub async fn fleet(&self, all: bool) -> Result<Vec<FleetWorker>, ForkServerError> {
        self.own_instance_agent.fleet(all).await
    }

    pub async fn lost_runs(&self, every: Duration) -> Result<Vec<LostRun>, ForkServerError> {
        self.own_instance_agent
            .lost_runs(self.worker(), every)
            .await
    }

    pub async fn capture(&self, run_id: &str, file_key: &str) -> Result<Capture, ForkServerError> {
        self.own_instance_agent.capture(run_id, file_key).await
    }

    pub async fn explain(
        &self,
        run_id: &str,
        step_key: Option<&str>,
    ) -> Result<Explanation, ForkServerError> {
        self.own_instance_agent.explain(run_id, step_key).await
    }

    /// The process that runs the task, once it has one.
    pub fn process_of(&self, task_id: &str) -> Option<u32> {
        let tasks = lock(&self.tasks);
        tasks.get(task_id)?.runner.as_ref()?.process_of(task_id)
    }

    /// Reads the stacks of a task's process, unless it has ended meanwhile and the process runs
    /// another task.
    pub async fn stack(&self, task_id: &str) -> Result<StackReport, String> {
        let Some(pid) = self.process_of(task_id) else {
            return Err(NO_PROCESS.to_owned());
        };
        let report = stack::take(pid).await?;
        if self.process_of(task_id) == Some(pid) {
            Ok(report)
        } else {
            Err(stack::ended(pid))
        }
    }

    pub async fn usual_time(
        &self,
        run_id: &str,
        step_key: &str,
    ) -> Result<Option<UsualTime>, ForkServerError> {
        self.own_instance_agent.usual_time(run_id, step_key).await
    }

    pub async fn free_slot(&self, run_id: &str, step_key: &str) -> Result<String, ForkServerError> {
        self.own_instance_agent.free_slot(run_id, step_key).await
    }

    pub async fn about(&self) -> Result<Diagnostics, ForkServerError> {
        self.own_instance_agent.about().await
    }

    pub fn states(&self) -> Vec<ForkServerState> {
        let pid = self.own_instance_agent.pid();
        let instance_agent = ForkServerState {
            pid,
            location: LOCATION.to_owned(),
            phase: if pid == 0 {
                ForkServerPhase::Loading
            } else {
                ForkServerPhase::Ready
            },
            loaded_ms: 0,
            children: 0,
            pss_kib: proc::pss_kib(pid).unwrap_or(0),
            dropped: 0,
            isolation: None,
        };
        let mut runners = lock(&self.runners).clone();
        runners.retain(|runner| !runner.is_dead());
        let failed = lock(&self.failures)
            .values()
            .map(LoadFailure::state)
            .collect::<Vec<_>>();
        std::iter::once(instance_agent)
            .chain(runners.iter().map(|runner| runner.state()))
            .chain(failed)
            .collect()
    }

    pub async fn reload(&self) {
        lock(&self.failures).clear();
        let runners = lock(&self.runners).clone();
        for runner in runners {
            runner.retire().await;
        }
    }

    /// Ends every task and host, but no instance agent: what became of the tasks, and of the worker,
    /// is still to be written.
    pub async fn end_hosts(&self, grace: Duration) {
        self.stopping.store(true, Ordering::SeqCst);
        // Tasks that wait for these have not begun, and are given back.
        let runners = lock(&self.runners).clone();
        runners
            .iter()
            .filter(|r| r.is_loading())
            .for_each(|r| r.kill());
        self.wait_idle(grace).await;
        let left: Vec<(String, Arc<ForkServer>)> = lock(&self.tasks)
            .iter()
            .filter_map(|(id, running)| Some((id.clone(), running.runner.clone()?)))
            .collect();
        for (id, runner) in left {
            runner.kill_task(&id).await;
        }
        self.wait_idle(REAP).await;
        let runners = std::mem::take(&mut *lock(&self.runners));
        lock(&self.slots).clear();
        for runner in runners {
            runner.retire().await;
            if tokio::time::timeout(REAP, runner.ended()).await.is_err() {
                runner.kill();
            }
        }
    }

    pub async fn shutdown(&self, grace: Duration) {
        self.end_hosts(grace).await;
        for (_, instance_agent) in self.other_instance_agents.lock().await.drain() {
            instance_agent.stop().await;
        }
        self.own_instance_agent.stop().await;
    }

    /// Waits until no task is in flight, but at most `limit`.
    async fn wait_idle(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        while !lock(&self.tasks).is_empty() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Number of executions after which an attempt is ended by rule: one fewer than the receives after
/// which SQS would silently move its message away. 0: no limit.
fn max_deliveries(configured: u32, receives: Option<u32>) -> u32 {
    let Some(receives) = receives else {
        return configured;
    };
    let most = receives.saturating_sub(1).max(1);
    if configured == 0 {
        most
    } else {
        configured.min(most)
    }
}
