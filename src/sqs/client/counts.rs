//! Queue counts: requested often, so in as few requests as possible.

use aws_sdk_sqs::types::QueueAttributeName;

use super::{Broker, queues};
use crate::domain::QueueCounts;
use crate::sqs::embedded::{self, Waiting};
use crate::sqs::error::BrokerError;
use crate::sqs::queue_set::Queue;

impl Broker {
    /// Approximate counts of a queue.
    ///
    /// # Errors
    /// [`BrokerError`]
    pub async fn counts(&self, queue: &Queue) -> Result<QueueCounts, BrokerError> {
        Ok(self.count(queue).await?.0)
    }

    /// Approximate counts of a queue and, in the same request, the name of its dead-letter queue.
    ///
    /// # Errors
    /// [`BrokerError`]
    pub async fn count(&self, queue: &Queue) -> Result<(QueueCounts, Option<String>), BrokerError> {
        use QueueAttributeName as Name;
        let names = [
            Name::ApproximateNumberOfMessages,
            Name::ApproximateNumberOfMessagesNotVisible,
            Name::ApproximateNumberOfMessagesDelayed,
            Name::RedrivePolicy,
        ];
        let attempt = format!("count the messages of {}", queue.name);
        let all = self.attributes_of(queue, &names, &attempt).await?;
        let count = |name: &Name| all.get(name).and_then(|n| n.parse().ok()).unwrap_or(0);
        let [visible, in_flight, delayed, _] = names.each_ref().map(count);
        let counts = QueueCounts {
            visible,
            in_flight,
            delayed,
        };
        let policy = all.get(&Name::RedrivePolicy);
        let dead = policy.and_then(|policy| queues::redrive_policy(policy));
        Ok((counts, dead.map(|policy| policy.queue)))
    }

    /// Exact counts of the waiting messages, if the broker is the embedded one.
    pub async fn waiting(&self, queue: &Queue) -> Option<Waiting> {
        if !self.embedded {
            return None;
        }
        embedded::waiting(&self.http, &self.endpoint, queue).await
    }
}
