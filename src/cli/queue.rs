//! `queue create|list`: the configured queues.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use thiserror::Error;

use super::block_on;
use super::connection::ConnectionArgs;
use crate::broker::{Broker, BrokerError, QueueSet};
use crate::config::{ConfigError, Partial, Settings};

/// Verbs of `queue`.
#[derive(Debug, Subcommand)]
pub enum QueueVerb {
    /// Create the queues the configuration names: base, bands, runs (idempotent)
    Create(QueueArgs),
    /// Print the configured queues with SQS's approximate counts
    List(QueueArgs),
}

/// Flags of the queue verbs.
#[derive(Debug, Args)]
pub struct QueueArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What a queue command can fail with.
#[derive(Debug, Error)]
pub enum QueueError {
    /// The settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// SQS.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The runtime.
    #[error("cannot start the asynchronous runtime: {0}; check this process's limits (ulimit -a)")]
    Runtime(#[from] std::io::Error),
}

/// Runs a queue verb.
///
/// # Errors
/// [`QueueError`]
pub fn run(verb: QueueVerb) -> Result<ExitCode, QueueError> {
    match verb {
        QueueVerb::Create(args) => block_on(create(args)),
        QueueVerb::List(args) => block_on(list(args)),
    }
}

impl QueueArgs {
    fn settings(&self) -> Result<Settings, ConfigError> {
        self.connection.settings(Partial::default(), true)
    }
}

async fn create(args: QueueArgs) -> Result<ExitCode, QueueError> {
    let settings = args.settings()?;
    let broker = Broker::connect(&settings).await;
    for queue in QueueSet::configured(&settings).all() {
        broker.create(queue).await?;
        if args.json {
            println!(
                "{}",
                serde_json::json!({"queue": queue.name, "url": queue.url})
            );
        } else {
            println!("{}", queue.url);
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(args: QueueArgs) -> Result<ExitCode, QueueError> {
    let settings = args.settings()?;
    let broker = Broker::connect(&settings).await;
    for queue in QueueSet::configured(&settings).all() {
        let counts = match broker.counts(queue).await {
            Ok(counts) => counts,
            // Only the base must exist: senders fall back to it.
            Err(error) if error.is_no_such_queue() && queue.url != settings.queue_url.value => {
                eprintln!(
                    "{}: does not exist; the base queue serves for it",
                    queue.name
                );
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if args.json {
            let line = serde_json::json!({"queue": queue.name, "url": queue.url,
                "waiting": counts.visible, "in_flight": counts.in_flight, "delayed": counts.delayed});
            println!("{line}");
        } else {
            println!(
                "{}: ~{} waiting, ~{} in flight, ~{} delayed",
                queue.name, counts.visible, counts.in_flight, counts.delayed
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}
