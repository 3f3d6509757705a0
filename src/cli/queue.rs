//! `queue …`: the console's queue operations, for scripts and for hosts without a worker.

mod act;
mod confirm;
mod group;
mod look;
mod pause;
mod set;

pub(super) use act::{operator, start_instance_agent};

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use thiserror::Error;

use super::block_on;
use super::connection::ConnectionArgs;
use super::reason::ReasonArgs;
use super::worker::WorkerError;
use crate::config::{ConfigError, Partial, Settings};
use crate::fork_server::ForkServerError;
use crate::queue_ops::OperationError;
use crate::sqs::{Broker, BrokerError, QueueSet};

/// Verbs of `queue`.
#[derive(Debug, Subcommand)]
pub enum QueueVerb {
    /// Create the queues the configuration names: base, bands, runs (idempotent)
    Create(CreateArgs),
    /// Print the configured queues and their dead-letter queues with SQS's approximate counts
    List(QueueArgs),
    /// Print a queue's attributes, tags, counts and dead-letter pairing
    Show(ShowArgs),
    /// Print messages and leave them where they are, secrets redacted
    Peek(PeekArgs),
    /// Have no worker of the deployment receive from a queue, also none that starts later; what runs
    /// goes on
    Pause(PauseArgs),
    /// Have the workers receive from a paused queue again
    Resume(ResumeArgs),
    /// Write a queue's waiting messages to an archive (0600), end what they ask for, delete them
    Drain(RemoveArgs),
    /// Send an archive's messages again; run again after an interruption, it goes on where it was
    Restore(RestoreArgs),
    /// End what a queue's waiting messages ask for, and delete them
    Purge(RemoveArgs),
    /// Send dead letters back to where they came from: all, some by id, or those of a group
    Redrive(RedriveArgs),
    /// Send a message again with another body, and delete the old one
    Resend(ResendArgs),
}

/// Flags of every queue verb.
#[derive(Debug, Args)]
pub struct QueueArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Flags of `queue create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    #[command(flatten)]
    common: QueueArgs,
    /// Create a dead-letter queue too, `<base>-dead`, and give it to those that have none
    #[arg(long)]
    dead_letters: bool,
    /// Receives after which SQS moves a message to it
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    max_receives: u32,
}

/// Flags of `queue show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    #[command(flatten)]
    common: QueueArgs,
    /// Queue name or URL
    queue: String,
}

/// Which queue, or every dead-letter queue of the configured ones.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct WhichQueue {
    /// Queue name or URL
    queue: Option<String>,
    /// The dead-letter queues of all configured queues
    #[arg(long)]
    dead_letters: bool,
}

/// Flags of `queue peek`.
#[derive(Debug, Args)]
pub struct PeekArgs {
    #[command(flatten)]
    common: QueueArgs,
    #[command(flatten)]
    which: WhichQueue,
    /// At most so many messages, up to 100
    #[arg(long, value_name = "N", default_value_t = 10)]
    limit: usize,
    /// Only the message of this id
    #[arg(long, value_name = "ID")]
    message_id: Option<String>,
    /// Receive the messages and give them back where the broker has no other way (any but the
    /// embedded one): this raises their receive counts, and may send them to the dead-letter queue
    #[arg(long)]
    receive: bool,
    /// Print the bodies too
    #[arg(long)]
    body: bool,
}

/// Where Dagster's storage is, which has the paused queues.
#[derive(Debug, Args)]
pub struct StorageArgs {
    /// Python with dagster, which writes to Dagster's storage [default: `$VIRTUAL_ENV`, then PATH]
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// Folder of dagster.yaml [env: `DAGSTER_HOME`]
    #[arg(long, value_name = "DIR")]
    dagster_home: Option<PathBuf>,
}

/// Flags of `queue pause`.
#[derive(Debug, Args)]
pub struct PauseArgs {
    #[command(flatten)]
    common: QueueArgs,
    #[command(flatten)]
    storage: StorageArgs,
    /// Queue name or URL
    queue: String,
    #[command(flatten)]
    reason: ReasonArgs,
}

/// Flags of `queue resume`.
#[derive(Debug, Args)]
pub struct ResumeArgs {
    #[command(flatten)]
    common: QueueArgs,
    #[command(flatten)]
    reason: ReasonArgs,
    #[command(flatten)]
    storage: StorageArgs,
    /// Queue name or URL
    queue: String,
}

/// Flags of `queue drain` and `queue purge`.
#[derive(Debug, Args)]
pub struct RemoveArgs {
    #[command(flatten)]
    common: QueueArgs,
    #[command(flatten)]
    reason: ReasonArgs,
    /// Queue name or URL
    queue: String,
    /// Leave the steps and runs waiting for their messages; restored ones are then run. A purge is
    /// SQS's own then: messages in flight and delayed go too
    #[arg(long)]
    keep_waiting: bool,
    /// Print how many messages it would be, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask for the queue's name
    #[arg(long)]
    yes: bool,
    /// Folder for the archive of a drain [default: the user's state folder]
    #[arg(long, value_name = "DIR")]
    archive_dir: Option<PathBuf>,
    /// Python with dagster, which tells Dagster's log [default: `$VIRTUAL_ENV`, then PATH]
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// Folder of dagster.yaml [env: `DAGSTER_HOME`]
    #[arg(long, value_name = "DIR")]
    dagster_home: Option<PathBuf>,
}

