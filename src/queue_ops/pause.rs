//! Pause and resume of a queue in the whole deployment.

use super::{OperationError, Operator};
use crate::domain::Reply;
use crate::sqs::Queue;

impl Operator {
    /// Writes into Dagster's storage that no worker is to receive from a queue. If this process
    /// dies before it is written, nothing has changed; after that every worker finds it.
    ///
    /// # Errors
    /// [`OperationError`] if Dagster's storage cannot be written.
    pub async fn pause(
        &self,
        queue: &Queue,
        by: &str,
        reason: Option<&str>,
    ) -> Result<Reply, OperationError> {
        let name = &queue.name;
        self.hosts()?.pause_queue(name, by, reason).await?;
        Ok(Reply::Done(format!(
            "{name} is paused on every worker, also on those that start later, until it is resumed; \
             what runs goes on"
        )))
    }

    /// Ends the pause of a queue.
    ///
    /// # Errors
    /// [`OperationError`] if Dagster's storage cannot be written.
    pub async fn resume(&self, queue: &Queue) -> Result<Reply, OperationError> {
        let name = &queue.name;
        self.hosts()?.resume_queue(name).await?;
        Ok(Reply::Done(format!(
            "{name} is received from again, by every worker within some seconds"
        )))
    }
}
