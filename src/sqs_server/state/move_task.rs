//! Moving messages out of a dead-letter queue: `StartMessageMoveTask` and its continuation.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Broker;
use super::change::Change;
use super::message::{Millis, Seq, Stage};
use super::queue::Queue;
use super::settings::name_in_arn;
use crate::sqs_server::account;
use crate::sqs_server::error::{ErrorKind, SqsError};

/// Number of messages an unlimited task moves before other requests are served.
const STEP: usize = 500;
/// Maximum delay that a task makes up for, in milliseconds.
const LATE: Millis = 100;
/// Ended tasks kept for `ListMessageMoveTasks`, per source; AWS lists at most ten.
const KEPT: usize = 10;

/// Status of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskStatus {
    /// In progress.
    Running,
    /// Everything was moved.
    Completed,
    /// Stopped by `CancelMessageMoveTask`.
    Cancelled,
    /// Stopped by an error.
    Failed,
}

impl TaskStatus {
    /// The status as SQS names it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Completed => "COMPLETED",
            Self::Cancelled => "CANCELLED",
            Self::Failed => "FAILED",
        }
    }
}

/// A move task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveTask {
    /// Identifier of the task.
    pub id: Uuid,
    /// The dead-letter queue's name.
    pub source: Arc<str>,
    /// The source as the client named it.
    pub source_arn: String,
    /// Destination of the messages; `None` returns each to its source.
    pub destination_arn: Option<String>,
    /// Maximum number of messages a second.
    pub rate: Option<u32>,
    /// Its status.
    pub status: TaskStatus,
    /// Messages moved so far.
    pub moved: u64,
    /// Number of messages at the start.
    pub to_move: u64,
    /// Start time.
    pub started_at: Millis,
    /// The last message to move; newer ones are left alone.
    pub until: Seq,
    /// Reason of the failure.
    pub failure: Option<String>,
    /// Time from which the rate is counted, and the number moved by then. Counted anew after a
    /// restart and after a pause; otherwise all messages missed meanwhile would be moved at once.
    #[serde(skip)]
    paced_from: Option<(Millis, u64)>,
}

/// Parameters of `StartMessageMoveTask`.
#[derive(Debug, Clone)]
pub struct MoveRequest {
    /// The id of the task.
    pub id: Uuid,
    /// The dead-letter queue.
    pub source: String,
    /// Its ARN, as the client names it.
    pub source_arn: String,
    /// Destination of the messages; `None` returns each to its source.
    pub destination_arn: Option<String>,
    /// Maximum number of messages a second, 1 to 500.
    pub rate: Option<u32>,
}

impl MoveTask {
    /// Time at which it may move its next message; 0 is at once.
    fn next_at(&self) -> Option<Millis> {
        if self.status != TaskStatus::Running {
            return None;
        }
        let (Some(rate), Some((since, moved))) = (self.rate, self.paced_from) else {
            return Some(0);
        };
        let after = i64::try_from(self.moved - moved).unwrap_or(i64::MAX / 1_000) * 1_000;
        Some(since + after / i64::from(rate))
    }

    /// Restarts the rate count if there is none, or if the task is behind by more than [`LATE`].
    fn pace(&mut self, now: Millis) {
        if self.paced_from.is_none() || self.next_at().is_some_and(|at| at + LATE < now) {
            self.paced_from = Some((now, self.moved));
        }
    }
}

impl Broker {
    /// Starts moving messages out of a dead-letter queue.
    ///
    /// # Errors
    /// `ResourceNotFoundException` for an unknown queue, `InvalidParameterValue` when the source is
    /// not a dead-letter queue or has a running task.
    pub fn start_move_task(&mut self, now: Millis, request: MoveRequest) -> Result<(), SqsError> {
        let source = self.queue_of_arn("SourceArn", &request.source_arn, &request.source)?;
        let refuse = |reason: &str| SqsError::new(ErrorKind::InvalidParameterValue, reason);
        if let Some(arn) = &request.destination_arn {
            let key = account::sibling(&source, name_in_arn(arn));
            let destination = self.queue_of_arn("DestinationArn", arn, &key)?;
            if destination == source {
                return Err(refuse("Source and destination queue must be different."));
            }
            if self.queue(&destination)?.settings.fifo != self.queue(&source)?.settings.fifo {
                return Err(refuse(
                    "Source and destination queue must be of the same type, standard or FIFO.",
                ));
            }
        }
        if self.sources_of(&source).is_empty() {
            return Err(refuse(
                "Source queue must be configured as a Dead Letter Queue.",
            ));
        }
        if self
            .tasks
            .iter()
            .any(|t| t.source == source && t.status == TaskStatus::Running)
        {
            return Err(refuse(
                "There is already a task running. Only one active task is allowed for a source \
                 queue arn at a given time.",
            ));
        }
        let queue = self.queue(&source)?;
        let task = MoveTask {
            id: request.id,
            source_arn: request.source_arn,
            destination_arn: request.destination_arn,
            rate: request.rate,
            status: TaskStatus::Running,
            moved: 0,
            to_move: queue.counts().waiting as u64,
            started_at: now,
            until: queue.iter().last().map_or(0, |(seq, _)| seq),
            failure: None,
            paced_from: None,
            source,
        };
        self.changes.push(Change::TaskSaved(Box::new(task.clone())));
        self.tasks.push(task);
        Ok(())
    }