/// Flags of `queue restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    #[command(flatten)]
    common: QueueArgs,
    #[command(flatten)]
    reason: ReasonArgs,
    /// The archive a drain wrote
    file: PathBuf,
    /// Send all messages to this queue; otherwise each to its own
    #[arg(long, value_name = "QUEUE")]
    to: Option<String>,
    /// Send those too that an earlier restore of the file has sent
    #[arg(long)]
    again: bool,
    /// Print how many messages it would be, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// Flags of `queue redrive`.
#[derive(Debug, Args)]
pub struct RedriveArgs {
    #[command(flatten)]
    common: QueueArgs,
    #[command(flatten)]
    reason: ReasonArgs,
    #[command(flatten)]
    which: WhichQueue,
    /// Only the messages of these ids
    #[arg(long, value_name = "ID")]
    message_id: Vec<String>,
    /// All messages, as without --message-id
    #[arg(long, conflicts_with = "message_id")]
    all: bool,
    #[command(flatten)]
    group: group::GroupArgs,
    /// Send them to this queue
    #[arg(long, value_name = "QUEUE")]
    to: Option<String>,
    /// Print how many messages it would be, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// Flags of `queue resend`.
#[derive(Debug, Args)]
pub struct ResendArgs {
    #[command(flatten)]
    common: QueueArgs,
    #[command(flatten)]
    reason: ReasonArgs,
    /// Queue name or URL
    queue: String,
    /// SQS's message id
    message_id: String,
    /// File with the new body, `-` for standard input; what a peek redacted stands for the old value
    #[arg(long, value_name = "FILE")]
    body_file: PathBuf,
    /// Send it to this queue; otherwise where a dead letter came from, or the queue it is on
    #[arg(long, value_name = "QUEUE")]
    to: Option<String>,
}

/// Error of a queue command.
#[derive(Debug, Error)]
pub enum QueueError {
    /// The settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// SQS.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// A failed operation.
    #[error(transparent)]
    Operate(#[from] OperationError),
    /// The process that reports to Dagster did not start.
    #[error("{0}; or leave the steps waiting with --keep-waiting")]
    Ending(#[source] Box<WorkerError>),
    /// The runtime.
    #[error("cannot start the asynchronous runtime: {0}; check this process's limits (ulimit -a)")]
    Runtime(#[from] std::io::Error),
    /// Refused, with the reason in one sentence.
    #[error("{0}")]
    Refused(String),
}

impl From<ForkServerError> for QueueError {
    fn from(error: ForkServerError) -> Self {
        Self::Ending(Box::new(error.into()))
    }
}

impl From<WorkerError> for QueueError {
    fn from(error: WorkerError) -> Self {
        Self::Ending(Box::new(error))
    }
}

/// Runs a queue verb.
///
/// # Errors
/// [`QueueError`]
pub fn run(verb: QueueVerb) -> Result<ExitCode, QueueError> {
    match verb {
        QueueVerb::Create(args) => block_on(set::create(args)),
        QueueVerb::List(args) => block_on(set::list(args)),
        QueueVerb::Show(args) => block_on(look::show(args)),
        QueueVerb::Peek(args) => block_on(look::peek(args)),
        QueueVerb::Pause(args) => block_on(pause::pause(args)),
        QueueVerb::Resume(args) => block_on(pause::resume(args)),
        QueueVerb::Drain(args) => block_on(act::remove(args, act::Removal::Drain)),
        QueueVerb::Purge(args) => block_on(act::remove(args, act::Removal::Purge)),
        QueueVerb::Restore(args) => block_on(act::restore(args)),
        QueueVerb::Redrive(args) => block_on(act::redrive(args)),
        QueueVerb::Resend(args) => block_on(act::resend(args)),
    }
}

impl QueueArgs {
    fn settings(&self) -> Result<Settings, ConfigError> {
        self.connection.settings(Partial::default(), true)
    }
}

/// Resolves a queue's name on the command line: its own name, its name in `queues:`, or its URL.
fn meant(settings: &Settings, name: &str) -> String {
    let named = settings.queues.value.iter().find(|(key, _)| *key == name);
    named.map_or_else(|| name.to_owned(), |(_, url)| url.clone())
}

/// The given queue, or the dead-letter queues of all configured ones.
async fn queues_meant(
    settings: &Settings,
    broker: &Broker,
    which: &WhichQueue,
) -> Result<Vec<String>, QueueError> {
    if let Some(name) = &which.queue {
        return Ok(vec![meant(settings, name)]);
    }
    let mut found = Vec::new();
    for queue in QueueSet::configured(settings).all() {
        match broker.dead_letter_queue(queue).await {
            Ok(Some(url)) if !found.contains(&url) => found.push(url),
            Ok(_) => {}
            Err(error) if error.is_no_such_queue() => {}
            Err(error) => return Err(error.into()),
        }
    }
    if found.is_empty() {
        let text = "none of the configured queues has a dead-letter queue; `queue create \
                    --dead-letters` makes one";
        return Err(QueueError::Refused(text.to_owned()));
    }
    Ok(found)
}
