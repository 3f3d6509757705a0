//! A model of a fleet: many workers and a day of runs, in simulated time and without I/O.
//!
//! The decisions are the worker's own: [`Planner`] (which queue is polled, for how many messages, for
//! how long), [`Scheduler`] (what starts next, what goes back), and the decoding of each message by
//! [`crate::wire`]. Modelled are SQS, the duration of steps, and the executor that sends them. Nothing
//! fails in the model: it shows how requests grow, not what becomes of a lost worker.

mod options;
mod queues;
mod runs;
mod workers;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::ready_queue::Task;
use super::receiver::{Opening, Planner};
use super::scheduler::Scheduler;
use crate::config::STARVATION_GUARD;
use crate::domain::QueueRole;
use crate::sqs::{Queue, QueueSet};
pub use options::{FleetFigures, FleetOptions};
use queues::Queues;

/// Bounds of the time of one request, in seconds.
const LATENCY: (f64, f64) = (0.004, 0.03);

/// Messages in one batch request.
const BATCH: usize = 10;

/// Simulated time, in microseconds.
type Micros = u64;

enum Event {
    /// A run is launched.
    Launch,
    /// A receive reaches SQS.
    Reached(u64),
    /// The wait of a receive is over.
    Waited(u64),
    /// A receive's messages reach the worker.
    Answered(u64, Vec<u64>),
    /// A message can be received again.
    Visible(u64),
    /// A worker renews leases.
    Renew(usize),
    /// A step ends on a worker.
    Ended(usize, Box<Task>),
    /// A run worker looks at its run.
    Look(u32),
}

struct Worker {
    planner: Planner,
    scheduler: Scheduler,
    /// When the lease of each message in hand is renewed, and its queue.
    leases: HashMap<u64, (Micros, usize)>,
    renews_at: Option<Micros>,
    occupied_since: Option<Micros>,
}

/// A receive under way.
struct Poll {
    worker: usize,
    queue: usize,
    opening: Opening,
}

struct Run {
    /// The run's own message and its worker, once it runs.
    holder: Option<(usize, Box<Task>)>,
    started: Micros,
    unsent: u32,
    in_flight: u32,
}

/// Runs the model.
#[must_use]
pub fn simulate(options: &FleetOptions) -> FleetFigures {
    let mut fleet = Fleet::new(options);
    fleet.begin();
    let end = micros(options.duration.as_secs_f64());
    while let Some(((at, _), event)) = fleet.events.pop_first() {
        if at > end {
            break;
        }
        fleet.now = at;
        fleet.handle(event);
    }
    fleet.now = end;
    fleet.figures()
}

struct Fleet<'a> {
    options: &'a FleetOptions,
    rng: fastrand::Rng,
    now: Micros,
    /// Simulated time 0 on the clocks that the worker's code is given.
    zero: (Instant, Timestamp),
    events: BTreeMap<(Micros, u64), Event>,
    /// Number of the last event, poll or message.
    last: u64,
    queues: Queues,
    workers: Vec<Worker>,
    polls: HashMap<u64, Poll>,
    runs: HashMap<u32, Run>,
    launched: u32,
    in_flight: u64,
    /// Number of running runs.
    running: u64,
    figures: FleetFigures,
}

impl<'a> Fleet<'a> {
    fn new(options: &'a FleetOptions) -> Self {
        let set = queue_set(options.has_bands);
        let worker = |_| Worker {
            // As on AWS, where a receive cannot be abandoned.
            planner: Planner::new(false, &set, STARVATION_GUARD),
            scheduler: Scheduler::new(options.slots, options.run_slots, 0),
            leases: HashMap::new(),
            renews_at: None,
            occupied_since: None,
        };
        Self {
            options,
            rng: fastrand::Rng::with_seed(options.seed),
            now: 0,
            zero: (Instant::now(), Timestamp::now()),
            events: BTreeMap::new(),
            last: 0,
            workers: (0..options.workers).map(worker).collect(),
            queues: Queues::new(set.all().cloned().collect()),
            polls: HashMap::new(),
            runs: HashMap::new(),
            launched: 0,
            in_flight: 0,
            running: 0,
            figures: FleetFigures::default(),
        }
    }

    fn begin(&mut self) {
        for _ in 0..self.options.queued_runs {
            self.launch();
        }
        if self.options.steps_a_day > 0 {
            self.launch_later();
        }
        for worker in 0..self.workers.len() {
            self.turn(worker);
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Launch => {
                self.launch();
                self.launch_later();
            }
            Event::Reached(poll) => self.reached(poll),
            Event::Waited(poll) => {
                if self.queues.leave(poll) {
                    self.answer(poll, Vec::new());
                }
            }
            Event::Answered(poll, messages) => self.answered(poll, &messages),
            Event::Visible(id) => self.offer(id),
            Event::Renew(worker) => self.renew(worker),
            Event::Ended(worker, task) => self.ended(worker, &task),
            Event::Look(run) => self.look(run),
        }
    }

    fn after(&mut self, seconds: f64, event: Event) {
        self.last += 1;
        self.events
            .insert((self.now + micros(seconds), self.last), event);
    }

    fn latency(&mut self) -> f64 {
        between(&mut self.rng, LATENCY)
    }

    /// Counts a request with this many messages in it or in its answer.
    fn bill(&mut self, messages: usize) {
        let bytes = messages as u64 * self.options.body_bytes;
        self.figures.billed += bytes.div_ceil(64 * 1024).max(1);
    }

    fn clocks(&self) -> (Instant, Timestamp) {
        let passed = Duration::from_micros(self.now);
        (self.zero.0 + passed, self.zero.1 + passed)
    }

    fn figures(mut self) -> FleetFigures {
        for worker in &self.workers {
            if let Some(since) = worker.occupied_since {
                self.figures.occupied_seconds += seconds(self.now - since);
            }
        }
        for run in self.runs.values().filter(|run| run.holder.is_some()) {
            self.figures.run_seconds += seconds(self.now - run.started);
        }
        self.figures.waits.sort_by(f32::total_cmp);
        self.figures
    }
}

/// The queues of every worker, highest band first, the runs queue last.
fn queue_set(has_bands: bool) -> QueueSet {
    let queue = |name: &str, role, weight| {
        let url = format!("https://sqs.eu-west-1.amazonaws.com/123456789012/{name}");
        Arc::new(Queue::new(url, role, weight))
    };
    let band = |name: &str, weight| queue(name, QueueRole::Base, weight);
    QueueSet {
        steps: if has_bands {
            vec![
                band("tasks-high", 8),
                band("tasks-normal", 3),
                band("tasks-low", 1),
            ]
        } else {
            vec![band("tasks", 3)]
        },
        runs: Some(queue("tasks-runs", QueueRole::Base, 1)),
        ..QueueSet::default()
    }
}

/// A number between two others.
fn between(rng: &mut fastrand::Rng, (low, high): (f64, f64)) -> f64 {
    low + (high - low) * rng.f64()
}

/// A number with an exponential distribution.
fn exponential(rng: &mut fastrand::Rng, mean: f64) -> f64 {
    -mean * (1.0 - rng.f64()).ln()
}

/// The number of a task's message.
fn number(task: &Task) -> u64 {
    task.delivery.message_id.parse().unwrap_or_default()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a time of some days, not negative"
)]
fn micros(seconds: f64) -> Micros {
    (seconds * 1e6) as Micros
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn seconds(micros: Micros) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests;
