//! Operators' commands to a pool.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{Instrument, Span, info, warn};

use super::Pool;
use crate::domain::{Answer, Command, Query, Reply, Route, SlotRange, WorkerState};
use crate::protocol::Request;
use crate::queue_ops::Operator;
use crate::telemetry::vitals::vitals;
use crate::wire::redact::redact;
use crate::worker::ready_queue::Task;
use crate::worker::{output, usage};

/// Maximum number of body bytes returned for display; longer bodies are truncated.
const MAX_PAYLOAD: usize = 64 * 1024;

fn as_reply(answer: Result<Answer, String>) -> Reply {
    answer.map_or_else(Reply::Failed, |answer| Reply::Answer(Box::new(answer)))
}

impl Pool {
    pub(super) async fn handle(&mut self, Request { command, reply, .. }: Request) {
        let answer = match command {
            Command::Pause => {
                let done = "paused: nothing new is received";
                self.change(WorkerState::Paused, None, done)
            }
            Command::Resume => self.change(WorkerState::Running, None, "running"),
            Command::Drain { within } => {
                self.restarts = false;
                self.drain(within)
            }
            Command::Restart { within } => self.restart(within),
            Command::Kill => Reply::Failed("kill is carried out by the control socket".to_owned()),
            Command::Stop => {
                self.restarts = false;
                self.stop()
            }
            Command::Scale { steps } => {
                let followed = self.step_slots().range;
                self.scale(SlotRange::fixed(steps));
                Reply::Done(match followed {
                    Some(range) => format!(
                        "{steps} step slots, fixed: `worker scale {range}` lets them follow the load again"
                    ),
                    None => format!("{steps} step slots"),
                })
            }
            Command::ScaleWithin { range } => match range.check() {
                Ok(()) => {
                    self.scale(range);
                    Reply::Done(format!(
                        "{range} step slots, now {}",
                        self.scheduler.steps.target
                    ))
                }
                Err(problem) => Reply::Failed(format!("{range}: {problem}")),
            },
            Command::Reload => {
                self.context.hosts.reload().await;
                vitals().forget_locations();
                Reply::Done("user code is loaded again for new work".to_owned())
            }
            Command::Query(Query::Payload { task_id }) => self.payload(&task_id),
            Command::Query(Query::OutputFiles {
                run_id,
                file_key,
                after,
            }) => {
                let hosts = self.context.hosts.clone();
                self.chores.spawn(async move {
                    let page = output::read(&hosts, &run_id, &file_key, after.as_deref()).await;
                    let answer = page.map(|page| Reply::Answer(Box::new(Answer::StepOutput(page))));
                    let _ = reply.send(answer.unwrap_or_else(Reply::Failed));
                });
                return;
            }
            Command::Query(Query::Stack { task_id }) => {
                let hosts = self.context.hosts.clone();
                self.chores.spawn(async move {
                    let stack = hosts.stack(&task_id).await.map(Answer::Stack);
                    let _ = reply.send(as_reply(stack));
                });
                return;
            }
            Command::Query(Query::Usage { task_id }) => {
                let process = self.context.hosts.process_of(&task_id);
                self.chores.spawn(async move {
                    let usage = usage::report(process).await.map(Answer::Usage);
                    let _ = reply.send(as_reply(usage));
                });
                return;
            }
            Command::CancelTask { task_id } => return self.cancel(&task_id, reply),
            command if matches!(command.route(), Route::Queues(_) | Route::Storage) => {
                return self.operate(command, reply);
            }
            command => {
                let verb = command.verb();
                Reply::Failed(format!(
                    "{verb} is for Dagster's webserver, not for a worker"
                ))
            }
        };
        // The caller may be gone.
        let _ = reply.send(answer);
    }

    /// Returns the message of a held or running task, with secrets redacted.
    fn payload(&self, task_id: &str) -> Reply {
        let Some(task) = self.in_hand(task_id) else {
            return Reply::Failed(format!("no task {task_id} is in hand here"));
        };
        let mut body = redact(&task.delivery.body);
        if body.len() > MAX_PAYLOAD {
            body.truncate(body.floor_char_boundary(MAX_PAYLOAD));
        }
        Reply::Answer(Box::new(Answer::Payload(body)))
    }

