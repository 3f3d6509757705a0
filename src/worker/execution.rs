//! The life of one task: it runs on a step host, then its message is settled.
//!
//! If this process dies anywhere in here, the lease ends and the message returns; the host's rules
//! (the claim, the event log) then determine what happened. Nothing is deleted before its effect is
//! in Dagster's event log.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt, pending};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tracing::{debug, error, info, warn};

use super::breaker::Breaker;
use super::log_parser;
use super::outcome::{crash, ended_for_it, finished, skipped};
use super::pace::beyond_usual;
use super::ready_queue::Task;
use super::settlement::{Settlement, back_off, released};
use super::spans::{self, Times};
use super::usage::{self, Sampler};
use crate::domain::{self, Event, EventSink, LogLine, TaskOutcome, UsualTime};
use crate::fork_server::{Execution, ForkServerError, ForkServers, Outcome, Progress, Stream};
use crate::sqs::{Broker, Leases};
use crate::telemetry::metrics::{Loss, metrics};

/// Dependencies of a life; cloned into each.
#[derive(Clone)]
pub(super) struct ExecutionContext {
    pub broker: Broker,
    pub leases: Leases,
    pub hosts: ForkServers,
    pub events: EventSink,
    pub breaker: Arc<Breaker>,
    /// Time after which a step is compared with its history; zero: never.
    pub slow_after: Duration,
}

/// Capacity of the channel of progress notes that wait to become events: a burst of a verbose step,
/// not its whole output (which is in the compute log files in any case).
const PROGRESS: usize = 1024;

/// Number of times an interrupted run is returned at once. The number is limited because a run
/// whose worker dies each time would loop.
const INTERRUPTED_AT_ONCE: u32 = 2;

impl ExecutionContext {
    /// Runs a task to its end and settles its message.
    pub async fn live(self, task: Arc<Task>) {
        let task_id = task.message.task_id.clone();
        let at = Timestamp::now();
        let wait = task.delivery.sent_at.map(|sent| since(sent, at));
        metrics().task_started(&task_id, &task.labels(), wait);
        self.events.send(Event::Started { task_id, at });
        let (progress, notes) = mpsc::channel(PROGRESS);
        let execution = execution(&task);
        let (result, reported) = tokio::join!(
            self.hosts.execute(execution, progress),
            self.forward(notes, &task)
        );
        let times = Times {
            started: at,
            reported,
            ended: Timestamp::now(),
        };
        self.note(&task, &result);
        let is_end = spans::is_end(&result);
        let (outcome, settlement) = self.judge(&task, result);
        if is_end {
            let outcome = metrics().counted(&task.message.task_id, &outcome);
            spans::record(&task, &outcome, times);
        }
        self.finish(&task, outcome, settlement).await;
    }

    /// Counts tasks that were lost or cannot be started here.
    fn note(&self, task: &Task, result: &Result<Outcome, ForkServerError>) {
        let now = tokio::time::Instant::now();
        match result {
            Ok(Outcome::Lost { .. }) => metrics().task_lost(&task.labels(), Loss::Worker),
            Ok(Outcome::Crashed { .. }) => metrics().task_lost(&task.labels(), Loss::Process),
            _ => {}
        }
        match result {
            // The code is the cause, and other code may work.
            Ok(Outcome::NotStarted { by_code: true, .. } | Outcome::Unrunnable { .. })
            | Err(ForkServerError::ShuttingDown) => {}
            Ok(Outcome::NotStarted { reason, .. }) => self.breaker.failed(now, reason),
            Err(problem) => self.breaker.failed(now, &problem.to_string()),
            Ok(_) => self.breaker.started(),
        }
    }

    /// Handles a life that ended without settling its message: the message returns soon, and the
    /// task's state is determined then.
    pub async fn abandoned(&self, task: &Task, panic: &str) {
        error!(
            "the supervision of {} failed ({panic}): its message comes back \
            and its state is looked up",
            task.name()
        );
        let pause = Settlement::Hide(back_off(task.delivery.receive_count));
        let outcome = released(&format!("its supervision failed: {panic}"));
        self.finish(task, outcome, pause).await;
    }

