//! SQS actions: each reads its input, runs on the engine, and writes its output.

mod attributes;
mod batch;
mod delete;
mod message_attributes;
mod move_tasks;
mod priority;
mod queues;
mod receive;
mod send;
mod tags;
mod visibility;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::account;
use super::engine::Engine;
use super::error::{ErrorKind, SqsError};
use super::guard::Reach;
use super::receipt::{Receipt, ReceiptSealer};
use super::state::settings::name_in_arn;

/// Context of an action.
#[derive(Debug)]
pub struct Context<'a> {
    /// The queues.
    pub engine: &'a Engine,
    /// Makes and reads receipt handles.
    pub sealer: &'a ReceiptSealer,
    /// The scheme and the host the client used, with its port: `http://127.0.0.1:9324`.
    pub base: &'a str,
    /// The region the client signed for.
    pub region: &'a str,
    /// The client's account.
    pub account: &'a str,
    /// Permitted extent of the request.
    pub reach: Reach,
    /// Trace of the request (`X-Amzn-Trace-Id`), copied to the messages it sends.
    pub trace: Option<&'a str>,
    /// Effect of faults on its receive.
    pub twist: Twist,
}

/// Effect of faults on a receive.
#[derive(Debug, Clone, Copy, Default)]
pub struct Twist {
    /// Received messages stay in the queue as well.
    pub duplicate: bool,
    /// It receives nothing.
    pub empty: bool,
}

/// The members of an input that name its queue.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Named {
    queue_url: Option<String>,
    queue_name: Option<String>,
    source_arn: Option<String>,
}

impl Context<'_> {
    /// A queue's URL, at the host the client used.
    #[must_use]
    pub fn url(&self, queue: &str) -> String {
        let (account, name) = account::split(queue);
        format!("{}/{account}/{name}", self.base)
    }

    /// A queue's ARN, in the region the client signed for.
    #[must_use]
    pub fn arn(&self, queue: &str) -> String {
        let (account, name) = account::split(queue);
        format!("arn:aws:sqs:{}:{account}:{name}", self.region)
    }

    /// The queue a URL names: the last part of its path, in the account before it. The host is
    /// ignored.
    fn queue_in(&self, url: Option<String>) -> Result<String, SqsError> {
        let url = required(url, "QueueUrl")?;
        let path = url
            .split(['?', '#'])
            .next()
            .unwrap_or_default()
            .trim_end_matches('/');
        let mut parts = path.rsplit('/');
        let name = parts.next().unwrap_or_default();
        let account = parts.next().unwrap_or_default();
        Ok(self.engine.accounts().locate(self.account, account, name))
    }

    /// The queue an ARN names.
    fn queue_of_arn(&self, arn: &str) -> String {
        let (account, name) = (account::in_arn(arn), name_in_arn(arn));
        self.engine.accounts().locate(self.account, account, name)
    }

    /// The queue that an action's input names, if it can be read.
    #[must_use]
    pub fn queue_of_input(&self, input: &[u8]) -> Option<String> {
        let named: Named = serde_json::from_slice(input).ok()?;
        if let Some(name) = named.queue_name {
            return Some(account::key(self.account, &name));
        }
        match named.source_arn {
            Some(arn) => Some(self.queue_of_arn(&arn)),
            None => self.queue_in(named.queue_url).ok(),
        }
    }

    fn receipt(&self, handle: Option<String>) -> Result<Held, SqsError> {
        let handle = required(handle, "ReceiptHandle")?;
        match self.sealer.open(&handle) {
            Some(receipt) => Ok(Held { receipt, handle }),
            None => Err(SqsError::new(
                ErrorKind::ReceiptHandleIsInvalid,
                format!("The input receipt handle \"{handle}\" is not a valid receipt handle."),
            )),
        }
    }
}

/// A receipt, with the handle that errors repeat.
struct Held {
    receipt: Receipt,
    handle: String,
}

/// All SQS actions.
pub const ACTIONS: [&str; 23] = [
    "AddPermission",
    "CancelMessageMoveTask",
    "ChangeMessageVisibility",
    "ChangeMessageVisibilityBatch",
    "CreateQueue",
    "DeleteMessage",
    "DeleteMessageBatch",
    "DeleteQueue",
    "GetQueueAttributes",
    "GetQueueUrl",
    "ListDeadLetterSourceQueues",
    "ListMessageMoveTasks",
    "ListQueueTags",
    "ListQueues",
    "PurgeQueue",
    "ReceiveMessage",
    "RemovePermission",
    "SendMessage",
    "SendMessageBatch",
    "SetQueueAttributes",
    "StartMessageMoveTask",
    "TagQueue",
    "UntagQueue",
];

/// The actions that change nothing. `ReceiveMessage` is not one: it hides the messages it returns.
const READING: [&str; 6] = [
    "GetQueueAttributes",
    "GetQueueUrl",
    "ListDeadLetterSourceQueues",
    "ListMessageMoveTasks",
    "ListQueueTags",
    "ListQueues",
];

