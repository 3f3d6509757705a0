//! Actions of the holder of a receipt handle: delete the message, or change the time for which it
//! is hidden.

use super::Broker;
use super::change::Change;
use super::message::{Message, Millis, Seq, Stage};
use super::settings::MAX_VISIBILITY_SECONDS;
use crate::sqs_server::error::{ErrorKind, SqsError};
use crate::sqs_server::receipt::Receipt;

/// Error in the use of a receipt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HoldError {
    /// The message is gone.
    #[error("Message does not exist or is not available for visibility timeout change.")]
    Gone,
    /// The visibility timeout of this receive of a FIFO queue ended.
    #[error("The receipt handle has expired.")]
    Expired,
    /// The receipt is of another queue.
    #[error("The receipt handle is of another queue.")]
    Foreign,
    /// Anything else.
    #[error(transparent)]
    Sqs(#[from] SqsError),
}

impl HoldError {
    /// The error of an action with this handle.
    #[must_use]
    pub fn of(self, handle: &str) -> SqsError {
        match self {
            Self::Sqs(error) => error,
            Self::Foreign => SqsError::new(
                ErrorKind::ReceiptHandleIsInvalid,
                format!("The receipt handle \"{handle}\" is not valid for this queue."),
            ),
            reason => SqsError::invalid("ReceiptHandle", handle, &reason.to_string()),
        }
    }

    /// The error of a batch entry. SQS uses another code there for an expired handle
    /// (smaskalik/sqsmover#54).
    #[must_use]
    pub fn of_entry(self, handle: &str) -> SqsError {
        match self {
            Self::Expired => SqsError::new(
                ErrorKind::ReceiptHandleIsInvalid,
                "The receipt handle has expired",
            ),
            other => other.of(handle),
        }
    }
}

impl Broker {
    /// Deletes by receipt. Deleting a message that is gone succeeds. Deleting a FIFO message fails
    /// if its visibility timeout ended or it was received again since.
    ///
    /// # Errors
    /// The queue does not exist, the handle belongs to another queue, or the FIFO handle has
    /// expired.
    pub fn delete(&mut self, now: Millis, name: &str, receipt: Receipt) -> Result<(), HoldError> {
        self.check_receipt(name, receipt)?;
        let queue = self.queue_mut(name)?;
        let Some(message) = queue.get(receipt.seq) else {
            return Ok(());
        };
        if queue.settings.fifo && !is_held(message, receipt, now) {
            return Err(HoldError::Expired);
        }
        queue.remove(receipt.seq);
        self.changes.push(Change::Deleted(receipt.seq));
        Ok(())
    }

    /// Hides a received message for `seconds` from now, 0 to 43,200. On a standard queue that has
    /// no effect once its visibility timeout ended (recorded: `LocalStack`'s pull request 9632).
    ///
    /// # Errors
    /// The queue does not exist; the message is gone, is not in flight in a FIFO queue, or would be
    /// hidden for more than 12 hours after its receive.
    pub fn change_visibility(
        &mut self,
        now: Millis,
        name: &str,
        receipt: Receipt,
        seconds: i64,
    ) -> Result<(), HoldError> {
        self.check_receipt(name, receipt)?;
        let queue = self.queue_mut(name)?;
        let message = queue.get(receipt.seq).ok_or(HoldError::Gone)?;
        let is_in_flight = message.stage == Stage::InFlight && message.due_at > now;
        if !queue.settings.fifo && !is_in_flight {
            return Ok(());
        }
        if !is_in_flight || (queue.settings.fifo && message.receive_count != receipt.receive) {
            let text = "The specified message isn't in flight.";
            return Err(SqsError::new(ErrorKind::MessageNotInflight, text).into());
        }
        if (now - message.received_at) / 1_000 + seconds > MAX_VISIBILITY_SECONDS {
            return Err(SqsError::invalid(
                "VisibilityTimeout",
                seconds,
                "Total VisibilityTimeout for the message is beyond the limit [43200 seconds]",
            )
            .into());
        }
        Ok(self.hide_until(name, receipt.seq, now + seconds * 1_000, now)?)
    }

    fn hide_until(
        &mut self,
        name: &str,
        seq: Seq,
        due_at: Millis,
        now: Millis,
    ) -> Result<(), SqsError> {
        let queue = self.queue_mut(name)?;
        if let Some(message) = queue
            .update(seq, |message| message.due_at = due_at)
            .cloned()
        {
            self.changes.push(Change::Updated { seq, message });
        }
        if due_at <= now {
            self.wake(now, name, seq);
        }
        Ok(())
    }

    /// Checks that a handle belongs to this queue. A handle from before a purge still belongs to
    /// it; it only refers to no message any more.
    fn check_receipt(&self, name: &str, receipt: Receipt) -> Result<(), HoldError> {
        let queue = self.queue(name)?;
        let foreign = receipt.store != queue.store
            && self
                .queues
                .values()
                .any(|other| other.store == receipt.store);
        if foreign {
            return Err(HoldError::Foreign);
        }
        Ok(())
    }
}

/// Whether the message is in flight by this very receive.
pub(super) fn is_held(message: &Message, receipt: Receipt, now: Millis) -> bool {
    message.stage == Stage::InFlight
        && message.receive_count == receipt.receive
        && message.due_at > now
}
