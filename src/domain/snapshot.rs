//! How things stand, as one value: what a console draws and what a socket carries.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    AuditEntry, FleetWorker, JobRef, LogLine, PeekedMessage, PriorityCount, QueueView, RunView,
    Source, SourceKind, TaskView, WorkerView,
};

/// How many finished tasks a worker remembers for its consoles.
pub const MAX_RECENT_TASKS: usize = 500;

/// One worker's state, as its control socket sends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerSnapshot {
    /// The worker.
    pub worker: WorkerView,
    /// The queues it is subscribed to.
    pub queues: Vec<QueueView>,
    /// Tasks it holds or runs.
    pub tasks: Vec<TaskView>,
    /// Tasks that ended, newest first, at most [`MAX_RECENT_TASKS`].
    pub recent: VecDeque<TaskView>,
    /// Messages per queue and priority.
    pub priorities: Vec<PriorityCount>,
    /// The sources the worker itself depends on (the broker).
    pub sources: Vec<Source>,
    /// All workers of the deployment, this one among them, as Dagster's storage had them lately.
    #[serde(default)]
    pub fleet: Vec<FleetWorker>,
}

/// Everything a console shows: all workers it is linked to, Dagster's runs and jobs, logs.
///
/// Parts are behind `Arc`, so that a frame that changes one part copies only that part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Raised by one at every change.
    pub revision: u64,
    /// How each source fares: broker, webserver, every worker link.
    pub sources: Vec<Source>,
    /// Queues, in the order of the configuration.
    pub queues: Arc<Vec<QueueView>>,
    /// Workers, by id.
    pub workers: Arc<Vec<WorkerView>>,
    /// The deployment's workers, on every host, by id: from Dagster's storage, through the linked
    /// workers. Without a linked worker it is what was known last.
    #[serde(default)]
    pub fleet: Arc<Vec<FleetWorker>>,
    /// Tasks held or running, oldest first.
    pub tasks: Arc<Vec<TaskView>>,
    /// Tasks that ended, newest first.
    pub recent: Arc<Vec<TaskView>>,
    /// Messages per queue and priority, highest priority first.
    pub priorities: Arc<Vec<PriorityCount>>,
    /// Runs, newest first.
    pub runs: Arc<Vec<RunView>>,
    /// Jobs that can be launched.
    pub jobs: Arc<Vec<JobRef>>,
    /// Log lines, oldest first, bounded.
    pub logs: Arc<VecDeque<LogLine>>,
    /// What was asked lately on this host and on those that are attached, newest first.
    #[serde(default)]
    pub audit: Arc<Vec<AuditEntry>>,
    /// Dead letters, as they were looked at last.
    #[serde(default)]
    pub dead_letters: Arc<Vec<PeekedMessage>>,
}

impl Snapshot {
    /// How Dagster's webserver fares; `None` while no source is known.
    #[must_use]
    pub fn webserver(&self) -> Option<&Source> {
        let is_it = |source: &&Source| source.kind == SourceKind::Webserver;
        self.sources.iter().find(is_it)
    }
}
