//! Data for the open details of a task or a run: Dagster's events of it, a task's output and
//! message, a run's steps.

use std::collections::{BTreeMap, VecDeque};

use jiff::{SignedDuration, Timestamp};

use crate::domain::{
    Answer, OutputPage, ProcessUsage, Query, RunEvent, RunSteps, RunView, StackReport, TaskView,
};

/// Maximum number of kept events: the newest.
const MAX_EVENTS: usize = 500;

/// Maximum size of each kept stream in bytes: the newest.
const MAX_OUTPUT: usize = 64 * 1024;

/// Pause after an answer that was complete.
const PAUSE: SignedDuration = SignedDuration::from_secs(2);

/// Number of pages of a run's log that are read without a pause: 20,000 events.
const PAGES_AT_ONCE: usize = 40;

/// The followed task or run, with its data.
#[derive(Clone, Debug)]
pub struct Follow {
    /// Taskiq's id of the task, or the run's.
    pub id: String,
    /// Dagster's events of it, oldest first; for a run, its own and those with an error.
    pub events: VecDeque<RunEvent>,
    /// The end of its standard output.
    pub stdout: String,
    /// The end of its standard error.
    pub stderr: String,
    /// Its message, secrets redacted, or the reason why it cannot be shown.
    pub message: Option<Result<String, String>>,
    /// Reason why events or steps cannot be read.
    pub problem: Option<String>,
    /// Reason why the output cannot be read.
    pub output_problem: Option<String>,
    /// A run's steps.
    pub run: Option<RunSteps>,
    /// The stack of its process that was requested last, or the reason for its absence.
    pub stack: Option<Result<StackReport, String>>,
    /// Resource usage of its processes, while it runs.
    pub usage: Option<ProcessUsage>,
    usage_due: Timestamp,
    subject: Subject,
    events_after: Option<String>,
    pages: usize,
    output: Output,
    /// The pending queries, by the numbers of the requests.
    pending: BTreeMap<u64, Slot>,
    due: Timestamp,
    /// Whether nothing will be added any more.
    over: bool,
}

/// The followed item.
#[derive(Clone, Debug)]
enum Subject {
    Task {
        run_id: String,
        step_key: Option<String>,
        worker: String,
    },
    Run {
        run_id: String,
        finished: bool,
    },
}

/// Source of the output.
#[derive(Clone, Debug, Default)]
struct Output {
    /// Dagster's key of the capture.
    key: Option<String>,
    after: Option<String>,
    /// The webserver does not have it: the worker that ran the step is queried for its files.
    at_worker: bool,
    due: Timestamp,
}

/// A kind of query; at most one of each is pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    Events,
    Steps,
    Output,
    Message,
    Stack,
    Usage,
}

/// A query, and the worker it is for; `None` is Dagster.
pub(super) type Question = (Slot, Option<String>, Query);

impl Follow {
    /// Follows a task of which nothing is known yet.
    #[must_use]
    pub fn task(task: &TaskView, now: Timestamp) -> Self {
        let subject = Subject::Task {
            run_id: task.run_id.clone(),
            step_key: task.step_key.clone(),
            worker: task.worker.clone(),
        };
        Self::new(task.task_id.clone(), subject, now)
    }

    /// Follows a run of which nothing is known yet.
    #[must_use]
    pub fn run(run: &RunView, now: Timestamp) -> Self {
        let subject = Subject::Run {
            run_id: run.run_id.clone(),
            finished: false,
        };
        Self::new(run.run_id.clone(), subject, now)
    }

    fn new(id: String, subject: Subject, now: Timestamp) -> Self {
        Self {
            id,
            events: VecDeque::new(),
            stdout: String::new(),
            stderr: String::new(),
            message: None,
            problem: None,
            output_problem: None,
            run: None,
            stack: None,
            usage: None,
            usage_due: now,
            subject,
            events_after: None,
            pages: 0,
            output: Output::default(),
            pending: BTreeMap::new(),
            due: now,
            over: false,
        }
    }

