//! The current state as one value, which a console draws and a socket carries.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    Acknowledgement, Alarm, AuditEntry, BrokenLocation, DagsterPart, FleetWorker, JobRef, LogLine,
    PausedQueues, PriorityCount, QueueView, RunView, Source, SourceKind, TaskView, WorkerView,
};

/// Maximum number of finished tasks that a worker keeps for its consoles.
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
    /// Ended tasks, newest first, at most [`MAX_RECENT_TASKS`].
    pub recent: VecDeque<TaskView>,
    /// Messages per queue and priority.
    pub priorities: Vec<PriorityCount>,
    /// The sources the worker itself depends on (the broker).
    pub sources: Vec<Source>,
    /// All workers of the deployment, including this one, as last read from Dagster's storage.
    #[serde(default)]
    pub fleet: Vec<FleetWorker>,
    /// Its alarms; absent until it has judged for the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alarms: Option<Vec<Alarm>>,
    /// The acknowledgements that are in effect in the deployment, by the alarm's id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub acknowledged: BTreeMap<String, Acknowledgement>,
    /// The queues that are paused in the whole deployment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub paused_queues: PausedQueues,
}

/// Everything a console shows: all linked workers, Dagster's runs and jobs, logs.
///
/// Parts are behind `Arc`, so that a frame that changes one part copies only that part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Incremented with every change.
    pub revision: u64,
    /// Health of each source: broker, webserver, every worker link.
    pub sources: Vec<Source>,
    /// Queues, in the order of the configuration.
    pub queues: Arc<Vec<QueueView>>,
    /// Workers, by id.
    pub workers: Arc<Vec<WorkerView>>,
    /// The deployment's workers, on every host, by id: from Dagster's storage, through the linked
    /// workers. Without a linked worker it is the last known state.
    #[serde(default)]
    pub fleet: Arc<Vec<FleetWorker>>,
    /// Tasks held or running, oldest first.
    pub tasks: Arc<Vec<TaskView>>,
    /// Ended tasks, newest first.
    pub recent: Arc<Vec<TaskView>>,
    /// Messages per queue and priority, highest priority first.
    pub priorities: Arc<Vec<PriorityCount>>,
    /// Runs, newest first.
    pub runs: Arc<Vec<RunView>>,
    /// Jobs that can be launched.
    pub jobs: Arc<Vec<JobRef>>,
    /// Log lines, oldest first, bounded.
    pub logs: Arc<VecDeque<LogLine>>,
    /// Recent audit entries of this host and the attached ones, newest first.
    #[serde(default)]
    pub audit: Arc<Vec<AuditEntry>>,
    /// Daemons of Dagster that should run and do not.
    #[serde(default)]
    pub lost_daemons: Arc<Vec<DagsterPart>>,
    /// Code locations that Dagster's webserver cannot load.
    #[serde(default)]
    pub broken_locations: Arc<Vec<BrokenLocation>>,
    /// The alarms of the linked workers, each subject once; absent while no linked worker judges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alarms: Option<Arc<Vec<Alarm>>>,
    /// The acknowledgements that are in effect, by the alarm's id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub acknowledged: BTreeMap<String, Acknowledgement>,
    /// The queues that are paused in the whole deployment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub paused_queues: PausedQueues,
}

impl Snapshot {
    /// Health of Dagster's webserver; `None` while no source is known.
    #[must_use]
    pub fn webserver(&self) -> Option<&Source> {
        let is_it = |source: &&Source| source.kind == SourceKind::Webserver;
        self.sources.iter().find(is_it)
    }
}
