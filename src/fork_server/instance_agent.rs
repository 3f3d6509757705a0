//! The instance agent: the Python process that accesses Dagster's storage for this worker. It
//! imports no user code, and is killed and restarted when it does not answer.
//!
//! It answers in two lanes, each one request after the other, so heartbeats and the query for
//! cancelled runs never wait for a slow look-up.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};

use super::api::{
    AttemptEvents, Capture, Diagnostics, ForkServerNotice, ForkServerSettings, LostRun,
};
use super::error::ForkServerError;
use super::link::{Link, ProcessEvent};
use super::location::Subject;
use super::paused_queues::KnownPauses;
use super::protocol::{
    Explained, Freed, FromProcess, Manner, PROTOCOL, Policy, ReportBody, RunCode, ToProcess, Worker,
};
use super::spawner::{Mode, Spawner};
use super::storage_health::StorageHealth;
use super::sync::lock;
use crate::domain::{BackOff, Explanation, FleetWorker, UsualTime};
use crate::telemetry::metrics::metrics;

/// The instance agent's name among code locations: in logs, metrics and the console.
pub(super) const LOCATION: &str = "instance agent";

/// Timeout of the start. Importing dagster takes 2-3 s; on a loaded machine several times that.
const START: Duration = Duration::from_mins(2);

/// Timeout of a look-up or report: longer than the busy timeout (60 s) that Dagster gives `SQLite`.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);

/// Timeout of a heartbeat or a query for the status of runs, which are small. It is longer than
/// Dagster tries to connect to a server that refuses (11 s). Together with a restart it is short
/// enough that no worker looks lost (30 s).
const PULSE: Duration = Duration::from_secs(15);

/// Maximum wait of a request for an instance agent that is being restarted.
const RESTARTED: Duration = Duration::from_secs(40);

/// First and longest wait before a restart.
const BACK_OFF: BackOff = BackOff {
    first: Duration::from_millis(500),
    longest: Duration::from_secs(30),
};

/// One lane: its requests are answered in order, and a request's timeout starts once it is first.
struct Lane {
    turn: tokio::sync::Mutex<()>,
    budget: Duration,
}

impl Lane {
    fn new(budget: Duration) -> Self {
        Self {
            turn: tokio::sync::Mutex::default(),
            budget,
        }
    }
}

type Waiting = Mutex<HashMap<u64, oneshot::Sender<Result<Value, String>>>>;

/// Handle to the instance agent of one `DagsterInstance`.
pub(super) struct InstanceAgent {
    link: watch::Receiver<Option<Link>>,
    waiting: Arc<Waiting>,
    next: AtomicU64,
    stopped: Arc<AtomicBool>,
    pulse: Lane,
    look_ups: Lane,
    /// The paused queues in the last answer that had them.
    pub(super) paused: KnownPauses,
    /// What the worker's heartbeats have found.
    pub(super) storage: StorageHealth,
}

/// State needed for a restart.
struct Keeper {
    settings: Arc<ForkServerSettings>,
    spawner: Arc<Spawner>,
    instance: Option<String>,
    notices: mpsc::Sender<ForkServerNotice>,
    waiting: Arc<Waiting>,
    stopped: Arc<AtomicBool>,
}

impl InstanceAgent {
    /// Starts the process and waits until it has opened the instance.
    pub async fn start(
        settings: Arc<ForkServerSettings>,
        spawner: Arc<Spawner>,
        instance: Option<String>,
        notices: mpsc::Sender<ForkServerNotice>,
    ) -> Result<Self, ForkServerError> {
        let waiting = Arc::new(Waiting::default());
        let stopped = Arc::new(AtomicBool::new(false));
        let keeper = Keeper {
            settings,
            spawner,
            instance,
            notices,
            waiting: Arc::clone(&waiting),
            stopped: Arc::clone(&stopped),
        };
        let (link, events) = keeper.start().await?;
        let (publish, link) = watch::channel(Some(link));
        tokio::spawn(keeper.keep(events, publish));
        Ok(Self {
            link,
            waiting,
            next: AtomicU64::new(1),
            stopped,
            pulse: Lane::new(PULSE),
            look_ups: Lane::new(ANSWER_TIMEOUT),
            paused: KnownPauses::default(),
            storage: StorageHealth::default(),
        })
    }

