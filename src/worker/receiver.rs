//! Receiving: which queue is polled, for how many messages, for how long.
//!
//! A queue with an open long poll is known to be empty. Of the others, the one whose turn it is
//! gets a short poll; if it is empty, a long poll is opened on it and the next one is polled. So an
//! idle worker waits on all of its queues at once, and a busy one polls the highest band first.
//!
//! SQS delivers at most ten messages a call. While a queue answers with ten, the others are empty
//! and there are slots for more, further short polls are opened beside the first, never for more
//! messages than there are slots.
//!
//! Several open polls may each bring a message for a single free slot, and a message that is given
//! back has spent a receive. So a worker that has become full abandons its open polls if that hides
//! no message: the embedded broker takes back messages that it cannot deliver, without counting the
//! receive. On AWS the polls stay open for up to 20 s. Their messages go back at once, for an idle
//! worker, and from the second receive on only after that time: the polls of full workers are over
//! by then.

mod planner;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;

use crate::domain::PausedQueues;
use crate::sqs::{Broker, Queue, QueueSet};
use crate::telemetry::vitals::vitals;
use planner::Receive;
pub(super) use planner::{Opening, Planner, ReceivedBatch};

/// A receive under way; `None` if it was cancelled.
type Answer = Pin<Box<dyn Future<Output = Option<ReceivedBatch>> + Send>>;

/// The open receives.
pub(super) struct Receiver {
    broker: Broker,
    planner: Planner,
    open: FuturesUnordered<Answer>,
}

impl Receiver {
    /// Creates the receiver; `guard` as for [`Planner::new`].
    pub fn new(broker: Broker, queues: &QueueSet, guard: Duration) -> Self {
        Self {
            planner: Planner::new(broker.is_embedded(), queues, guard),
            broker,
            open: FuturesUnordered::new(),
        }
    }

    /// Adds the queues of a set that has grown; open receives continue.
    pub fn serve(&mut self, queues: &QueueSet) {
        self.planner.serve(queues);
    }

    /// Receives from all queues but these. Open receives of a paused queue are left as in
    /// [`Receiver::abandon`].
    pub fn pause(&mut self, paused: &PausedQueues) {
        self.planner.pause(paused);
    }

    /// Number of open receives.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// Opens the receives needed for `steps` step messages and `runs` run messages.
    pub fn demand(&mut self, steps: usize, runs: usize) {
        for opening in self.planner.demand(steps, runs, Instant::now()) {
            self.open.push(receive(self.broker.clone(), opening));
        }
    }

    /// Time at which a queue whose receive failed may be polled again.
    pub fn next_retry(&self) -> Option<Instant> {
        self.planner.next_retry()
    }

    /// Waits for the next answer; pending while nothing is open.
    pub async fn next(&mut self) -> ReceivedBatch {
        let polled = loop {
            match self.open.next().await {
                Some(Some(polled)) => break polled,
                Some(None) => {}
                None => return std::future::pending().await,
            }
        };
        vitals().received(&polled.queue.name, polled.result.is_ok());
        self.planner.answered(&polled, Instant::now());
        polled
    }

    /// Records that a message of a step queue was started.
    pub fn started(&mut self, queue: &Queue) {
        self.planner.started(queue);
    }

    /// Abandons open receives if that can hide no message: the embedded broker takes back messages
    /// that it cannot deliver, AWS may not.
    pub fn abandon(&mut self) {
        if self.planner.may_abandon {
            self.open.clear();
            self.planner.cancel_all();
        }
    }
}

fn receive(broker: Broker, mut opening: Opening) -> Answer {
    Box::pin(async move {
        let Receive { max, wait, .. } = opening.receive;
        let result = tokio::select! {
            biased;
            result = broker.receive(&opening.queue, max, wait) => result,
            _ = &mut opening.left => return None,
        };
        Some(opening.answered(result))
    })
}
