//! Which receives are opened, without I/O and without a clock of its own: a model of a fleet
//! ([`crate::worker::fleet_model`]) drives it in simulated time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::domain::{BackOff, PausedQueues};
use crate::sqs::{BrokerError, Delivery, LONG_POLL, Queue, QueueSet};
use crate::worker::weighted_round_robin::WeightedRoundRobin;

/// Result of one receive.
pub(in crate::worker) struct ReceivedBatch {
    pub queue: Arc<Queue>,
    /// Whether it is the runs queue's.
    is_runs: bool,
    /// Time for which the receive waited for messages.
    wait: Duration,
    /// Maximum number of messages that the receive could bring.
    max: usize,
    /// Whether the receive was opened beside another one of its queue.
    is_further: bool,
    /// Whether the queue waited so long that its message goes before others.
    pub starved: bool,
    /// The messages, or the error.
    pub result: Result<Vec<Delivery>, BrokerError>,
}

/// Duration of a short receive on AWS: one second lets SQS query all of its servers, zero would
/// miss messages.
const SHORT_POLL: Duration = Duration::from_secs(1);

/// Maximum number of messages that SQS delivers in one call.
const BATCH: usize = 10;

/// First and longest pause after a failed receive.
const BACK_OFF: BackOff = BackOff {
    first: Duration::from_millis(500),
    longest: Duration::from_secs(15),
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not polled.
    Closed,
    /// The last short receive found nothing.
    Empty,
    /// A short receive is under way.
    Polling,
    /// A long poll is open.
    Open,
    /// The last receive failed.
    Paused { until: Instant },
}

impl State {
    /// Whether the queue may have messages that no receive waits for.
    fn may_hide_messages(self) -> bool {
        matches!(self, Self::Closed | Self::Empty | Self::Polling)
    }
}

/// A queue and the state of its polling.
struct QueuePoller {
    queue: Arc<Queue>,
    state: State,
    /// Consecutive failed receives.
    failures: u32,
    /// Dropping them cancels the receives that are under way.
    going: Vec<oneshot::Sender<()>>,
    /// Whether a receive brought ten messages, and none since brought fewer than it could.
    has_backlog: bool,
    /// Sum of the maxima of the receives under way.
    requested: usize,
    /// Whether an operator has paused the queue.
    is_paused: bool,
}

/// Arguments of a receive.
#[derive(Clone, Copy)]
pub(in crate::worker) struct Receive {
    /// Maximum number of messages.
    pub max: usize,
    /// Time for which it waits for a message.
    pub wait: Duration,
    starved: bool,
    is_further: bool,
}

impl Receive {
    fn new(max: usize, wait: Duration) -> Self {
        Self {
            max: max.min(BATCH),
            wait,
            starved: false,
            is_further: false,
        }
    }
}

/// A receive that is to be opened.
pub(in crate::worker) struct Opening {
    pub queue: Arc<Queue>,
    pub receive: Receive,
    is_runs: bool,
    /// Resolves when it is cancelled.
    pub left: oneshot::Receiver<()>,
}

impl Opening {
    /// Its result.
    pub fn answered(&self, result: Result<Vec<Delivery>, BrokerError>) -> ReceivedBatch {
        let Receive {
            max,
            wait,
            starved,
            is_further,
        } = self.receive;
        ReceivedBatch {
            queue: Arc::clone(&self.queue),
            is_runs: self.is_runs,
            wait,
            max,
            is_further,
            starved,
            result,
        }
    }
}

impl QueuePoller {
    fn new(queue: &Arc<Queue>) -> Self {
        Self {
            queue: Arc::clone(queue),
            state: State::Closed,
            failures: 0,
            going: Vec::new(),
            has_backlog: false,
            requested: 0,
            is_paused: false,
        }
    }

