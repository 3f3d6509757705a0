//! Received tasks that wait for a slot: highest priority first, then oldest, without starvation.

use std::cmp::Reverse;
use std::time::Duration;

use jiff::Timestamp;
use tracing::{Span, info_span};

use crate::sqs::Delivery;
use crate::telemetry::metrics::{TaskLabels, metrics};
use crate::wire::TaskMessage;

/// A decoded message that this worker holds.
#[derive(Clone, Debug)]
pub(super) struct Task {
    /// The received message.
    pub delivery: Delivery,
    /// Its decoded body.
    pub message: TaskMessage,
    /// Whether its queue waited so long for a turn that the task goes before all others.
    pub starved: bool,
}

impl Task {
    /// Display name: the step key, or the kind of run task.
    pub fn name(&self) -> &str {
        let kind = self.message.kind.task_name();
        self.message.step_key.as_deref().unwrap_or(kind)
    }

    /// Span whose fields are added to every log line about the task.
    pub fn span(&self) -> Span {
        let message = &self.message;
        info_span!(
            "task",
            run_id = %message.run_id,
            step_key = message.step_key.as_deref(),
            attempt = message.attempt,
            task_id = %message.task_id,
        )
    }

    /// Labels of its metrics.
    pub fn labels(&self) -> TaskLabels {
        let (queue, message) = (&self.delivery.queue.name, &self.message);
        let job = message.job.as_deref();
        metrics().labels(queue, job, message.priority, message.kind)
    }

    /// Sort key: the smallest starts first.
    fn turn(&self) -> (Reverse<bool>, Reverse<i64>, Timestamp) {
        let priority = Reverse(self.message.priority);
        (Reverse(self.starved), priority, self.waiting_since())
    }

    /// Start of its wait: when it was sent, or received if SQS does not report that.
    fn waiting_since(&self) -> Timestamp {
        self.delivery.sent_at.unwrap_or(self.delivery.received_at)
    }
}

/// Age in the queue beyond which a message may be started out of turn.
const AGED: Duration = Duration::from_mins(1);

/// Only one start in this many may be out of turn, so that priority keeps its meaning under a
/// backlog.
const TURN: u32 = 8;

/// The waiting tasks of one kind of slot. They are few (the prefetch and the last batches), so they
/// are searched, not sorted.
#[derive(Debug, Default)]
pub(super) struct ReadyQueue {
    tasks: Vec<Task>,
    starts_since_aged: u32,
}

impl ReadyQueue {
    pub fn push(&mut self, task: Task) {
        self.tasks.push(task);
    }

    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    pub fn get(&self, task_id: &str) -> Option<&Task> {
        let mut tasks = self.tasks.iter();
        tasks.find(|task| task.message.task_id == task_id)
    }

    /// Takes the task whose turn it is.
    pub fn pop(&mut self, now: Timestamp) -> Option<Task> {
        let index = if let Some(aged) = self.aged(now) {
            self.starts_since_aged = 0;
            aged
        } else {
            self.starts_since_aged = self.starts_since_aged.saturating_add(1);
            self.first()?
        };
        Some(self.tasks.swap_remove(index))
    }

    /// Takes one task by its id.
    pub fn remove(&mut self, task_id: &str) -> Option<Task> {
        let index = self
            .tasks
            .iter()
            .position(|task| task.message.task_id == task_id)?;
        Some(self.tasks.swap_remove(index))
    }

    /// Takes all tasks.
    pub fn take_all(&mut self) -> Vec<Task> {
        std::mem::take(&mut self.tasks)
    }

    /// Takes the tasks for which this holds.
    pub fn take_if(&mut self, holds: impl Fn(&Task) -> bool) -> Vec<Task> {
        self.tasks.extract_if(.., |task| holds(task)).collect()
    }

