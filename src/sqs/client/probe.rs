//! Checks of permissions and of the broker's clock, without side effects.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;

use super::Broker;
use crate::sqs::error::BrokerError;
use crate::sqs::objects::BucketAccess;
use crate::sqs::queue_set::Queue;

/// Permission that a worker needs on a queue.
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

/// A receipt handle that no queue issued.
const NO_RECEIPT: &str = "none";

impl Broker {
    /// Checks whether these credentials have a permission. Each request is one that SQS must refuse
    /// for its content (unknown receipt handle, zero messages, empty body). Only a denied request
    /// is refused before its content is checked, and neither has an effect.
    ///
    /// # Errors
    /// [`BrokerError::Denied`] if the permission is missing, any other error if SQS cannot be
    /// queried.
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
                // Two faults, so that even a lenient broker does not accept it as a message.
                let answer = request.message_body("").delay_seconds(-1).send().await;
                answer.err().map(|e| self.error(&attempt, &e))
            }
        };
        match refused {
            None | Some(BrokerError::Refused { .. }) => Ok(()),
            Some(problem) => Err(problem),
        }
    }

    /// Offset of this host's clock ahead of the broker's (negative: behind), in seconds; `None` if
    /// the broker does not send its time. SQS refuses requests that are 5 minutes off.
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

    /// The bucket for results, and whether it can be read; `None` if none is configured.
    pub async fn probe_bucket(&self) -> Option<(String, Result<BucketAccess, BrokerError>)> {
        let bucket = self.objects.results()?;
        Some((bucket.to_owned(), self.objects.probe(bucket).await))
    }
}
