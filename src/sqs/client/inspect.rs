//! Inspecting queues and messages: attributes, tags, dead-letter pairing, peeks.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_sqs::types::QueueAttributeName;
use jiff::Timestamp;

use super::queues::redrive_policy;
use super::{Broker, Refused};
use crate::domain::secrets::{REDACTED, names_a_secret};
use crate::domain::{MAX_PEEKED_BYTES, QueueDetail, QueueRole};
use crate::sqs::delivery::Delivery;
use crate::sqs::embedded;
use crate::sqs::error::{BrokerError, shown};
use crate::sqs::queue_set::{Queue, queue_name};

/// Visibility timeout of a peeked message, in case this process dies before it gives the message
/// back.
const LOOKED_AT: Duration = Duration::from_secs(30);

/// Visibility timeout of messages during a search, and the time limit of the search: less, so that
/// no message returns meanwhile and is counted twice.
const SEARCHED: Duration = Duration::from_mins(3);
const SEARCH_FOR: Duration = Duration::from_mins(2);

/// Result of a peek.
#[derive(Debug)]
pub struct Looked {
    /// The messages; from the embedded broker without receipt handles.
    pub messages: Vec<Delivery>,
    /// Whether the messages were received and given back.
    pub received: bool,
    /// Whether there may be more.
    pub more: bool,
}

impl Broker {
    /// Looks up a queue by its name or URL; its role is unknown.
    ///
    /// # Errors
    /// [`BrokerError`]
    pub async fn lookup(&self, name: &str) -> Result<Queue, BrokerError> {
        if name.contains("://") {
            return Ok(Queue::new(name.to_owned(), QueueRole::Base, 0));
        }
        let request = self.client.get_queue_url().queue_name(name);
        let attempt = format!("look up the queue {name}");
        let found = request.send().await.map_err(|e| self.error(&attempt, &e))?;
        let url = found.queue_url.unwrap_or_default();
        Ok(Queue::new(url, QueueRole::Base, 0))
    }

    /// The names of the queues whose dead-letter queue is this one.
    ///
    /// # Errors
    /// [`BrokerError`]
    pub async fn dead_letter_sources(&self, queue: &Queue) -> Result<Vec<String>, BrokerError> {
        let attempt = format!("list the queues whose dead letters go to {}", queue.name);
        let mut names = Vec::new();
        let mut next = None;
        loop {
            let request = self
                .client
                .list_dead_letter_source_queues()
                .queue_url(&queue.url)
                .max_results(1000)
                .set_next_token(next);
            let answer = request.send().await.map_err(|e| self.error(&attempt, &e))?;
            names.extend(answer.queue_urls.iter().map(|url| queue_name(url)));
            next = answer.next_token;
            if next.is_none() {
                return Ok(names);
            }
        }
    }

    /// A queue's attributes, tags and pairing. Parts without permission are reported as unknown.
    ///
    /// # Errors
    /// [`BrokerError`] if its attributes cannot be read.
    pub async fn describe(&self, queue: &Queue) -> Result<QueueDetail, BrokerError> {
        let attempt = format!("read the attributes of {}", queue.name);
        let mut attributes: Vec<(String, String)> = self
            .attributes_of(queue, &[QueueAttributeName::All], &attempt)
            .await?
            .into_iter()
            .map(|(name, value)| (name.as_str().to_owned(), value))
            .collect();
        attributes.sort();
        let policy = attributes
            .iter()
            .find(|(name, _)| name == QueueAttributeName::RedrivePolicy.as_str())
            .and_then(|(_, policy)| redrive_policy(policy));
        let mut unknown = Vec::new();
        let sources = self.dead_letter_sources(queue).await;
        let sources = sources.unwrap_or_else(|problem| {
            unknown.push(problem.to_string());
            Vec::new()
        });
        let request = self.client.list_queue_tags().queue_url(&queue.url);
        let mut tags: Vec<(String, String)> = match request.send().await {
            Ok(answer) => answer.tags.unwrap_or_default().into_iter().collect(),
            Err(error) => {
                let attempt = format!("read the tags of {}", queue.name);
                unknown.push(self.error(&attempt, &error).to_string());
                Vec::new()
            }
        };
        tags.sort();
        Ok(QueueDetail {
            queue: queue.name.clone(),
            url: shown(&queue.url),
            at: Timestamp::now(),
            attributes: without_secrets(attributes),
            tags: without_secrets(tags),
            redrive: policy,
            sources,
            unknown,
        })
    }

