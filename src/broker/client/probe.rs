//! Finding out what these credentials may do, and what time the broker has, without doing anything.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;

use super::Broker;
use crate::broker::error::BrokerError;
use crate::broker::queue_set::Queue;

/// Something a worker does with a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// `sqs:ReceiveMessage`
    Receive,
    /// `sqs:DeleteMessage`
    Delete,
    /// `sqs:ChangeMessageVisibility`
    ChangeVisibility,
    /// `sqs:SendMessage`
    Send,
}

impl Permission {
    /// Its name in a policy.
    #[must_use]
    pub fn action(self) -> &'static str {
        match self {
            Self::Receive => "sqs:ReceiveMessage",
            Self::Delete => "sqs:DeleteMessage",
            Self::ChangeVisibility => "sqs:ChangeMessageVisibility",
            Self::Send => "sqs:SendMessage",
        }
    }
}

/// A receipt handle that no queue gave out.
const NO_RECEIPT: &str = "none";

impl Broker {
    /// Whether these credentials have a permission. Each request is one that SQS must refuse for
    /// what it asks (no such receipt handle, zero messages, an empty body): only one that is
    /// denied is refused before that is looked at, and nothing happens either way.
    ///
    /// # Errors
    /// [`BrokerError::Denied`] where it is missing, any other where SQS could not be asked.
    pub async fn probe(&self, queue: &Queue, permission: Permission) -> Result<(), BrokerError> {
        let attempt = format!("use {} on {}", permission.action(), queue.name);
        let url = &queue.url;
        let refused = match permission {
            Permission::Receive => {
                let request = self.client.receive_message().queue_url(url);
                let answer = request.max_number_of_messages(0).send().await;
                answer.err().map(|e| self.error(&attempt, &e))
            }
            Permission::Delete => {
                let request = self.client.delete_message().queue_url(url);
                let answer = request.receipt_handle(NO_RECEIPT).send().await;
                answer.err().map(|e| self.error(&attempt, &e))
            }
            Permission::ChangeVisibility => {
                let request = self.client.change_message_visibility().queue_url(url);
                let request = request.receipt_handle(NO_RECEIPT).visibility_timeout(0);
                let answer = request.send().await;
                answer.err().map(|e| self.error(&attempt, &e))
            }
            Permission::Send => {
                let request = self.client.send_message().queue_url(url);
                // Two faults, so that no broker's leniency makes it a message.
                let answer = request.message_body("").delay_seconds(-1).send().await;
                answer.err().map(|e| self.error(&attempt, &e))
            }
        };
        match refused {
            None | Some(BrokerError::Refused { .. }) => Ok(()),
            Some(problem) => Err(problem),
        }
    }

    /// How far this host's clock is ahead of the broker's (negative: behind), in seconds; `None`
    /// where the broker does not tell its time. SQS refuses requests that are 5 minutes off.
    pub async fn clock_difference(&self) -> Option<i64> {
        let request = self
            .http
            .get(&self.endpoint)
            .timeout(Duration::from_secs(10));
        let answer = request.send().await.ok()?;
        let date = answer.headers().get("date")?.to_str().ok()?;
        let theirs = rfc2822::parse(date).ok()?.timestamp();
        Some(Timestamp::now().as_second() - theirs.as_second())
    }

    /// Whether the bucket for results can be read; `None` where none is configured.
    pub async fn probe_bucket(&self) -> Option<Result<String, BrokerError>> {
        let bucket = self.objects.results()?;
        Some(self.objects.probe(bucket).await.map(|()| bucket.to_owned()))
    }
}
