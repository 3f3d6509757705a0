//! Asks for what is followed while a task's details are open, and for nothing else.

use jiff::Timestamp;

use super::{App, Effect};
use crate::console::follow::Follow;
use crate::console::overlay::Overlay;
use crate::console::view::View;
use crate::console::words;
use crate::domain::{Command, Query, Reply, SourceHealth};

impl App {
    /// Follows the task whose details are open; forgets what was followed when they are not.
    pub(super) fn follow(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let open = matches!(self.overlay, Some(Overlay::Detail { .. }))
            && matches!(self.view, View::Overview | View::Steps);
        let task = open.then(|| self.selected_task().cloned()).flatten();
        let Some(task) = task.filter(|task| !task.run_id.is_empty()) else {
            self.followed = None;
            return;
        };
        let known = self
            .followed
            .take()
            .filter(|known| known.task_id == task.task_id);
        let is_new = known.is_none();
        let mut follow = known.unwrap_or_else(|| Follow::new(&task, now));
        if is_new {
            let task_id = task.task_id.clone();
            let command = Command::Ask(Query::Payload { task_id });
            follow.asked.message =
                Some(self.ask_worker(Some(task.worker.clone()), command, effects));
        }
        let source = self.snapshot.webserver();
        if source.is_none_or(|source| source.health == SourceHealth::Absent) {
            follow.problem = Some(words::NO_WEBSERVER.to_owned());
        } else if let Some(query) = follow.events_query(now) {
            follow.asked.events = Some(self.query(query, effects));
            if let Some(query) = follow.output_query() {
                follow.asked.output = Some(self.query(query, effects));
            }
        }
        self.followed = Some(follow);
    }

    /// Takes an answer for what is followed; `false` if it is for somebody else.
    pub(super) fn follow_reply(&mut self, request: u64, reply: &Reply, now: Timestamp) -> bool {
        let Some(follow) = &mut self.followed else {
            return false;
        };
        let asked = &mut follow.asked;
        let places = [&mut asked.events, &mut asked.output, &mut asked.message];
        let Some(place) = places
            .into_iter()
            .position(|place| place.take_if(|of| *of == request).is_some())
        else {
            return false;
        };
        match reply {
            Reply::Answer(answer) => follow.take(answer, now),
            Reply::Failed(reason) if place == 2 => follow.message = Some(Err(reason.clone())),
            Reply::Failed(reason) => follow.failed(reason, now),
            Reply::Done(_) => {}
        }
        true
    }

    fn ask_worker(
        &mut self,
        worker: Option<String>,
        command: Command,
        effects: &mut Vec<Effect>,
    ) -> u64 {
        self.next_request += 1;
        effects.push(Effect::Request {
            request: self.next_request,
            worker,
            command,
        });
        self.next_request
    }
}
