//! Determines the outcome of a task from the end of its process. If a process ended without
//! reporting an outcome, the task is looked up in Dagster's log, and its end is written if
//! necessary.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;

use super::api::{ExitKind, Outcome, Report, ReportKind, Reported, StepStatus, Usage};
use super::error::ForkServerError;
use super::location::{LocationKey, Subject};
use super::protocol::{Exit, ReportBody, Retry, TaskReport};
use super::supervisor::Supervisor;

/// Number of tries to take a claim. It is free as soon as its holder is dead; on Postgres the
/// server may take 15 s to notice.
const CLAIM_TRIES: u32 = 80;
const CLAIM_PAUSE: Duration = Duration::from_millis(250);

/// The outcome of a task whose process was reaped.
pub(super) async fn exited(
    supervisor: &Supervisor,
    subject: &Subject,
    key: &LocationKey,
    exit: Exit,
) -> Result<Outcome, ForkServerError> {
    if exit.skipped > 0 {
        tracing::debug!(bytes = exit.skipped, "output was skipped in the live view");
    }
    let usage = Usage {
        cpu_ms: exit.cpu_ms,
        max_rss_kib: exit.max_rss_kib,
    };
    if exit.outcome.is_none() && !exit.begun && !exit.canceled {
        let kind = exit_kind(&exit);
        let reason = format!("its process {} before it began", how(&kind));
        return Ok(not_started(reason));
    }
    let kind = match &exit.outcome {
        Some(TaskReport::Raised { reason }) => ExitKind::Raised(reason.clone()),
        Some(TaskReport::Interrupted { reason }) if subject.step_key.is_some() => {
            // The storage was given up: the step's effects are not in the log.
            return lost(supervisor, subject, key, exit.pid, reason).await;
        }
        Some(outcome) => {
            if matches!(outcome, TaskReport::Interrupted { .. }) {
                release(supervisor, subject, key, exit.pid).await;
            }
            return Ok(outcome_of(outcome, usage));
        }
        None => exit_kind(&exit),
    };
    if exit.killed && supervisor.stopping.load(Ordering::SeqCst) {
        let why = "it was stopped with its worker";
        return lost(supervisor, subject, key, exit.pid, why).await;
    }
    let has_run = exit.retry.is_some() || exit.canceled || matches!(kind, ExitKind::Raised(_));
    if subject.step_key.is_some() && !has_run {
        // Nothing of the step was executed yet, and its policy is not known.
        let why = format!("its process {} before the step began", how(&kind));
        return lost(supervisor, subject, key, exit.pid, &why).await;
    }
    let reason = describe(supervisor, subject, &exit, &kind);
    if subject.step_key.is_none() && !exit.canceled && !matches!(kind, ExitKind::Raised(_)) {
        // A lost run worker loses nothing of the run: the next one resumes it.
        release(supervisor, subject, key, exit.pid).await;
        return Ok(Outcome::Interrupted { reason });
    }
    let retry = exit.retry.filter(|_| !exit.canceled);
    let body = body(supervisor, subject, "crashed", reason, retry.as_ref());
    let answer = report(supervisor, key, &body).await?;
    Ok(reported(&answer, usage, subject, |reported| {
        Outcome::Crashed {
            exit: kind,
            reported,
        }
    }))
}

fn not_started(reason: String) -> Outcome {
    let by_code = false;
    Outcome::NotStarted { reason, by_code }
}

fn exit_kind(exit: &Exit) -> ExitKind {
    match (exit.code, exit.signal) {
        (_, Some(signal)) => ExitKind::Signal(signal),
        (code, None) => ExitKind::Code(code.unwrap_or(-1)),
    }
}

/// The outcome of a task whose host died under it.
pub(super) async fn host_died(
    supervisor: &Supervisor,
    subject: &Subject,
    key: &LocationKey,
    pid: u32,
    begun: bool,
) -> Result<Outcome, ForkServerError> {
    if !begun {
        let reason = format!("the host of its process {pid} died before it began");
        return Ok(not_started(reason));
    }
    let why = format!("the host of its process {pid} died");
    lost(supervisor, subject, key, pid, &why).await
}

/// Writes the end of a task that no worker will run.
pub(super) async fn unstarted(
    supervisor: &Supervisor,
    subject: &Subject,
    instance: Option<&str>,
    report: &Report,
) -> Result<Reported, ForkServerError> {
    let mode = match report.report {
        ReportKind::Removed => "unstarted",
        ReportKind::Canceled => "canceled",
    };
    let body = body(supervisor, subject, mode, report.reason.clone(), None);
    let instance_agent = supervisor.instance_agent(instance).await?;
    let answer = instance_agent.report(&body).await?;
    Ok(match answer["result"].as_str() {
        Some("written") => Reported::Written {
            event: answer["event"].as_str().unwrap_or_default().to_owned(),
        },
        Some("terminal" | "run_finished") => Reported::Over,
        Some("held") => Reported::Held,
        _ => Reported::Missing,
    })
}

fn outcome_of(outcome: &TaskReport, usage: Usage) -> Outcome {
    match outcome.clone() {
        TaskReport::Finished { status, reason } => Outcome::Finished {
            status: status_of(&status),
            reason,
            usage,
        },
        TaskReport::AlreadyFinished { event } => Outcome::AlreadyFinished { event },
        TaskReport::RunFinished { status } => Outcome::RunFinished { status },
        TaskReport::ClaimHeld => Outcome::ClaimHeld,
        TaskReport::OwnerSilent { again_s } => Outcome::OwnerSilent {
            again: Duration::try_from_secs_f64(again_s).unwrap_or(Duration::ZERO),
        },
        TaskReport::Lost { reported } => Outcome::Lost { reported },
        TaskReport::NotStarted { reason } => not_started(reason),
        TaskReport::Interrupted { reason } => Outcome::Interrupted { reason },
        TaskReport::Raised { reason } | TaskReport::Unrunnable { reason } => {
            Outcome::Unrunnable { reason }
        }
    }
}

