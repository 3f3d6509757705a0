//! Receiving: which queue is asked, for how many, for how long.
//!
//! A queue with an open long poll is known to be empty. Of the others the one whose turn it is is
//! asked briefly; if it has nothing, a long poll is opened on it and the next one is asked. So an
//! idle worker waits on all of its queues at once, and a busy one asks the highest band first.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;

use super::turns::Turns;
use crate::broker::{Broker, BrokerError, Delivery, LONG_POLL, Queue, QueueSet};

/// What one receive brought.
pub(super) struct Polled {
    /// URL of the step queue; `None` is the runs queue.
    source: Option<String>,
    /// How long it waited for messages.
    wait: Duration,
    /// Whether the queue had waited so long that its message goes before others.
    pub ahead: bool,
    /// The messages, or why there are none.
    pub result: Result<Vec<Delivery>, BrokerError>,
}

/// First pause after a failed receive, doubled up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_millis(500);
const MAX_PAUSE: Duration = Duration::from_secs(15);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not asked.
    Closed,
    /// The last short receive found nothing.
    Empty,
    /// A short receive is under way.
    Asked,
    /// A long poll is open.
    Open,
    /// The last receive failed.
    Paused { until: Instant },
}

/// A queue and how asking it goes.
struct Source {
    queue: Arc<Queue>,
    state: State,
    /// Receives that failed in a row.
    failures: u32,
}

impl Source {
    fn new(queue: &Arc<Queue>) -> Self {
        Self {
            queue: Arc::clone(queue),
            state: State::Closed,
            failures: 0,
        }
    }

    fn note(&mut self, polled: &Polled) {
        self.state = match &polled.result {
            Ok(messages) if messages.is_empty() && polled.wait.is_zero() => State::Empty,
            Ok(_) => State::Closed,
            Err(_) => {
                let pause = MIN_PAUSE
                    .saturating_mul(1 << self.failures.min(8))
                    .min(MAX_PAUSE);
                self.failures += 1;
                State::Paused {
                    until: Instant::now() + pause,
                }
            }
        };
        if polled.result.is_ok() {
            self.failures = 0;
        }
    }

    fn end_pause(&mut self) {
        if matches!(self.state, State::Paused { until } if until <= Instant::now()) {
            self.state = State::Closed;
        }
    }
}

/// The open receives.
pub(super) struct Polls {
    broker: Broker,
    turns: Turns,
    guard: Duration,
    steps: Vec<Source>,
    runs: Option<Source>,
    open: FuturesUnordered<Pin<Box<dyn Future<Output = Polled> + Send>>>,
}

impl Polls {
    /// `guard`: how long other queues may have the turns before one that waits has the next.
    pub fn new(broker: Broker, queues: &QueueSet, guard: Duration) -> Self {
        Self {
            broker,
            turns: turns(queues, guard),
            guard,
            steps: queues.steps.iter().map(Source::new).collect(),
            runs: queues.runs.as_ref().map(Source::new),
            open: FuturesUnordered::new(),
        }
    }

    /// Takes up the queues of a set that has grown; open receives go on.
    pub fn serve(&mut self, queues: &QueueSet) {
        self.turns = turns(queues, self.guard);
        for (index, queue) in queues.steps.iter().enumerate() {
            if self
                .steps
                .get(index)
                .is_none_or(|s| s.queue.url != queue.url)
            {
                self.steps.insert(index, Source::new(queue));
            }
        }
        if self.runs.is_none() {
            self.runs = queues.runs.as_ref().map(Source::new);
        }
    }

    /// How many receives are open.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// Opens what is worth opening for `steps` step messages and `runs` run messages.
    pub fn demand(&mut self, steps: usize, runs: usize) {
        self.steps
            .iter_mut()
            .chain(&mut self.runs)
            .for_each(Source::end_pause);
        self.demand_runs(runs);
        if steps > 0 {
            self.demand_steps(steps);
        } else {
            // By the time a slot is free this will be old knowledge.
            for source in self
                .steps
                .iter_mut()
                .filter(|source| source.state == State::Empty)
            {
                source.state = State::Closed;
            }
        }
    }

    fn demand_runs(&mut self, runs: usize) {
        let Some(source) = &mut self.runs else { return };
        if runs > 0 && source.state == State::Closed {
            source.state = State::Open;
            let queue = Arc::clone(&source.queue);
            self.receive(None, queue, runs, LONG_POLL, false);
        }
    }

    fn demand_steps(&mut self, steps: usize) {
        // One queue needs no asking around: a long poll answers at once where there is something.
        let single = self.steps.len() == 1;
        if self.steps.iter().any(|source| source.state == State::Asked) {
            // The next queue is asked when this one has answered.
            return;
        }
        let now = Instant::now();
        for index in self.turns.order(now) {
            let source = &mut self.steps[index];
            let (wait, state) = match source.state {
                State::Closed if !single => (Duration::ZERO, State::Asked),
                State::Closed | State::Empty => (LONG_POLL, State::Open),
                State::Open if single => return,
                State::Open | State::Asked | State::Paused { .. } => continue,
            };
            source.state = state;
            let queue = Arc::clone(&source.queue);
            let ahead = self.turns.is_overdue(index, now);
            let max = if ahead { 1 } else { steps };
            self.receive(Some(queue.url.clone()), queue, max, wait, ahead);
            if state == State::Asked {
                break;
            }
        }
    }

    /// When a queue whose receive failed may be asked again.
    pub fn next_retry(&self) -> Option<Instant> {
        let until = |source: &Source| match source.state {
            State::Paused { until } => Some(until),
            _ => None,
        };
        self.steps.iter().chain(&self.runs).filter_map(until).min()
    }

    /// The next answer; pending while nothing is open.
    pub async fn next(&mut self) -> Polled {
        let Some(polled) = self.open.next().await else {
            return std::future::pending().await;
        };
        let Some(url) = &polled.source else {
            if let Some(source) = &mut self.runs {
                source.note(&polled);
            }
            return polled;
        };
        let found = self.steps.iter().position(|s| s.queue.url == *url);
        let Some(index) = found else { return polled };
        self.steps[index].note(&polled);
        match &polled.result {
            Ok(messages) if messages.is_empty() => self.turns.served(index),
            Ok(messages) => {
                let count = u32::try_from(messages.len()).unwrap_or(u32::MAX);
                self.turns.received(index, count, Instant::now());
            }
            Err(_) => {}
        }
        polled
    }

    /// A message of a step queue was started.
    pub fn started(&mut self, queue: &Queue) {
        if let Some(index) = self.steps.iter().position(|s| s.queue.url == queue.url) {
            self.turns.served(index);
        }
    }

    /// Abandons open receives where that can hide no message: the embedded broker gives back what
    /// it cannot deliver, AWS may not.
    pub fn abandon(&mut self) {
        if self.broker.is_embedded() {
            self.open.clear();
            for source in self.steps.iter_mut().chain(&mut self.runs) {
                source.state = State::Closed;
            }
        }
    }

    fn receive(
        &mut self,
        source: Option<String>,
        queue: Arc<Queue>,
        max: usize,
        wait: Duration,
        ahead: bool,
    ) {
        let broker = self.broker.clone();
        self.open.push(Box::pin(async move {
            let result = broker.receive(&queue, max, wait).await;
            Polled {
                source,
                wait,
                ahead,
                result,
            }
        }));
    }
}

fn turns(queues: &QueueSet, guard: Duration) -> Turns {
    let weights = queues.steps.iter().map(|queue| queue.weight).collect();
    Turns::new(weights, guard)
}
