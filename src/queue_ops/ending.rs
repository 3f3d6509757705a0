//! The end of a task that is not run here: into Dagster's log, and to a sender that waits for
//! its result. The message is the caller's.

use jiff::Timestamp;
use tracing::warn;

use crate::domain::TaskOutcome;
use crate::fork_server::{ForkServerError, ForkServers, Report, ReportKind, Reported};
use crate::sqs::{Broker, BrokerError};
use crate::wire::{TaskMessage, TaskiqResult};

/// Writes the ends of tasks that are not run. Cloning is cheap.
#[derive(Clone)]
pub struct Ending {
    broker: Broker,
    hosts: ForkServers,
}

impl Ending {
    /// Ends tasks in the log of the `DagsterInstance` of `hosts`.
    #[must_use]
    pub fn new(broker: Broker, hosts: ForkServers) -> Self {
        Self { broker, hosts }
    }

    /// The broker, which has the bodies of large messages.
    #[must_use]
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// The processes that access Dagster's storage.
    #[must_use]
    pub fn hosts(&self) -> &ForkServers {
        &self.hosts
    }

    /// Writes the end of a task that was not run into Dagster's log.
    ///
    /// # Errors
    /// Dagster's storage cannot be read or written.
    pub async fn report(
        &self,
        message: &TaskMessage,
        reason: &str,
        kind: ReportKind,
    ) -> Result<Reported, ForkServerError> {
        let report = Report {
            kind: message.kind,
            kwargs: message.kwargs.clone().into(),
            attempt: message.attempt,
            reason: reason.to_owned(),
            report: kind,
        };
        self.hosts.report_unstarted(report).await
    }

    /// Puts the result that a sender other than our executor waits for.
    ///
    /// # Errors
    /// [`AnswerError`]
    pub async fn answer(
        &self,
        message: &TaskMessage,
        received_at: Timestamp,
        outcome: &TaskOutcome,
    ) -> Result<(), AnswerError> {
        if message.ours {
            return Ok(());
        }
        let age = Timestamp::now().duration_since(received_at);
        let seconds = age.as_secs_f64();
        let result = if message.kind.is_run() {
            TaskiqResult::ended(None, seconds)
        } else {
            let kwargs = message.kwargs.clone().into();
            let found = self
                .hosts
                .attempt_events(message.kind, &kwargs, message.attempt)
                .await?;
            if found.ended {
                TaskiqResult::ended(Some(found.events), seconds)
            } else {
                TaskiqResult::failed(outcome.reason().unwrap_or(outcome.word()), seconds)
            }
        };
        if !self
            .broker
            .put_result(&message.task_id, result.to_json())
            .await?
        {
            warn!(
                "task {} was not sent by this package's executor, and its sender may wait for a \
                 result: set DAGSTER_TASKIQ_S3_BUCKET_NAME to the bucket it reads results from",
                message.task_id
            );
        }
        Ok(())
    }
}

/// Reason why a sender's result could not be put.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The events cannot be read.
    #[error(transparent)]
    Host(#[from] ForkServerError),
    /// The bucket refuses it.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}
