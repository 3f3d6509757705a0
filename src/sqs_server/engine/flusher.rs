//! Making a commit durable before it is answered.

use std::sync::Arc;

use crate::sqs_server::error::SqsError;
use crate::sqs_server::journal::Log;
use crate::sqs_server::metrics::Metrics;

/// Flushes commits, until a flush fails.
#[derive(Debug)]
pub struct Flusher {
    log: Arc<Log>,
    metrics: Arc<Metrics>,
    failure: Option<String>,
}

impl Flusher {
    /// A flusher of this log.
    pub fn new(log: Arc<Log>, metrics: Arc<Metrics>) -> Self {
        Self {
            log,
            metrics,
            failure: None,
        }
    }

    /// Waits until the commit is on the disk; `bytes` are those of its bodies. Without a commit
    /// there is nothing to wait for.
    ///
    /// # Errors
    /// This flush failed, or an earlier one: nothing can be guaranteed from then on.
    pub fn flush(&mut self, committed: bool, bytes: usize) -> Result<(), SqsError> {
        if committed {
            self.metrics.commits.inc();
            self.metrics.bytes.inc_by(bytes as u64);
            self.metrics.fsyncs.inc_by(u64::from(self.log.is_flushed()));
        }
        if committed
            && self.failure.is_none()
            && let Err(error) = self.log.flush()
        {
            let detail = error.to_string();
            tracing::error!(
                error = detail,
                "the broker's log cannot be flushed; every request is refused until the broker is \
                 started again on a disk that works"
            );
            self.failure = Some(detail);
        }
        match &self.failure {
            None => Ok(()),
            Some(detail) => Err(SqsError::storage(detail)),
        }
    }

    /// Error of a failed flush.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

    use std::fs::File;

    use super::*;
    use crate::sqs_server::error::ErrorKind;

    #[test]
    fn a_flush_of_a_file_succeeds() {
        let file = tempfile::tempfile().unwrap();
        let mut flusher = Flusher::new(Log::of(file).into(), Arc::default());
        assert_eq!(flusher.flush(true, 0), Ok(()));
        assert_eq!(flusher.flush(false, 0), Ok(()));
        assert_eq!(flusher.failure(), None);
    }

    #[test]
    fn once_a_flush_failed_nothing_is_promised_any_more() {
        // A device without storage refuses to flush.
        let device = File::options().write(true).open("/dev/null").unwrap();
        let mut flusher = Flusher::new(Log::of(device).into(), Arc::default());
        for committed in [true, false, true] {
            let refused = flusher.flush(committed, 0).unwrap_err();
            assert_eq!(refused.kind, ErrorKind::ServiceUnavailable);
        }
        assert!(flusher.failure().is_some());
    }
}
