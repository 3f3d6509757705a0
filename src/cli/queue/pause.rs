//! `queue pause|resume`: for every worker of the deployment, through Dagster's storage.

use std::process::ExitCode;
use std::time::Duration;

use super::act::{act, finished};
use super::{PauseArgs, QueueArgs, QueueError, ResumeArgs, StorageArgs, meant};
use crate::cli::reason::ReasonArgs;
use crate::config::{Partial, Settings};
use crate::domain::{Command, OperationResult};
use crate::protocol::frames::own_name;
use crate::sqs::Broker;

pub(super) async fn pause(args: PauseArgs) -> Result<ExitCode, QueueError> {
    let command = |queue: String| Command::PauseQueue {
        queue,
        by: own_name(),
        reason: args.reason.text(),
    };
    let (storage, reason) = (&args.storage, &args.reason);
    change(
        "pause",
        &args.common,
        (storage, reason),
        &args.queue,
        command,
    )
    .await
}

pub(super) async fn resume(args: ResumeArgs) -> Result<ExitCode, QueueError> {
    let command = |queue: String| Command::ResumeQueue { queue };
    let (storage, reason) = (&args.storage, &args.reason);
    change(
        "resume",
        &args.common,
        (storage, reason),
        &args.queue,
        command,
    )
    .await
}

async fn change(
    verb: &str,
    common: &QueueArgs,
    (storage, reason): (&StorageArgs, &ReasonArgs),
    name: &str,
    command: impl Fn(String) -> Command,
) -> Result<ExitCode, QueueError> {
    let flags = Partial {
        python: storage.python.clone(),
        dagster_home: storage.dagster_home.clone(),
        ..Partial::default()
    };
    let settings: Settings = common.connection.settings(flags, true)?;
    let broker = Broker::connect(&settings).await;
    let queue = broker.lookup(&meant(&settings, name)).await?.name;
    let command = command(queue.clone());
    let done = act(&settings, &command, reason, async {
        let hosts = super::start_instance_agent(&settings).await?;
        let operator = super::operator(&settings, broker, Some(hosts.clone()));
        let reply = operator.handle(command.clone()).await;
        drop(operator);
        hosts.shutdown(Duration::ZERO).await;
        Ok(OperationResult {
            text: reply.text().to_owned(),
            failed: reply.problem().is_some(),
            ..OperationResult::default()
        })
    });
    let done = Box::pin(done).await?;
    Ok(finished(common, verb, &queue, &done))
}