    /// The given runs that are being cancelled, were cancelled or have failed, with their status.
    pub async fn ending_runs(
        &self,
        run_ids: Vec<String>,
    ) -> Result<HashMap<String, String>, ForkServerError> {
        let frame = |id| ToProcess::EndingRuns {
            id,
            run_ids: run_ids.clone(),
        };
        let value = self.pulse("the status of runs", frame).await?;
        serde_json::from_value(value).map_err(|error| ForkServerError::Request {
            request: "the status of runs",
            reason: error.to_string(),
        })
    }

    /// Looks up the code of a run, for a message that names `job_origin` and `instance_ref`.
    pub async fn code(
        &self,
        subject: &Subject,
        policy: &Policy,
    ) -> Result<RunCode, ForkServerError> {
        let frame = |id| ToProcess::Code {
            id,
            run_id: subject.run_id.clone(),
            job_origin: subject.job_origin.clone(),
            instance_ref: subject.instance_ref.clone(),
            policy: policy.clone(),
            step_key: subject.step_key.clone(),
            attempt: subject.attempt,
        };
        let request = "the code of a run";
        let value = self.request(request, frame).await?;
        serde_json::from_value(value).map_err(|error| ForkServerError::Request {
            request,
            reason: error.to_string(),
        })
    }

    /// Writes the end of an attempt; the answer contains what was found or written.
    pub async fn report(&self, report: &ReportBody) -> Result<Value, ForkServerError> {
        let frame = |id| ToProcess::Report {
            id,
            report: report.clone(),
        };
        self.request("a report", frame).await
    }

    /// Sets a run to CANCELING, if it is not over.
    pub async fn cancel_run(&self, run_id: &str) -> Result<(), ForkServerError> {
        let frame = |id| ToProcess::CancelRun {
            id,
            run_id: run_id.to_owned(),
        };
        self.request("a run's cancellation", frame).await.map(drop)
    }

    /// Writes that a run's process on this worker has ended although the run has not.
    pub async fn release(
        &self,
        run_id: &str,
        worker: Worker,
        pid: u32,
    ) -> Result<(), ForkServerError> {
        let frame = |id| ToProcess::Release {
            id,
            run_id: run_id.to_owned(),
            worker: worker.clone(),
            pid,
        };
        self.request("a run's release", frame).await.map(drop)
    }

    /// Events of one attempt of a step in the log.
    pub async fn attempt_events(
        &self,
        run_id: &str,
        step_key: &str,
        attempt: u32,
    ) -> Result<AttemptEvents, ForkServerError> {
        let frame = |id| ToProcess::AttemptEvents {
            id,
            run_id: run_id.to_owned(),
            step_key: step_key.to_owned(),
            attempt,
        };
        let request = "the events of an attempt";
        let value = self.request(request, frame).await?;
        serde_json::from_value(value).map_err(|error| ForkServerError::Request {
            request,
            reason: error.to_string(),
        })
    }

    /// Location of a step's captured output.
    pub async fn capture(&self, run_id: &str, file_key: &str) -> Result<Capture, ForkServerError> {
        let frame = |id| ToProcess::Capture {
            id,
            run_id: run_id.to_owned(),
            file_key: file_key.to_owned(),
        };
        let request = "where a step's output lies";
        let value = self.request(request, frame).await?;
        serde_json::from_value(value).map_err(|error| ForkServerError::Request {
            request,
            reason: error.to_string(),
        })
    }