    /// Whether no more data will arrive.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Records that the run is over: the next queries return its final data.
    pub(super) fn run_finished(&mut self) {
        if let Subject::Run { finished, .. } = &mut self.subject
            && !*finished
        {
            *finished = true;
            // A pending answer may be from before.
            self.pending.clear();
        }
    }

    /// Moves deadlines after a change of the clock.
    pub(super) fn move_deadlines(&mut self, moved: impl Fn(Timestamp) -> Timestamp) {
        self.due = moved(self.due);
        self.output.due = moved(self.output.due);
        self.usage_due = moved(self.usage_due);
    }

    /// The query that a task's worker gets once.
    pub(super) fn first_question(&self) -> Option<Question> {
        match &self.subject {
            Subject::Task { worker, .. } => {
                let task_id = self.id.clone();
                let whom = Some(worker.clone());
                Some((Slot::Message, whom, Query::Payload { task_id }))
            }
            Subject::Run { .. } => None,
        }
    }

    /// The query for the stack of a task's process.
    pub(super) fn stack_question(&self) -> Option<Question> {
        let Subject::Task { worker, .. } = &self.subject else {
            return None;
        };
        let task_id = self.id.clone();
        let is_free = !self.is_reading_stack();
        is_free.then(|| (Slot::Stack, Some(worker.clone()), Query::Stack { task_id }))
    }

    /// Whether the stack is being read.
    #[must_use]
    pub fn is_reading_stack(&self) -> bool {
        self.pending.values().any(|slot| *slot == Slot::Stack)
    }

    /// The query for the resource usage of a running task, if it is due.
    pub(super) fn usage_question(&self, now: Timestamp) -> Option<Question> {
        let Subject::Task { worker, .. } = &self.subject else {
            return None;
        };
        let is_due =
            self.usage_due <= now && !self.pending.values().any(|slot| *slot == Slot::Usage);
        let task_id = self.id.clone();
        is_due.then(|| (Slot::Usage, Some(worker.clone()), Query::Usage { task_id }))
    }

    /// The queries that are due now.
    pub(super) fn questions(&self, now: Timestamp) -> Vec<Question> {
        let free = |slot: Slot| !self.pending.values().any(|of| *of == slot);
        let mut questions = Vec::new();
        if self.over {
            return questions;
        }
        if self.due <= now && free(Slot::Events) {
            let (run_id, step_key) = match &self.subject {
                Subject::Task {
                    run_id, step_key, ..
                } => (run_id, step_key.clone()),
                Subject::Run { run_id, .. } => {
                    if free(Slot::Steps) {
                        let run_id = run_id.clone();
                        questions.push((Slot::Steps, None, Query::Run { run_id }));
                    }
                    (run_id, None)
                }
            };
            let query = Query::StepEvents {
                run_id: run_id.clone(),
                step_key,
                after: self.events_after.clone(),
            };
            questions.push((Slot::Events, None, query));
        }
        if self.output.due <= now && free(Slot::Output) {
            questions.extend(self.output_question());
        }
        questions
    }

    /// The query for its output, once Dagster has returned its key.
    fn output_question(&self) -> Option<Question> {
        let file_key = self.output.key.clone()?;
        let Subject::Task { run_id, worker, .. } = &self.subject else {
            return None;
        };
        let (run_id, after) = (run_id.clone(), self.output.after.clone());
        Some(if self.output.at_worker {
            let query = Query::OutputFiles {
                run_id,
                file_key,
                after,
            };
            (Slot::Output, Some(worker.clone()), query)
        } else {
            let query = Query::StepOutput {
                run_id,
                file_key,
                after,
            };
            (Slot::Output, None, query)
        })
    }

    /// Records the number of a request.
    pub(super) fn note(&mut self, request: u64, slot: Slot) {
        self.pending.insert(request, slot);
    }

    /// The subject of the request with this number, if it belongs to this item.
    pub(super) fn take_request(&mut self, request: u64) -> Option<Slot> {
        self.pending.remove(&request)
    }

