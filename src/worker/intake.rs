//! From a received message to a task in hand: the body is fetched where it lies in S3, then
//! decoded. What is no task of ours is put away here, with the reason, and shown.

use jiff::Timestamp;
use tokio::task::JoinSet;
use tracing::error;

use super::held::Task;
use super::life::Context;
use super::noops::Noops;
use super::settle::{back_off, given_back};
use crate::broker::Delivery;
use crate::domain::{self, Event, Phase, TaskKind, TaskOutcome, TaskView};
use crate::telemetry::metrics::metrics;
use crate::wire::{Noop, TaskMessage};

/// What became of a received message.
pub(super) enum Taken {
    Task(Box<Task>),
    /// It was put away or given back.
    Settled,
}

/// Messages on their way to becoming tasks.
pub(super) struct Intake {
    worker: String,
    coming: JoinSet<Taken>,
    noops: Noops,
}

impl Intake {
    pub fn new(worker: String) -> Self {
        Self {
            worker,
            coming: JoinSet::new(),
            noops: Noops::default(),
        }
    }

    /// Takes charge of a message: its lease is renewed from here on. `None`: it is fetched from S3
    /// or put away first, see [`Intake::next`]. Others are tasks at once, so that a batch is
    /// ordered as a whole. `ahead` as in [`Task::ahead`].
    pub fn take(&mut self, context: &Context, delivery: Delivery, ahead: bool) -> Option<Task> {
        let noop = Noop::decode(&delivery.body);
        if let Ok(Some(noop)) = noop {
            self.noops.take(delivery, noop);
            return None;
        }
        let (context, worker) = (context.clone(), self.worker.clone());
        if delivery.offloaded {
            context.leases.register(&delivery);
            self.coming
                .spawn(async move { fetch(&context, delivery, ahead, &worker).await });
            return None;
        }
        match noop.and_then(|_| TaskMessage::decode(&delivery.body)) {
            Ok(message) => {
                let task = Task {
                    delivery,
                    message,
                    ahead,
                };
                let register = || context.leases.register(&task.delivery);
                task.span().in_scope(register);
                Some(task)
            }
            Err(problem) => {
                context.leases.register(&delivery);
                self.coming.spawn(async move {
                    poison(&context, &delivery, &worker, &problem.to_string()).await;
                    Taken::Settled
                });
                None
            }
        }
    }

    /// Has no-op tasks acknowledged.
    pub fn settle_noops(&mut self, context: &Context) {
        self.noops.settle(context);
    }

    /// Whether so much is to be settled that no more should be received.
    pub fn is_full(&self) -> bool {
        self.noops.is_full()
    }

    /// How many may become tasks.
    pub fn len(&self) -> usize {
        self.coming.len()
    }

    pub fn is_empty(&self) -> bool {
        self.coming.is_empty() && self.noops.is_empty()
    }

    /// The next message that is ready; `None` when none is on its way.
    pub async fn next(&mut self) -> Option<Taken> {
        let joined = tokio::select! {
            Some(joined) = self.coming.join_next() => joined,
            Some(()) = self.noops.next() => return Some(Taken::Settled),
            else => return None,
        };
        match joined {
            Ok(taken) => Some(taken),
            Err(problem) => {
                error!("a message could not be taken in: {problem}");
                Some(Taken::Settled)
            }
        }
    }

    /// A task as the console shows it.
    pub fn view(&self, task: &Task) -> TaskView {
        TaskView {
            task_id: task.message.task_id.clone(),
            kind: task.message.kind,
            run_id: task.message.run_id.clone(),
            job: task.message.job.clone(),
            step_key: task.message.step_key.clone(),
            priority: task.message.priority,
            attempt: task.message.attempt,
            ..unread(&task.delivery, &self.worker)
        }
    }
}

async fn fetch(context: &Context, delivery: Delivery, ahead: bool, worker: &str) -> Taken {
    let text = match context.broker.text(&delivery).await {
        Ok(text) => text,
        Err(problem) if problem.is_passing() => {
            let pause = back_off(delivery.receive_count);
            let id = &delivery.message_id;
            error!(
                "message {id}: {problem}; trying again in {} s",
                pause.as_secs()
            );
            context.put_back(&delivery, pause).await;
            show(context, &delivery, worker, given_back(&problem.to_string()));
            return Taken::Settled;
        }
        Err(problem) => {
            poison(context, &delivery, worker, &problem.to_string()).await;
            return Taken::Settled;
        }
    };
    match TaskMessage::decode(&text) {
        Ok(message) => Taken::Task(Box::new(Task {
            delivery,
            message,
            ahead,
        })),
        Err(problem) => {
            poison(context, &delivery, worker, &problem.to_string()).await;
            Taken::Settled
        }
    }
}

/// Deals with a body that is no task of ours: dead-letter queue, or kept and shown.
async fn poison(context: &Context, delivery: &Delivery, worker: &str, reason: &str) {
    let reason = &domain::reason(reason);
    let (id, queue) = (&delivery.message_id, &delivery.queue.name);
    error!("message {id} on {queue}: {reason}");
    context.leases.release(delivery).await;
    context.dead_letter(delivery, reason).await;
    let reason = reason.to_owned();
    show(
        context,
        delivery,
        worker,
        TaskOutcome::DeadLettered { reason },
    );
}

/// Shows a message that never became a task among the tasks that ended.
fn show(context: &Context, delivery: &Delivery, worker: &str, outcome: TaskOutcome) {
    metrics().unreadable_ended(&delivery.queue.name, &outcome);
    let task = unread(delivery, worker);
    let task_id = task.task_id.clone();
    context.events.send(Event::Received {
        task: Box::new(task),
    });
    context.events.send(Event::Finished {
        task_id,
        at: Timestamp::now(),
        outcome,
    });
}

/// What is known of a message that was not read: SQS's part of it.
fn unread(delivery: &Delivery, worker: &str) -> TaskView {
    TaskView {
        task_id: delivery.message_id.clone(),
        message_id: delivery.message_id.clone(),
        queue: delivery.queue.name.clone(),
        kind: TaskKind::ExecutePlan,
        run_id: String::new(),
        job: None,
        step_key: Some("(unreadable message)".to_owned()),
        priority: 0,
        attempt: 0,
        receive_count: delivery.receive_count,
        sent_at: delivery.sent_at,
        received_at: delivery.received_at,
        phase: Phase::Held,
        worker: worker.to_owned(),
        usage: None,
    }
}
