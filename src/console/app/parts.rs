//! The parts of Dagster: queried while their view is on the screen.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::confirm::names;
use super::{App, Effect};
use crate::console::labels::{NO_WEBSERVER, plural};
use crate::console::toast::Tone;
use crate::console::view::View;
use crate::domain::{Answer, Command, DagsterPart, Instigator, Query, Reply, SourceHealth};

/// Pause between two queries.
const PAUSE: SignedDuration = SignedDuration::from_secs(10);

/// State of the queries.
#[derive(Clone, Debug)]
pub struct Parts {
    requested: Option<u64>,
    due: Timestamp,
    /// Parts that could not be read: one sentence each.
    pub(in crate::console) problems: Vec<String>,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            requested: None,
            due: Timestamp::MIN,
            problems: Vec::new(),
        }
    }
}

impl Parts {
    /// Queries again at once, after a change.
    pub(super) fn refresh_peeks(&mut self) {
        self.due = Timestamp::MIN;
    }

    pub(super) fn move_deadlines(&mut self, moved: impl Fn(Timestamp) -> Timestamp) {
        self.due = moved(self.due);
    }
}

impl App {
    /// Queries the parts if that is due, while the view is shown.
    pub(super) fn keep_looking(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.view != View::Dagster {
            self.parts.requested = None;
            self.parts.due = Timestamp::MIN;
            return;
        }
        if self.parts.requested.is_some() || self.parts.due > now {
            return;
        }
        self.parts.due = now + PAUSE;
        let webserver = self.snapshot.webserver();
        if webserver.is_none_or(|source| source.health == SourceHealth::Absent) {
            self.parts.problems = vec![NO_WEBSERVER.to_owned()];
            return;
        }
        self.parts.requested = Some(self.query(Query::DagsterParts, effects));
    }

    /// Takes the answer; `false` if it belongs to something else.
    pub(super) fn parts_reply(&mut self, request: u64, reply: &Reply, now: Timestamp) -> bool {
        if self.parts.requested != Some(request) {
            return false;
        }
        self.parts.requested = None;
        self.parts.due = now + PAUSE;
        match reply {
            Reply::Answer(answer) => {
                if let Answer::DagsterParts(found) = &**answer {
                    self.parts.problems.clone_from(&found.problems);
                    if *self.snapshot.dagster != found.parts {
                        let parts = Arc::new(found.parts.clone());
                        self.snapshot.dagster = parts;
                        self.lists[View::Dagster.index()].stale = true;
                    }
                }
            }
            other => self.parts.problems = vec![other.text().to_owned()],
        }
        true
    }

    /// The part under the cursor.
    pub(in crate::console) fn selected_part(&self) -> Option<&DagsterPart> {
        self.snapshot.dagster.get(self.list().selected()?)
    }

    /// Opens the confirmation that turns schedules and sensors on or off: the opposite of what
    /// they are, or as named.
    pub(in crate::console) fn confirm_switch(&mut self, argument: &str, now: Timestamp) {
        let rows = self.target_rows();
        let parts = rows.iter().filter_map(|at| self.snapshot.dagster.get(*at));
        let found: Vec<Instigator> = parts.filter_map(|part| part.instigator.clone()).collect();
        let Some(first) = found.first() else {
            let text = "Only schedules and sensors are turned on and off";
            return self.toast(Tone::Failed, text, now);
        };
        let on = match argument {
            "" => !first.is_on,
            "on" => true,
            "off" => false,
            other => {
                let text = format!("`{other}` is no state: on, off");
                return self.toast(Tone::Failed, text, now);
            }
        };
        let verb = if on { "Start" } else { "Stop" };
        let changed: Vec<Instigator> = found.into_iter().filter(|one| one.is_on != on).collect();
        let title = match changed.as_slice() {
            [] => {
                let text = if on {
                    "They are on already"
                } else {
                    "They are off already"
                };
                return self.toast(Tone::Note, text, now);
            }
            [one] => format!("{verb} the {} {}?", one.word(), one.name),
            several => format!("{verb} {}?", plural(several.len(), "schedule or sensor")),
        };
        let body = vec![
            format!("{}.", names(changed.iter().map(|one| one.name.as_str()))),
            String::from(if on {
                "Its next ticks launch runs, as far as dagster-daemon runs."
            } else {
                "It has no more ticks until it is started again; its runs go on."
            }),
        ];
        let requests = changed
            .into_iter()
            .map(|instigator| (None, Command::Switch { instigator, on }))
            .collect();
        self.confirm(title, body, None, requests);
    }
}