    fn note(&mut self, polled: &ReceivedBatch, now: Instant) {
        self.requested = self.requested.saturating_sub(polled.max);
        let count = polled.result.as_ref().map_or(0, Vec::len);
        self.has_backlog = count == polled.max && (self.has_backlog || count == BATCH);
        if polled.is_further {
            // The first receive decides what is polled next, and finds a lasting error itself.
            return;
        }
        self.state = match &polled.result {
            Ok(messages) if messages.is_empty() && polled.wait < LONG_POLL => State::Empty,
            Ok(_) => State::Closed,
            Err(_) => {
                let pause = BACK_OFF.after(self.failures);
                self.failures += 1;
                State::Paused { until: now + pause }
            }
        };
        if polled.result.is_ok() {
            self.failures = 0;
        }
    }

    /// Decides on a receive.
    fn open(&mut self, is_runs: bool, receive: Receive) -> Opening {
        let (going, left) = oneshot::channel();
        self.going.retain(|going| !going.is_closed());
        self.going.push(going);
        self.requested += receive.max;
        Opening {
            queue: Arc::clone(&self.queue),
            receive,
            is_runs,
            left,
        }
    }

    fn cancel(&mut self) {
        self.going.clear();
        self.requested = 0;
        self.state = State::Closed;
    }

    fn end_pause(&mut self, now: Instant) {
        if matches!(self.state, State::Paused { until } if until <= now) {
            self.state = State::Closed;
        }
    }
}

/// Decides which receives are opened.
pub(in crate::worker) struct Planner {
    /// Whether receives may be abandoned, as on the embedded broker.
    pub may_abandon: bool,
    turns: WeightedRoundRobin,
    guard: Duration,
    steps: Vec<QueuePoller>,
    runs: Option<QueuePoller>,
    /// Decided, and not opened yet.
    opening: Vec<Opening>,
}

impl Planner {
    /// Creates the planner. `guard` is the time for which other queues may have the turns before a
    /// waiting one gets the next.
    pub fn new(may_abandon: bool, queues: &QueueSet, guard: Duration) -> Self {
        Self {
            may_abandon,
            turns: turns(queues, guard),
            guard,
            steps: queues.steps.iter().map(QueuePoller::new).collect(),
            runs: queues.runs.as_ref().map(QueuePoller::new),
            opening: Vec::new(),
        }
    }

    /// Adds the queues of a set that has grown; open receives continue.
    pub fn serve(&mut self, queues: &QueueSet) {
        self.turns = turns(queues, self.guard);
        for (index, queue) in queues.steps.iter().enumerate() {
            if self
                .steps
                .get(index)
                .is_none_or(|s| s.queue.url != queue.url)
            {
                self.steps.insert(index, QueuePoller::new(queue));
            }
        }
        if self.runs.is_none() {
            self.runs = queues.runs.as_ref().map(QueuePoller::new);
        }
    }

    /// Decides on no receive of these queues, and leaves their open ones where that is allowed.
    pub fn pause(&mut self, paused: &PausedQueues) {
        for source in self.steps.iter_mut().chain(&mut self.runs) {
            source.is_paused = paused.contains_key(&source.queue.name);
            if source.is_paused && self.may_abandon {
                source.cancel();
            }
        }
    }

    /// Returns the receives to open for `steps` step messages and `runs` run messages.
    #[must_use]
    pub fn demand(&mut self, steps: usize, runs: usize, now: Instant) -> Vec<Opening> {
        let sources = self.steps.iter_mut().chain(&mut self.runs);
        sources.for_each(|source| source.end_pause(now));
        self.demand_runs(runs);
        if steps > 0 {
            self.demand_steps(steps, now);
        } else {
            // This result is outdated by the time a slot is free.
            let leaves = self.may_abandon;
            for source in &mut self.steps {
                match source.state {
                    State::Empty => source.state = State::Closed,
                    State::Polling | State::Open if leaves => source.cancel(),
                    _ => {}
                }
            }
        }
        std::mem::take(&mut self.opening)
    }

    fn demand_runs(&mut self, runs: usize) {
        let Some(source) = &mut self.runs else { return };
        if runs > 0 && source.state == State::Closed && !source.is_paused {
            source.state = State::Open;
            let receive = Receive::new(runs, LONG_POLL);
            self.opening.push(source.open(true, receive));
        }
    }

