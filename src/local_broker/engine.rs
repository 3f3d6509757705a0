//! The one thread that owns the state machine and the journal. It takes every request that
//! waits, applies them and commits once. A second thread ([`flusher`]) flushes the commit and
//! answers, while the first works on the requests that came meanwhile: a call is answered only
//! after its effect is on disk, and many calls share one flush. Receives that found nothing are
//! parked here until something can be received or their time is over.

mod flusher;
pub mod peek;
mod polls;

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::oneshot;

use super::error::SqsError;
use super::journal::Journal;
use super::receipt::Receipt;
use super::state::Broker;
use super::state::message::{Millis, Payload, Received};
use super::state::receiving::ReceiveAsk;
use flusher::{Flush, Flusher};
use peek::Peek;
use polls::{Poll, Polls};

/// Requests waiting for the engine. A connection has at most one, so this bounds busy
/// connections; one more is answered with `ServiceUnavailable`, which SDKs try again.
const WAITING_LIMIT: usize = 16_384;
/// Requests that share one commit: a bound on how long the first of them waits.
const GROUP_LIMIT: usize = 1_024;
/// The engine looks at the clock at least this often, should it have been set.
const LONGEST_SLEEP: Duration = Duration::from_mins(1);

/// Without a request for so long, there is time to tidy.
const IDLE_AFTER: Duration = Duration::from_millis(20);
/// Under steady load a step of tidying is done this often.
const LONGEST_UNTIDY: Duration = Duration::from_secs(1);
/// Without a write for so long, the log is emptied.
const SETTLE_AFTER: Duration = Duration::from_secs(2);

type Answer = Box<dyn FnOnce(Result<(), SqsError>) + Send>;
type Job = Box<dyn FnOnce(Result<(&mut Broker, Millis), SqsError>) -> Answer + Send>;
type Reply = oneshot::Sender<Result<Delivery, SqsError>>;

enum Order {
    Job(Job),
    Receive(Poll),
    Peek(Peek),
    GiveBack {
        queue: String,
        receipts: Vec<Receipt>,
    },
    Quiesce,
}

/// Hands requests to the engine's thread. When the last clone is dropped the thread ends.
#[derive(Debug, Clone)]
pub struct Engine {
    orders: SyncSender<Order>,
}

/// A received message with its body.
#[derive(Debug)]
pub struct Delivered {
    /// What memory knows.
    pub received: Received,
    /// What was on disk.
    pub payload: Payload,
}

/// Received messages on their way to a client. Dropped before [`Delivery::take`], they are given
/// back: nobody was there to get them.
#[derive(Debug)]
pub struct Delivery {
    queue: String,
    messages: Vec<Delivered>,
    orders: SyncSender<Order>,
}

impl Delivery {
    /// The messages; from here on they count as delivered.
    #[must_use]
    pub fn take(mut self) -> Vec<Delivered> {
        std::mem::take(&mut self.messages)
    }

    fn receipts(&self) -> Vec<Receipt> {
        self.messages
            .iter()
            .map(|one| receipt_of(&one.received))
            .collect()
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !self.messages.is_empty() {
            let order = Order::GiveBack {
                queue: self.queue.clone(),
                receipts: self.receipts(),
            };
            // When the engine has no room or is gone, the visibility timeout gives them back.
            let _ = self.orders.try_send(order);
        }
    }
}

/// The receipt of a received message.
#[must_use]
pub fn receipt_of(received: &Received) -> Receipt {
    Receipt {
        store: received.store,
        seq: received.seq,
        receive: received.message.receive_count,
    }
}

impl Engine {
    /// Starts the thread on what was loaded.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn start(journal: Journal, broker: Broker) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (orders, waiting) = sync_channel(WAITING_LIMIT);
        let flusher = Flusher::start(journal.log())?;
        let thread = std::thread::Builder::new()
            .name("broker-engine".to_owned())
            .spawn(move || Worker::new(journal, broker, flusher).run(&waiting))?;
        Ok((Self { orders }, thread))
    }

    /// Runs `job` on the state machine and answers once its changes are on disk.
    ///
    /// # Errors
    /// The job's own, or `ServiceUnavailable` when storage fails or the engine is overloaded.
    pub async fn run<T, F>(&self, job: F) -> Result<T, SqsError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Broker, Millis) -> Result<T, SqsError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |state| {
            let outcome = state.and_then(|(broker, now)| job(broker, now));
            Box::new(move |written| {
                // A client that hung up does not read its answer.
                let _ = reply.send(written.and(outcome));
            })
        });
        self.give(Order::Job(job))?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Receives messages, waiting up to `wait` for the first.
    ///
    /// # Errors
    /// As [`Broker::receive`], or `ServiceUnavailable`.
    pub async fn receive(
        &self,
        queue: String,
        ask: ReceiveAsk,
        wait: Option<Duration>,
    ) -> Result<Delivery, SqsError> {
        let (reply, answer) = oneshot::channel();
        let orders = self.orders.clone();
        self.give(Order::Receive(Poll {
            queue,
            ask,
            wait,
            reply,
            orders,
        }))?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Answers every parked receive now and parks no more.
    pub fn quiesce(&self) {
        let _ = self.orders.send(Order::Quiesce);
    }

    fn give(&self, order: Order) -> Result<(), SqsError> {
        self.orders.try_send(order).map_err(|error| match error {
            TrySendError::Full(_) => SqsError::new(
                super::error::ErrorKind::ServiceUnavailable,
                "Too many requests are waiting for the broker's disk; try again.",
            ),
            TrySendError::Disconnected(_) => stopped(),
        })
    }
}

