//! From a received message to a held task: the body is fetched from S3 if it lies there, then
//! decoded. A message that is not a valid task is dead-lettered here with the reason, and shown.

use jiff::Timestamp;
use tokio::task::JoinSet;
use tracing::error;

use super::execution::ExecutionContext;
use super::noops::Noops;
use super::ready_queue::Task;
use super::settlement::{back_off, released};
use crate::domain::{self, Event, Phase, TaskKind, TaskOutcome, TaskView};
use crate::sqs::Delivery;
use crate::telemetry::metrics::metrics;
use crate::wire::{Noop, TaskMessage};

/// Result of handling a received message.
pub(super) enum Ingested {
    Task(Box<Task>),
    /// The message was dead-lettered or given back.
    Settled,
}

/// Messages that are becoming tasks.
pub(super) struct Ingest {
    worker: String,
    coming: JoinSet<Ingested>,
    noops: Noops,
}

impl Ingest {
    pub fn new(worker: String) -> Self {
        Self {
            worker,
            coming: JoinSet::new(),
            noops: Noops::default(),
        }
    }

    /// Takes charge of a message: its lease is renewed from here on. Returns `None` if the message
    /// is fetched from S3 or dead-lettered first, see [`Ingest::next`]. Other messages become tasks
    /// at once, so that a batch is ordered as a whole. For `starved`, see [`Task::starved`].
    pub fn take(
        &mut self,
        context: &ExecutionContext,
        delivery: Delivery,
        starved: bool,
    ) -> Option<Task> {
        let noop = Noop::decode(&delivery.body);
        if let Ok(Some(noop)) = noop {
            self.noops.take(delivery, noop);
            return None;
        }
        let (context, worker) = (context.clone(), self.worker.clone());
        if delivery.offloaded {
            context.leases.register(&delivery);
            self.coming
                .spawn(async move { fetch(&context, delivery, starved, &worker).await });
            return None;
        }
        match noop.and_then(|_| TaskMessage::decode(&delivery.body)) {
            Ok(message) => {
                let task = Task {
                    delivery,
                    message,
                    starved,
                };
                let register = || context.leases.register(&task.delivery);
                task.span().in_scope(register);
                Some(task)
            }
            Err(problem) => {
                context.leases.register(&delivery);
                self.coming.spawn(async move {
                    poison(&context, &delivery, &worker, &problem.to_string()).await;
                    Ingested::Settled
                });
                None
            }
        }
    }

    /// Starts to acknowledge no-op tasks.
    pub fn settle_noops(&mut self, context: &ExecutionContext) {
        self.noops.settle(context);
    }

    /// Whether so many messages are to be settled that no more should be received.
    pub fn is_full(&self) -> bool {
        self.noops.is_full()
    }

    /// Number of messages that may become tasks.
    pub fn len(&self) -> usize {
        self.coming.len()
    }

    pub fn is_empty(&self) -> bool {
        self.coming.is_empty() && self.noops.is_empty()
    }

    /// Waits for the next message that is ready; `None` if none is being fetched.
    pub async fn next(&mut self) -> Option<Ingested> {
        let joined = tokio::select! {
            Some(joined) = self.coming.join_next() => joined,
            Some(()) = self.noops.next() => return Some(Ingested::Settled),
            else => return None,
        };
        match joined {
            Ok(taken) => Some(taken),
            Err(problem) => {
                error!("a message could not be taken in: {problem}");
                Some(Ingested::Settled)
            }
        }
    }

    /// Returns a task as the console shows it.
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

async fn fetch(
    context: &ExecutionContext,
    delivery: Delivery,
    starved: bool,
    worker: &str,
) -> Ingested {
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
            show(context, &delivery, worker, released(&problem.to_string()));
            return Ingested::Settled;
        }
        Err(problem) => {
            poison(context, &delivery, worker, &problem.to_string()).await;
            return Ingested::Settled;
        }
    };
    match TaskMessage::decode(&text) {
        Ok(message) => Ingested::Task(Box::new(Task {
            delivery,
            message,
            starved,
        })),
        Err(problem) => {
            poison(context, &delivery, worker, &problem.to_string()).await;
            Ingested::Settled
        }
    }
}

/// Handles a body that is not a valid task: dead-letters it, or keeps and shows it.
async fn poison(context: &ExecutionContext, delivery: &Delivery, worker: &str, reason: &str) {
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

/// Shows a message that never became a task among the finished tasks.
fn show(context: &ExecutionContext, delivery: &Delivery, worker: &str, outcome: TaskOutcome) {
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

/// View of an undecoded message: only SQS's fields.
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
        beyond_usual: None,
    }
}
