//! The client itself: connects, resolves the queue set, and makes one call per method.

mod counts;
mod inspect;
mod moves;
mod probe;
mod queues;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry,
    MessageSystemAttributeName, QueueAttributeName,
};
use url::Url;

use super::attribute::{Attribute, REASON, SOURCE_QUEUE};
use super::delivery::{Delivery, OFFLOADED};
use super::embedded;
use super::error::BrokerError;
use super::objects::Objects;
use super::queue_set::Queue;
use super::refusal::is_final;
use crate::config::Settings;
use crate::domain::secrets::redact_text;
use crate::domain::{self, is_loopback};
pub use inspect::Looked;
pub use moves::{Moved, Outgoing, Receives};
pub use probe::Permission;

/// Maximum wait of one receive, the limit of SQS: an idle worker costs three requests a minute.
pub const LONG_POLL: Duration = Duration::from_secs(20);

/// Timeout of one attempt: a receive may take [`LONG_POLL`] plus the time of the network.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);

/// Maximum number of attributes of one message, the limit of SQS.
const MOST_ATTRIBUTES: usize = 10;

/// A lease that could not be changed.
#[derive(Debug)]
pub(super) struct Refused {
    /// The receipt handle.
    pub handle: String,
    /// The reason that SQS gave.
    pub reason: String,
    /// Whether the lease is lost; otherwise the call can be retried.
    pub is_final: bool,
}

/// A connection to SQS. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Broker {
    client: Client,
    http: reqwest::Client,
    endpoint: String,
    embedded: bool,
    visibility: Duration,
    objects: Objects,
}

