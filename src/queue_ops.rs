//! An operator's operations on a queue's messages: peek, drain, purge, redrive, resend, restore,
//! explain; and the depth of queues ([`queue_depth`]).
//!
//! One [`Operator`] serves a pool's control socket, and the command line without a pool. The order
//! of the steps is such that dying between any two loses nothing: a copy is sent before the old
//! message is deleted, and a message is archived and reported to Dagster before it is deleted.

mod archive;
mod drain;
mod ending;
mod explain;
mod pause;
mod peek;
pub mod queue_depth;
mod redrive;
mod restore;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::domain::{Answer, Command, Query, Reply};
use crate::fork_server::{ForkServerError, ForkServers};
pub use crate::queue_ops::ending::{AnswerError, Ending};
use crate::sqs::{Broker, BrokerError, Leases, Queue, QueueSet};
use crate::wire::redact::NotRestored;
pub use archive::{Archive, Archived, read_archive};

/// Reason why an operation did not begin, or could not continue.
#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    /// SQS failed.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// Dagster's log could not be read or written.
    #[error(transparent)]
    Host(#[from] ForkServerError),
    /// An edited body could not be restored.
    #[error(transparent)]
    Edit(#[from] NotRestored),
    /// A peek was required not to raise receive counts.
    #[error(
        "SQS can show the messages of {queue} only by receiving them, which raises their receive \
         counts: ask for that explicitly"
    )]
    OnlyByReceiving {
        /// The queue's name.
        queue: String,
    },
    /// A problem that the operator can solve, in one sentence.
    #[error("{0}")]
    Refused(String),
}

impl From<AnswerError> for OperationError {
    fn from(error: AnswerError) -> Self {
        match error {
            AnswerError::Broker(error) => Self::Broker(error),
            AnswerError::Host(error) => Self::Host(error),
        }
    }
}

/// Carries out operators' commands on queues.
#[derive(Clone)]
pub struct Operator {
    broker: Broker,
    leases: Leases,
    /// Reports the end of a step or run; without it only operations that keep them waiting are
    /// possible.
    ending: Option<Ending>,
    /// End of the pause of the pool behind it, which then takes no tasks.
    rests_until: Option<Instant>,
    /// Queues by name; others are looked up once.
    known: Arc<Mutex<HashMap<String, Arc<Queue>>>>,
    archives: PathBuf,
}

impl Operator {
    /// Creates an operator without a pool. `hosts` report steps whose messages are removed to
    /// Dagster; `archives` is the folder for drained messages.
    #[must_use]
    pub fn new(
        broker: Broker,
        queues: &QueueSet,
        hosts: Option<ForkServers>,
        archives: PathBuf,
    ) -> Self {
        let leases = Leases::start(broker.clone());
        let ending = hosts.map(|hosts| Ending::new(broker.clone(), hosts));
        Self::with(broker, leases, ending, None, queues, archives)
    }

    /// Creates the operator of a pool. `rests_until` is the end of a pause in which it takes no
    /// tasks.
    #[must_use]
    pub fn of_pool(
        ending: Ending,
        leases: Leases,
        rests_until: Option<Instant>,
        queues: &QueueSet,
        archives: PathBuf,
    ) -> Self {
        let broker = ending.broker().clone();
        Self::with(broker, leases, Some(ending), rests_until, queues, archives)
    }

    fn with(
        broker: Broker,
        leases: Leases,
        ending: Option<Ending>,
        rests_until: Option<Instant>,
        queues: &QueueSet,
        archives: PathBuf,
    ) -> Self {
        let known = queues
            .all()
            .map(|queue| (queue.name.clone(), Arc::clone(queue)))
            .collect();
        Self {
            broker,
            leases,
            ending,
            rests_until,
            known: Arc::new(Mutex::new(known)),
            archives,
        }
    }

