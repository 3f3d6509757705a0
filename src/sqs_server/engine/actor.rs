//! The engine's task: takes waiting requests, applies, commits and flushes them, and answers. It
//! tidies when idle and recovers from failed writes.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Receiver;

use super::flusher::Flusher;
use super::polls::{Poll, Polls};
use super::{Answer, Delivered, EngineRequest, wall_clock};
use crate::sqs_server::account::Accounts;
use crate::sqs_server::error::SqsError;
use crate::sqs_server::journal::Journal;
use crate::sqs_server::state::Broker;
use crate::sqs_server::state::change::Change;
use crate::sqs_server::state::message::{Millis, Payload, Received};

/// Maximum number of requests in one commit, which bounds the wait of the first of them.
const GROUP_LIMIT: usize = 1_024;
/// Maximum interval between looks at the clock, in case it was set.
const LONGEST_SLEEP: Duration = Duration::from_mins(1);

/// Time without a request after which the engine tidies.
const IDLE_AFTER: Duration = Duration::from_millis(20);
/// Interval between steps of tidying under steady load.
const LONGEST_UNTIDY: Duration = Duration::from_secs(1);
/// Pause before timed changes are retried after a failed write.
const RETRY_AFTER: Duration = Duration::from_millis(250);
/// Time without a failed write after which the disk counts as healthy, even if only small writes
/// succeed.
const WELL_AFTER: Duration = Duration::from_secs(10);
/// Time without a write after which the log is emptied.
const SETTLE_AFTER: Duration = Duration::from_secs(2);

/// Payloads of the received messages, by receive; `None` for a message without one.
type Payloads = Vec<Vec<Option<Arc<Payload>>>>;

/// Answers that wait for the commit.
#[derive(Default)]
pub struct Group {
    /// Answers of requests.
    pub answers: Vec<Answer>,
    /// Answers of receives, with what they took.
    pub receives: Vec<(Poll, Vec<Received>)>,
}

impl Group {
    /// Answers everything.
    fn answer(self, payloads: Payloads) {
        for answer in self.answers {
            answer(Ok(()));
        }
        for ((poll, received), payloads) in self.receives.into_iter().zip(payloads) {
            poll.deliver(delivered(received, payloads));
        }
    }

    /// Answers everything with an error.
    fn refuse(self, error: &SqsError) {
        for answer in self.answers {
            answer(Err(error.clone()));
        }
        for (poll, _) in self.receives {
            poll.refuse(error.clone());
        }
    }
}

/// The engine's task: its state and its loop.
pub struct EngineActor {
    journal: Journal,
    broker: Broker,
    polls: Polls,
    flusher: Flusher,
    accounts: Accounts,
    /// Reason why the state must be read again before anything else.
    broken: Option<String>,
    /// Set after a failed write was reported: time of the last failure, and size of the largest
    /// failed write in bytes.
    failing: Option<(Instant, usize)>,
    untidy: bool,
    tidied_at: Instant,
    /// Time of the last write since the log was emptied.
    unsettled: Option<Instant>,
}

impl EngineActor {
    /// Creates a worker with the loaded state.
    pub fn new(journal: Journal, broker: Broker, flusher: Flusher, accounts: Accounts) -> Self {
        broker.queues().for_each(|queue| accounts.note(&queue.name));
        Self {
            journal,
            polls: Polls::new(broker.ahead()),
            broker,
            flusher,
            accounts,
            broken: None,
            failing: None,
            untidy: true,
            tidied_at: Instant::now(),
            // An earlier process may have left a long log.
            unsettled: Some(Instant::now()),
        }
    }

    /// Serves until the last [`Engine`](super::Engine) is dropped. It blocks its thread while it
    /// works and while the disk does.
    pub async fn run(mut self, mut waiting: Receiver<EngineRequest>) {
        let mut orders = Vec::new();
        let mut timer = pin!(tokio::time::sleep(Duration::ZERO));
        loop {
            timer
                .as_mut()
                .reset(tokio::time::Instant::now() + self.idle_time());
            let is_idle = tokio::select! {
                biased;
                received = waiting.recv_many(&mut orders, GROUP_LIMIT) => {
                    if received == 0 {
                        return;
                    }
                    false
                }
                () = &mut timer => true,
            };
            // Lets the thread read what is in the sockets by now, so that it shares the flush.
            tokio::task::yield_now().await;
            while orders.len() < GROUP_LIMIT
                && let Ok(order) = waiting.try_recv()
            {
                orders.push(order);
            }
            self.serve(orders.drain(..));
            if self.untidy && (is_idle || self.tidied_at.elapsed() >= LONGEST_UNTIDY) {
                self.tidy();
            } else if self
                .unsettled
                .is_some_and(|at| at.elapsed() >= SETTLE_AFTER)
            {
                self.unsettled = (!self.journal.settle()).then(Instant::now);
            }
        }
    }

    /// Serves requests together, and what is due by now.
    fn serve(&mut self, orders: impl Iterator<Item = EngineRequest>) {
        let mut group = Group::default();
        self.recover();
        let mut now = self.now();
        self.broker.tick(now);
        if self.failing.is_some() {
            // Timed changes may find no space; that must not fail requests that need none.
            self.finish(Group::default());
        }
        for order in orders {
            self.take(order, now, &mut group);
        }
        if self.polls.follow(self.broker.ahead()) {
            now = self.now();
            self.broker.tick(now);
        }
        self.polls.serve(&mut self.broker, now, &mut group);
        self.finish(group);
    }