    /// Shows messages without receiving them; `None` if the broker does not support it. With
    /// `only`, shows the message of that id.
    ///
    /// # Errors
    /// [`BrokerError`]
    pub async fn peek(
        &self,
        queue: &Arc<Queue>,
        limit: usize,
        only: Option<&str>,
    ) -> Result<Option<Looked>, BrokerError> {
        if !self.embedded {
            return Ok(None);
        }
        let mut looked = Looked {
            messages: Vec::new(),
            received: false,
            more: false,
        };
        let mut after = None;
        let mut bytes = 0;
        loop {
            let attempt = format!("look at the messages of {}", queue.name);
            let page = embedded::peek(&self.http, &self.endpoint, queue, after)
                .await
                .map_err(|reason| BrokerError::Unreachable {
                    attempt,
                    endpoint: shown(&self.endpoint),
                    reason: shown(&reason),
                })?;
            let Some(page) = page else { return Ok(None) };
            for delivery in page.messages {
                if looked.messages.len() >= limit || bytes >= MAX_PEEKED_BYTES {
                    looked.more = true;
                    return Ok(Some(looked));
                }
                if only.is_none_or(|id| id == delivery.message_id) {
                    bytes += delivery.body.len();
                    looked.messages.push(delivery);
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(Some(looked));
            }
        }
    }

    /// Shows messages by receiving them and giving them back, which increases their receive counts.
    ///
    /// # Errors
    /// [`BrokerError`]; received messages return by themselves within half a minute.
    pub async fn peek_by_receiving(
        &self,
        queue: &Arc<Queue>,
        limit: usize,
        only: Option<&str>,
    ) -> Result<Looked, BrokerError> {
        let mut all: Vec<Delivery> = Vec::new();
        let is_selected = |delivery: &Delivery| only.is_none_or(|id| id == delivery.message_id);
        let mut bytes = 0;
        let deadline = Instant::now() + LOOKED_AT / 2;
        let result = loop {
            let found = all.iter().filter(|delivery| is_selected(delivery)).count();
            let enough = found >= only.map_or(limit, |_| 1) || bytes >= MAX_PEEKED_BYTES;
            if enough || Instant::now() > deadline {
                break Ok(true);
            }
            let max = only.map_or(limit - found, |_| 10);
            match self
                .receive_for(queue, max, Duration::from_secs(1), LOOKED_AT)
                .await
            {
                Ok(batch) if batch.is_empty() => break Ok(false),
                Ok(batch) => {
                    let sizes = batch.iter().filter(|delivery| is_selected(delivery));
                    bytes += sizes.map(|delivery| delivery.body.len()).sum::<usize>();
                    all.extend(batch);
                }
                Err(problem) => break Err(problem),
            }
        };
        self.release(queue, &all).await?;
        let more = result?;
        all.retain(is_selected);
        Ok(Looked {
            messages: all,
            received: true,
            more,
        })
    }

    /// Receives messages until those with these ids are found, and gives the others back. A message
    /// that is in flight, delayed, or behind others of its FIFO group is not found.
    ///
    /// # Errors
    /// [`BrokerError`]; received messages return by themselves within three minutes.
    pub async fn find(
        &self,
        queue: &Arc<Queue>,
        ids: &[String],
    ) -> Result<Vec<Delivery>, BrokerError> {
        let mut missing: HashSet<&str> = ids.iter().map(String::as_str).collect();
        let (mut found, mut others) = (Vec::new(), Vec::new());
        let deadline = Instant::now() + SEARCH_FOR;
        let mut result = Ok(());
        while !missing.is_empty() && Instant::now() < deadline {
            let second = Duration::from_secs(1);
            match self.receive_for(queue, 10, second, SEARCHED).await {
                Ok(batch) if batch.is_empty() => break,
                Ok(batch) => {
                    for delivery in batch {
                        if missing.remove(delivery.message_id.as_str()) {
                            found.push(delivery);
                        } else {
                            others.push(delivery);
                        }
                    }
                }
                Err(problem) => {
                    others.append(&mut found);
                    result = Err(problem);
                    break;
                }
            }
        }
        self.release(queue, &others).await?;
        result.map(|()| found)
    }

    /// Makes messages receivable again at once.
    ///
    /// # Errors
    /// [`BrokerError`]
    pub async fn release(&self, queue: &Queue, deliveries: &[Delivery]) -> Result<(), BrokerError> {
        let handles: Vec<String> = deliveries
            .iter()
            .map(|delivery| delivery.receipt.handle())
            .collect();
        for batch in handles.chunks(10) {
            for Refused { reason, .. } in self.extend(queue, batch, Duration::ZERO).await? {
                tracing::warn!(
                    "a message of {} could not be given back ({reason}); it comes back by itself",
                    queue.name
                );
            }
        }
        Ok(())
    }
}

/// Names and values for display, with secrets removed.
fn without_secrets(pairs: Vec<(String, String)>) -> Vec<(String, String)> {
    let hidden = |(name, value): (String, String)| {
        let value = if names_a_secret(&name) {
            REDACTED.to_owned()
        } else {
            shown(&value)
        };
        (name, value)
    };
    pairs.into_iter().map(hidden).collect()
}