/// The status for a type of event or a run's status.
fn status_of(name: &str) -> StepStatus {
    match name {
        "STEP_SUCCESS" => StepStatus::Success,
        "STEP_UP_FOR_RETRY" => StepStatus::UpForRetry,
        "STEP_SKIPPED" => StepStatus::Skipped,
        "RESOURCE_INIT_FAILURE" => StepStatus::ResourceFailure,
        "SUCCESS" => StepStatus::RunSuccess,
        "FAILURE" | "PIPELINE_FAILURE" => StepStatus::RunFailure,
        "CANCELED" | "PIPELINE_CANCELED" => StepStatus::RunCanceled,
        _ => StepStatus::Failure,
    }
}

fn describe(supervisor: &Supervisor, subject: &Subject, exit: &Exit, kind: &ExitKind) -> String {
    let how = how(kind);
    let what = if subject.step_key.is_some() {
        "step's"
    } else {
        "run's"
    };
    format!(
        "The {what} process {how} without recording an end (host {}, pid {}).",
        supervisor.settings.worker.hostname, exit.pid
    )
}

fn how(kind: &ExitKind) -> String {
    match kind {
        ExitKind::Code(code) => format!("left with exit code {code}"),
        ExitKind::Signal(signal) => format!("was ended by signal {signal}{}", signal_name(*signal)),
        ExitKind::Raised(reason) => format!("ended with {reason}"),
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        2 => " (SIGINT)",
        6 => " (SIGABRT)",
        7 => " (SIGBUS)",
        9 => " (SIGKILL; the kernel's out-of-memory killer sends it too)",
        11 => " (SIGSEGV)",
        15 => " (SIGTERM)",
        _ => "",
    }
}

/// Reports a step as lost; leaves a run to be resumed by the worker that receives its message next.
async fn lost(
    supervisor: &Supervisor,
    subject: &Subject,
    key: &LocationKey,
    pid: u32,
    why: &str,
) -> Result<Outcome, ForkServerError> {
    if subject.step_key.is_none() {
        release(supervisor, subject, key, pid).await;
        return Ok(Outcome::Interrupted {
            reason: format!("the run's process ended: {why}"),
        });
    }
    let host = &supervisor.settings.worker.hostname;
    let reason = format!(
        "Attempt {} on host {host} was lost: {why}.",
        subject.attempt
    );
    let body = body(supervisor, subject, "lost", reason, None);
    let answer = report(supervisor, key, &body).await?;
    Ok(reported(&answer, Usage::default(), subject, |reported| {
        Outcome::Lost { reported }
    }))
}

/// Writes the end of the process to the run's log, so that the next worker need not wait for this
/// one's silence.
async fn release(supervisor: &Supervisor, subject: &Subject, key: &LocationKey, pid: u32) {
    let released = match supervisor.instance_agent(key.instance.as_deref()).await {
        Ok(instance_agent) => {
            instance_agent
                .release(&subject.run_id, supervisor.worker(), pid)
                .await
        }
        Err(problem) => Err(problem),
    };
    if let Err(problem) = released {
        tracing::warn!(run_id = %subject.run_id, "{problem}; the run goes on a little later");
    }
}

fn body(
    supervisor: &Supervisor,
    subject: &Subject,
    mode: &'static str,
    reason: String,
    retry: Option<&Retry>,
) -> ReportBody {
    let (lost_policy, lost_max) = supervisor.lost_policy();
    ReportBody {
        run_id: subject.run_id.clone(),
        step_key: subject.step_key.clone(),
        attempt: subject.attempt,
        mode,
        reason,
        retries_disabled: subject.retries_disabled,
        retry_allowed: retry.is_some_and(|retry| retry.allowed),
        retry_delay: retry.and_then(|retry| retry.delay),
        lost_policy,
        lost_max,
    }
}

/// Sends the report to the instance agent, after waiting for the dead process's claim to become
/// free.
async fn report(
    supervisor: &Supervisor,
    key: &LocationKey,
    body: &ReportBody,
) -> Result<Value, ForkServerError> {
    let instance_agent = supervisor.instance_agent(key.instance.as_deref()).await?;
    let mut answer = instance_agent.report(body).await?;
    for _ in 0..CLAIM_TRIES {
        if answer["result"] != "held" {
            break;
        }
        tokio::time::sleep(CLAIM_PAUSE).await;
        answer = instance_agent.report(body).await?;
    }
    Ok(answer)
}

fn reported(
    answer: &Value,
    usage: Usage,
    subject: &Subject,
    written: impl FnOnce(String) -> Outcome,
) -> Outcome {
    let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
    match answer["result"].as_str() {
        Some("written") => written(text("event")),
        Some("terminal") => Outcome::Finished {
            status: status_of(&text("event")),
            reason: None,
            usage,
        },
        Some("run_finished") if subject.step_key.is_none() => Outcome::Finished {
            status: status_of(&text("status")),
            reason: None,
            usage,
        },
        Some("run_finished") => Outcome::RunFinished {
            status: text("status"),
        },
        Some("held") => Outcome::ClaimHeld,
        _ => Outcome::Unrunnable {
            reason: format!(
                "run {} does not exist in this worker's instance",
                subject.run_id
            ),
        },
    }
}