    /// The one clock for everything in the queues.
    fn now(&self) -> Millis {
        wall_clock().saturating_add(self.broker.ahead())
    }

    /// Time until there is something to do without a request.
    fn idle_time(&self) -> Duration {
        if self.untidy {
            return IDLE_AFTER;
        }
        let timer = self.broker.next_wake().map_or(LONGEST_SLEEP, |at| {
            Duration::from_millis(u64::try_from(at - self.now()).unwrap_or(0))
        });
        let again = self.failing.map_or(Duration::ZERO, |(at, _)| {
            RETRY_AFTER.saturating_sub(at.elapsed())
        });
        let settling = self.unsettled.map(|at| at + SETTLE_AFTER);
        let poll = [self.polls.next_deadline(), settling]
            .into_iter()
            .flatten()
            .map(|at| at.saturating_duration_since(Instant::now()))
            .min()
            .unwrap_or(LONGEST_SLEEP);
        timer.max(again).min(poll).min(LONGEST_SLEEP)
    }

    fn take(&mut self, order: EngineRequest, now: Millis, group: &mut Group) {
        match order {
            EngineRequest::Job(job) => {
                let state = match &self.broken {
                    None => Ok((&mut self.broker, now)),
                    Some(detail) => Err(SqsError::storage(detail)),
                };
                group.answers.push(job(state));
            }
            EngineRequest::Receive(poll) => match &self.broken {
                None => self.polls.take(poll, &mut self.broker, now, group),
                Some(detail) => poll.refuse(SqsError::storage(detail)),
            },
            EngineRequest::Peek(peek) => match &self.broken {
                None => peek.serve(&self.broker, &self.journal),
                Some(detail) => peek.refuse(SqsError::storage(detail)),
            },
            EngineRequest::GiveBack { queue, receipts } => {
                self.broker.release(now, &queue, &receipts);
            }
            EngineRequest::Quiesce => self.polls.quiesce(),
        }
    }

    /// Commits and flushes what the group changed, and answers.
    fn finish(&mut self, group: Group) {
        let changes = self.broker.take_changes();
        match self.write(&group, &changes) {
            Ok((committed, payloads)) => {
                if committed {
                    self.note_success(&changes);
                }
                match self.flusher.flush(committed, bytes_of(&changes)) {
                    Ok(()) => group.answer(payloads),
                    Err(error) => group.refuse(&error),
                }
            }
            Err(error) => {
                let detail = error.to_string();
                self.note_failure(&changes, &detail);
                self.journal.roll_back();
                let is_undone = self.journal.take_back(&changes, &mut self.broker);
                if !is_undone.unwrap_or(false) {
                    self.broken = Some(detail.clone());
                }
                group.refuse(&SqsError::storage(&detail));
            }
        }
    }

    fn write(&mut self, group: &Group, changes: &[Change]) -> rusqlite::Result<(bool, Payloads)> {
        self.untidy |= changes.iter().any(Change::frees_space);
        for change in changes {
            if let Change::QueueSaved(record) = change {
                self.accounts.note(&record.name);
            }
        }
        self.journal.write(changes)?;
        let read = |received: &Received| self.journal.payload(received.seq);
        let payloads = group
            .receives
            .iter()
            .map(|(_, received)| received.iter().map(read).collect())
            .collect::<Result<_, _>>()?;
        let committed = self.journal.commit()?;
        Ok((committed, payloads))
    }

    fn note_success(&mut self, changes: &[Change]) {
        self.unsettled = Some(Instant::now());
        // A full disk often has room for a small write; that alone does not end the trouble.
        if let Some((at, bytes)) = self.failing
            && (bytes_of(changes) >= bytes || at.elapsed() >= WELL_AFTER)
        {
            self.failing = None;
            tracing::info!("the broker can write to its data folder again");
        }
    }

    fn note_failure(&mut self, changes: &[Change], detail: &str) {
        let bytes = bytes_of(changes);
        let most = self.failing.map_or(bytes, |(_, most)| most.max(bytes));
        if self.failing.replace((Instant::now(), most)).is_none() {
            tracing::error!(
                error = detail,
                "the broker cannot write to its data folder; requests are refused until it can, \
                 and nothing that was answered is lost"
            );
        }
    }

    /// Reads everything again if memory could not be reset to the state on disk.
    fn recover(&mut self) {
        if let Some(detail) = self.flusher.failure() {
            // The content of the disk is unknown, and a later flush would not reveal it. Only a
            // restart reads what is really there.
            self.broken = Some(detail.to_owned());
            return;
        }
        if self.broken.is_none() {
            return;
        }
        match self.journal.load() {
            Ok(loaded) => {
                self.broker = loaded.broker;
                self.broken = None;
            }
            Err(error) => {
                self.broker = Broker::default();
                self.broken = Some(error.to_string());
            }
        }
    }

    fn tidy(&mut self) {
        self.tidied_at = Instant::now();
        match self.journal.tidy() {
            Ok(more) => self.untidy = more,
            Err(error) => {
                tracing::warn!(error = error.to_string(), "space could not be given back");
                self.journal.roll_back();
                self.untidy = false;
            }
        }
    }
}

fn bytes_of(changes: &[Change]) -> usize {
    changes.iter().map(Change::body_bytes).sum()
}

fn delivered(received: Vec<Received>, payloads: Vec<Option<Arc<Payload>>>) -> Vec<Delivered> {
    let pairs = received.into_iter().zip(payloads);
    pairs
        .filter_map(|(received, payload)| payload.map(|payload| Delivered { received, payload }))
        .collect()
}