    /// Takes an answer.
    pub(super) fn take(&mut self, answer: &Answer, now: Timestamp) {
        match answer {
            Answer::StepEvents(page) => {
                self.find_output(page, now);
                let of_run = matches!(self.subject, Subject::Run { .. });
                let shown = |event: &&RunEvent| {
                    let of_a_step = event.step_key.is_some() || !event.captured.is_empty();
                    !of_run || !of_a_step || event.error.is_some()
                };
                self.events
                    .extend(page.events.iter().filter(shown).cloned());
                let more = self.events.len().saturating_sub(MAX_EVENTS);
                self.events.drain(..more);
                self.events_after = Some(page.after.clone());
                self.pages += 1;
                let at_once = page.has_more && (!of_run || self.pages < PAGES_AT_ONCE);
                self.due = if at_once { now } else { now + PAUSE };
                self.problem = None;
                let finished = matches!(self.subject, Subject::Run { finished: true, .. });
                self.over = finished && !page.has_more && self.run.is_some();
            }
            Answer::StepOutput(page) => self.take_output(page, now),
            Answer::Run(steps) => self.run = Some(steps.clone()),
            Answer::Stack(report) => self.stack = Some(Ok(report.clone())),
            Answer::Usage(usage) => {
                self.usage = Some(usage.clone());
                self.usage_due = now + PAUSE;
            }
            Answer::Payload(body) => self.message = Some(Ok(body.clone())),
            _ => {}
        }
    }

    /// Searches new events for the key of the task's output.
    fn find_output(&mut self, page: &crate::domain::EventPage, now: Timestamp) {
        let Subject::Task { step_key, .. } = &self.subject else {
            return;
        };
        let step = step_key.as_deref().unwrap_or_default();
        if let Some(key) = page.file_key(step)
            && self.output.key.as_deref() != Some(key)
        {
            // Another attempt has another capture.
            self.output = Output {
                key: Some(key.to_owned()),
                due: now,
                ..Output::default()
            };
            self.stdout.clear();
            self.stderr.clear();
            self.output_problem = None;
        }
    }

    fn take_output(&mut self, page: &OutputPage, now: Timestamp) {
        if page.missing {
            if self.output.at_worker {
                self.output_problem = Some(String::from(
                    "it is neither where Dagster's webserver looks nor on the worker's host",
                ));
            }
            return self.look_elsewhere(now);
        }
        keep_end(&mut self.stdout, &page.stdout);
        keep_end(&mut self.stderr, &page.stderr);
        self.output.after.clone_from(&page.after);
        self.output.due = if page.is_full() { now } else { now + PAUSE };
        self.output_problem = None;
    }

    /// Switches between the webserver and the worker as the source: the worker is queried at once.
    fn look_elsewhere(&mut self, now: Timestamp) {
        self.output.due = if self.output.at_worker {
            now + PAUSE
        } else {
            now
        };
        self.output.at_worker ^= true;
        self.output.after = None;
    }

    /// Records that a query failed; it is repeated later.
    pub(super) fn failed(&mut self, slot: Slot, reason: &str, now: Timestamp) {
        match slot {
            Slot::Stack => self.stack = Some(Err(reason.to_owned())),
            Slot::Usage => {
                self.usage = None;
                self.usage_due = now + PAUSE;
            }
            Slot::Message => self.message = Some(Err(reason.to_owned())),
            Slot::Output => {
                self.output_problem = Some(reason.to_owned());
                if self.stdout.is_empty() && self.stderr.is_empty() {
                    self.look_elsewhere(now);
                } else {
                    self.output.due = now + PAUSE;
                }
            }
            Slot::Events | Slot::Steps => {
                self.problem = Some(reason.to_owned());
                self.due = now + PAUSE;
            }
        }
    }
}

fn keep_end(kept: &mut String, more: &str) {
    kept.push_str(more);
    if let Some(over) = kept.len().checked_sub(MAX_OUTPUT) {
        let from = kept.ceil_char_boundary(over);
        kept.drain(..from);
    }
}