    /// The broker of the queues.
    #[must_use]
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// Returns a queue by its name or URL.
    ///
    /// # Errors
    /// [`BrokerError`]
    pub async fn queue(&self, name: &str) -> Result<Arc<Queue>, BrokerError> {
        let mut known = self.known.lock().await;
        if let Some(queue) = known.get(name) {
            return Ok(Arc::clone(queue));
        }
        let queue = Arc::new(self.broker.lookup(name).await?);
        known.insert(name.to_owned(), Arc::clone(&queue));
        Ok(queue)
    }

    /// Carries out a command on queues.
    pub async fn handle(&self, command: Command) -> Reply {
        let verb = command.verb();
        self.carry_out(command)
            .await
            .unwrap_or_else(|problem| Reply::Failed(format!("{verb}: {problem}")))
    }

    async fn carry_out(&self, command: Command) -> Result<Reply, OperationError> {
        Ok(match command {
            Command::PauseQueue { queue, by, reason } => {
                let queue = self.queue(&queue).await?;
                self.pause(&queue, &by, reason.as_deref()).await?
            }
            Command::ResumeQueue { queue } => {
                let queue = self.queue(&queue).await?;
                self.resume(&queue).await?
            }
            Command::DrainQueue {
                queue,
                keep_waiting,
            } => {
                let queue = self.queue(&queue).await?;
                Reply::Operation(self.drain(&queue, keep_waiting).await?)
            }
            Command::PurgeQueue {
                queue,
                keep_waiting,
            } => {
                let queue = self.queue(&queue).await?;
                Reply::Operation(self.purge(&queue, keep_waiting).await?)
            }
            Command::Query(Query::Queue { queue }) => {
                let queue = self.queue(&queue).await?;
                let detail = self.broker.describe(&queue).await?;
                Reply::Answer(Box::new(Answer::Queue(detail)))
            }
            Command::Query(Query::Explain { run_id, step_key }) => {
                let found = self.explain(&run_id, step_key.as_deref()).await?;
                Reply::Answer(Box::new(Answer::Explanation(found)))
            }
            Command::FreeSlot { run_id, step_key } => {
                Reply::Done(self.free_slot(&run_id, &step_key).await?)
            }
            Command::Query(Query::Peek {
                queue,
                limit,
                message_id,
            }) => {
                let queue = self.queue(&queue).await?;
                let only = message_id.as_deref();
                let answer = match self.peek(&queue, limit, only, false).await {
                    Ok(peek) => Answer::Peek(peek),
                    Err(OperationError::OnlyByReceiving { queue }) => {
                        Answer::OnlyByReceiving(queue)
                    }
                    Err(problem) => return Err(problem),
                };
                Reply::Answer(Box::new(answer))
            }
            Command::PeekByReceiving {
                queue,
                limit,
                message_id,
            } => {
                let queue = self.queue(&queue).await?;
                let only = message_id.as_deref();
                let peek = self.peek(&queue, limit, only, true).await?;
                Reply::Answer(Box::new(Answer::Peek(peek)))
            }
            Command::Redrive {
                queue,
                messages,
                to,
            } => {
                let queue = self.queue(&queue).await?;
                Reply::Operation(self.redrive(&queue, &messages, to.as_deref()).await?)
            }
            Command::Resend {
                queue,
                message_id,
                body,
                to,
            } => {
                let queue = self.queue(&queue).await?;
                let resent = self.resend(&queue, &message_id, &body, to.as_deref());
                Reply::Operation(resent.await?)
            }
            Command::RestoreArchive { file, to, again } => {
                let file = PathBuf::from(file);
                Reply::Operation(self.restore(&file, to.as_deref(), again).await?)
            }
            other => Reply::Failed(format!("{} is not about a queue", other.verb())),
        })
    }
}

/// Formats a count as "1 message stays" or "2 messages stay".
fn stay(count: usize) -> String {
    let ending = if count == 1 { "s" } else { "" };
    format!("{} stay{ending}", messages(count))
}

fn messages(count: usize) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} message{ending}")
}
