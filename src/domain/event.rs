//! Events of a worker. Every transition is an [`Event`]; the control store folds them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::secrets::redact_in_place;
use super::{
    Acknowledgement, Alarm, Audience, FleetWorker, ForkServerPhase, ForkServerView, LogLine,
    PausedQueues, Phase, QueueView, SlotRange, Source, TaskOutcome, TaskView, Timestamp, Usage,
    UsualTime, WorkerState,
};

/// An event of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The pool's state changed, or the time at which it ends.
    State {
        /// The new state.
        state: WorkerState,
        /// Time at which running tasks are interrupted (draining worker) or killed (stopping
        /// worker).
        deadline: Option<Timestamp>,
    },
    /// The slot targets changed.
    Slots {
        /// Step slots.
        steps: u32,
        /// Run slots.
        runs: u32,
        /// Bounds of the step slots, if they follow the load.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        range: Option<SlotRange>,
    },
    /// A message was received and decoded.
    Received {
        /// The task, in phase `Held`.
        task: Box<TaskView>,
    },
    /// A task was handed to a host.
    Started {
        /// Taskiq's task id.
        task_id: String,
        /// Time of the event.
        at: Timestamp,
    },
    /// Its child was forked.
    Forked {
        /// Taskiq's task id.
        task_id: String,
        /// The child's process id.
        pid: u32,
    },
    /// The resource usage of a task's processes was measured.
    Usage {
        /// Taskiq's task id.
        task_id: String,
        /// The usage.
        usage: Usage,
    },
    /// A step has run longer than it usually does.
    BeyondUsual {
        /// Taskiq's task id.
        task_id: String,
        /// Its durations in earlier runs.
        usual: UsualTime,
    },
    /// The task has ended for this worker.
    Finished {
        /// Taskiq's task id.
        task_id: String,
        /// Time of the event.
        at: Timestamp,
        /// The outcome.
        outcome: TaskOutcome,
    },
    /// The queues this worker receives from, and those it reports.
    Queues {
        /// Names of those it receives from.
        served: Vec<String>,
        /// URLs of every queue it reports; the store drops queues that are not listed.
        reported: Vec<String>,
    },
    /// A queue's counts were read, or reading them failed.
    Queue {
        /// The queue.
        queue: QueueView,
    },
    /// Exact waiting counts per priority of one queue, which only the embedded broker provides.
    Waiting {
        /// Queue name.
        queue: String,
        /// (priority, waiting) pairs.
        counts: Vec<(i64, u64)>,
    },
    /// The queues that are paused in the whole deployment, as last read from Dagster's storage.
    PausedQueues {
        /// All of them.
        queues: PausedQueues,
    },
    /// A source answered, or failed to.
    Source {
        /// The source.
        source: Source,
    },
    /// The Python hosts, all of them.
    Hosts {
        /// Their present states.
        hosts: Vec<ForkServerView>,
    },
    /// All workers of the deployment, from Dagster's storage.
    Fleet {
        /// Their last heartbeats, by id.
        workers: Vec<FleetWorker>,
    },
    /// The worker's alarms were judged.
    Alarms {
        /// All of them.
        alarms: Vec<Alarm>,
        /// The acknowledgements that are in effect, by the alarm's id.
        acknowledged: BTreeMap<String, Acknowledgement>,
    },
    /// A line was logged.
    Log {
        /// The line.
        line: LogLine,
    },
}

impl Event {
    /// Hides the secrets in texts from outside: lines, reasons, URLs. Ids and names of our own
    /// stay.
    pub fn redact(&mut self) {
        match self {
            Self::Log { line } => redact_in_place(&mut line.message),
            Self::Finished { outcome, .. } => outcome.redact(),
            Self::Received { task } => {
                if let Phase::Done { outcome, .. } = &mut task.phase {
                    outcome.redact();
                }
            }
            Self::Queues { reported, .. } => reported.iter_mut().for_each(redact_in_place),
            Self::Queue { queue } => {
                redact_in_place(&mut queue.url);
                queue.error.iter_mut().for_each(redact_in_place);
            }
            Self::Source { source } => source.redact(),
            Self::Hosts { hosts } => {
                for host in hosts {
                    if let ForkServerPhase::Failed(reason) = &mut host.phase {
                        redact_in_place(reason);
                    }
                }
            }
            Self::Alarms { alarms, .. } => {
                for alarm in alarms {
                    redact_in_place(&mut alarm.text);
                }
            }
            Self::PausedQueues { queues } => {
                let reasons = queues
                    .values_mut()
                    .filter_map(|pause| pause.reason.as_mut());
                reasons.for_each(redact_in_place);
            }
            Self::State { .. }
            | Self::Slots { .. }
            | Self::Started { .. }
            | Self::Forked { .. }
            | Self::Usage { .. }
            | Self::BeyondUsual { .. }
            | Self::Waiting { .. }
            | Self::Fleet { .. } => {}
        }
    }
}

/// Receiver of a worker's events: bounded and never blocking; events that do not fit are counted.
///
/// 8,192 events are some eight seconds of 1,000 events per second: longer than the store is ever
/// busy.
#[derive(Clone, Debug)]
pub struct EventSink {
    sender: mpsc::Sender<Event>,
    dropped: Arc<AtomicU64>,
    audience: Audience,
}

impl EventSink {
    /// Maximum number of events waiting for the store.
    pub const CAPACITY: usize = 8192;

    /// A sink and the end from which its events are read.
    #[must_use]
    pub fn channel() -> (Self, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel(Self::CAPACITY);
        let sink = Self {
            sender,
            dropped: Arc::default(),
            audience: Audience::default(),
        };
        (sink, receiver)
    }

    /// Reports an event. Never waits: a full queue drops the event and counts it.
    pub fn send(&self, mut event: Event) {
        event.redact();
        if let Err(mpsc::error::TrySendError::Full(_)) = self.sender.try_send(event) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Number of dropped events since the start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// The viewers of the state that the events are folded into.
    #[must_use]
    pub fn audience(&self) -> Audience {
        self.audience.clone()
    }

    /// The counter behind [`EventSink::dropped`]: the reader of the events can watch it without
    /// keeping the channel open.
    #[must_use]
    pub fn drop_counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.dropped)
    }
}
