//! The slots of a worker and the received tasks that wait for one: what starts next, what goes back,
//! and how many messages to receive. Without I/O, as
//! [`super::receiver::Planner`].

use std::time::Duration;

use jiff::Timestamp;

use super::ready_queue::{ReadyQueue, Task};
use crate::domain::Slots;
use crate::sqs::LONG_POLL;

/// Slots, and the tasks held for them.
#[derive(Debug)]
pub(super) struct Scheduler {
    pub steps: Slots,
    pub runs: Slots,
    ready_steps: ReadyQueue,
    ready_runs: ReadyQueue,
    /// Number of messages held beyond the free slots.
    prefetch: u32,
}

/// A task that goes back to its queue because it cannot start here soon.
pub(super) struct Excess {
    pub task: Task,
    /// Time for which its message stays hidden.
    pub pause: Duration,
    pub reason: &'static str,
}

impl Scheduler {
    pub fn new(steps: u32, runs: u32, prefetch: u32) -> Self {
        Self {
            steps: Slots::free(steps),
            runs: Slots::free(runs),
            ready_steps: ReadyQueue::default(),
            ready_runs: ReadyQueue::default(),
            prefetch,
        }
    }

    /// Adds a received task.
    pub fn hold(&mut self, task: Task) {
        if task.message.kind.is_run() {
            self.ready_runs.push(task);
        } else {
            self.ready_steps.push(task);
        }
    }

    /// Takes the task that starts next, and a slot for it; `None` if nothing can start.
    pub fn next(&mut self, now: Timestamp) -> Option<Task> {
        if self.steps.busy < self.steps.target
            && let Some(task) = self.ready_steps.pop(now)
        {
            self.steps.busy += 1;
            return Some(task);
        }
        if self.runs.busy >= self.runs.target {
            return None;
        }
        let task = self.ready_runs.pop(now)?;
        self.runs.busy += 1;
        Some(task)
    }

    /// Frees the slot of a task that has ended.
    pub fn ended(&mut self, task: &Task) {
        let slots = if task.message.kind.is_run() {
            &mut self.runs
        } else {
            &mut self.steps
        };
        slots.busy = slots.busy.saturating_sub(1);
    }

    /// Takes the tasks that cannot start soon, for an idle worker: several queues may answer at
    /// once.
    pub fn take_excess(&mut self) -> Vec<Excess> {
        let steps = self.ready_steps.take_excess(self.prefetch as usize);
        let steps = steps.into_iter().map(|task| Excess {
            pause: no_slot_pause(&task),
            task,
            reason: "no free slot",
        });
        let runs = self.ready_runs.take_all().into_iter().map(|task| Excess {
            pause: misplaced_run_pause(),
            task,
            reason: "no free run slot",
        });
        steps.chain(runs).collect()
    }

    /// Numbers of step and run messages to receive while `coming` received ones are being read.
    pub fn room(&self, coming: usize) -> (usize, usize) {
        let steps = self.steps.target.saturating_sub(self.steps.busy) + self.prefetch;
        let coming = self.ready_steps.len() + coming;
        let runs = self.runs.target.saturating_sub(self.runs.busy);
        ((steps as usize).saturating_sub(coming), runs as usize)
    }

    /// The held task with this id.
    pub fn get(&self, task_id: &str) -> Option<&Task> {
        let steps = self.ready_steps.get(task_id);
        steps.or_else(|| self.ready_runs.get(task_id))
    }

    /// Takes the held task with this id.
    pub fn remove(&mut self, task_id: &str) -> Option<Task> {
        let steps = self.ready_steps.remove(task_id);
        steps.or_else(|| self.ready_runs.remove(task_id))
    }

    /// Takes the held tasks for which this holds.
    pub fn take_if(&mut self, holds: impl Fn(&Task) -> bool) -> Vec<Task> {
        let mut taken = self.ready_steps.take_if(&holds);
        taken.append(&mut self.ready_runs.take_if(&holds));
        taken
    }

    /// Takes all held tasks.
    pub fn take_all(&mut self) -> Vec<Task> {
        let mut all = self.ready_steps.take_all();
        all.append(&mut self.ready_runs.take_all());
        all
    }
}

/// Pause of a run message that finds no run slot and came by a queue it shares with steps: 10 to 30
/// seconds. That is long enough to avoid a hot loop, and jittered so that workers do not move
/// together.
fn misplaced_run_pause() -> Duration {
    Duration::from_secs(10).mul_f64(1.0 + 2.0 * fastrand::f64())
}

/// Pause of a step that finds no slot: zero, for an idle worker. From its second receive on it may
/// go round from one full worker to the next, so it waits until their open polls are over.
fn no_slot_pause(task: &Task) -> Duration {
    if task.delivery.receive_count < 2 {
        return Duration::ZERO;
    }
    (LONG_POLL / 2).mul_f64(1.0 + fastrand::f64())
}
