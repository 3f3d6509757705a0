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
    /// ignored. Without a URL there is no such queue (recorded).
    fn queue_in(&self, url: Option<String>) -> Result<String, SqsError> {
        let url = url.unwrap_or_default();
        if url.is_empty() {
            return Err(SqsError::no_such_queue());
        }
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

/// Whether an action changes anything.
enum Effect {
    Reads,
    Changes,
}

/// Whether the service's model has an output for an action.
enum Output {
    Answers,
    Silent,
}

/// Makes the list of actions, their properties and their dispatch from one row each.
macro_rules! actions {
    ($($name:literal: $effect:ident, $output:ident => $handler:path;)+) => {
        /// The names of all SQS actions.
        pub const ACTIONS: &[&str] = &[$($name,)+];

        fn properties(action: &str) -> Option<(Effect, Output)> {
            match action {
                $($name => Some((Effect::$effect, Output::$output)),)+
                _ => None,
            }
        }

        async fn run(ctx: &Context<'_>, action: &str, body: &[u8]) -> Result<Bytes, SqsError> {
            match action {
                $($name => write(&$handler(ctx, read(body)?).await?),)+
                unknown => Err(SqsError::unknown_action(unknown)),
            }
        }
    };
}

// `ReceiveMessage` changes something: it hides the messages it returns.
actions! {
    "AddPermission": Changes, Silent => attributes::add_permission;
    "CancelMessageMoveTask": Changes, Answers => move_tasks::cancel;
    "ChangeMessageVisibility": Changes, Silent => visibility::change;
    "ChangeMessageVisibilityBatch": Changes, Answers => visibility::change_batch;
    "CreateQueue": Changes, Answers => queues::create;
    "DeleteMessage": Changes, Silent => delete::delete;
    "DeleteMessageBatch": Changes, Answers => delete::delete_batch;
    "DeleteQueue": Changes, Silent => queues::delete;
    "GetQueueAttributes": Reads, Answers => attributes::get;
    "GetQueueUrl": Reads, Answers => queues::get_url;
    "ListDeadLetterSourceQueues": Reads, Answers => queues::list_sources;
    "ListMessageMoveTasks": Reads, Answers => move_tasks::list;
    "ListQueueTags": Reads, Answers => tags::list;
    "ListQueues": Reads, Answers => queues::list;
    "PurgeQueue": Changes, Silent => queues::purge;
    "ReceiveMessage": Changes, Answers => receive::receive;
    "RemovePermission": Changes, Silent => attributes::remove_permission;
    "SendMessage": Changes, Answers => send::send;
    "SendMessageBatch": Changes, Answers => send::send_batch;
    "SetQueueAttributes": Changes, Silent => attributes::set;
    "StartMessageMoveTask": Changes, Answers => move_tasks::start;
    "TagQueue": Changes, Silent => tags::tag;
    "UntagQueue": Changes, Silent => tags::untag;
}

/// Whether the service's model has an output for an action. If so, the query protocol answers with
/// a result element, even an empty one.
#[must_use]
pub fn has_output(action: &str) -> bool {
    !matches!(properties(action), Some((_, Output::Silent)))
}

/// Runs one action.
///
/// # Errors
/// The error of the action, `InvalidAction` for an unknown one, or `AccessDenied` if the request
/// may only read.
pub async fn dispatch(ctx: &Context<'_>, action: &str, body: &[u8]) -> Result<Bytes, SqsError> {
    let only_reads = matches!(properties(action), Some((Effect::Reads, _)));
    if ctx.reach == Reach::Reading && !only_reads {
        return Err(SqsError::new(
            ErrorKind::AccessDenied,
            format!(
                "The action {action} is not done by an unsigned GET request or a link, which a web \
                 page can make a browser send. Use POST, or sign the request."
            ),
        ));
    }
    run(ctx, action, body).await
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