    /// Explains from Dagster's storage why a run or step does not start.
    pub async fn explain(
        &self,
        run_id: &str,
        step_key: Option<&str>,
    ) -> Result<Explanation, ForkServerError> {
        let frame = |id| ToProcess::Explain {
            id,
            run_id: run_id.to_owned(),
            step_key: step_key.map(str::to_owned),
        };
        let request = "why it does not start";
        match serde_json::from_value(self.request(request, frame).await?) {
            Ok(Explained::Found(found)) => Ok(*found),
            Ok(Explained::Missing { missing }) => Err(ForkServerError::Refused { reason: missing }),
            Err(error) => Err(ForkServerError::Request {
                request,
                reason: error.to_string(),
            }),
        }
    }

    /// Durations of a step in earlier runs of its job; `None` if there are too few.
    pub async fn usual_time(
        &self,
        run_id: &str,
        step_key: &str,
    ) -> Result<Option<UsualTime>, ForkServerError> {
        let frame = |id| ToProcess::UsualTime {
            id,
            run_id: run_id.to_owned(),
            step_key: step_key.to_owned(),
        };
        let request = "the usual time of a step";
        serde_json::from_value(self.request(request, frame).await?).map_err(|error| {
            ForkServerError::Request {
                request,
                reason: error.to_string(),
            }
        })
    }

    /// Gives back the pool slot of a step that does not need it any more.
    pub async fn free_slot(&self, run_id: &str, step_key: &str) -> Result<String, ForkServerError> {
        let frame = |id| ToProcess::FreeSlot {
            id,
            run_id: run_id.to_owned(),
            step_key: step_key.to_owned(),
        };
        let request = "freeing a pool slot";
        match serde_json::from_value(self.request(request, frame).await?) {
            Ok(Freed::Done(text)) => Ok(text),
            Ok(Freed::Refused(reason)) => Err(ForkServerError::Refused { reason }),
            Err(error) => Err(ForkServerError::Request {
                request,
                reason: error.to_string(),
            }),
        }
    }

    /// Facts from Dagster's storage for the alarms.
    pub async fn alarm_facts(&self, window: u64) -> Result<Value, ForkServerError> {
        let frame = |id| ToProcess::AlarmFacts { id, window };
        self.request("the state of Dagster", frame).await
    }

    /// Agrees with the other workers on alarms.
    pub async fn alarm_sync(&self, request: &Value) -> Result<Value, ForkServerError> {
        let frame = |id| ToProcess::AlarmSync {
            id,
            request: request.clone(),
        };
        self.request("the deployment's alarms", frame).await
    }

    /// Writes an acknowledgement; returns those in effect.
    pub async fn alarm_acknowledge(
        &self,
        alarm: &str,
        until: Option<f64>,
        by: &str,
    ) -> Result<Value, ForkServerError> {
        let frame = |id| ToProcess::AlarmAcknowledge {
            id,
            alarm: alarm.to_owned(),
            until,
            by: by.to_owned(),
        };
        self.request("an acknowledgement", frame).await
    }

    /// Writes this worker's heartbeat; its answer has the paused queues.
    pub async fn heartbeat(&self, worker: &str, body: &Value) -> Result<(), ForkServerError> {
        let frame = |id| ToProcess::Heartbeat {
            id,
            worker: worker.to_owned(),
            body: body.clone(),
        };
        let request = "a heartbeat";
        self.paused.read(request, self.pulse(request, frame).await?)
    }

    /// The last heartbeats of the deployment's workers, by id: of all, or those that alarms need.
    pub async fn fleet(&self, all: bool) -> Result<Vec<FleetWorker>, ForkServerError> {
        let request = "the list of workers";
        let frame = |id| ToProcess::Fleet { id, all };
        let value = self.pulse(request, frame).await?;
        serde_json::from_value(value).map_err(|error| ForkServerError::Request {
            request,
            reason: error.to_string(),
        })
    }

    /// Runs that no worker executes any more, to be sent again; none if another worker looked within
    /// `every`.
    pub async fn lost_runs(
        &self,
        worker: Worker,
        every: Duration,
    ) -> Result<Vec<LostRun>, ForkServerError> {
        let request = "a look for lost runs";
        let frame = |id| ToProcess::LostRuns {
            id,
            worker: worker.clone(),
            every: every.as_secs_f64(),
        };
        let value = self.request(request, frame).await?;
        serde_json::from_value(value).map_err(|error| ForkServerError::Request {
            request,
            reason: error.to_string(),
        })
    }

