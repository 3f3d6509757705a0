//! Navigation into a view through a row of another one, and back: from a run to its steps, from a
//! step to its log lines.

use jiff::Timestamp;

use super::{App, Effect};
use crate::console::filter::Filter;
use crate::console::format::short_id;
use crate::console::toast::Tone;
use crate::console::view::View;

/// A view that was left through one of its rows.
#[derive(Clone, Debug)]
pub struct Place {
    /// The view.
    pub view: View,
    /// Display name of the row.
    pub name: String,
    /// The view that was entered through it.
    pub(in crate::console) entered: View,
    /// The filter of that view, as it was before.
    pub(in crate::console) filter: Filter,
}

impl App {
    /// Shows a view by its own name: Esc then leads to the overview only.
    pub(super) fn go_to(&mut self, view: View, effects: &mut Vec<Effect>) {
        while self.leave_view(effects) {}
        self.show(view, effects);
    }

    /// The path that Esc goes back, the last place last.
    #[must_use]
    pub fn trail(&self) -> &[Place] {
        &self.trail
    }

    /// Enters a view with a filter for the row under the cursor.
    pub(super) fn enter(
        &mut self,
        view: View,
        name: String,
        filter: &str,
        effects: &mut Vec<Effect>,
    ) {
        let place = Place {
            view: self.view,
            name,
            entered: view,
            filter: std::mem::take(&mut self.lists[view.index()].filter),
        };
        self.trail.push(place);
        self.show(view, effects);
        self.set_filter(filter);
    }

    /// Returns to the view that this one was entered from, if there is one.
    pub(super) fn leave_view(&mut self, effects: &mut Vec<Effect>) -> bool {
        let Some(place) = self.trail.pop() else {
            return false;
        };
        let list = &mut self.lists[place.entered.index()];
        list.filter = place.filter;
        list.stale = true;
        self.show(place.view, effects);
        true
    }

    pub(in crate::console) fn steps_of_run(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(run) = self.selected_run() else {
            return self.toast(Tone::Failed, "No run is under the cursor", now);
        };
        let id = short_id(&run.run_id).to_owned();
        let filter = format!("run:{id}");
        self.enter(View::Steps, id, &filter, effects);
    }

    pub(in crate::console) fn logs_of(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let (run_id, step) = if self.view == View::Runs {
            (self.selected_run().map(|run| run.run_id.clone()), None)
        } else {
            let task = self.selected_task();
            let step = task.and_then(|task| task.step_key.clone());
            (task.map(|task| task.run_id.clone()), step)
        };
        let Some(run_id) = run_id else {
            return self.toast(Tone::Failed, "Nothing is under the cursor", now);
        };
        let id = short_id(&run_id).to_owned();
        let (name, filter) = match step {
            Some(step) => {
                let filter = format!("run:{id} \"step:{step}\"");
                (step, filter)
            }
            None => (id.clone(), format!("run:{id}")),
        };
        self.enter(View::Logs, name, &filter, effects);
    }
}
