//! The modelled SQS: messages that wait, in order, and receives that wait for one.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;

use super::{Micros, seconds};
use crate::domain::MessageStage;
use crate::sqs::{Attributes, Delivery, Queue, Receipt};

/// Parts of the steps that go to each of three bands.
const BANDS: [f64; 2] = [0.1, 0.7];

pub(super) struct Message {
    id: u64,
    queue: usize,
    run: u32,
    step: Option<u32>,
    sent: Micros,
    receives: u32,
}

impl Message {
    pub fn new(id: u64, queue: usize, run: u32, step: Option<u32>, sent: Micros) -> Self {
        Self {
            id,
            queue,
            run,
            step,
            sent,
            receives: 0,
        }
    }

    /// Run, number of the step in it, and when it was sent.
    pub fn origin(&self) -> (u32, Option<u32>, Micros) {
        (self.run, self.step, self.sent)
    }

    /// As the client returns it. `zero` is simulated time 0.
    pub fn delivery(&self, queue: &Arc<Queue>, zero: Timestamp, now: Timestamp) -> Delivery {
        let id = self.id.to_string();
        let age = jiff::SignedDuration::from_micros(self.sent.cast_signed());
        Delivery {
            queue: Arc::clone(queue),
            receipt: Receipt::new(id.clone(), format!("{id}-{}", self.receives)),
            message_id: id,
            body: self.body(),
            offloaded: false,
            receive_count: self.receives,
            sent_at: Some(zero + age),
            received_at: now,
            group: None,
            attributes: Attributes::new(),
            source: None,
            stage: MessageStage::Waiting,
        }
    }

    /// In the form of the Python packages' `message.py`.
    fn body(&self) -> String {
        let Self { id, run, sent, .. } = self;
        let sent_at = seconds(*sent);
        let (task, kwargs) = match self.step {
            Some(step) => (
                "execute_plan",
                format!(
                    r#"{{"execute_step_args_packed": {{"__class__": "ExecuteStepArgs", "run_id": "run-{run}", "step_keys_to_execute": ["step_{step}"]}}}}"#
                ),
            ),
            None => (
                "execute_job",
                format!(
                    r#"{{"execute_job_args_packed": {{"__class__": "ExecuteRunArgs", "run_id": "run-{run}"}}}}"#
                ),
            ),
        };
        format!(
            r#"{{"task_id": "{id:032x}", "task_name": "{task}", "labels": {{"dtq": "1", "priority": 5, "run_id": "run-{run}", "attempt": 1, "sent_at": {sent_at}}}, "labels_types": {{}}, "args": [], "kwargs": {kwargs}}}"#
        )
    }
}

#[derive(Default)]
struct Lane {
    visible: VecDeque<u64>,
    /// Receives that wait or have waited.
    waiting: Vec<u64>,
    /// Number of those that still wait.
    open: usize,
}

pub(super) struct Queues {
    /// Their lanes are at the same places.
    known: Vec<Arc<Queue>>,
    lanes: Vec<Lane>,
    messages: HashMap<u64, Message>,
    /// The queue of each waiting receive.
    polls: HashMap<u64, usize>,
}

impl Queues {
    /// Creates the queues, the runs queue last.
    pub fn new(queues: Vec<Arc<Queue>>) -> Self {
        Self {
            lanes: queues.iter().map(|_| Lane::default()).collect(),
            known: queues,
            messages: HashMap::new(),
            polls: HashMap::new(),
        }
    }

    pub fn runs(&self) -> usize {
        self.known.len() - 1
    }

    /// A queue of steps.
    pub fn band(&self, rng: &mut fastrand::Rng) -> usize {
        if self.runs() == 1 {
            return 0;
        }
        let part = rng.f64();
        BANDS.iter().filter(|limit| part >= **limit).count()
    }

    pub fn index(&self, url: &str) -> usize {
        let mut queues = self.known.iter();
        queues.position(|queue| queue.url == url).unwrap_or(0)
    }

    pub fn add(&mut self, id: u64, message: Message) {
        self.messages.insert(id, message);
    }

    pub fn message(&self, id: u64) -> &Message {
        &self.messages[&id]
    }

    pub fn delete(&mut self, id: u64) {
        self.messages.remove(&id);
    }

    /// Makes a message visible; returns its queue.
    pub fn make_visible(&mut self, id: u64) -> usize {
        let queue = self.messages[&id].queue;
        self.lanes[queue].visible.push_back(id);
        queue
    }

    /// Receives up to `max` messages.
    pub fn take(&mut self, queue: usize, max: usize) -> Vec<u64> {
        let visible = &mut self.lanes[queue].visible;
        let taken: Vec<u64> = visible.drain(..max.min(visible.len())).collect();
        for id in &taken {
            if let Some(message) = self.messages.get_mut(id) {
                message.receives += 1;
            }
        }
        taken
    }

    /// Lets a receive wait.
    pub fn wait(&mut self, queue: usize, poll: u64) {
        let lane = &mut self.lanes[queue];
        if lane.waiting.len() > 2 * lane.open + 16 {
            lane.waiting.retain(|poll| self.polls.contains_key(poll));
        }
        lane.waiting.push(poll);
        lane.open += 1;
        self.polls.insert(poll, queue);
    }

    /// One of the waiting receives, which waits no longer: SQS promises no order of them.
    pub fn waiting_poll(&mut self, queue: usize, rng: &mut fastrand::Rng) -> Option<u64> {
        let lane = &mut self.lanes[queue];
        while !lane.waiting.is_empty() {
            let poll = lane.waiting.swap_remove(rng.usize(..lane.waiting.len()));
            if self.polls.remove(&poll).is_some() {
                lane.open -= 1;
                return Some(poll);
            }
        }
        None
    }

    /// Ends the wait of a receive; returns false if it was answered before.
    pub fn leave(&mut self, poll: u64) -> bool {
        let Some(queue) = self.polls.remove(&poll) else {
            return false;
        };
        self.lanes[queue].open -= 1;
        true
    }
}
