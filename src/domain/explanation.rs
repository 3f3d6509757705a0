//! Explanations why a run or step does not start: reasons from the sources, and unavailable data.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Phase, TaskOutcome, TaskView};

/// Explanation of a run or step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The run's whole id.
    pub run_id: String,
    /// Job name.
    pub job: String,
    /// The run's status, by Dagster's name.
    pub status: String,
    /// The step; absent for the run itself.
    pub step_key: Option<String>,
    /// Whether it has not started yet; otherwise the reasons describe its state.
    pub waits: bool,
    /// The reasons, most important first.
    pub reasons: Vec<Reason>,
    /// The unavailable data, for "Not known: ...".
    pub unknown: Vec<String>,
    /// Its newest message, if it was sent.
    pub sent: Option<SentMessage>,
    /// The waiting steps of a run that has started.
    pub steps: Vec<WaitingStep>,
}

/// One reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// One word for programs: `pool`, `run_limit`, `no_worker`, ...
    pub kind: String,
    /// One sentence.
    pub text: String,
    /// Time at which the reason ends by itself, if known.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// The holders of the resource that is waited for.
    #[serde(default)]
    pub holders: Vec<Holder>,
    /// The concurrency pool, if the reason is one.
    #[serde(default)]
    pub pool: Option<String>,
}

/// A run or step that holds a resource which another one waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its run.
    pub run_id: String,
    /// Its job; empty if the run was deleted.
    pub job: String,
    /// The step; absent for a run.
    pub step_key: Option<String>,
    /// Time since which it has held the resource, if known.
    pub since: Option<Timestamp>,
    /// `running`, `waiting`, `silent`, `gone` or `over`.
    pub state: String,
    /// Its state in one sentence.
    pub text: String,
    /// Whether its pool slot may be freed.
    pub can_free: bool,
    /// Whether the reason's own sentence ends with `text`.
    #[serde(default)]
    pub is_named: bool,
}

/// A message as its sender logged it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentMessage {
    /// Name of the queue.
    pub queue: String,
    /// Taskiq's task id.
    pub task_id: String,
    /// When it was sent.
    pub at: Timestamp,
    /// Run priority plus step priority, if the sender logged it.
    pub priority: Option<i64>,
    /// Total attempt number, from 1.
    pub attempt: u32,
}

/// A waiting step of a run that has started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingStep {
    /// Step key.
    pub step_key: String,
    /// Its first reason.
    pub reason: String,
}

impl Reason {
    /// Creates a reason of one sentence.
    #[must_use]
    pub fn new(kind: &str, text: String) -> Self {
        Self {
            kind: kind.to_owned(),
            text,
            ..Self::default()
        }
    }

    /// The holders that its own sentence does not name.
    pub fn other_holders(&self) -> impl Iterator<Item = &Holder> {
        self.holders.iter().filter(|holder| !holder.is_named)
    }
}

impl Explanation {
    /// Whether its message was sent and no holder is known.
    #[must_use]
    pub fn is_in_queue(&self) -> bool {
        const KINDS: [&str; 4] = ["no_worker", "workers_paused", "slots_busy", "in_queue"];
        let waits = |reason: &Reason| KINDS.contains(&reason.kind.as_str());
        self.sent.is_some() && self.reasons.iter().any(waits)
    }

    /// Puts a reason before the others.
    pub fn put_first(&mut self, reason: Reason) {
        self.reasons.insert(0, reason);
    }

    /// The holders of a pool slot that may be freed.
    pub fn freeable(&self) -> impl Iterator<Item = &Holder> {
        let pools = self.reasons.iter().filter(|reason| reason.pool.is_some());
        pools
            .flat_map(|reason| &reason.holders)
            .filter(|holder| holder.can_free)
    }

    /// Adds the workers' own reports about its message: tasks that they hold, and those that they
    /// gave back.
    pub fn note_tasks<'a>(
        &mut self,
        tasks: impl IntoIterator<Item = &'a TaskView>,
        recent: impl IntoIterator<Item = &'a TaskView>,
    ) {
        if !self.is_in_queue() {
            return;
        }
        let tasks: Vec<&TaskView> = tasks.into_iter().collect();
        if let Some(own) = tasks.iter().find(|task| self.is_of(task)) {
            let reason = in_hand(own, &tasks);
            return self.put_first(reason);
        }
        let given_back = recent.into_iter().filter(|task| self.is_of(task));
        let newest = given_back
            .filter_map(|task| match &task.phase {
                Phase::Done {
                    at,
                    outcome: TaskOutcome::GivenBack { reason },
                    ..
                } => Some((*at, &task.worker, reason)),
                _ => None,
            })
            .max_by_key(|(at, ..)| *at);
        if let Some((_, worker, why)) = newest {
            let text = format!("Worker {worker} received it and gave it back: {why}.");
            self.put_first(Reason::new("given_back", text));
        }
    }

    fn is_of(&self, task: &TaskView) -> bool {
        task.run_id == self.run_id && task.step_key == self.step_key
    }
}

fn in_hand(own: &TaskView, tasks: &[&TaskView]) -> Reason {
    let worker = &own.worker;
    if own.is_running() {
        let text = format!("Worker {worker} has it in hand and prepares it.");
        return Reason::new("in_hand", text);
    }
    let is_before = |other: &&&TaskView| {
        other.phase == Phase::Held
            && other.worker == own.worker
            && other.kind.is_run() == own.kind.is_run()
            && (-other.priority, other.sent_at) < (-own.priority, own.sent_at)
    };
    let before = tasks.iter().filter(is_before).count();
    let text = match before {
        0 => format!("Worker {worker} has received it: it is the next to get a free slot."),
        1 => format!(
            "Worker {worker} has received it and waits for a free slot; 1 task is before it."
        ),
        _ => format!(
            "Worker {worker} has received it and waits for a free slot; {before} tasks are before it."
        ),
    };
    Reason::new("held", text)
}