    /// Properties of the instance agent's environment; takes and gives back a claim of its own.
    pub async fn about(&self) -> Result<Diagnostics, ForkServerError> {
        let request = "what Dagster's instance is";
        let value = self.request(request, |id| ToProcess::About { id }).await?;
        serde_json::from_value(value).map_err(|error| ForkServerError::Request {
            request,
            reason: error.to_string(),
        })
    }

    /// Process id; 0 while it is being restarted.
    pub fn pid(&self) -> u32 {
        self.link.borrow().as_ref().map_or(0, |link| link.pid)
    }

    /// Ends the process for good.
    pub async fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        let link = self.link.borrow().clone();
        if let Some(link) = link {
            link.send(ToProcess::Stop { drain: false }).await;
        }
        let mut link = self.link.clone();
        let _ = tokio::time::timeout(Duration::from_secs(5), link.wait_for(Option::is_none)).await;
    }

    pub(super) async fn request(
        &self,
        name: &'static str,
        frame: impl Fn(u64) -> ToProcess,
    ) -> Result<Value, ForkServerError> {
        self.send_request(&self.look_ups, name, frame).await
    }

    async fn pulse(
        &self,
        name: &'static str,
        frame: impl Fn(u64) -> ToProcess,
    ) -> Result<Value, ForkServerError> {
        self.send_request(&self.pulse, name, frame).await
    }

    /// Sends a request and waits for the answer. Every request checks the state before it writes,
    /// so an unanswered one is repeated with the next process. A process that does not answer in
    /// time hangs, or its connection does.
    async fn send_request(
        &self,
        lane: &Lane,
        name: &'static str,
        frame: impl Fn(u64) -> ToProcess,
    ) -> Result<Value, ForkServerError> {
        let _turn = lane.turn.lock().await;
        let mut reason = "it died";
        for _ in 0..2 {
            let mut link = self.link.clone();
            let up = tokio::time::timeout(RESTARTED, link.wait_for(Option::is_some)).await;
            let Ok(Ok(Some(current))) = up.map(|up| up.map(|link| link.clone())) else {
                reason = "it does not start";
                break;
            };
            let id = self.next.fetch_add(1, Ordering::Relaxed);
            let (answer, answered) = oneshot::channel();
            lock(&self.waiting).insert(id, answer);
            let answered = async {
                current.send(frame(id)).await;
                answered.await
            };
            match tokio::time::timeout(lane.budget, answered).await {
                Ok(Ok(Ok(value))) => return Ok(value),
                Ok(Ok(Err(reason))) => {
                    metrics().storage_failed(true);
                    return Err(ForkServerError::Request {
                        request: name,
                        reason,
                    });
                }
                Ok(Err(_)) => {}
                Err(_) => {
                    lock(&self.waiting).remove(&id);
                    current.kill("the instance agent does not answer");
                    // The process must be dead before the next try, which would be sent to it
                    // otherwise.
                    let _ = link
                        .wait_for(|now| now.as_ref().is_none_or(|now| now.pid != current.pid))
                        .await;
                    reason = "no answer in time";
                }
            }
        }
        metrics().storage_failed(false);
        Err(ForkServerError::NoAnswer {
            request: name,
            reason,
        })
    }
}

impl Keeper {
    /// Starts a process and waits for its `ready`.
    async fn start(&self) -> Result<(Link, mpsc::Receiver<ProcessEvent>), ForkServerError> {
        let python = &self.settings.python;
        let started = self
            .spawner
            .spawn(Mode::InstanceAgent)
            .await
            .map_err(|source| ForkServerError::Spawn {
                python: python.clone(),
                source,
            })?;
        let (link, mut events) = Link::new(started);
        let load = ToProcess::Load {
            origin: Value::Null,
            instance_ref: self.instance.clone(),
            manner: Manner::default(),
        };
        link.send(load).await;
        match tokio::time::timeout(START, self.wait_ready(&mut events)).await {
            Ok(Ok(())) => Ok((link, events)),
            Ok(Err(error)) => Err(error),
            Err(_) => {
                let reason = format!("not ready after {} s", START.as_secs());
                link.kill("it does not start");
                Err(self.no_instance_agent(reason))
            }
        }
    }

