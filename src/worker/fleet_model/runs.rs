//! The modelled launcher and executor: runs are launched, and send their steps.

use super::queues::Message;
use super::{BATCH, Event, Fleet, Run, exponential, seconds};

/// Seconds from a run's start in its worker to its first send: measured, see docs/benchmarks.md.
pub(super) const RUN_BEGINS: f64 = 0.5;

/// Bounds of the pause after which a run worker sees that a step has ended, in seconds.
pub(super) const RUN_LOOKS: (f64, f64) = (0.05, 1.0);

impl Fleet<'_> {
    pub(super) fn launch_later(&mut self) {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let runs_a_day = self.options.steps_a_day as f64 / f64::from(self.options.steps_of_run);
        let pause = exponential(&mut self.rng, 86_400.0 / runs_a_day);
        self.after(pause, Event::Launch);
    }

    pub(super) fn launch(&mut self) {
        let run = self.launched;
        self.launched += 1;
        let state = Run {
            holder: None,
            started: 0,
            unsent: self.options.steps_of_run,
            in_flight: 0,
        };
        self.runs.insert(run, state);
        self.figures.sends += 1;
        self.bill(1);
        self.send(self.queues.runs(), run, None);
    }

    /// Sends a message; a step's has its number in the run.
    pub(super) fn send(&mut self, queue: usize, run: u32, step: Option<u32>) {
        self.last += 1;
        let (id, sent) = (self.last, self.now);
        self.queues
            .add(id, Message::new(id, queue, run, step, sent));
        self.offer(id);
    }

    /// Offers a visible message to an open receive, or lets it wait.
    pub(super) fn offer(&mut self, id: u64) {
        let queue = self.queues.make_visible(id);
        if let Some(poll) = self.queues.waiting_poll(queue, &mut self.rng) {
            let messages = self
                .queues
                .take(queue, self.polls[&poll].opening.receive.max);
            self.answer(poll, messages);
        }
    }

    pub(super) fn look(&mut self, run: u32) {
        let Some(state) = self.runs.get_mut(&run) else {
            return;
        };
        if state.unsent == 0 {
            let started = state.started;
            if let Some((worker, task)) = self.runs.remove(&run).and_then(|run| run.holder) {
                self.running -= 1;
                self.figures.runs += 1;
                self.figures.run_seconds += seconds(self.now - started);
                self.finish(worker, &task);
            }
            return;
        }
        let count = state.unsent.min(self.options.fan);
        let first = self.options.steps_of_run - state.unsent;
        state.unsent -= count;
        state.in_flight = count;
        for batch in (first..first + count).collect::<Vec<_>>().chunks(BATCH) {
            self.figures.sends += 1;
            self.bill(batch.len());
            for step in batch {
                let queue = self.queues.band(&mut self.rng);
                self.send(queue, run, Some(*step));
            }
        }
    }
}
