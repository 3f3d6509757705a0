//! The modelled workers: their receives, their slots and their leases.

use std::collections::HashMap;

use super::runs::{RUN_BEGINS, RUN_LOOKS};
use super::{BATCH, Event, Fleet, Poll, between, exponential, micros, number, seconds};
use crate::wire::TaskMessage;
use crate::worker::ready_queue::Task;

/// Leases that fall due within this time are renewed together: as in `sqs::lease`.
const GATHER: u64 = 1_000_000;

impl Fleet<'_> {
    /// One turn of a worker's pool, as `Pool::schedule`.
    pub(super) fn turn(&mut self, index: usize) {
        let (instant, timestamp) = self.clocks();
        let worker = &mut self.workers[index];
        let started: Vec<Task> = std::iter::from_fn(|| worker.scheduler.next(timestamp)).collect();
        for task in &started {
            worker.planner.started(&task.delivery.queue);
        }
        let excess = worker.scheduler.take_excess();
        let (steps, runs) = worker.scheduler.room(0);
        let openings = worker.planner.demand(steps, runs, instant);
        for task in started {
            self.start(index, task);
        }
        for excess in excess {
            self.figures.released += 1;
            self.figures.billed += 1;
            let id = self.let_go(index, &excess.task);
            let pause = excess.pause.as_secs_f64() + self.latency();
            self.after(pause, Event::Visible(id));
        }
        for opening in openings {
            self.figures.receives += 1;
            let queue = self.queues.index(&opening.queue.url);
            self.last += 1;
            let poll = self.last;
            let opened = Poll {
                worker: index,
                queue,
                opening,
            };
            self.polls.insert(poll, opened);
            let latency = self.latency();
            self.after(latency, Event::Reached(poll));
        }
    }

    pub(super) fn reached(&mut self, poll: u64) {
        let Poll { queue, opening, .. } = &self.polls[&poll];
        let (queue, receive) = (*queue, opening.receive);
        let messages = self.queues.take(queue, receive.max);
        if !messages.is_empty() {
            return self.answer(poll, messages);
        }
        self.queues.wait(queue, poll);
        self.after(receive.wait.as_secs_f64(), Event::Waited(poll));
    }

    pub(super) fn answer(&mut self, poll: u64, messages: Vec<u64>) {
        self.figures.empty_receives += u64::from(messages.is_empty());
        self.bill(messages.len());
        self.in_flight += messages.len() as u64;
        self.figures.most_in_flight = self.figures.most_in_flight.max(self.in_flight);
        let latency = self.latency();
        self.after(latency, Event::Answered(poll, messages));
    }

    pub(super) fn answered(&mut self, poll: u64, messages: &[u64]) {
        let Some(Poll {
            worker,
            queue,
            opening,
        }) = self.polls.remove(&poll)
        else {
            return;
        };
        let (instant, timestamp) = self.clocks();
        let zero = self.zero.1;
        let deliveries = messages
            .iter()
            .map(|id| {
                let message = self.queues.message(*id);
                message.delivery(&opening.queue, zero, timestamp)
            })
            .collect();
        let polled = opening.answered(Ok(deliveries));
        let renewal = self.now + micros(self.options.visibility.as_secs_f64() / 3.0);
        let own = &mut self.workers[worker];
        own.planner.answered(&polled, instant);
        let starved = polled.starved;
        for (id, delivery) in messages.iter().zip(polled.result.into_iter().flatten()) {
            // The model's own bodies are valid.
            let Ok(message) = TaskMessage::decode(&delivery.body) else {
                continue;
            };
            own.leases.insert(*id, (renewal, queue));
            own.scheduler.hold(Task {
                delivery,
                message,
                starved,
            });
        }
        if !messages.is_empty() {
            own.occupied_since.get_or_insert(self.now);
            self.renew_later(worker);
        }
        self.turn(worker);
    }

    pub(super) fn start(&mut self, worker: usize, task: Task) {
        let id = number(&task);
        let (run, step, sent) = self.queues.message(id).origin();
        if step.is_some() {
            #[expect(clippy::cast_possible_truncation, reason = "seconds, for a table")]
            self.figures.waits.push(seconds(self.now - sent) as f32);
            let mean = self.options.step_seconds;
            let duration = 0.2 * mean + exponential(&mut self.rng, 0.8 * mean);
            self.after(duration, Event::Ended(worker, Box::new(task)));
        } else if let Some(state) = self.runs.get_mut(&run) {
            state.holder = Some((worker, Box::new(task)));
            state.started = self.now;
            self.running += 1;
            self.figures.most_runs = self.figures.most_runs.max(self.running);
            self.after(RUN_BEGINS, Event::Look(run));
        }
    }

    pub(super) fn ended(&mut self, worker: usize, task: &Task) {
        let (run, _, _) = self.queues.message(number(task)).origin();
        self.figures.steps += 1;
        if let Some(state) = self.runs.get_mut(&run) {
            state.in_flight -= 1;
            if state.in_flight == 0 {
                let pause = between(&mut self.rng, RUN_LOOKS);
                self.after(pause, Event::Look(run));
            }
        }
        self.finish(worker, task);
    }

    /// Deletes a task's message and frees its slot.
    pub(super) fn finish(&mut self, worker: usize, task: &Task) {
        self.figures.deletes += 1;
        self.figures.billed += 1;
        let id = self.let_go(worker, task);
        self.queues.delete(id);
        self.workers[worker].scheduler.ended(task);
        self.turn(worker);
    }

    /// Ends a lease; returns the message.
    pub(super) fn let_go(&mut self, worker: usize, task: &Task) -> u64 {
        let id = number(task);
        self.in_flight -= 1;
        let own = &mut self.workers[worker];
        own.leases.remove(&id);
        if own.leases.is_empty()
            && let Some(since) = own.occupied_since.take()
        {
            self.figures.occupied_seconds += seconds(self.now - since);
        }
        id
    }

    pub(super) fn renew_later(&mut self, worker: usize) {
        let own = &mut self.workers[worker];
        let Some(due) = own.leases.values().map(|(due, _)| *due).min() else {
            return;
        };
        if own.renews_at.is_none_or(|at| due < at) {
            own.renews_at = Some(due);
            self.after(seconds(due.saturating_sub(self.now)), Event::Renew(worker));
        }
    }

    pub(super) fn renew(&mut self, worker: usize) {
        let (now, period) = (self.now, self.options.visibility.as_secs_f64() / 3.0);
        let own = &mut self.workers[worker];
        own.renews_at = None;
        let mut by_queue: HashMap<usize, usize> = HashMap::new();
        for (due, queue) in own.leases.values_mut() {
            if *due <= now + GATHER {
                *due = now + micros(period);
                *by_queue.entry(*queue).or_default() += 1;
            }
        }
        for leases in by_queue.into_values() {
            let requests = leases.div_ceil(BATCH) as u64;
            self.figures.renewals += requests;
            self.figures.billed += requests;
        }
        self.renew_later(worker);
    }
}