impl Broker {
    /// Prepares a client; the first call to SQS is [`Self::resolve`].
    pub async fn connect(settings: &Settings) -> Self {
        let endpoint = settings
            .endpoint_url
            .value
            .clone()
            .or_else(|| endpoint_of_queue_url(&settings.queue_url.value));
        let region = settings.region_name.value.clone();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(region.clone()))
            .retry_config(RetryConfig::standard())
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(Duration::from_secs(5))
                    .operation_attempt_timeout(ATTEMPT_TIMEOUT)
                    .build(),
            );
        if let Some(url) = &endpoint {
            loader = loader.endpoint_url(url);
            if is_loopback(url) && !has_credentials() {
                // The embedded broker accepts any credentials; a look-up at the metadata service
                // would only cost a new user's laptop some seconds.
                let any = Credentials::new("embedded", "embedded", None, None, "loopback");
                loader = loader.credentials_provider(any);
            }
        }
        let config = loader.load().await;
        let objects = Objects::new(settings, config.credentials_provider());
        let client = Client::new(&config);
        let http = embedded::client(endpoint.as_deref());
        let embedded = match &endpoint {
            Some(url) => embedded::is_ours(&http, url).await,
            None => false,
        };
        let endpoint = endpoint.unwrap_or_else(|| format!("https://sqs.{region}.amazonaws.com"));
        Self {
            client,
            http,
            endpoint,
            embedded,
            visibility: settings.visibility_timeout.value,
            objects,
        }
    }

    /// The endpoint for display: without a password that its URL may contain.
    #[must_use]
    pub fn endpoint(&self) -> Cow<'_, str> {
        redact_text(&self.endpoint)
    }

    /// Whether the endpoint is this project's embedded broker. There a receive may be abandoned; on
    /// AWS an abandoned receive can hide messages until their visibility timeout ends.
    #[must_use]
    pub fn is_embedded(&self) -> bool {
        self.embedded
    }

    /// The visibility timeout requested with each receive.
    #[must_use]
    pub fn visibility(&self) -> Duration {
        self.visibility
    }

    /// Receives up to `max` (1-10) messages, waiting up to `wait` (at most 20 s).
    ///
    /// # Errors
    /// [`BrokerError`]
    pub async fn receive(
        &self,
        queue: &Arc<Queue>,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Delivery>, BrokerError> {
        self.receive_for(queue, max, wait, self.visibility).await
    }

    /// As [`Self::receive`], with `visibility` as the visibility timeout.
    ///
    /// # Errors
    /// [`BrokerError`]
    pub async fn receive_for(
        &self,
        queue: &Arc<Queue>,
        max: usize,
        wait: Duration,
        visibility: Duration,
    ) -> Result<Vec<Delivery>, BrokerError> {
        #[expect(
            deprecated,
            reason = "servers older than MessageSystemAttributeNames (ElasticMQ before 1.6.2) ignore \
                      the new name, and the receive count would stay 1"
        )]
        let answer = self
            .client
            .receive_message()
            .attribute_names(QueueAttributeName::All)
            .queue_url(&queue.url)
            .max_number_of_messages(i32::try_from(max.clamp(1, 10)).unwrap_or(10))
            .wait_time_seconds(seconds(wait))
            .visibility_timeout(seconds(visibility))
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .message_attribute_names("All")
            .send()
            .await
            .map_err(|e| self.error(&format!("receive from {}", queue.name), &e))?;
        let messages = answer.messages.unwrap_or_default();
        Ok(messages
            .into_iter()
            .map(|message| Delivery::new(queue, message))
            .collect())
    }

    /// The Taskiq message of a delivery: its body, fetched from S3 if it was offloaded.
    ///
    /// # Errors
    /// [`BrokerError::Store`] if S3 does not answer: the body may be available later.
    /// [`BrokerError::Offloaded`] if the body cannot be fetched at all.
    pub async fn text(&self, delivery: &Delivery) -> Result<String, BrokerError> {
        if delivery.offloaded {
            self.objects.fetch(delivery).await
        } else {
            Ok(delivery.body.clone())
        }
    }

    /// Stores a `TaskiqResult` where the sender of a task looks for it; false if no bucket for
    /// results is configured.
    ///
    /// # Errors
    /// [`BrokerError::Store`]
    pub async fn put_result(&self, task_id: &str, result: String) -> Result<bool, BrokerError> {
        let Some(bucket) = self.objects.results() else {
            return Ok(false);
        };
        self.objects.put_result(bucket, task_id, result).await?;
        Ok(true)
    }

    /// Deletes a message, whose effect must be in Dagster's event log.
    ///
    /// # Errors
    /// [`BrokerError`]; the message is delivered again when its lease ends, and is acknowledged
    /// then.
    pub async fn delete(&self, delivery: &Delivery) -> Result<(), BrokerError> {
        self.client
            .delete_message()
            .queue_url(&delivery.queue.url)
            .receipt_handle(delivery.receipt.handle())
            .send()
            .await
            .map_err(|e| {
                let attempt = format!(
                    "delete message {} from {}",
                    delivery.message_id, delivery.queue.name
                );
                self.error(&attempt, &e)
            })?;
        Ok(())
    }

    /// Deletes up to ten messages of one queue; returns how many of them are gone.
    ///
    /// # Errors
    /// [`BrokerError`] if the call as a whole failed.
    pub async fn delete_batch(&self, deliveries: &[&Delivery]) -> Result<usize, BrokerError> {
        let Some(queue) = deliveries.first().map(|delivery| &delivery.queue) else {
            return Ok(0);
        };
        let mut request = self.client.delete_message_batch().queue_url(&queue.url);
        for (id, delivery) in deliveries.iter().enumerate() {
            let entry = DeleteMessageBatchRequestEntry::builder()
                .id(id.to_string())
                .receipt_handle(delivery.receipt.handle())
                .build();
            // Building fails only without id and handle, which are set on the line above.
            if let Ok(entry) = entry {
                request = request.entries(entry);
            }
        }
        let attempt = format!("delete {} messages from {}", deliveries.len(), queue.name);
        let answer = request.send().await.map_err(|e| self.error(&attempt, &e))?;
        Ok(answer.successful.len())
    }

    /// Sets the time for which a message stays hidden from now; zero gives it back at once.
    ///
    /// # Errors
    /// [`BrokerError`]; the message then stays hidden until its lease ends.
    pub async fn hide(&self, delivery: &Delivery, time: Duration) -> Result<(), BrokerError> {
        self.client
            .change_message_visibility()
            .queue_url(&delivery.queue.url)
            .receipt_handle(delivery.receipt.handle())
            .visibility_timeout(seconds(time))
            .send()
            .await
            .map_err(|e| {
                let (id, queue) = (&delivery.message_id, &delivery.queue.name);
                self.error(
                    &format!("change the visibility of message {id} on {queue}"),
                    &e,
                )
            })?;
        Ok(())
    }

    /// Extends up to ten leases of one queue to `time` from now; zero gives the messages back.
    /// Returns the leases that were refused.
    ///
    /// # Errors
    /// [`BrokerError`] if the call as a whole failed.
    pub(super) async fn extend(
        &self,
        queue: &Queue,
        handles: &[String],
        time: Duration,
    ) -> Result<Vec<Refused>, BrokerError> {
        let mut request = self
            .client
            .change_message_visibility_batch()
            .queue_url(&queue.url);
        for (id, handle) in handles.iter().enumerate() {
            let entry = ChangeMessageVisibilityBatchRequestEntry::builder()
                .id(id.to_string())
                .receipt_handle(handle)
                .visibility_timeout(seconds(time))
                .build();
            // Building fails only without id and handle, which are set on the line above.
            if let Ok(entry) = entry {
                request = request.entries(entry);
            }
        }
        let (count, name) = (handles.len(), &queue.name);
        let ending = if count == 1 { "" } else { "s" };
        let attempt = if time.is_zero() {
            format!("give back {count} message{ending} to {name}")
        } else {
            format!("renew {count} lease{ending} on {name}")
        };
        let answer = request.send().await.map_err(|e| self.error(&attempt, &e))?;
        let refused = answer.failed.into_iter().filter_map(|failed| {
            let handle = failed
                .id
                .parse::<usize>()
                .ok()
                .and_then(|id| handles.get(id))?;
            let words = failed.message.unwrap_or_default();
            Some(Refused {
                handle: handle.clone(),
                is_final: is_final(&failed.code, &words),
                reason: if words.is_empty() { failed.code } else { words },
            })
        });
        Ok(refused.collect())
    }

    /// Moves a message to its queue's dead-letter queue, with the reason as an attribute. It is
    /// sent there first and deleted here after: a crash between the two leaves it in both queues,
    /// never in none.
    ///
    /// # Errors
    /// [`BrokerError`]
    pub async fn dead_letter(
        &self,
        delivery: &Delivery,
        target: &str,
        reason: &str,
    ) -> Result<(), BrokerError> {
        let attempt = format!(
            "move message {} to the dead-letter queue {target}",
            delivery.message_id
        );
        let mut attributes = delivery.attributes.clone();
        if attributes.len() > MOST_ATTRIBUTES - 2 {
            // SQS takes ten attributes: only the one that the body needs is kept.
            attributes.retain(|name, _| name == OFFLOADED);
        }
        attributes.insert(
            REASON.to_owned(),
            Attribute::text(&domain::reason(&redact_text(reason))),
        );
        let source = Attribute::text(&delivery.queue.name);
        attributes.insert(SOURCE_QUEUE.to_owned(), source);
        let mut outgoing = Outgoing {
            body: delivery.body.clone(),
            attributes,
            group: delivery.group.clone(),
            deduplication: Some(uuid::Uuid::new_v4().simple().to_string()),
            delay: Duration::ZERO,
        };
        match self.send(target, &outgoing, &attempt).await {
            // A body of the maximum size leaves no room for a reason, because attributes count
            // towards the size.
            Err(problem @ BrokerError::Refused { .. }) => {
                tracing::warn!("{problem}; sending it there as it came");
                outgoing.attributes.clone_from(&delivery.attributes);
                self.send(target, &outgoing, &attempt).await?;
            }
            other => other?,
        }
        self.delete(delivery).await
    }

    fn error<E>(&self, attempt: &str, error: &aws_sdk_sqs::error::SdkError<E>) -> BrokerError
    where
        E: aws_sdk_sqs::error::ProvideErrorMetadata + std::error::Error + 'static,
    {
        BrokerError::new(attempt, &self.endpoint, error)
    }
}

/// Whole seconds, the unit of SQS.
fn seconds(time: Duration) -> i32 {
    i32::try_from(time.as_secs()).unwrap_or(i32::MAX)
}

/// The endpoint in a queue URL that is not one of AWS.
fn endpoint_of_queue_url(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let is_aws = url.host_str()?.contains(".amazonaws.com");
    (!is_aws && matches!(url.scheme(), "http" | "https"))
        .then(|| url.origin().ascii_serialization())
}

/// Whether the environment contains credentials.
fn has_credentials() -> bool {
    ["AWS_ACCESS_KEY_ID", "AWS_PROFILE"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_url_outside_aws_names_its_endpoint() {
        let url = "http://127.0.0.1:9324/000000000000/tasks";
        assert_eq!(
            endpoint_of_queue_url(url).as_deref(),
            Some("http://127.0.0.1:9324")
        );
        let aws = "https://sqs.us-east-1.amazonaws.com/123456789012/tasks";
        assert_eq!(endpoint_of_queue_url(aws), None);
    }
}