    fn judge(
        &self,
        task: &Task,
        result: Result<Outcome, ForkServerError>,
    ) -> (TaskOutcome, Settlement) {
        let name = task.name();
        match result {
            Ok(Outcome::Finished { status, reason, .. }) => {
                (finished(status, reason), Settlement::Delete)
            }
            Ok(Outcome::AlreadyFinished { event }) => {
                info!("{name} had ended before ({event}): not run again");
                (skipped("it had finished before"), Settlement::Delete)
            }
            Ok(Outcome::RunFinished { status }) => {
                info!("{name} not run: its run is {status}");
                (skipped(&format!("its run is {status}")), Settlement::Delete)
            }
            Ok(Outcome::ClaimHeld) => {
                info!("{name} is run by another process: its message goes back");
                let wait = Settlement::Hide(self.held_pause(&task.delivery));
                (released("another process runs it"), wait)
            }
            Ok(Outcome::OwnerSilent { again }) => {
                info!(
                    "{name} may be run by another process, which is silent: its \
                    message goes back"
                );
                let wait = Settlement::Hide(again.min(self.broker.visibility()));
                (released("another process may run it"), wait)
            }
            Ok(Outcome::Lost { reported }) => {
                warn!("{name}: its worker was lost; wrote {reported}");
                let outcome = ended_for_it(&reported, "its worker was lost");
                (outcome, Settlement::Delete)
            }
            Ok(Outcome::Crashed { exit, reported }) => {
                let how = crash(&exit);
                warn!("{name}: {how}; wrote {reported}");
                (ended_for_it(&reported, &how), Settlement::Delete)
            }
            Ok(Outcome::Interrupted { reason }) => {
                info!("{name} was interrupted ({reason}) and goes on elsewhere");
                let count = task.delivery.receive_count;
                let pause = if count <= INTERRUPTED_AT_ONCE {
                    Duration::ZERO
                } else {
                    back_off(count)
                };
                (TaskOutcome::GivenBack { reason }, Settlement::Hide(pause))
            }
            Ok(Outcome::NotStarted { reason, .. }) => {
                warn!("{name} was not started: {reason}; its message goes back");
                let pause = Settlement::Hide(back_off(task.delivery.receive_count));
                (TaskOutcome::GivenBack { reason }, pause)
            }
            Ok(Outcome::HandedOver { reason }) => {
                // The reason is how its process ended, which this worker did itself.
                info!("{name} is handed over: another worker resumes it");
                debug!("{name}: {reason}");
                let reason = "its worker ends, and another one resumes it".to_owned();
                (TaskOutcome::GivenBack { reason }, Settlement::HandOver)
            }
            Ok(Outcome::Unrunnable { reason }) => {
                let reason = domain::reason(&reason);
                error!("{name} cannot be run: {reason}");
                let outcome = TaskOutcome::DeadLettered {
                    reason: reason.clone(),
                };
                (outcome, Settlement::DeadLetter(reason))
            }
            Err(problem) => {
                warn!("{name}: {problem}; its message goes back to the queue");
                let pause = Settlement::Hide(back_off(task.delivery.receive_count));
                (released(&problem.to_string()), pause)
            }
        }
    }

    /// Turns a host's notes into events until the host has no more; returns the time of the task's
    /// first event.
    async fn forward(&self, mut notes: mpsc::Receiver<Progress>, task: &Task) -> Option<Timestamp> {
        let events = &self.events;
        let mut reported = None;
        let mut reader =
            log_parser::LogParser::new(&task.message.run_id, task.message.step_key.as_deref());
        let mut sampler: Option<Sampler> = None;
        let mut beyond: BoxFuture<'_, Option<UsualTime>> = pending().boxed();
        let mut looks = tokio::time::interval(usage::EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let note = tokio::select! {
                note = notes.recv() => match note {
                    Some(note) => note,
                    None => return reported,
                },
                usual = &mut beyond => {
                    beyond = pending().boxed();
                    if let Some(usual) = usual {
                        let task_id = task.message.task_id.clone();
                        events.send(Event::BeyondUsual { task_id, usual });
                    }
                    continue;
                }
                _ = looks.tick(), if sampler.is_some() => {
                    if let Some(usage) = sampler.as_mut().and_then(Sampler::look) {
                        let task_id = task.message.task_id.clone();
                        events.send(Event::Usage { task_id, usage });
                    }
                    continue;
                }
            };
            let (target, logged) = match note {
                Progress::Forked { pid } => {
                    events.send(Event::Forked {
                        task_id: task.message.task_id.clone(),
                        pid,
                    });
                    sampler = Some(Sampler::new(pid));
                    beyond = self.beyond_usual(task);
                    looks.reset();
                    continue;
                }
                Progress::Event {
                    event_type,
                    message,
                } => {
                    self.breaker.started();
                    reported.get_or_insert_with(Timestamp::now);
                    let received = task.delivery.received_at;
                    metrics()
                        .task_reported(&task.message.task_id, || since(received, Timestamp::now()));
                    ("dagster", reader.event(&event_type, &message))
                }
                Progress::Log { stream, line } => {
                    let target = match stream {
                        Stream::Stderr => "stderr",
                        Stream::Stdout => "stdout",
                        Stream::Host => "host",
                    };
                    (target, reader.line(&line))
                }
            };
            let Some((level, message)) = logged else {
                continue;
            };
            let line = LogLine {
                at: Timestamp::now(),
                level,
                target: target.to_owned(),
                run_id: Some(task.message.run_id.clone()),
                step_key: task.message.step_key.clone(),
                worker: None,
                message,
            };
            events.send(Event::Log { line });
        }
    }
}

impl ExecutionContext {
    /// Completes when a step that starts now is beyond its usual time.
    fn beyond_usual(&self, task: &Task) -> BoxFuture<'static, Option<UsualTime>> {
        let Some(step_key) = task.message.step_key.clone() else {
            return pending().boxed();
        };
        if self.slow_after.is_zero() {
            return pending().boxed();
        }
        let (hosts, run_id) = (self.hosts.clone(), task.message.run_id.clone());
        let usual = async move { hosts.usual_time(&run_id, &step_key).await };
        beyond_usual(self.slow_after, usual).boxed()
    }
}

/// Duration between two times, which may come from the clocks of two machines.
fn since(from: Timestamp, to: Timestamp) -> Duration {
    to.duration_since(from).try_into().unwrap_or_default()
}

fn execution(task: &Task) -> Execution {
    Execution {
        task_id: task.message.task_id.clone(),
        kind: task.message.kind,
        kwargs: task.message.kwargs.clone().into(),
        attempt: task.message.attempt,
        receive_count: task.delivery.receive_count,
        message_id: task.delivery.message_id.clone(),
        queue: task.delivery.queue.name.clone(),
        max_receives: task.delivery.queue.max_receives,
        isolation: task.message.isolation,
    }
}
