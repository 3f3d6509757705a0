//! What is followed while a task's details are open: Dagster's events of it, its output, its message.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};

use crate::domain::{Answer, Query, RunEvent, TaskView};

/// Events that are kept: the newest.
const MAX_EVENTS: usize = 500;

/// Bytes of each stream that are kept: the newest.
const MAX_OUTPUT: usize = 64 * 1024;

/// How long to wait after an answer that had it all.
const PAUSE: SignedDuration = SignedDuration::from_secs(2);

/// See the module.
#[derive(Clone, Debug)]
pub struct Follow {
    /// Taskiq's id of the task.
    pub task_id: String,
    /// Dagster's events of it, oldest first.
    pub events: VecDeque<RunEvent>,
    /// The end of its standard output.
    pub stdout: String,
    /// The end of its standard error.
    pub stderr: String,
    /// Its message, secrets hidden, or why it cannot be shown.
    pub message: Option<Result<String, String>>,
    /// Why events or output cannot be read.
    pub problem: Option<String>,
    run_id: String,
    step_key: Option<String>,
    events_after: Option<String>,
    output_after: Option<String>,
    file_key: Option<String>,
    /// What is asked at the moment, by the numbers of the requests.
    pub(super) asked: Asked,
    due: Timestamp,
}

/// Requests under way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked {
    pub(super) events: Option<u64>,
    pub(super) output: Option<u64>,
    pub(super) message: Option<u64>,
}

impl Follow {
    /// Nothing is known of the task yet.
    #[must_use]
    pub fn new(task: &TaskView, now: Timestamp) -> Self {
        Self {
            task_id: task.task_id.clone(),
            events: VecDeque::new(),
            stdout: String::new(),
            stderr: String::new(),
            message: None,
            problem: None,
            run_id: task.run_id.clone(),
            step_key: task.step_key.clone(),
            events_after: None,
            output_after: None,
            file_key: None,
            asked: Asked::default(),
            due: now,
        }
    }

    /// What to ask for its events now, if it is time.
    pub(super) fn events_query(&self, now: Timestamp) -> Option<Query> {
        (self.asked.events.is_none() && self.due <= now).then(|| Query::StepEvents {
            run_id: self.run_id.clone(),
            step_key: self.step_key.clone(),
            after: self.events_after.clone(),
        })
    }

    /// What to ask for its output now, once Dagster told where that is.
    pub(super) fn output_query(&self) -> Option<Query> {
        let file_key = self.file_key.clone()?;
        self.asked.output.is_none().then(|| Query::StepOutput {
            run_id: self.run_id.clone(),
            file_key,
            after: self.output_after.clone(),
        })
    }

    /// Takes an answer.
    pub(super) fn take(&mut self, answer: &Answer, now: Timestamp) {
        match answer {
            Answer::StepEvents(page) => {
                let step = self.step_key.as_deref().unwrap_or_default();
                if let Some(key) = page.file_key(step)
                    && self.file_key.as_deref() != Some(key)
                {
                    // Another attempt, another capture.
                    self.file_key = Some(key.to_owned());
                    self.output_after = None;
                    self.stdout.clear();
                    self.stderr.clear();
                }
                self.events.extend(page.events.iter().cloned());
                let more = self.events.len().saturating_sub(MAX_EVENTS);
                self.events.drain(..more);
                self.events_after = Some(page.after.clone());
                self.due = if page.has_more { now } else { now + PAUSE };
                self.problem = None;
            }
            Answer::StepOutput(page) => {
                keep_end(&mut self.stdout, &page.stdout);
                keep_end(&mut self.stderr, &page.stderr);
                self.output_after.clone_from(&page.after);
            }
            Answer::Payload(body) => self.message = Some(Ok(body.clone())),
            _ => {}
        }
    }

    /// A question was not answered; it is asked again later.
    pub(super) fn failed(&mut self, reason: &str, now: Timestamp) {
        self.problem = Some(reason.to_owned());
        self.due = now + PAUSE;
    }
}

fn keep_end(kept: &mut String, more: &str) {
    kept.push_str(more);
    if let Some(over) = kept.len().checked_sub(MAX_OUTPUT) {
        let from = kept.ceil_char_boundary(over);
        kept.drain(..from);
    }
}
