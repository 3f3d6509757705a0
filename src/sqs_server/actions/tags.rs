//! Tags of queues.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Context, Empty};
use crate::sqs_server::error::SqsError;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TagQueue {
    queue_url: Option<String>,
    tags: Option<BTreeMap<String, String>>,
}

pub async fn tag(ctx: &Context<'_>, input: TagQueue) -> Result<Empty, SqsError> {
    let queue = ctx.queue_in(input.queue_url)?;
    let tags = input.tags.ok_or_else(|| SqsError::missing("Tags"))?;
    ctx.engine
        .run(move |broker, _| broker.tag(&queue, tags))
        .await?;
    Ok(Empty {})
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UntagQueue {
    queue_url: Option<String>,
    tag_keys: Option<Vec<String>>,
}

pub async fn untag(ctx: &Context<'_>, input: UntagQueue) -> Result<Empty, SqsError> {
    let queue = ctx.queue_in(input.queue_url)?;
    let keys = input.tag_keys.ok_or_else(|| SqsError::missing("TagKeys"))?;
    ctx.engine
        .run(move |broker, _| broker.untag(&queue, &keys))
        .await?;
    Ok(Empty {})
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListQueueTags {
    queue_url: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Tags {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<String, String>,
}

pub async fn list(ctx: &Context<'_>, input: ListQueueTags) -> Result<Tags, SqsError> {
    let queue = ctx.queue_in(input.queue_url)?;
    let tags = ctx
        .engine
        .run(move |broker, _| Ok(broker.queue(&queue)?.tags.clone()))
        .await?;
    Ok(Tags { tags })
}
