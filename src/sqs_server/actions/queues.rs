//! Creating, finding, listing, purging and deleting queues.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{Context, Empty, in_range, required};
use crate::sqs_server::account;
use crate::sqs_server::error::{ErrorKind, SqsError};

/// Maximum number of names in one page of a listing.
const PAGE: i64 = 1_000;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateQueue {
    queue_name: Option<String>,
    attributes: Option<BTreeMap<String, String>>,
    #[serde(alias = "tags")]
    tags: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct QueueUrl {
    queue_url: String,
}

pub async fn create(ctx: &Context<'_>, input: CreateQueue) -> Result<QueueUrl, SqsError> {
    let name = account::key(ctx.account, &required(input.queue_name, "QueueName")?);
    let queue_url = ctx.url(&name);
    let attributes = input.attributes.unwrap_or_default();
    let tags = input.tags.unwrap_or_default();
    ctx.engine
        .run(move |broker, now| broker.create_queue(now, &name, attributes, tags))
        .await?;
    Ok(QueueUrl { queue_url })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetQueueUrl {
    queue_name: Option<String>,
    #[serde(rename = "QueueOwnerAWSAccountId")]
    owner: Option<String>,
}

pub async fn get_url(ctx: &Context<'_>, input: GetQueueUrl) -> Result<QueueUrl, SqsError> {
    // Recorded: not MissingParameter, as for other members.
    let name = input.queue_name.unwrap_or_default();
    if name.is_empty() {
        let text = "Value for parameter QueueName is invalid. Reason: Must specify a queue name.";
        return Err(SqsError::new(ErrorKind::InvalidParameterValue, text));
    }
    let owner = input.owner.unwrap_or_default();
    let name = ctx.engine.accounts().locate(ctx.account, &owner, &name);
    let queue_url = ctx.url(&name);
    ctx.engine
        .run(move |broker, _| broker.queue(&name).map(drop))
        .await?;
    Ok(QueueUrl { queue_url })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct OneQueue {
    queue_url: Option<String>,
}

pub async fn delete(ctx: &Context<'_>, input: OneQueue) -> Result<Empty, SqsError> {
    let queue = ctx.queue_in(input.queue_url)?;
    ctx.engine
        .run(move |broker, now| broker.delete_queue(now, &queue))
        .await?;
    Ok(Empty {})
}

pub async fn purge(ctx: &Context<'_>, input: OneQueue) -> Result<Empty, SqsError> {
    let queue = ctx.queue_in(input.queue_url)?;
    ctx.engine
        .run(move |broker, now| broker.purge(now, &queue))
        .await?;
    Ok(Empty {})
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListQueues {
    queue_name_prefix: Option<String>,
    next_token: Option<String>,
    max_results: Option<i64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct QueueUrls {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    queue_urls: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

pub async fn list(ctx: &Context<'_>, input: ListQueues) -> Result<QueueUrls, SqsError> {
    let prefix = input.queue_name_prefix.unwrap_or_default();
    let owner = ctx.account.to_owned();
    let names = ctx
        .engine
        .run(move |broker, _| {
            let keys = broker.queues().map(|queue| queue.name.to_string());
            let is_listed = |key: &String| {
                let (account, name) = account::split(key);
                account == owner && name.starts_with(&prefix)
            };
            Ok(keys.filter(is_listed).collect())
        })
        .await?;
    let (names, next_token) = page(names, input.max_results, input.next_token)?;
    let queue_urls = names.iter().map(|name| ctx.url(name)).collect();
    Ok(QueueUrls {
        queue_urls,
        next_token,
    })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListSources {
    queue_url: Option<String>,
    next_token: Option<String>,
    max_results: Option<i64>,
}

#[derive(Debug, Serialize)]
pub struct SourceUrls {
    #[serde(rename = "queueUrls")]
    queue_urls: Vec<String>,
    #[serde(rename = "NextToken", skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

pub async fn list_sources(ctx: &Context<'_>, input: ListSources) -> Result<SourceUrls, SqsError> {
    let queue = ctx.queue_in(input.queue_url)?;
    let names = ctx
        .engine
        .run(move |broker, _| {
            broker.queue(&queue)?;
            Ok(broker
                .sources_of(&queue)
                .iter()
                .map(|queue| queue.name.to_string())
                .collect())
        })
        .await?;
    let (names, next_token) = page(names, input.max_results, input.next_token)?;
    let queue_urls = names.iter().map(|name| ctx.url(name)).collect();
    Ok(SourceUrls {
        queue_urls,
        next_token,
    })
}

/// One page of sorted names. The token is the last name of the previous page; only clients that
/// request pages get one.
fn page(
    names: Vec<String>,
    max: Option<i64>,
    token: Option<String>,
) -> Result<(Vec<String>, Option<String>), SqsError> {
    let reason = "MaxResults must be between 1 and 1000.";
    let max_given = in_range(max, "MaxResults", 1..=PAGE, reason)?;
    let size = usize::try_from(max_given.unwrap_or(PAGE)).unwrap_or_default();
    let after = match token.filter(|token| !token.is_empty()) {
        None => String::new(),
        Some(token) => STANDARD
            .decode(&token)
            .ok()
            .and_then(|name| String::from_utf8(name).ok())
            .ok_or_else(|| {
                SqsError::invalid("NextToken", &token, "It is no token of a listing.")
            })?,
    };
    let mut rest = names.into_iter().filter(|name| *name > after);
    let names: Vec<_> = rest.by_ref().take(size).collect();
    let more = max_given.is_some() && rest.next().is_some();
    let next = names
        .last()
        .filter(|_| more)
        .map(|name| STANDARD.encode(name));
    Ok((names, next))
}
