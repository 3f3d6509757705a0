//! Explanations why something does not start: requested while the page is open, and for the details
//! of waiting items.

use crossterm::event::KeyCode;
use jiff::{SignedDuration, Timestamp};

use super::{App, Effect};
use crate::console::format::short_id;
use crate::console::key::Key;
use crate::console::overlay::Overlay;
use crate::console::toast::Tone;
use crate::console::view::View;
use crate::domain::{Answer, Command, Explanation, Phase, Query, Reply};

/// Time after which an answer is outdated: it changes with every step that ends.
const REFRESH_WAITING: SignedDuration = SignedDuration::from_secs(10);

/// The same for running items, or if the answer needs a process of its own.
const REFRESH_OTHERS: SignedDuration = SignedDuration::from_secs(60);

/// A run, or one of its steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The run's id; if an operator typed it, perhaps only its beginning.
    pub run_id: String,
    /// The step; absent for the run itself.
    pub step_key: Option<String>,
}

/// Explanation of one subject.
#[derive(Clone, Debug)]
pub struct Explained {
    /// Its subject.
    pub subject: Subject,
    /// The newest answer, or the reason for its absence.
    pub answer: Option<Result<Explanation, String>>,
    pending: Option<u64>,
    due: Timestamp,
}

impl App {
    /// The newest explanation of a run or step, while its page or its details are open.
    pub(in crate::console) fn explanation_of(
        &self,
        run_id: &str,
        step_key: Option<&str>,
    ) -> Option<&Explanation> {
        let known = self.explained.as_ref()?;
        let is_it = known.subject.run_id == run_id && known.subject.step_key.as_deref() == step_key;
        known.answer.as_ref()?.as_ref().ok().filter(|_| is_it)
    }

    /// Opens the page (`w`). `argument` names a run and a step, if others than those under the
    /// cursor are meant.
    pub(in crate::console) fn explain(&mut self, argument: &str, now: Timestamp) {
        let mut words = argument.split_whitespace();
        let subject = match words.next() {
            Some(run_id) => Some(Subject {
                run_id: run_id.to_owned(),
                step_key: words.next().map(str::to_owned),
            }),
            None => self.subject_here(),
        };
        match subject.filter(|subject| !subject.run_id.is_empty()) {
            Some(subject) => self.overlay = Some(Overlay::Explain { scroll: 0, subject }),
            None => self.toast(Tone::Failed, "No run or step is under the cursor", now),
        }
    }

    fn subject_here(&self) -> Option<Subject> {
        let (run_id, step_key) = match self.view {
            View::Overview | View::Steps => {
                let task = self.selected_task()?;
                (&task.run_id, &task.step_key)
            }
            View::Runs => (&self.selected_run()?.run_id, &None),
            View::DeadLetters => {
                let task = self.selected_letter()?.envelope.as_ref()?;
                (&task.run_id, &task.step_key)
            }
            _ => return None,
        };
        Some(Subject {
            run_id: run_id.clone(),
            step_key: step_key.clone(),
        })
    }

    /// The subject of an explanation on the current screen.
    fn subject_shown(&self) -> Option<Subject> {
        match &self.overlay {
            Some(Overlay::Explain { subject, .. }) => Some(subject.clone()),
            // Without a linked worker, a process of its own would have to answer, which the
            // operator has not requested.
            Some(Overlay::Detail { .. }) if !self.snapshot.workers.is_empty() => {
                let waits = match self.view {
                    View::Overview | View::Steps => {
                        let task = self.selected_task()?;
                        task.phase == Phase::Held || (task.is_running() && !task.kind.is_run())
                    }
                    View::Runs => self.selected_run()?.status.is_waiting(),
                    _ => false,
                };
                self.subject_here().filter(|_| waits)
            }
            // A confirmation about a slot lies over the page.
            Some(Overlay::Confirm(_)) => self.explained.as_ref().map(|known| known.subject.clone()),
            _ => None,
        }
    }

    /// Sends the queries that are due, and drops data that are not shown any more.
    pub(super) fn keep_explaining(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(subject) = self.subject_shown() else {
            self.explained = None;
            return;
        };
        let known = self.explained.take();
        let mut explained = known
            .filter(|known| known.subject == subject)
            .unwrap_or(Explained {
                subject,
                answer: None,
                pending: None,
                due: now,
            });
        if explained.pending.is_none() && explained.due <= now {
            let Subject { run_id, step_key } = explained.subject.clone();
            explained.pending = Some(self.query(Query::Explain { run_id, step_key }, effects));
        }
        self.explained = Some(explained);
    }

    /// Takes an answer about the explained subject; `false` if it belongs to something else.
    pub(super) fn explain_reply(&mut self, request: u64, reply: &Reply, now: Timestamp) -> bool {
        let Some(known) = &mut self.explained else {
            return false;
        };
        if known.pending != Some(request) {
            return false;
        }
        known.pending = None;
        known.due = now + REFRESH_OTHERS;
        known.answer = match reply {
            Reply::Answer(answer) => match &**answer {
                Answer::Explanation(found) => {
                    let mut found = found.clone();
                    found.note_tasks(self.snapshot.tasks.iter(), self.snapshot.recent.iter());
                    if found.waits && !self.snapshot.workers.is_empty() {
                        known.due = now + REFRESH_WAITING;
                    }
                    Some(Ok(found))
                }
                _ => return true,
            },
            other => Some(Err(other.text().to_owned())),
        };
        true
    }

    pub(super) fn move_explanation(&mut self, moved: impl Fn(Timestamp) -> Timestamp) {
        if let Some(known) = &mut self.explained {
            known.due = moved(known.due);
        }
    }

    /// Handles a key on the page, which was taken: `F` frees a pool's slot.
    pub(super) fn explain_key(
        &mut self,
        key: Key,
        (scroll, subject): (u16, Subject),
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        if key == Key::plain(KeyCode::Char('F')) {
            return self.confirm_free_slot((scroll, subject), now);
        }
        let with = |scroll| Overlay::Explain {
            scroll,
            subject: subject.clone(),
        };
        self.scroll_key(key, scroll, with, now, effects);
    }

    fn confirm_free_slot(&mut self, (scroll, subject): (u16, Subject), now: Timestamp) {
        let known = self.explained.as_ref();
        let found = known.and_then(|known| known.answer.as_ref()?.as_ref().ok());
        let holder = found.and_then(|found| found.freeable().next().cloned());
        let page = Overlay::Explain { scroll, subject };
        let Some(holder) = holder else {
            self.overlay = Some(page);
            return self.toast(Tone::Failed, "No slot here can be freed", now);
        };
        let step_key = holder.step_key.unwrap_or_default();
        let title = format!("Free the pool slot of {step_key}?");
        let body = vec![
            holder.text,
            format!(
                "Nothing is freed while a process still runs {step_key} of run {}.",
                short_id(&holder.run_id)
            ),
        ];
        let command = Command::FreeSlot {
            run_id: holder.run_id,
            step_key,
        };
        if self.setup.read_only {
            self.overlay = Some(page);
            let text = format!("Read-only: `{}` is refused", command.verb());
            return self.toast(Tone::Failed, text, now);
        }
        self.confirm(title, body, None, vec![(None, command)]);
    }
}
