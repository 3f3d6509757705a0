//! Plain types that every layer shares: queues, tasks, workers and runs, events ([`Event`]), state
//! ([`Snapshot`]) and commands of an operator ([`Command`]). No I/O.

mod address;
mod age;
mod alarm;
mod audience;
mod audit;
mod back_off;
mod command;
mod event;
mod explanation;
mod failure;
mod fleet;
mod isolation;
mod log;
mod message;
mod operation;
mod part;
mod process;
mod query;
mod queue;
mod run;
mod sanitize;
pub mod secrets;
mod slot_range;
mod snapshot;
mod source;
mod span;
mod task;
mod trend;
mod wording;
mod worker;

pub use address::{is_loopback, percent_encoded};
pub use age::{coarse_age, seconds_between};
pub use alarm::{Acknowledgement, Alarm, AlarmChange, AlarmEntry, AlarmKind, Ring, Severity};
pub use audience::{Audience, Viewer, Viewers};
pub use audit::AuditEntry;
pub use back_off::BackOff;
pub use command::{Command, Danger, Launch, Reply, Route, quoted};
pub use event::{Event, EventSink};
pub use explanation::{Explanation, Holder, Reason, SentMessage, WaitingStep};
pub use failure::{
    FailedRun, FailedRunPage, FailureGroup, FailureKind, FailureMember, MAX_FAILED_RUNS,
    RunFailures, Settled, StepFailure, group_failures, parse_window,
};
pub use fleet::FleetWorker;
pub use isolation::Isolation;
pub use log::{LOG_FILES, LogFormat, LogLevel, LogLine};
pub use message::{
    Envelope, MAX_PEEKED, MAX_PEEKED_BYTES, MessageStage, Peek, PeekedMessage, QueueDetail,
    RedrivePolicy,
};
pub use operation::OperationResult;
pub(crate) use part::note_missing_daemons;
pub use part::{BrokenLocation, DagsterPart, DagsterParts, Health, Instigator, PartKind};
pub use process::{ProcessUsage, StackReport, UsualTime};
pub use query::{
    Answer, AssetKey, ConfigProblem, EventPage, JobDetail, OutputPage, Query, RunEvent, RunStep,
    RunSteps,
};
pub use queue::{
    DEFAULT_PRIORITY, PausedQueues, PriorityCount, QueueCounts, QueuePause, QueueRole, QueueView,
};
pub use run::{JobRef, RunStatus, RunView};
pub use sanitize::{last_lines, nearest, plain, reason, visible};
pub use slot_range::{SlotChange, SlotRange};
pub use snapshot::{MAX_RECENT_TASKS, Snapshot, WorkerSnapshot};
pub use source::{Source, SourceHealth, SourceKind};
pub use span::{parse_duration, parse_moment, parse_seconds};
pub use task::{Phase, TaskKind, TaskOutcome, TaskView, Usage};
pub use trend::{Growth, Trend};
pub use wording::{innermost, they_wait};
pub use worker::{ForkServerPhase, ForkServerView, Slots, WorkerState, WorkerView};

pub use jiff::Timestamp;
