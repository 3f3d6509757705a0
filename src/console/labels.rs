//! The words for states, in tables and filters.

use std::borrow::Cow;
use std::path::PathBuf;

use super::format;
use crate::domain::{
    ForkServerPhase, JobRef, LogLevel, Phase, ProcessUsage, QueueRole, RunStatus, SourceKind,
    UsualTime,
};

/// Text for missing data of Dagster's, with the remedy.
pub const NO_WEBSERVER: &str =
    "No Dagster webserver is configured: start the console with --webserver-url URL.";

/// A task's phase, or its outcome.
#[must_use]
pub fn phase(phase: &Phase) -> &'static str {
    match phase {
        Phase::Held => "held",
        Phase::Running { .. } => "running",
        Phase::Done { outcome, .. } => outcome.word(),
    }
}

/// Reason for a task's end.
#[must_use]
pub fn reason(phase: &Phase) -> Option<&str> {
    match phase {
        Phase::Done { outcome, .. } => outcome.reason(),
        _ => None,
    }
}

/// Dagster's run status.
#[must_use]
pub fn run_status(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Queued => "queued",
        RunStatus::NotStarted => "not started",
        RunStatus::Managed => "managed",
        RunStatus::Starting => "starting",
        RunStatus::Started => "started",
        RunStatus::Success => "success",
        RunStatus::Failure => "failure",
        RunStatus::Canceling => "canceling",
        RunStatus::Canceled => "canceled",
    }
}

/// A queue's role in the set.
#[must_use]
pub fn queue_role(role: &QueueRole) -> Cow<'_, str> {
    match role {
        QueueRole::Base => Cow::Borrowed("base"),
        QueueRole::Band(name) => Cow::Owned(format!("band {name}")),
        QueueRole::Runs => Cow::Borrowed("runs"),
        QueueRole::Named(name) => Cow::Owned(format!("named {name}")),
        QueueRole::DeadLetter => Cow::Borrowed("dead letter"),
    }
}

/// A host's phase.
#[must_use]
pub fn host_phase(phase: &ForkServerPhase) -> &'static str {
    match phase {
        ForkServerPhase::Loading => "loading",
        ForkServerPhase::Ready => "ready",
        ForkServerPhase::Draining => "draining",
        ForkServerPhase::Failed(_) => "failed",
    }
}

/// A log level, in lower case.
#[must_use]
pub fn level(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Trace => "trace",
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    }
}

/// A source.
#[must_use]
pub fn source(kind: SourceKind) -> &'static str {
    kind.word()
}

/// Usage of a task's processes: of processor and memory, then the processes themselves.
#[must_use]
pub fn usage(usage: &ProcessUsage) -> [String; 2] {
    let pss = usage.pss_kib.map_or_else(String::new, |pss| {
        format!(" ({} proportional)", format::bytes(pss * 1024))
    });
    let limit = usage
        .open_files_limit
        .map_or_else(String::new, |limit| format!(" of {limit}"));
    [
        format!(
            "{}% of a core, {} of processor time, {} resident{pss}",
            usage.cpu_percent,
            format::duration(usage.cpu_ms / 1000),
            format::bytes(usage.rss_kib * 1024),
        ),
        format!(
            "{}, {}, {} open files{limit}; {}",
            if usage.processes == 1 {
                String::from("1 process")
            } else {
                format!("{} processes", usage.processes)
            },
            plural(usize::try_from(usage.threads).unwrap_or(0), "thread"),
            usage.open_files,
            usage.state
        ),
    ]
}

/// A duration in milliseconds: tenths of a second where it is short.
#[must_use]
pub fn brief(ms: u64) -> String {
    if ms < 10_000 {
        format!("{}.{} s", ms / 1000, ms % 1000 / 100)
    } else {
        format::duration(ms / 1000)
    }
}

/// The usual time of a step that runs longer.
#[must_use]
pub fn beyond_usual(usual: &UsualTime) -> String {
    format!(
        "It runs longer than usual: {} (median), {} (p95), {} at most in {} runs.",
        brief(usual.median_ms),
        brief(usual.late_ms),
        brief(usual.longest_ms),
        usual.runs
    )
}

/// `n` and the noun, in the singular where `n` is 1.
#[must_use]
pub fn plural(n: usize, noun: &str) -> String {
    if n == 1 {
        format!("1 {noun}")
    } else {
        format!("{n} {noun}s")
    }
}

/// Display name of a job: Dagster's own over every asset has an unfamiliar name.
#[must_use]
pub fn job(job: &JobRef) -> &str {
    if job.is_all_assets() {
        "(assets)"
    } else {
        &job.job
    }
}

/// A path as typed by a user: `~` is the home folder.
#[must_use]
pub fn path(typed: &str) -> PathBuf {
    let rest = typed.strip_prefix('~');
    let rest = rest.filter(|rest| rest.is_empty() || rest.starts_with('/'));
    match (rest, std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest.trim_start_matches('/')),
        _ => PathBuf::from(typed),
    }
}
