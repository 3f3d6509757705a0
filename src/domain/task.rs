//! Tasks: one Taskiq message on its way through a worker, which is a step of a run, or a run
//! itself.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::UsualTime;
use super::secrets::redact_in_place;

/// Kind of work that a message requests: Taskiq's `task_name`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// Run one step of a run.
    ExecutePlan,
    /// Execute a run as its run worker.
    ExecuteJob,
    /// Take over a run whose run worker is gone.
    ResumeJob,
}

impl TaskKind {
    /// The kind that a Taskiq `task_name` stands for.
    #[must_use]
    pub fn from_task_name(name: &str) -> Option<Self> {
        match name {
            "execute_plan" => Some(Self::ExecutePlan),
            "execute_job" => Some(Self::ExecuteJob),
            "resume_job" => Some(Self::ResumeJob),
            _ => None,
        }
    }

    /// The Taskiq `task_name`.
    #[must_use]
    pub fn task_name(self) -> &'static str {
        match self {
            Self::ExecutePlan => "execute_plan",
            Self::ExecuteJob => "execute_job",
            Self::ResumeJob => "resume_job",
        }
    }

    /// Display name of such a task, for one without a step key.
    #[must_use]
    pub fn spoken(self) -> &'static str {
        match self {
            Self::ExecutePlan => "(step)",
            Self::ExecuteJob => "(run)",
            Self::ResumeJob => "(resumed run)",
        }
    }

    /// Whether the task occupies a run slot (a run worker) rather than a step slot.
    #[must_use]
    pub fn is_run(self) -> bool {
        !matches!(self, Self::ExecutePlan)
    }
}

impl fmt::Display for TaskKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.task_name())
    }
}

/// Phase of a task in this worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// Received, its lease renewed, waiting for a slot.
    Held,
    /// Given to a warm host; `pid` is known once the child is forked.
    Running {
        /// Time at which it was handed to the host.
        since: Timestamp,
        /// Process id of the step's child on the worker's host.
        pid: Option<u32>,
    },
    /// Ended for this worker.
    Done {
        /// End time.
        at: Timestamp,
        /// Time at which it was handed to the host; absent if it never was.
        started: Option<Timestamp>,
        /// The outcome.
        outcome: TaskOutcome,
    },
}

impl Phase {
    /// The phase after the task's end.
    #[must_use]
    pub fn ended(&self, at: Timestamp, outcome: TaskOutcome) -> Self {
        let started = match self {
            Self::Held => None,
            Self::Running { since, .. } => Some(*since),
            Self::Done { started, .. } => *started,
        };
        Self::Done {
            at,
            started,
            outcome,
        }
    }
}

/// Outcome of a task in this worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum TaskOutcome {
    /// The step or run succeeded.
    Success,
    /// The step or run failed; its failure event is in Dagster's log.
    Failure {
        /// One sentence.
        reason: String,
    },
    /// The step's attempt failed and Dagster will send the next one.
    UpForRetry {
        /// One sentence; empty if unknown.
        #[serde(default)]
        reason: String,
    },
    /// The step was skipped, or there was nothing to do (already finished, run over).
    Skipped {
        /// Reason why nothing ran.
        reason: String,
    },
    /// The step or run was cancelled.
    Canceled,
    /// The message went back to the queue.
    GivenBack {
        /// The reason.
        reason: String,
    },
    /// The message was moved to the dead-letter queue, or is kept because there is none.
    DeadLettered {
        /// The reason.
        reason: String,
    },
    /// Its worker's process is gone. A worker never reports this of itself; others conclude it.
    Lost {
        /// Consequence for the task.
        reason: String,
    },
}

impl TaskOutcome {
    /// One short word for tables.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure { .. } => "failure",
            Self::UpForRetry { .. } => "retry",
            Self::Skipped { .. } => "skipped",
            Self::Canceled => "canceled",
            Self::GivenBack { .. } => "given back",
            Self::DeadLettered { .. } => "dead letter",
            Self::Lost { .. } => "lost",
        }
    }

    /// Hides the secrets in its reason.
    pub fn redact(&mut self) {
        match self {
            Self::Failure { reason }
            | Self::UpForRetry { reason }
            | Self::Skipped { reason }
            | Self::GivenBack { reason }
            | Self::DeadLettered { reason }
            | Self::Lost { reason } => redact_in_place(reason),
            Self::Success | Self::Canceled => {}
        }
    }

    /// The reason, if any.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Failure { reason }
            | Self::Skipped { reason }
            | Self::GivenBack { reason }
            | Self::DeadLettered { reason }
            | Self::Lost { reason } => Some(reason),
            Self::UpForRetry { reason } if !reason.is_empty() => Some(reason),
            Self::Success | Self::UpForRetry { .. } | Self::Canceled => None,
        }
    }
}

/// A task in the console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskView {
    /// Taskiq's `task_id`.
    pub task_id: String,
    /// SQS's `MessageId`.
    pub message_id: String,
    /// Name of the queue it was received from.
    pub queue: String,
    /// Kind of the task.
    pub kind: TaskKind,
    /// The Dagster run it belongs to.
    pub run_id: String,
    /// Job name, if the message contains it.
    pub job: Option<String>,
    /// Step key; absent for a run.
    pub step_key: Option<String>,
    /// Run priority plus step priority.
    pub priority: i64,
    /// Total attempt number, from 1; 0 if the sender did not set it.
    pub attempt: u32,
    /// SQS's `ApproximateReceiveCount`.
    pub receive_count: u32,
    /// Sent time of the message (SQS's `SentTimestamp`).
    pub sent_at: Option<Timestamp>,
    /// Time of its receive by this worker.
    pub received_at: Timestamp,
    /// Current phase.
    #[serde(flatten)]
    pub phase: Phase,
    /// Id of the worker that holds it.
    pub worker: String,
    /// Last measured usage of its processes; absent before the first measurement.
    #[serde(default)]
    pub usage: Option<Usage>,
    /// The usual time of the step, once it has run longer than that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beyond_usual: Option<UsualTime>,
}

/// Resource usage of a task's process and its descendants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Share of one core since the last measurement, in percent.
    pub cpu_percent: u32,
    /// Their own memory, in MiB, without memory shared with the host they were forked from.
    pub memory_mib: u64,
}

impl TaskView {
    /// Display name: the step key, or the kind of run task.
    #[must_use]
    pub fn name(&self) -> &str {
        self.step_key.as_deref().unwrap_or(self.kind.spoken())
    }

    /// Whether it runs, and for longer than usual.
    #[must_use]
    pub fn is_late(&self) -> bool {
        self.is_running() && self.beyond_usual.is_some()
    }

    /// Whether a child runs it now.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running { .. })
    }
}
