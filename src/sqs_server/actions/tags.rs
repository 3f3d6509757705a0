//! Tags of queues.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Context, Empty};
use crate::sqs_server::error::{ErrorKind, SqsError};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TagQueue {
    queue_url: Option<String>,
    tags: Option<BTreeMap<String, String>>,
}

pub async fn tag(ctx: &Context<'_>, input: TagQueue) -> Result<Empty, SqsError> {
    let queue = ctx.queue_in(input.queue_url)?;
    let tags = input.tags.filter(|tags| !tags.is_empty());
    let tags = tags.ok_or_else(|| SqsError::missing("Tags"))?;
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
    if keys.is_empty() {
        let text = "Tag keys must be between 1 and 128 characters in length.";
        return Err(SqsError::new(ErrorKind::InvalidParameterValue, text));
    }
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