    fn change(&mut self, next: WorkerState, time: Option<Duration>, done: &str) -> Reply {
        if self.state == next {
            return Reply::Done(format!("already {}", next.word()));
        }
        if !self.state.may_become(next) {
            let (now, next) = (self.state.word(), next.word());
            return Reply::Failed(format!("a worker that is {now} cannot become {next}"));
        }
        self.become_state(next, time);
        Reply::Done(done.to_owned())
    }

    fn drain(&mut self, within: Option<u64>) -> Reply {
        let Some(seconds) = within else {
            return self.change(WorkerState::Draining, None, "draining: ends when idle");
        };
        let time = Some(Duration::from_secs(seconds));
        let done = format!(
            "draining: what still runs in {seconds} s has its grace period, is killed and goes on elsewhere"
        );
        if self.state == WorkerState::Draining {
            // A drain that is under way may be given an end.
            self.ends_in(time);
            return Reply::Done(done);
        }
        self.change(WorkerState::Draining, time, &done)
    }

    /// Drains, and has the process started again in its place. A drain under way becomes a restart.
    fn restart(&mut self, within: Option<u64>) -> Reply {
        let before = std::mem::replace(&mut self.restarts, true);
        match self.drain(within) {
            Reply::Done(_) => {
                Reply::Done("restarting: finishes what runs, ends and starts again".to_owned())
            }
            refusal => {
                self.restarts = before;
                refusal
            }
        }
    }

    pub(super) fn stop(&mut self) -> Reply {
        let was = self.state;
        let grace = self.options.grace;
        let done =
            "stopping: what runs has its grace period, then it is killed and goes on elsewhere";
        let reply = self.change(WorkerState::Stopping, Some(grace), done);
        if self.state == WorkerState::Stopping && was != self.state {
            let hosts = self.context.hosts.clone();
            // The end of this worker is written after the chores.
            self.chores.spawn(hosts.end_hosts(grace));
        }
        reply
    }

    fn cancel(&mut self, task_id: &str, reply: oneshot::Sender<Reply>) {
        if let Some(task) = self.scheduler.remove(task_id) {
            let (context, span) = (self.context.clone(), task.span());
            let cancel = async move {
                let done = context.cancel_held(&task).await;
                let _ = reply.send(done);
            };
            self.chores.spawn(cancel.instrument(span));
            return;
        }
        if !self.running.contains_key(task_id) {
            let _ = reply.send(Reply::Failed(format!("no task {task_id} is in hand here")));
            return;
        }
        let span = self.in_hand(task_id).map_or_else(Span::none, Task::span);
        let (hosts, task_id) = (self.context.hosts.clone(), task_id.to_owned());
        let cancel = async move {
            info!("it is interrupted: an operator cancels it");
            let done = "interrupted; it is killed if it does not end in its grace period";
            let _ = reply.send(match hosts.cancel(&task_id).await {
                Ok(()) => Reply::Done(done.to_owned()),
                Err(problem) => {
                    warn!("it is not cancelled: {problem}");
                    Reply::Failed(format!("not cancelled: {problem}"))
                }
            });
        };
        self.chores.spawn(cancel.instrument(span));
    }

    /// Starts an operation on a queue, which runs concurrently with the pool's own decisions.
    fn operate(&mut self, command: Command, reply: oneshot::Sender<Reply>) {
        let archives = self.options.archives.clone();
        let (ending, leases) = (self.context.ending(), self.context.leases.clone());
        let rests_until = self.context.breaker.rests_until(Instant::now());
        let queues = self.queues.borrow().clone();
        let operator = Operator::of_pool(ending, leases, rests_until, &queues, archives);
        self.chores.spawn(async move {
            // The caller may be gone.
            let _ = reply.send(operator.handle(command).await);
        });
    }
}