fn stopped() -> SqsError {
    SqsError::new(
        super::error::ErrorKind::ServiceUnavailable,
        "The broker is shutting down.",
    )
}

/// Milliseconds since the epoch.
#[must_use]
pub fn wall_clock() -> Millis {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Millis::try_from(since.as_millis()).unwrap_or(Millis::MAX)
}

/// Answers that wait for the commit.
#[derive(Default)]
struct Group {
    answers: Vec<Answer>,
    receives: Vec<(Poll, Vec<Received>)>,
}

struct Worker {
    journal: Journal,
    broker: Broker,
    polls: Polls,
    flusher: Flusher,
    /// Why the state has to be read again before anything else.
    broken: Option<String>,
    /// The last write failed, and that was said.
    failing: bool,
    untidy: bool,
    tidied_at: Instant,
    /// The last write that the log was not emptied after.
    unsettled: Option<Instant>,
}

impl Worker {
    fn new(journal: Journal, broker: Broker, flusher: Flusher) -> Self {
        Self {
            journal,
            broker,
            polls: Polls::default(),
            flusher,
            broken: None,
            failing: false,
            untidy: true,
            tidied_at: Instant::now(),
            // An earlier process may have left a long log.
            unsettled: Some(Instant::now()),
        }
    }

    fn run(mut self, waiting: &Receiver<Order>) {
        loop {
            let first = match waiting.recv_timeout(self.patience()) {
                Ok(order) => Some(order),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let is_idle = first.is_none();
            let now = wall_clock();
            let mut group = Group::default();
            self.recover();
            self.broker.tick(now);
            for order in first
                .into_iter()
                .chain(waiting.try_iter().take(GROUP_LIMIT))
            {
                self.take(order, now, &mut group);
            }
            self.polls.serve(&mut self.broker, now, &mut group);
            self.finish(group);
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

    /// How long there is nothing to do unless a request comes.
    fn patience(&self) -> Duration {
        if self.untidy {
            return IDLE_AFTER;
        }
        let timer = self.broker.next_wake().map_or(LONGEST_SLEEP, |at| {
            Duration::from_millis(u64::try_from(at - wall_clock()).unwrap_or(0))
        });
        let settling = self.unsettled.map(|at| at + SETTLE_AFTER);
        let poll = [self.polls.next_deadline(), settling]
            .into_iter()
            .flatten()
            .map(|at| at.saturating_duration_since(Instant::now()))
            .min()
            .unwrap_or(LONGEST_SLEEP);
        timer.min(poll).min(LONGEST_SLEEP)
    }

    fn take(&mut self, order: Order, now: Millis, group: &mut Group) {
        match order {
            Order::Job(job) => {
                let state = match &self.broken {
                    None => Ok((&mut self.broker, now)),
                    Some(detail) => Err(SqsError::storage(detail)),
                };
                group.answers.push(job(state));
            }
            Order::Receive(poll) => match &self.broken {
                None => self.polls.take(poll, &mut self.broker, now, group),
                Some(detail) => poll.refuse(SqsError::storage(detail)),
            },
            Order::Peek(peek) => match &self.broken {
                None => peek.serve(&self.broker, &self.journal),
                Some(detail) => peek.refuse(SqsError::storage(detail)),
            },
            Order::GiveBack { queue, receipts } => self.broker.give_back(now, &queue, &receipts),
            Order::Quiesce => self.polls.quiesce(),
        }
    }

    /// Commits what the group changed, and leaves flush and answers to the flusher.
    fn finish(&mut self, group: Group) {
        match self.write(&group) {
            Ok((committed, payloads)) => {
                let receives = group.receives.into_iter().zip(payloads);
                self.flusher.give(Flush {
                    committed,
                    answers: group.answers,
                    receives: receives
                        .map(|((poll, received), payloads)| (poll, delivered(received, payloads)))
                        .collect(),
                });
            }
            Err(error) => {
                let detail = error.to_string();
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(
                        error = detail,
                        "the broker cannot write to its data folder; requests are refused until it \
                         can, and nothing that was answered is lost"
                    );
                }
                self.journal.roll_back();
                Flush {
                    committed: false,
                    answers: group.answers,
                    receives: group
                        .receives
                        .into_iter()
                        .map(|(poll, _)| (poll, Vec::new()))
                        .collect(),
                }
                .refuse(&SqsError::storage(&detail));
                self.broken = Some(detail);
            }
        }
    }

    fn write(&mut self, group: &Group) -> rusqlite::Result<(bool, Vec<Vec<Option<Payload>>>)> {
        let changes = self.broker.take_changes();
        self.untidy |= changes
            .iter()
            .any(super::state::change::Change::frees_space);
        self.journal.write(changes)?;
        let read = |received: &Received| self.journal.payload(received.seq);
        let payloads = group
            .receives
            .iter()
            .map(|(_, received)| received.iter().map(read).collect())
            .collect::<Result<_, _>>()?;
        let committed = self.journal.commit()?;
        if committed {
            self.unsettled = Some(Instant::now());
            if std::mem::take(&mut self.failing) {
                tracing::info!("the broker can write to its data folder again");
            }
        }
        Ok((committed, payloads))
    }

    /// After a failed write memory is ahead of the disk; the disk is right.
    fn recover(&mut self) {
        if let Some(detail) = self.flusher.failure() {
            // Nobody knows what is on the disk, and a later flush would not tell: only a new start
            // reads what is really there.
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

fn delivered(received: Vec<Received>, payloads: Vec<Option<Payload>>) -> Vec<Delivered> {
    let pairs = received.into_iter().zip(payloads);
    pairs
        .filter_map(|(received, payload)| payload.map(|payload| Delivered { received, payload }))
        .collect()
}