    fn demand_steps(&mut self, steps: usize, now: Instant) {
        let short = if self.may_abandon {
            Duration::ZERO
        } else {
            SHORT_POLL
        };
        // The next queue is polled when the one whose turn it is has answered.
        if !self
            .steps
            .iter()
            .any(|source| source.state == State::Polling)
        {
            self.open_by_turn(steps, short, now);
        }
        self.open_further(steps, short);
    }

    fn open_by_turn(&mut self, steps: usize, short: Duration, now: Instant) {
        // A single queue needs no rotation: a long poll answers at once if there is a message.
        let single = self.steps.len() == 1;
        for index in self.turns.order(now) {
            let source = &mut self.steps[index];
            if source.is_paused {
                continue;
            }
            let (wait, state) = match source.state {
                State::Closed if !single => (short, State::Polling),
                State::Closed | State::Empty => (LONG_POLL, State::Open),
                State::Open if single => return,
                State::Open | State::Polling | State::Paused { .. } => continue,
            };
            let room = steps.saturating_sub(source.requested);
            if room == 0 {
                // Further receives of it are under way for all free slots.
                return;
            }
            let starved = self.turns.is_overdue(index, now);
            source.state = state;
            source.has_backlog &= !starved;
            let receive = Receive {
                starved,
                ..Receive::new(if starved { 1 } else { room }, wait)
            };
            self.open_for(index, receive);
            if state == State::Polling {
                break;
            }
        }
    }

    /// Opens receives beside the first one of a queue with a backlog, for the slots that one call
    /// cannot fill. It must be the only queue that may have messages: otherwise the turns decide.
    fn open_further(&mut self, steps: usize, short: Duration) {
        let may_have = |source: &QueuePoller| {
            !source.is_paused && (source.has_backlog || source.state.may_hide_messages())
        };
        let mut found = (0..self.steps.len()).filter(|&index| may_have(&self.steps[index]));
        let (Some(index), None) = (found.next(), found.next()) else {
            return;
        };
        let source = &self.steps[index];
        if !source.has_backlog || !matches!(source.state, State::Polling | State::Open) {
            return;
        }
        let room = steps.saturating_sub(source.requested);
        for max in (0..room).step_by(BATCH).map(|taken| room - taken) {
            let receive = Receive {
                is_further: true,
                ..Receive::new(max, short)
            };
            self.open_for(index, receive);
        }
    }

    fn open_for(&mut self, index: usize, receive: Receive) {
        self.opening.push(self.steps[index].open(false, receive));
    }

    /// Time at which a queue whose receive failed may be polled again.
    pub fn next_retry(&self) -> Option<Instant> {
        let until = |source: &QueuePoller| match source.state {
            State::Paused { until } => Some(until),
            _ => None,
        };
        self.steps.iter().chain(&self.runs).filter_map(until).min()
    }

    /// Takes the result of a receive into account.
    pub fn answered(&mut self, polled: &ReceivedBatch, now: Instant) {
        if polled.is_runs {
            if let Some(source) = &mut self.runs {
                source.note(polled, now);
            }
            return;
        }
        let mut sources = self.steps.iter();
        let found = sources.position(|source| source.queue.url == polled.queue.url);
        let Some(index) = found else { return };
        self.steps[index].note(polled, now);
        match &polled.result {
            Ok(messages) if messages.is_empty() => self.turns.served(index),
            Ok(messages) => {
                let count = u32::try_from(messages.len()).unwrap_or(u32::MAX);
                self.turns.received(index, count, now);
            }
            Err(_) => {}
        }
    }

    /// Records that a message of a step queue was started.
    pub fn started(&mut self, queue: &Queue) {
        if let Some(index) = self.steps.iter().position(|s| s.queue.url == queue.url) {
            self.turns.served(index);
        }
    }

    /// Records that all open receives were abandoned.
    pub fn cancel_all(&mut self) {
        let sources = self.steps.iter_mut().chain(&mut self.runs);
        sources.for_each(QueuePoller::cancel);
    }
}

fn turns(queues: &QueueSet, guard: Duration) -> WeightedRoundRobin {
    let weights = queues.steps.iter().map(|queue| queue.weight).collect();
    WeightedRoundRobin::new(weights, guard)
}

#[cfg(test)]
mod tests;
