//! The trace of a task that ran here.

use jiff::Timestamp;

use super::ready_queue::Task;
use crate::domain::TaskOutcome;
use crate::fork_server::{ForkServerError, Outcome};
use crate::telemetry::traces::{TaskSpan, traces};

/// Times of a task's process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// When it was given to a step host.
    pub started: Timestamp,
    /// When its process reported its first event.
    pub reported: Option<Timestamp>,
    /// When it had ended.
    pub ended: Timestamp,
}

/// Whether a result is the end of a step's attempt or of a run, which gets a span. What was given
/// back gets one when it ends elsewhere; what had ended before has one.
pub(super) fn is_end(result: &Result<Outcome, ForkServerError>) -> bool {
    matches!(
        result,
        Ok(Outcome::Finished { .. }
            | Outcome::Lost { .. }
            | Outcome::Crashed { .. }
            | Outcome::Unrunnable { .. })
    )
}

/// Records the span of a task.
pub(super) fn record(task: &Task, outcome: &TaskOutcome, times: Times) {
    let Some(traces) = traces() else { return };
    let (delivery, message) = (&task.delivery, &task.message);
    traces.record(&TaskSpan {
        run_id: &message.run_id,
        job: message.job.as_deref(),
        step_key: message.step_key.as_deref(),
        attempt: message.attempt,
        kind: message.kind,
        task_id: &message.task_id,
        message_id: &delivery.message_id,
        queue: &delivery.queue.name,
        priority: message.priority,
        receive_count: delivery.receive_count,
        outcome,
        sent: delivery.sent_at,
        received: delivery.received_at,
        started: times.started,
        reported: times.reported,
        ended: times.ended,
    });
}
