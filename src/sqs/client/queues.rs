//! Resolving the configured queues, and creating missing ones.

use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_sqs::types::QueueAttributeName;
use tracing::{info, warn};

use super::Broker;
use crate::domain::RedrivePolicy;
use crate::sqs::error::BrokerError;
use crate::sqs::queue_set::{Queue, QueueSet};

impl Broker {
    /// Determines which of the configured queues exist. On the embedded broker it creates missing
    /// ones, because there is no administrator to do it.
    ///
    /// # Errors
    /// The first queue is missing, or SQS cannot be queried. A missing band, named or runs queue
    /// only causes a warning: senders fall back to the base queue.
    pub async fn resolve(&self, configured: QueueSet) -> Result<QueueSet, BrokerError> {
        let mut resolved = QueueSet {
            others: configured.others,
            ..QueueSet::default()
        };
        let mut first = None;
        for queue in configured.steps {
            match self.resolve_one(&queue).await {
                Ok(found) => resolved.steps.push(Arc::new(found)),
                Err(error) if error.is_no_such_queue() && !is_base(&queue) => {
                    warn!("{error}; going on without it until it exists");
                    resolved.missing.push(queue);
                    first = first.or(Some(error));
                }
                Err(error) => return Err(error),
            }
        }
        if let (true, Some(error)) = (resolved.steps.is_empty(), first) {
            return Err(error);
        }
        if let Some(queue) = configured.runs {
            match self.resolve_one(&queue).await {
                Ok(found) => resolved.runs = Some(Arc::new(found)),
                Err(error) if error.is_no_such_queue() => {
                    warn!(
                        "there is no queue {}: runs share the base queue until it exists",
                        queue.name
                    );
                    resolved.missing.push(queue);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(resolved)
    }

    /// Looks for a set's missing queues again, and inserts those that exist by now.
    pub async fn find_missing(&self, known: &QueueSet) -> QueueSet {
        let mut set = known.clone();
        set.missing.clear();
        for queue in &known.missing {
            match self.resolve_one(queue).await {
                Ok(found) => {
                    info!("the queue {} exists now and is served", found.name);
                    set.put(Arc::new(found));
                }
                Err(error) => {
                    if !error.is_no_such_queue() {
                        warn!("{error}; trying again");
                    }
                    set.missing.push(Arc::clone(queue));
                }
            }
        }
        set
    }

    async fn resolve_one(&self, queue: &Queue) -> Result<Queue, BrokerError> {
        let first = self.redrive_policy(queue).await;
        let policy = match first {
            Err(error) if self.embedded && error.is_no_such_queue() => {
                self.create(queue).await?;
                self.redrive_policy(queue).await?
            }
            other => other?,
        };
        let mut queue = queue.clone();
        queue.dead_letter_url = self.dead_letter_url(policy.as_deref()).await;
        let policy = policy.as_deref().and_then(redrive_policy);
        queue.max_receives = policy.map(|policy| policy.max_receives).filter(|&n| n > 0);
        Ok(queue)
    }

    /// A queue's dead-letter queue as configured now: it may have been set since the start.
    ///
    /// # Errors
    /// [`BrokerError`]
    pub async fn dead_letter_queue(&self, queue: &Queue) -> Result<Option<String>, BrokerError> {
        let policy = self.redrive_policy(queue).await?;
        Ok(self.dead_letter_url(policy.as_deref()).await)
    }

    async fn dead_letter_url(&self, policy: Option<&str>) -> Option<String> {
        let name = policy.and_then(redrive_policy)?.queue;
        self.url_of_dead_letters(&name).await
    }

    /// The URL of a dead-letter queue by its name; `None`, with a warning, if it cannot be
    /// determined.
    pub async fn url_of_dead_letters(&self, name: &str) -> Option<String> {
        match self.client.get_queue_url().queue_name(name).send().await {
            Ok(found) => found.queue_url,
            Err(error) => {
                let attempt = format!("look up the dead-letter queue {name}");
                warn!("{}", BrokerError::new(&attempt, &self.endpoint, &error));
                None
            }
        }
    }

    async fn redrive_policy(&self, queue: &Queue) -> Result<Option<String>, BrokerError> {
        let attempt = format!("use the queue {}", queue.url);
        let name = QueueAttributeName::RedrivePolicy;
        let names = std::slice::from_ref(&name);
        let mut found = self.attributes_of(queue, names, &attempt).await?;
        Ok(found.remove(&name))
    }

    /// Some attributes of a queue; `attempt` describes the action in an error.
    pub(super) async fn attributes_of(
        &self,
        queue: &Queue,
        names: &[QueueAttributeName],
        attempt: &str,
    ) -> Result<HashMap<QueueAttributeName, String>, BrokerError> {
        let call = self.client.get_queue_attributes().queue_url(&queue.url);
        let call = call.set_attribute_names(Some(names.to_vec()));
        let answer = call.send().await.map_err(|e| self.error(attempt, &e))?;
        Ok(answer.attributes.unwrap_or_default())
    }

    /// Sets a queue's dead-letter queue, and the number of receives after which SQS moves a message
    /// there.
    ///
    /// # Errors
    /// [`BrokerError`]
    pub async fn set_dead_letter_queue(
        &self,
        queue: &Queue,
        dead: &Queue,
        max_receives: u32,
    ) -> Result<(), BrokerError> {
        let policy = serde_json::json!({
            "deadLetterTargetArn": self.arn(dead).await?,
            "maxReceiveCount": max_receives,
        });
        let attempt = format!("make {} the dead-letter queue of {}", dead.name, queue.name);
        self.client
            .set_queue_attributes()
            .queue_url(&queue.url)
            .attributes(QueueAttributeName::RedrivePolicy, policy.to_string())
            .send()
            .await
            .map_err(|e| self.error(&attempt, &e))?;
        Ok(())
    }

    /// Creates a queue by its name, with AWS's defaults. Idempotent.
    ///
    /// # Errors
    /// [`BrokerError`]
    pub async fn create(&self, queue: &Queue) -> Result<(), BrokerError> {
        let mut request = self.client.create_queue().queue_name(&queue.name);
        if queue.is_fifo() {
            request = request.attributes(QueueAttributeName::FifoQueue, "true");
        }
        let attempt = format!("create the queue {}", queue.name);
        request.send().await.map_err(|e| self.error(&attempt, &e))?;
        Ok(())
    }
}

fn is_base(queue: &Queue) -> bool {
    queue.role == crate::domain::QueueRole::Base
}

/// Parses a redrive policy: the queue at the end of its `deadLetterTargetArn`, and the maximum
/// number of receives. Old queues store the number as a string.
pub(super) fn redrive_policy(policy: &str) -> Option<RedrivePolicy> {
    let policy: serde_json::Value = serde_json::from_str(policy).ok()?;
    let queue = policy
        .get("deadLetterTargetArn")?
        .as_str()?
        .rsplit(':')
        .next()?;
    let max = policy.get("maxReceiveCount");
    let max = max.and_then(|max| max.as_u64().or_else(|| max.as_str()?.parse().ok()));
    Some(RedrivePolicy {
        queue: queue.to_owned(),
        max_receives: max.and_then(|max| u32::try_from(max).ok()).unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dead_letter_queue_is_read_from_the_redrive_policy() {
        let policy =
            r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:1:dead","maxReceiveCount":5}"#;
        let read = redrive_policy(policy).map(|policy| (policy.queue, policy.max_receives));
        assert_eq!(read, Some((String::from("dead"), 5)));
        assert_eq!(redrive_policy("{}"), None);
    }
}