    async fn wait_ready(
        &self,
        events: &mut mpsc::Receiver<ProcessEvent>,
    ) -> Result<(), ForkServerError> {
        while let Some(item) = events.recv().await {
            match item {
                ProcessEvent::Frame(FromProcess::Ready { .. }) => return Ok(()),
                ProcessEvent::Frame(FromProcess::LoadError { reason, .. }) => {
                    return Err(ForkServerError::Unusable { reason });
                }
                ProcessEvent::Frame(FromProcess::Hello { protocol, .. })
                    if protocol != PROTOCOL =>
                {
                    return Err(self.no_instance_agent(format!("it speaks protocol {protocol}")));
                }
                ProcessEvent::Frame(FromProcess::Hello {
                    dagster_warning: Some(warning),
                    ..
                }) => {
                    let notice = ForkServerNotice::DagsterUntested { warning };
                    let _ = self.notices.try_send(notice);
                }
                ProcessEvent::Died(reason) => return Err(self.no_instance_agent(reason)),
                ProcessEvent::Line(line) => self.line(line),
                ProcessEvent::Frame(_) => {}
            }
        }
        Err(self.no_instance_agent("it ended".to_owned()))
    }

    fn no_instance_agent(&self, reason: String) -> ForkServerError {
        ForkServerError::NoInstanceAgent {
            python: self.settings.python.clone(),
            reason,
        }
    }

    fn line(&self, line: String) {
        let _ = self.notices.try_send(ForkServerNotice::Line {
            location: LOCATION.to_owned(),
            line,
        });
    }

    /// Passes answers to the waiting callers, and restarts the process when it dies.
    async fn keep(
        self,
        mut events: mpsc::Receiver<ProcessEvent>,
        publish: watch::Sender<Option<Link>>,
    ) {
        loop {
            self.pump(&mut events).await;
            let pid = publish.borrow().as_ref().map_or(0, |link| link.pid);
            publish.send_replace(None);
            lock(&self.waiting).clear();
            if self.stopped.load(Ordering::SeqCst) || publish.is_closed() {
                return;
            }
            let _ = self.notices.try_send(ForkServerNotice::Died {
                location: LOCATION.to_owned(),
                pid,
            });
            let Some((link, fresh)) = self.restart(&publish).await else {
                return;
            };
            events = fresh;
            publish.send_replace(Some(link));
        }
    }

    async fn pump(&self, events: &mut mpsc::Receiver<ProcessEvent>) {
        while let Some(item) = events.recv().await {
            match item {
                ProcessEvent::Frame(FromProcess::Answer { id, value, error }) => {
                    if let Some(answer) = lock(&self.waiting).remove(&id) {
                        let _ = answer.send(error.map_or(Ok(value.unwrap_or_default()), Err));
                    }
                }
                ProcessEvent::Line(line) => self.line(line),
                ProcessEvent::Died(_) => return,
                ProcessEvent::Frame(_) => {}
            }
        }
    }

    async fn restart(
        &self,
        publish: &watch::Sender<Option<Link>>,
    ) -> Option<(Link, mpsc::Receiver<ProcessEvent>)> {
        let mut failures = 0;
        loop {
            tokio::time::sleep(BACK_OFF.after(failures)).await;
            failures += 1;
            if self.stopped.load(Ordering::SeqCst) || publish.is_closed() {
                return None;
            }
            match self.start().await {
                Ok(started) => return Some(started),
                Err(error) => {
                    let notice = ForkServerNotice::InstanceAgentError {
                        reason: error.to_string(),
                    };
                    let _ = self.notices.try_send(notice);
                }
            }
        }
    }
}