    /// The tasks of a dead-letter queue, the youngest first.
    ///
    /// # Errors
    /// `ResourceNotFoundException` for an unknown queue.
    pub fn move_tasks(&self, source: &str, arn: &str) -> Result<Vec<&MoveTask>, SqsError> {
        let source = self.queue_of_arn("SourceArn", arn, source)?;
        Ok(self
            .tasks
            .iter()
            .rev()
            .filter(|task| task.source == source)
            .take(KEPT)
            .collect())
    }

    /// Stops a task; returns the number of messages it moved.
    ///
    /// # Errors
    /// `ResourceNotFoundException` for an unknown task or one that is not running.
    pub fn cancel_move_task(&mut self, id: Uuid) -> Result<u64, SqsError> {
        let task = self
            .tasks
            .iter_mut()
            .find(|task| task.id == id)
            .ok_or_else(|| SqsError::new(ErrorKind::ResourceNotFound, "Task does not exist."))?;
        if task.status != TaskStatus::Running {
            return Err(SqsError::new(
                ErrorKind::InvalidParameterValue,
                "Only active tasks can be cancelled",
            ));
        }
        task.status = TaskStatus::Cancelled;
        self.changes.push(Change::TaskSaved(Box::new(task.clone())));
        Ok(task.moved)
    }

    /// Stops the running tasks of these queues.
    pub(super) fn cancel_tasks(&mut self, is_meant: impl Fn(&str) -> bool) {
        for task in &mut self.tasks {
            if task.status == TaskStatus::Running && is_meant(&task.source) {
                task.status = TaskStatus::Cancelled;
                self.changes.push(Change::TaskSaved(Box::new(task.clone())));
            }
        }
    }

    /// Time at which the next message of a running task may be moved.
    pub(super) fn next_move(&self) -> Option<Millis> {
        self.tasks.iter().filter_map(MoveTask::next_at).min()
    }

    /// Lets each running task move all messages that are due.
    pub(super) fn go_on_moving(&mut self, now: Millis) {
        for index in 0..self.tasks.len() {
            if self.tasks[index].next_at().is_some_and(|at| at <= now) {
                self.go_on_with(index, now);
            }
        }
    }

    fn go_on_with(&mut self, index: usize, now: Millis) {
        self.tasks[index].pace(now);
        for _ in 0..STEP {
            let task = &self.tasks[index];
            if task.next_at().is_none_or(|at| at > now) {
                break;
            }
            let (source, until) = (task.source.clone(), task.until);
            let next = self
                .queues
                .get(&source)
                .and_then(Queue::oldest_receivable)
                .filter(|seq| *seq <= until);
            let Some(seq) = next else {
                self.tasks[index].status = TaskStatus::Completed;
                break;
            };
            match self.move_one(index, seq, now) {
                Ok(()) => self.tasks[index].moved += 1,
                Err(failure) => {
                    self.tasks[index].status = TaskStatus::Failed;
                    self.tasks[index].failure = Some(failure.to_owned());
                }
            }
        }
        self.changes
            .push(Change::TaskSaved(Box::new(self.tasks[index].clone())));
    }

    fn move_one(&mut self, index: usize, seq: Seq, now: Millis) -> Result<(), &'static str> {
        let task = &self.tasks[index];
        let (from, destination) = (task.source.clone(), task.destination_arn.clone());
        let source = self
            .queues
            .get(&from)
            .and_then(|queue| queue.get(seq))
            .cloned();
        let mut message = source.ok_or("QueueDoesNotExist")?;
        let target: Arc<str> = match (&destination, &message.source) {
            (Some(arn), _) => account::sibling(&from, name_in_arn(arn)).into(),
            (None, Some(source)) => source.clone(),
            (None, None) => return Err("CouldNotDetermineMessageSource"),
        };
        let to = self.next_seq(now);
        let target = self
            .queues
            .get_mut(&target)
            .ok_or("AWS.SimpleQueueService.NonExistentQueue")?;
        message.sent_at = now;
        message.due_at = now;
        message.receive_count = 0;
        message.received_at = 0;
        message.first_received_at = 0;
        message.source = None;
        message.stage = Stage::Waiting;
        target.insert(to, message.clone());
        let store = target.store;
        if let Some(queue) = self.queues.get_mut(&from) {
            queue.remove(seq);
        }
        // A moved message is a new one with an id of its own; the id is derived, so that the
        // state machine needs no source of randomness.
        let identity = Some(derived_id(self.tasks[index].id, to));
        self.changes.push(Change::Moved {
            from: seq,
            store,
            to,
            message,
            identity,
        });
        Ok(())
    }

    fn queue_of_arn(&self, parameter: &str, arn: &str, key: &str) -> Result<Arc<str>, SqsError> {
        if !arn.starts_with("arn:") {
            return Err(SqsError::new(
                ErrorKind::InvalidParameterValue,
                format!(
                    "You must use this format to specify the {parameter}: \
                     arn:<partition>:<service>:<region>:<account-id>:<resource-id>"
                ),
            ));
        }
        self.queues.get(key).map(|queue| queue.name.clone()).ok_or_else(|| {
            SqsError::new(
                ErrorKind::ResourceNotFound,
                format!(
                    "The resource that you specified for the {parameter} parameter doesn't exist."
                ),
            )
        })
    }
}

fn derived_id(task: Uuid, seq: Seq) -> Uuid {
    uuid::Builder::from_random_bytes(
        (task.as_u128() ^ u128::from(seq.unsigned_abs())).to_be_bytes(),
    )
    .into_uuid()
}
