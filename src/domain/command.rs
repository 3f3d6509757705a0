//! What an operator may ask for.

use serde::{Deserialize, Serialize};

use super::JobRef;

/// How much a command can hurt: read-only mode refuses all but `Safe`, the console asks before
/// `Destructive`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Danger {
    /// Changes nothing outside the console.
    Safe,
    /// Changes what the pool does; nothing is lost.
    Disruptive,
    /// Interrupts work or removes messages.
    Destructive,
}

/// A command to a worker, to the broker or to Dagster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Stop receiving; give back what has not started; go on with what runs.
    Pause,
    /// Receive again.
    Resume,
    /// Set the number of step slots.
    Scale {
        /// Step slots, 0 or more.
        steps: u32,
    },
    /// Finish what runs, give the rest back, then end the worker process.
    Drain,
    /// Interrupt what runs, then end the worker process.
    Stop,
    /// Load user code again: new hosts for new work.
    Reload,
    /// Interrupt one task's process.
    CancelTask {
        /// Taskiq's task id.
        task_id: String,
    },
    /// Archive a queue's waiting messages to a JSONL file and delete them.
    DrainQueue {
        /// Queue name.
        queue: String,
    },
    /// Launch a run of a job with its default configuration.
    LaunchRun {
        /// The job.
        job: JobRef,
        /// Run configuration as YAML; empty for the job's own default.
        run_config: String,
        /// Run tags.
        tags: Vec<(String, String)>,
    },
    /// Ask Dagster to terminate runs.
    TerminateRuns {
        /// Run ids.
        run_ids: Vec<String>,
    },
}

impl Command {
    /// How much it can hurt.
    #[must_use]
    pub fn danger(&self) -> Danger {
        match self {
            Self::Pause
            | Self::Resume
            | Self::Scale { .. }
            | Self::Drain
            | Self::Reload
            | Self::LaunchRun { .. } => Danger::Disruptive,
            Self::Stop
            | Self::CancelTask { .. }
            | Self::DrainQueue { .. }
            | Self::TerminateRuns { .. } => Danger::Destructive,
        }
    }

    /// The verb, as the audit log and toasts name it.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Scale { .. } => "scale",
            Self::Drain => "drain",
            Self::Stop => "stop",
            Self::Reload => "reload",
            Self::CancelTask { .. } => "cancel step",
            Self::DrainQueue { .. } => "drain queue",
            Self::LaunchRun { .. } => "launch run",
            Self::TerminateRuns { .. } => "terminate runs",
        }
    }
}

/// What came of a command: one sentence either way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Done, or accepted.
    Done(String),
    /// Refused or failed.
    Failed(String),
}
