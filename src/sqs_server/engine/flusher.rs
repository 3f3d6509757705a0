//! The thread that waits for the disk and answers.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use super::actor::refuse;
use super::polls::Poll;
use super::{Answer, Delivered};
use crate::sqs_server::error::SqsError;
use crate::sqs_server::journal::Log;
use crate::sqs_server::metrics::Metrics;

/// Answers that wait for a commit to be flushed.
pub struct Flush {
    /// Whether there is something to flush.
    pub committed: bool,
    /// Bytes of bodies in the commit.
    pub bytes: usize,
    /// Answers of requests.
    pub answers: Vec<Answer>,
    /// Answers of receives, with what they took.
    pub receives: Vec<(Poll, Vec<Delivered>)>,
}

impl Flush {
    fn refuse(self, error: &SqsError) {
        refuse(self.answers, self.receives, error);
    }

    fn answer(self) {
        for answer in self.answers {
            answer(Ok(()));
        }
        for (poll, messages) in self.receives {
            poll.deliver(messages);
        }
    }
}

/// Hands commits to the thread; ends it when dropped, after the last answer.
#[derive(Debug)]
pub struct Flusher {
    commits: Option<SyncSender<Flush>>,
    thread: Option<JoinHandle<()>>,
    failure: Arc<OnceLock<String>>,
}

impl Flusher {
    /// Starts the thread.
    ///
    /// # Errors
    /// The operating system refuses to start a thread.
    pub fn start(log: Arc<Log>, metrics: Arc<Metrics>) -> std::io::Result<Self> {
        // Capacity zero: the engine waits until the last flush is done, and meanwhile the requests
        // gather that share the next one.
        let (commits, waiting) = sync_channel(0);
        let failure = Arc::<OnceLock<String>>::default();
        let noted = failure.clone();
        let thread = std::thread::Builder::new()
            .name("broker-flush".to_owned())
            .spawn(move || run(&log, &waiting, &noted, &metrics))?;
        Ok(Self {
            commits: Some(commits),
            thread: Some(thread),
            failure,
        })
    }

    /// Flushes a commit and then sends its answers.
    pub fn give(&self, flush: Flush) {
        if flush.answers.is_empty() && flush.receives.is_empty() && !flush.committed {
            return;
        }
        if let Some(commits) = &self.commits
            && let Err(refused) = commits.send(flush)
        {
            let gone = SqsError::storage("the thread that flushes has ended");
            refused.0.refuse(&gone);
        }
    }

    /// Error of a failed flush. Nothing can be guaranteed from then on.
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.commits = None;
        if let Some(thread) = self.thread.take() {
            // A panic in it has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

fn run(log: &Log, waiting: &Receiver<Flush>, failure: &OnceLock<String>, metrics: &Metrics) {
    while let Ok(flush) = waiting.recv() {
        if flush.committed {
            metrics.commits.inc();
            metrics.bytes.inc_by(flush.bytes as u64);
            metrics.fsyncs.inc_by(u64::from(log.is_flushed()));
        }
        if flush.committed
            && failure.get().is_none()
            && let Err(error) = log.flush()
        {
            let detail = error.to_string();
            tracing::error!(
                error = detail,
                "the broker's log cannot be flushed; every request is refused until the broker is \
                 started again on a disk that works"
            );
            let _ = failure.set(detail);
        }
        match failure.get() {
            None => flush.answer(),
            Some(detail) => flush.refuse(&SqsError::storage(detail)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

    use std::fs::File;
    use std::sync::mpsc::channel;

    use super::*;
    use crate::sqs_server::error::ErrorKind;

    /// Runs one flush and returns the outcome its request is answered with.
    fn answer_of(flusher: &Flusher, committed: bool) -> Result<(), SqsError> {
        let (reply, answer) = channel();
        flusher.give(Flush {
            committed,
            bytes: 0,
            answers: vec![Box::new(move |written| reply.send(written).unwrap())],
            receives: Vec::new(),
        });
        answer.recv().unwrap()
    }

    #[test]
    fn requests_are_answered_after_the_flush() {
        let flusher = Flusher::start(
            Log::of(tempfile::tempfile().unwrap()).into(),
            Arc::default(),
        )
        .unwrap();
        assert_eq!(answer_of(&flusher, true), Ok(()));
        assert_eq!(answer_of(&flusher, false), Ok(()));
    }

    #[test]
    fn once_a_flush_failed_nothing_is_promised_any_more() {
        // A device without storage refuses to flush.
        let device = File::options().write(true).open("/dev/null").unwrap();
        let flusher = Flusher::start(Log::of(device).into(), Arc::default()).unwrap();
        for committed in [true, false, true] {
            let refused = answer_of(&flusher, committed).unwrap_err();
            assert_eq!(refused.kind, ErrorKind::ServiceUnavailable);
        }
        assert!(flusher.failure().is_some());
    }
}
