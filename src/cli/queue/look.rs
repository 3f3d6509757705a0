//! `queue show|peek`.

use std::process::ExitCode;
use std::sync::Arc;

use serde_json::json;

use super::{PeekArgs, QueueError, ShowArgs, meant, queues_meant};
use crate::cli::output::{note, out};
use crate::cli::reason::ReasonArgs;
use crate::config::state_folder;
use crate::domain::{Command, Peek, PeekedMessage, Reply};
use crate::queue_ops::{OperationError, Operator};
use crate::sqs::{Broker, Queue, QueueSet};

pub(super) async fn show(args: ShowArgs) -> Result<ExitCode, QueueError> {
    let settings = args.common.settings()?;
    let broker = Broker::connect(&settings).await;
    let queue = broker.lookup(&meant(&settings, &args.queue)).await?;
    let detail = broker.describe(&queue).await?;
    let counts = broker.counts(&queue).await?;
    let waiting = broker.waiting(&queue).await;
    if args.common.json {
        // Plain data always serialize.
        let mut value = serde_json::to_value(&detail).unwrap_or_default();
        value["counts"] = json!(counts);
        value["waiting_by_priority"] = json!(waiting.as_ref().map(|waiting| &waiting.counts));
        value["oldest_sent_at"] = json!(waiting.and_then(|waiting| waiting.oldest));
        out!("{value}");
        return Ok(ExitCode::SUCCESS);
    }
    out!("{} {}", detail.queue, detail.url);
    out!(
        "  ~{} waiting, ~{} in flight, ~{} delayed",
        counts.visible,
        counts.in_flight,
        counts.delayed
    );
    let waiting = waiting.unwrap_or_default();
    for (priority, count) in waiting.counts {
        out!("  priority {priority}: {count} waiting");
    }
    if let Some(at) = waiting.oldest {
        out!("  the oldest was sent {at}");
    }
    match &detail.redrive {
        Some(policy) => out!(
            "  dead letters go to {} after {} receives",
            policy.queue,
            policy.max_receives
        ),
        None => out!("  it has no dead-letter queue"),
    }
    if !detail.sources.is_empty() {
        out!(
            "  it is the dead-letter queue of {}",
            detail.sources.join(", ")
        );
    }
    for (name, value) in &detail.attributes {
        out!("  {name}: {value}");
    }
    for (key, value) in &detail.tags {
        out!("  tag {key}: {value}");
    }
    for problem in &detail.unknown {
        note!("{problem}");
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn peek(args: PeekArgs) -> Result<ExitCode, QueueError> {
    let settings = args.common.settings()?;
    let broker = Broker::connect(&settings).await;
    let queues = queues_meant(&settings, &broker, &args.which).await?;
    let operator = Operator::new(broker, &QueueSet::default(), None, state_folder());
    let read_only = settings.read_only.value;
    for name in &queues {
        let queue = operator.queue(name).await?;
        let only = args.message_id.as_deref();
        let peek = looked(
            &operator,
            &queue,
            (args.limit, only),
            args.receive,
            read_only,
        )
        .await?;
        for message in &peek.messages {
            if args.common.json {
                // Plain data always serialize.
                out!("{}", serde_json::to_string(message).unwrap_or_default());
            } else {
                print(message, args.body);
            }
        }
        if peek.more {
            note!("{}: there may be more", peek.queue);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Peeks at a queue. With `receive`, messages are received if there is no other way; that raises
/// receive counts, and is recorded like every command that changes something.
pub(super) async fn looked(
    operator: &Operator,
    queue: &Arc<Queue>,
    (limit, only): (usize, Option<&str>),
    receive: bool,
    read_only: bool,
) -> Result<Peek, QueueError> {
    let command = Command::PeekByReceiving {
        queue: queue.name.clone(),
        limit,
        message_id: only.map(str::to_owned),
    };
    if receive && read_only {
        let verb = command.verb();
        let text =
            format!("{verb} was refused: receiving raises receive counts, and read_only is set");
        return Err(QueueError::Refused(text));
    }
    let peek = operator.peek(queue, limit, only, receive).await;
    let peek = peek.map_err(|problem| match problem {
        OperationError::OnlyByReceiving { queue } => QueueError::Refused(format!(
            "this broker can show the messages of {queue} only by receiving them, which raises \
             their receive counts (one at its maxReceiveCount goes to the dead-letter queue): \
             give --receive to do so"
        )),
        problem => problem.into(),
    })?;
    if peek.received {
        let reply = Reply::Done(String::from("messages were received and given back"));
        super::act::record(&command, &reply, &ReasonArgs::default()).await;
    }
    Ok(peek)
}

fn print(message: &PeekedMessage, with_body: bool) {
    let what = match &message.envelope {
        Some(task) => {
            let step = task.step_key.as_deref().unwrap_or(task.kind.task_name());
            let job = task.job.as_deref().unwrap_or("?");
            format!(
                "{step} of {job}, run {}, priority {}, attempt {}",
                task.run_id, task.priority, task.attempt
            )
        }
        None => message.problem.clone().unwrap_or_default(),
    };
    let sent = message
        .sent_at
        .map_or_else(String::new, |at| at.to_string());
    out!(
        "{} {} {}: {what}; received {} times, sent {sent}, {} bytes",
        message.queue,
        message.message_id,
        message.stage.word(),
        message.receive_count,
        message.body_bytes
    );
    if let Some(reason) = &message.reason {
        let source = message.source.as_deref().unwrap_or("?");
        out!("  dead-lettered from {source}: {reason}");
    }
    if with_body {
        out!("  {}", message.body.as_deref().unwrap_or("(too large)"));
    }
}
