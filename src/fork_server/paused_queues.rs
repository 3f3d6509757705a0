//! The queues that operators have paused for the whole deployment, as Dagster's storage has them.

use serde_json::Value;
use tokio::sync::watch;

use super::error::ForkServerError;
use super::instance_agent::InstanceAgent;
use super::protocol::ToProcess;
use crate::domain::PausedQueues;

/// The paused queues that were read last; `None` before the first answer.
#[derive(Debug)]
pub(super) struct KnownPauses(watch::Sender<Option<PausedQueues>>);

impl Default for KnownPauses {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl KnownPauses {
    /// Takes them from an answer.
    pub fn read(&self, request: &'static str, answer: Value) -> Result<(), ForkServerError> {
        let read = serde_json::from_value(answer).map_err(|error| ForkServerError::Request {
            request,
            reason: error.to_string(),
        })?;
        let read = Some(read);
        self.0.send_if_modified(|known| {
            let differs = *known != read;
            *known = read;
            differs
        });
        Ok(())
    }

    /// Follows them.
    pub fn watch(&self) -> watch::Receiver<Option<PausedQueues>> {
        self.0.subscribe()
    }
}

impl InstanceAgent {
    /// Pauses a queue for every worker of the deployment.
    pub async fn pause_queue(
        &self,
        queue: &str,
        by: &str,
        reason: Option<&str>,
    ) -> Result<(), ForkServerError> {
        let frame = |id| ToProcess::PauseQueue {
            id,
            queue: queue.to_owned(),
            by: by.to_owned(),
            reason: reason.map(str::to_owned),
        };
        let request = "the pause of a queue";
        self.paused
            .read(request, self.request(request, frame).await?)
    }

    /// Ends the pause of a queue.
    pub async fn resume_queue(&self, queue: &str) -> Result<(), ForkServerError> {
        let frame = |id| ToProcess::ResumeQueue {
            id,
            queue: queue.to_owned(),
        };
        let request = "the end of a queue's pause";
        self.paused
            .read(request, self.request(request, frame).await?)
    }
}
