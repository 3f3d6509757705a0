//! Attributes of queues, and the permissions kept in one of them.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Context, Empty, required};
use crate::sqs_server::error::{ErrorKind, SqsError};
use crate::sqs_server::state::queue::Queue;
use crate::sqs_server::state::settings::is_known;

/// Maximum number of actions that a statement of a policy may name.
const MAX_ACTIONS: usize = 7;
/// Maximum length of a statement's label.
const MAX_LABEL: usize = 80;
/// The actions that other accounts can be allowed to perform.
const SHARED: [&str; 9] = [
    "*",
    "ChangeMessageVisibility",
    "DeleteMessage",
    "GetQueueAttributes",
    "GetQueueUrl",
    "ListDeadLetterSourceQueues",
    "PurgeQueue",
    "ReceiveMessage",
    "SendMessage",
];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetQueueAttributes {
    queue_url: Option<String>,
    attribute_names: Option<Vec<String>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Attributes {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<String, String>,
}

pub async fn get(ctx: &Context<'_>, input: GetQueueAttributes) -> Result<Attributes, SqsError> {
    let queue = ctx.queue_in(input.queue_url)?;
    let names = input.attribute_names.unwrap_or_default();
    let arn = ctx.arn(&queue);
    let mut attributes = ctx
        .engine
        .run(move |broker, _| {
            let queue = broker.queue(&queue)?;
            if let Some(unknown) = names.iter().find(|name| !is_known(name)) {
                return Err(SqsError::unknown_attribute(unknown));
            }
            let requested: HashSet<String> = names.into_iter().collect();
            let mut all = shown(queue);
            if !requested.contains("All") {
                all.retain(|name, _| requested.contains(name));
            }
            Ok(all)
        })
        .await?;
    if let Some(value) = attributes.get_mut("QueueArn") {
        *value = arn;
    }
    Ok(Attributes { attributes })
}

/// A queue's attributes except its ARN, which the caller adds.
fn shown(queue: &Queue) -> BTreeMap<String, String> {
    let counts = queue.counts();
    let computed = [
        ("ApproximateNumberOfMessages", counts.waiting.to_string()),
        (
            "ApproximateNumberOfMessagesNotVisible",
            counts.in_flight.to_string(),
        ),
        (
            "ApproximateNumberOfMessagesDelayed",
            counts.delayed.to_string(),
        ),
        ("CreatedTimestamp", (queue.created_at / 1_000).to_string()),
        (
            "LastModifiedTimestamp",
            (queue.modified_at / 1_000).to_string(),
        ),
        ("QueueArn", String::new()),
    ];
    let set = queue
        .settings
        .shown()
        .into_iter()
        .map(|(name, value)| (name, value.to_owned()));
    computed
        .into_iter()
        .chain(set)
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SetQueueAttributes {
    queue_url: Option<String>,
    attributes: Option<BTreeMap<String, String>>,
}

pub async fn set(ctx: &Context<'_>, input: SetQueueAttributes) -> Result<Empty, SqsError> {
    let queue = ctx.queue_in(input.queue_url)?;
    let attributes = input
        .attributes
        .ok_or_else(|| SqsError::missing("Attribute.Name"))?;
    ctx.engine
        .run(move |broker, now| broker.set_attributes(now, &queue, attributes))
        .await?;
    Ok(Empty {})
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AddPermission {
    queue_url: Option<String>,
    label: Option<String>,
    #[serde(rename = "AWSAccountIds")]
    aws_account_ids: Option<Vec<String>>,
    actions: Option<Vec<String>>,
}

pub async fn add_permission(ctx: &Context<'_>, input: AddPermission) -> Result<Empty, SqsError> {
    let queue = ctx.queue_in(input.queue_url)?;
    let label = required(input.label, "Label")?;
    let accounts = input
        .aws_account_ids
        .filter(|accounts| !accounts.is_empty())
        .ok_or_else(|| SqsError::missing("AWSAccountIds"))?;
    let is_in_label = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if label.len() > MAX_LABEL || !label.bytes().all(is_in_label) {
        let reason = "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 \
                      in length.";
        return Err(SqsError::invalid("Label", label, reason));
    }
    let is_account =
        |id: &str| id == "*" || (id.len() == 12 && id.bytes().all(|b| b.is_ascii_digit()));
    if !accounts.iter().all(|id| is_account(id)) {
        let given = format!("[{}]", accounts.join(", "));
        return Err(SqsError::invalid("PrincipalId", given, "Unable to verify."));
    }
    let actions = input
        .actions
        .filter(|actions| !actions.is_empty())
        .ok_or_else(|| SqsError::missing("Actions"))?;
    if actions.len() > MAX_ACTIONS {
        return Err(SqsError::new(
            ErrorKind::OverLimit,
            format!(
                "{} Actions were found, maximum allowed is {MAX_ACTIONS}.",
                actions.len()
            ),
        ));
    }
    if let Some(owners) = actions.iter().find(|name| !SHARED.contains(&name.as_str())) {
        let reason = "Only the queue owner is allowed to invoke this action.";
        let action = format!("SQS:{owners}");
        return Err(SqsError::invalid("ActionName", action, reason));
    }
    let arn = ctx.arn(&queue);
    let principals: Vec<_> = accounts
        .iter()
        .map(|account| format!("arn:aws:iam::{account}:root"))
        .collect();
    let actions: Vec<_> = actions
        .iter()
        .map(|action| format!("SQS:{action}"))
        .collect();
    let statement = json!({
        "Sid": label,
        "Effect": "Allow",
        "Principal": {"AWS": one_or_all(principals)},
        "Action": one_or_all(actions),
        "Resource": arn,
    });
    change_policy(ctx, queue, move |policy| {
        if policy.is_null() {
            *policy = json!({
                "Version": "2008-10-17",
                "Id": format!("{arn}/SQSDefaultPolicy"),
                "Statement": [],
            });
        }
        let mut statements = take_statements(policy);
        if statements
            .iter()
            .any(|statement| statement["Sid"] == label.as_str())
        {
            return Err(SqsError::invalid("Label", &label, "Already exists."));
        }
        statements.push(statement);
        policy["Statement"] = Value::from(statements);
        Ok(())
    })
    .await
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RemovePermission {
    queue_url: Option<String>,
    label: Option<String>,
}

pub async fn remove_permission(
    ctx: &Context<'_>,
    input: RemovePermission,
) -> Result<Empty, SqsError> {
    let queue = ctx.queue_in(input.queue_url)?;
    let label = required(input.label, "Label")?;
    change_policy(ctx, queue, move |policy| {
        let missing = || SqsError::invalid("Label", &label, "can't find label.");
        let mut statements = take_statements(policy);
        let before = statements.len();
        statements.retain(|statement| statement["Sid"] != label.as_str());
        if statements.len() == before {
            return Err(missing());
        }
        if statements.is_empty() {
            *policy = Value::Null;
        } else {
            policy["Statement"] = Value::from(statements);
        }
        Ok(())
    })
    .await
}

/// Changes the `Policy` attribute; it is null when there is none.
async fn change_policy(
    ctx: &Context<'_>,
    queue: String,
    change: impl FnOnce(&mut Value) -> Result<(), SqsError> + Send + 'static,
) -> Result<Empty, SqsError> {
    ctx.engine
        .run(move |broker, now| {
            let text = broker.queue(&queue)?.settings.raw().get("Policy");
            let mut policy = text
                .and_then(|text| serde_json::from_str(text).ok())
                .filter(Value::is_object)
                .unwrap_or(Value::Null);
            change(&mut policy)?;
            let text = if policy.is_null() {
                String::new()
            } else {
                policy.to_string()
            };
            let attributes = BTreeMap::from([("Policy".to_owned(), text)]);
            broker.set_attributes(now, &queue, attributes)
        })
        .await?;
    Ok(Empty {})
}

/// Takes the statements out of a policy. They may have been written as one without a list, or left
/// out.
fn take_statements(policy: &mut Value) -> Vec<Value> {
    match policy.get_mut("Statement").map(Value::take) {
        Some(Value::Array(statements)) => statements,
        None | Some(Value::Null) => Vec::new(),
        Some(statement) => vec![statement],
    }
}

fn one_or_all(mut values: Vec<String>) -> Value {
    if values.len() == 1 {
        Value::from(values.remove(0))
    } else {
        Value::from(values)
    }
}
