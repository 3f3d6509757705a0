//! Queries for the item whose details (of a task or a run) are open, and for nothing else.

use jiff::Timestamp;

use super::{App, Effect};
use crate::console::follow::{Follow, Question};
use crate::console::labels;
use crate::console::overlay::Overlay;
use crate::console::toast::Tone;
use crate::console::view::View;
use crate::domain::{Command, Reply, SourceHealth, TaskView};

impl App {
    /// Moves deadlines with the wall clock, which may be set back.
    pub(super) fn follow_clock(&mut self, now: Timestamp) {
        let before = std::mem::replace(&mut self.last_message_at, now);
        let step = now.duration_since(before);
        if !step.is_negative() {
            return;
        }
        let moved = |at: Timestamp| at.saturating_add(step).unwrap_or(at);
        for toast in &mut self.toasts {
            toast.until = moved(toast.until);
        }
        if let Some(follow) = &mut self.followed {
            follow.move_deadlines(moved);
        }
        self.move_explanation(moved);
        if let Some(batch) = &mut self.batch {
            batch.move_deadlines(moved);
        }
        if let Some(rolling) = &mut self.rolling {
            rolling.move_deadlines(moved);
        }
        self.failures.move_deadlines(moved);
        self.parts.move_deadlines(moved);
        self.ringing.move_deadlines(moved);
    }

    /// Follows the task or run whose details are open; stops following when they are closed.
    pub(super) fn follow(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let known = self.followed.take();
        if !matches!(self.overlay, Some(Overlay::Detail { .. })) {
            self.wants_stack = false;
        }
        let Some((mut follow, is_new)) = self.follow_of_selected(known, now) else {
            return;
        };
        if is_new && let Some(question) = follow.first_question() {
            self.send_query(&mut follow, question, effects);
        }
        if std::mem::take(&mut self.wants_stack)
            && let Some(question) = follow.stack_question()
        {
            self.send_query(&mut follow, question, effects);
        }
        let runs = self.selected_task().is_some_and(TaskView::is_running);
        if let Some(question) = follow.usage_question(now).filter(|_| runs) {
            self.send_query(&mut follow, question, effects);
        }
        let webserver = self.snapshot.webserver();
        if webserver.is_none_or(|source| source.health == SourceHealth::Absent) {
            follow.problem = Some(labels::NO_WEBSERVER.to_owned());
        } else {
            for question in follow.questions(now) {
                self.send_query(&mut follow, question, effects);
            }
        }
        self.followed = Some(follow);
    }

    /// Opens the details of the running step under the cursor, and reads its stack (`b`).
    pub(in crate::console) fn read_stack(&mut self, now: Timestamp) {
        let Some(task) = self.selected_task() else {
            return self.toast(Tone::Failed, "No step is under the cursor", now);
        };
        if !task.is_running() {
            let text = format!("{} does not run: only a process has a stack", task.name());
            return self.toast(Tone::Failed, text, now);
        }
        self.wants_stack = true;
        self.overlay = Some(Overlay::Detail { scroll: 0 });
    }

    /// Follow state of the row whose details are open, and whether it is new.
    fn follow_of_selected(&self, known: Option<Follow>, now: Timestamp) -> Option<(Follow, bool)> {
        if !matches!(self.overlay, Some(Overlay::Detail { .. })) {
            return None;
        }
        match self.view {
            View::Overview | View::Steps => {
                let task = self
                    .selected_task()
                    .filter(|task| !task.run_id.is_empty())?;
                let known = known.filter(|known| known.id == task.task_id);
                let is_new = known.is_none();
                Some((known.unwrap_or_else(|| Follow::task(task, now)), is_new))
            }
            View::Runs => {
                let run = self.selected_run()?;
                let known = known.filter(|known| known.id == run.run_id);
                let is_new = known.is_none();
                let mut follow = known.unwrap_or_else(|| Follow::run(run, now));
                if run.status.is_finished() {
                    follow.run_finished();
                }
                Some((follow, is_new))
            }
            _ => None,
        }
    }

    fn send_query(
        &mut self,
        follow: &mut Follow,
        (slot, worker, query): Question,
        effects: &mut Vec<Effect>,
    ) {
        self.next_request += 1;
        follow.note(self.next_request, slot);
        effects.push(Effect::Request {
            request: self.next_request,
            worker,
            command: Command::Query(query),
            reason: None,
        });
    }

    /// Takes an answer for the followed item; `false` if it belongs to something else.
    pub(super) fn follow_reply(&mut self, request: u64, reply: &Reply, now: Timestamp) -> bool {
        let Some(follow) = &mut self.followed else {
            return false;
        };
        let Some(slot) = follow.take_request(request) else {
            return false;
        };
        match reply {
            Reply::Answer(answer) => follow.take(answer, now),
            Reply::Failed(reason) => follow.failed(slot, reason, now),
            Reply::Done(_) | Reply::Operation(_) => {}
        }
        true
    }
}