    /// Takes the tasks beyond `room`, last in turn first.
    pub fn take_excess(&mut self, room: usize) -> Vec<Task> {
        self.tasks.sort_by_key(Task::turn);
        self.tasks.split_off(room.min(self.tasks.len()))
    }

    fn first(&self) -> Option<usize> {
        (0..self.tasks.len()).min_by_key(|&index| self.tasks[index].turn())
    }

    /// Index of the oldest task if it may now be started out of turn.
    fn aged(&self, now: Timestamp) -> Option<usize> {
        if self.starts_since_aged + 1 < TURN {
            return None;
        }
        let oldest =
            (0..self.tasks.len()).min_by_key(|&index| self.tasks[index].waiting_since())?;
        let age = now.duration_since(self.tasks[oldest].waiting_since());
        if age.unsigned_abs() < AGED || age.is_negative() {
            return None;
        }
        Some(oldest)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::{QueueRole, TaskKind};
    use crate::sqs::Queue;

    const NOW: i64 = 1_800_000_000;

    pub fn task(name: &str, priority: i64, age_seconds: i64) -> Task {
        let sent = Timestamp::from_second(NOW - age_seconds).unwrap();
        let queue = Arc::new(Queue::new("http://h/1/q".into(), QueueRole::Base, 3));
        Task {
            delivery: Delivery {
                attributes: crate::sqs::Attributes::new(),
                source: None,
                stage: crate::domain::MessageStage::Waiting,
                queue,
                message_id: name.into(),
                receipt: crate::sqs::Receipt::new(name.into(), name.into()),
                body: String::new(),
                offloaded: false,
                receive_count: 1,
                sent_at: Some(sent),
                received_at: sent,
                group: None,
            },
            message: TaskMessage {
                task_id: name.into(),
                kind: TaskKind::ExecutePlan,
                run_id: "run".into(),
                step_key: Some(name.into()),
                job: None,
                priority,
                attempt: 1,
                ours: true,
                isolation: None,
                kwargs: serde_json::Map::new(),
            },
            starved: false,
        }
    }

    fn order(mut held: ReadyQueue) -> Vec<String> {
        let now = Timestamp::from_second(NOW).unwrap();
        std::iter::from_fn(|| held.pop(now))
            .map(|task| task.message.task_id)
            .collect()
    }

    #[test]
    fn the_highest_priority_goes_first_and_the_older_of_two_equals() {
        let mut held = ReadyQueue::default();
        for (name, priority, age) in [("a", 5, 1), ("b", 9, 1), ("c", 5, 3), ("d", 0, 9)] {
            held.push(task(name, priority, age));
        }
        assert_eq!(order(held), ["b", "c", "a", "d"]);
    }

    #[test]
    fn an_old_low_message_takes_the_eighth_start_and_no_more() {
        let mut held = ReadyQueue::default();
        for index in 0..16 {
            held.push(task(&format!("high{index}"), 9, 1));
        }
        held.push(task("old", 0, 61));
        held.push(task("older", 0, 90));
        let order = order(held);
        assert_eq!(order[7], "older");
        assert_eq!(order[15], "old");
    }

    #[test]
    fn what_had_to_wait_too_long_for_its_queues_turn_goes_before_all_others() {
        let mut held = ReadyQueue::default();
        held.push(task("high", 9, 1));
        held.push(Task {
            starved: true,
            ..task("low", 0, 1)
        });
        assert_eq!(held.take_excess(1)[0].message.task_id, "high");
        assert_eq!(order(held), ["low"]);
    }

    #[test]
    fn the_excess_is_what_would_have_started_last() {
        let mut held = ReadyQueue::default();
        for (name, priority) in [("low", 0), ("high", 9), ("mid", 5)] {
            held.push(task(name, priority, 1));
        }
        let excess: Vec<String> = held
            .take_excess(1)
            .into_iter()
            .map(|t| t.message.task_id)
            .collect();
        assert_eq!(excess, ["mid", "low"]);
        assert_eq!(order(held), ["high"]);
    }
}
