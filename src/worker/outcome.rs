//! Wording of a task's end, on the screen and in the log.

use crate::domain::TaskOutcome;
use crate::fork_server::{ExitKind, StepStatus};

pub(super) fn skipped(reason: &str) -> TaskOutcome {
    TaskOutcome::Skipped {
        reason: reason.to_owned(),
    }
}

pub(super) fn finished(status: StepStatus, reason: Option<String>) -> TaskOutcome {
    let failure = |otherwise: &str| TaskOutcome::Failure {
        reason: reason.clone().unwrap_or_else(|| otherwise.to_owned()),
    };
    match status {
        StepStatus::Success | StepStatus::RunSuccess => TaskOutcome::Success,
        StepStatus::Failure => failure("the step failed: see its event"),
        StepStatus::ResourceFailure => failure("a resource did not start: see its event"),
        StepStatus::RunFailure => failure("the run failed: see its log"),
        StepStatus::UpForRetry => TaskOutcome::UpForRetry {
            reason: reason.unwrap_or_default(),
        },
        StepStatus::Skipped => skipped("nothing to do"),
        StepStatus::RunCanceled => TaskOutcome::Canceled,
    }
}

/// Outcome of a task whose process died, from the event that was written on the process's behalf.
pub(super) fn ended_for_it(event: &str, reason: &str) -> TaskOutcome {
    let reason = reason.to_owned();
    if event == "STEP_UP_FOR_RETRY" {
        TaskOutcome::UpForRetry { reason }
    } else {
        TaskOutcome::Failure { reason }
    }
}

pub(super) fn crash(exit: &ExitKind) -> String {
    match exit {
        ExitKind::Code(code) => format!("its process left with code {code}"),
        ExitKind::Signal(signal) => format!("signal {signal} ended its process"),
        ExitKind::Raised(exception) => format!("its process ended with {exception}"),
    }
}