/// The actions without an output.
const SILENT: [&str; 9] = [
    "AddPermission",
    "ChangeMessageVisibility",
    "DeleteMessage",
    "DeleteQueue",
    "PurgeQueue",
    "RemovePermission",
    "SetQueueAttributes",
    "TagQueue",
    "UntagQueue",
];

/// Whether the service's model has an output for an action. If so, the query protocol answers with
/// a result element, even an empty one.
#[must_use]
pub fn has_output(action: &str) -> bool {
    !SILENT.contains(&action)
}

/// Runs one action.
///
/// # Errors
/// The error of the action, `InvalidAction` for an unknown one, or `AccessDenied` if the request
/// may only read.
pub async fn dispatch(ctx: &Context<'_>, action: &str, body: &[u8]) -> Result<Bytes, SqsError> {
    if ctx.reach == Reach::Reading && !READING.contains(&action) {
        return Err(SqsError::new(
            ErrorKind::AccessDenied,
            format!(
                "The action {action} is not done by an unsigned GET request or a link, which a web \
                 page can make a browser send. Use POST, or sign the request."
            ),
        ));
    }
    match action {
        "AddPermission" => write(&attributes::add_permission(ctx, read(body)?).await?),
        "CancelMessageMoveTask" => write(&move_tasks::cancel(ctx, read(body)?).await?),
        "ChangeMessageVisibility" => write(&visibility::change(ctx, read(body)?).await?),
        "ChangeMessageVisibilityBatch" => write(&visibility::change_batch(ctx, read(body)?).await?),
        "CreateQueue" => write(&queues::create(ctx, read(body)?).await?),
        "DeleteMessage" => write(&delete::delete(ctx, read(body)?).await?),
        "DeleteMessageBatch" => write(&delete::delete_batch(ctx, read(body)?).await?),
        "DeleteQueue" => write(&queues::delete(ctx, read(body)?).await?),
        "GetQueueAttributes" => write(&attributes::get(ctx, read(body)?).await?),
        "GetQueueUrl" => write(&queues::get_url(ctx, read(body)?).await?),
        "ListDeadLetterSourceQueues" => write(&queues::list_sources(ctx, read(body)?).await?),
        "ListMessageMoveTasks" => write(&move_tasks::list(ctx, read(body)?).await?),
        "ListQueueTags" => write(&tags::list(ctx, read(body)?).await?),
        "ListQueues" => write(&queues::list(ctx, read(body)?).await?),
        "PurgeQueue" => write(&queues::purge(ctx, read(body)?).await?),
        "ReceiveMessage" => write(&receive::receive(ctx, read(body)?).await?),
        "RemovePermission" => write(&attributes::remove_permission(ctx, read(body)?).await?),
        "SendMessage" => write(&send::send(ctx, read(body)?).await?),
        "SendMessageBatch" => write(&send::send_batch(ctx, read(body)?).await?),
        "SetQueueAttributes" => write(&attributes::set(ctx, read(body)?).await?),
        "StartMessageMoveTask" => write(&move_tasks::start(ctx, read(body)?).await?),
        "TagQueue" => write(&tags::tag(ctx, read(body)?).await?),
        "UntagQueue" => write(&tags::untag(ctx, read(body)?).await?),
        unknown => Err(SqsError::unknown_action(unknown)),
    }
}

/// The output of an action that has none.
#[derive(Debug, Serialize)]
struct Empty {}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, SqsError> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body)
        .map_err(|error| SqsError::new(ErrorKind::Serialization, error.to_string()))
}

fn write<T: Serialize>(output: &T) -> Result<Bytes, SqsError> {
    serde_json::to_vec(output)
        .map(Bytes::from)
        .map_err(|error| SqsError::new(ErrorKind::InternalFailure, error.to_string()))
}

/// Returns a required member; an empty one counts as missing.
fn required(value: Option<String>, name: &str) -> Result<String, SqsError> {
    value
        .filter(|value| !value.is_empty())
        .ok_or_else(|| SqsError::missing(name))
}

/// Checks that a number, if given, lies in a range.
fn in_range(
    value: Option<i64>,
    name: &str,
    range: std::ops::RangeInclusive<i64>,
    reason: &str,
) -> Result<Option<i64>, SqsError> {
    match value {
        Some(number) if !range.contains(&number) => Err(SqsError::invalid(name, number, reason)),
        good => Ok(good),
    }
}

/// Checks an id of a group, deduplication or receive attempt: 1 to 128 letters, digits and
/// punctuation.
fn check_id(id: Option<String>, name: &str) -> Result<Option<String>, SqsError> {
    match id {
        Some(id)
            if id.is_empty() || id.len() > 128 || !id.bytes().all(|b| b.is_ascii_graphic()) =>
        {
            let reason = format!(
                "{name} can only include alphanumeric and punctuation characters. 1 to 128 in \
                 length."
            );
            Err(SqsError::invalid(name, id, &reason))
        }
        good => Ok(good),
    }
}
