//! Moving messages out of dead-letter queues.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Context, in_range, required};
use crate::sqs_server::error::{ErrorKind, SqsError};
use crate::sqs_server::state::move_task::{MoveRequest, MoveTask, TaskStatus};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StartMessageMoveTask {
    source_arn: Option<String>,
    destination_arn: Option<String>,
    max_number_of_messages_per_second: Option<i64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Started {
    task_handle: String,
}

pub async fn start(ctx: &Context<'_>, input: StartMessageMoveTask) -> Result<Started, SqsError> {
    let source_arn = required(input.source_arn, "SourceArn")?;
    let name = "MaxNumberOfMessagesPerSecond";
    let reason = "You must enter a value between 1 and 500.";
    let rate = in_range(
        input.max_number_of_messages_per_second,
        name,
        1..=500,
        reason,
    )?;
    let id = Uuid::new_v4();
    let task_handle = handle_of(id, &source_arn);
    let rate = rate.and_then(|rate| u32::try_from(rate).ok());
    let request = MoveRequest {
        id,
        source: ctx.queue_of_arn(&source_arn),
        source_arn,
        destination_arn: input.destination_arn,
        rate,
    };
    ctx.engine
        .run(move |broker, now| broker.start_move_task(now, request))
        .await?;
    Ok(Started { task_handle })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CancelMessageMoveTask {
    task_handle: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Cancelled {
    approximate_number_of_messages_moved: u64,
}

pub async fn cancel(
    ctx: &Context<'_>,
    input: CancelMessageMoveTask,
) -> Result<Cancelled, SqsError> {
    let handle = required(input.task_handle, "TaskHandle")?;
    let (id, source) = task_in(&handle).ok_or_else(|| {
        SqsError::new(
            ErrorKind::InvalidParameterValue,
            "Value for parameter TaskHandle is invalid.",
        )
    })?;
    let key = ctx.queue_of_arn(&source);
    let moved = ctx
        .engine
        .run(move |broker, _| {
            broker.move_tasks(&key, &source)?;
            broker.cancel_move_task(id)
        })
        .await?;
    Ok(Cancelled {
        approximate_number_of_messages_moved: moved,
    })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListMessageMoveTasks {
    source_arn: Option<String>,
    max_results: Option<i64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Tasks {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    results: Vec<Entry>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    /// Only a running task has a handle, which is used to cancel it.
    #[serde(skip_serializing_if = "Option::is_none")]
    task_handle: Option<String>,
    status: &'static str,
    source_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_number_of_messages_per_second: Option<u32>,
    approximate_number_of_messages_moved: u64,
    approximate_number_of_messages_to_move: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_reason: Option<String>,
    started_timestamp: i64,
}

pub async fn list(ctx: &Context<'_>, input: ListMessageMoveTasks) -> Result<Tasks, SqsError> {
    let source_arn = required(input.source_arn, "SourceArn")?;
    let reason = "You must enter a value between 1 and 10.";
    let max = in_range(input.max_results, "MaxResults", 1..=10, reason)?.unwrap_or(1);
    let max = usize::try_from(max).unwrap_or(1);
    let source = ctx.queue_of_arn(&source_arn);
    let results = ctx
        .engine
        .run(move |broker, _| {
            Ok(broker
                .move_tasks(&source, &source_arn)?
                .into_iter()
                .take(max)
                .map(entry_of)
                .collect())
        })
        .await?;
    Ok(Tasks { results })
}

fn entry_of(task: &MoveTask) -> Entry {
    Entry {
        task_handle: (task.status == TaskStatus::Running)
            .then(|| handle_of(task.id, &task.source_arn)),
        status: task.status.as_str(),
        source_arn: task.source_arn.clone(),
        destination_arn: task.destination_arn.clone(),
        max_number_of_messages_per_second: task.rate,
        approximate_number_of_messages_moved: task.moved,
        approximate_number_of_messages_to_move: task.to_move,
        failure_reason: task.failure.clone(),
        started_timestamp: task.started_at,
    }
}

fn handle_of(id: Uuid, source_arn: &str) -> String {
    STANDARD.encode(format!(
        "{{\"taskId\":\"{id}\",\"sourceArn\":\"{source_arn}\"}}"
    ))
}

/// The task in a handle, and the ARN of its source.
fn task_in(handle: &str) -> Option<(Uuid, String)> {
    let json: serde_json::Value = serde_json::from_slice(&STANDARD.decode(handle).ok()?).ok()?;
    let id = Uuid::parse_str(json["taskId"].as_str()?).ok()?;
    Some((id, json["sourceArn"].as_str()?.to_owned()))
}
