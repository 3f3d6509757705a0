//! Operations on runs: terminate, re-execute, load older ones.

use jiff::Timestamp;

use super::confirm::names;
use super::{App, Effect};
use crate::console::command::Motion;
use crate::console::format::short_id;
use crate::console::labels::plural;
use crate::console::rows::Rows;
use crate::console::toast::Tone;
use crate::console::view::View;
use crate::domain::{Command, Query, RunStatus, RunView, TaskView};

/// Choices of the status key: a word for the filter, and the statuses it stands for.
pub(super) const STATUSES: [(&str, &[RunStatus]); 4] = [
    ("unfinished", &[]),
    ("failure", &[RunStatus::Failure]),
    ("success", &[RunStatus::Success]),
    ("canceled", &[RunStatus::Canceled]),
];

impl App {
    /// The runs a command applies to: the marked ones, or the one under the cursor.
    fn target_runs(&mut self, now: Timestamp) -> Vec<RunView> {
        let rows = self.target_rows();
        let runs: Vec<RunView> = rows
            .iter()
            .filter_map(|index| self.snapshot.runs.get(*index).cloned())
            .collect();
        if runs.is_empty() {
            self.toast(Tone::Failed, "No run is under the cursor", now);
        }
        runs
    }

    /// Opens the confirmation of a termination of runs. Dagster terminates runs that wait in its
    /// own queue or have started; the others, which may wait in SQS, can only be marked.
    pub(in crate::console) fn confirm_terminate(&mut self, mark_all: bool, now: Timestamp) {
        let runs = self.target_runs(now);
        let Some(first) = runs.first() else { return };
        let first_id = short_id(&first.run_id).to_owned();
        let going: Vec<&RunView> = runs
            .iter()
            .filter(|run| !run.status.is_finished())
            .collect();
        let (title, typed) = match going.as_slice() {
            [] if runs.len() == 1 => {
                return self.toast(Tone::Failed, format!("Run {first_id} is over already"), now);
            }
            [] => return self.toast(Tone::Failed, "All marked runs are over already", now),
            [run] => {
                let id = short_id(&run.run_id).to_owned();
                (format!("Terminate run {id}?"), id)
            }
            going => {
                let count = going.len().to_string();
                (format!("Terminate {count} runs?"), count)
            }
        };
        let (safe, marked): (Vec<&RunView>, Vec<&RunView>) = going
            .iter()
            .partition(|run| !mark_all && run.status.can_be_terminated());
        let mut body = vec![format!(
            "{} {}.",
            if going.len() == 1 { "Job" } else { "Jobs:" },
            names(going.iter().map(|run| run.job.as_str()))
        )];
        body.extend(self.consequences(&safe, &marked, mark_all));
        if going.len() < runs.len() {
            let over = runs.len() - going.len();
            body.push(format!("{over} marked are over already."));
        }
        let requests = [(safe, false), (marked, true)]
            .into_iter()
            .filter(|(runs, _)| !runs.is_empty())
            .map(|(runs, force)| {
                let run_ids = runs.iter().map(|run| run.run_id.clone()).collect();
                (None, Command::TerminateRuns { run_ids, force })
            })
            .collect();
        self.confirm(title, body, Some(&typed), requests);
    }

    fn consequences(&self, safe: &[&RunView], marked: &[&RunView], mark_all: bool) -> Vec<String> {
        let mut body = Vec::new();
        if !safe.is_empty() {
            let tasks = self.snapshot.tasks.iter();
            let of_them = |task: &&TaskView| safe.iter().any(|run| run.run_id == task.run_id);
            let in_flight = plural(tasks.filter(of_them).count(), "task");
            body.push(format!(
                "{in_flight} in flight here will be interrupted or removed."
            ));
        }
        if !marked.is_empty() {
            let (runs, are) = (
                plural(marked.len(), "run"),
                if marked.len() == 1 { "is" } else { "are" },
            );
            if !mark_all {
                let have = if marked.len() == 1 { "has" } else { "have" };
                body.push(format!("{runs} {have} not started, or {are} being canceled: Dagster cannot terminate that."));
            }
            body.push(format!("{runs} {are} marked as canceled; messages that wait are removed unrun, what runs is interrupted."));
        }
        body
    }

    /// Opens the confirmation of a re-execution of runs.
    pub(in crate::console) fn confirm_reexecute(&mut self, from_failure: bool, now: Timestamp) {
        let runs = self.target_runs(now);
        if runs.is_empty() {
            return;
        }
        let fits = |run: &&RunView| {
            let failed = matches!(run.status, RunStatus::Failure | RunStatus::Canceled);
            run.status.is_finished() && (failed || !from_failure)
        };
        let again: Vec<&RunView> = runs.iter().filter(fits).collect();
        let Some(first) = again.first() else {
            let why = if from_failure {
                "Only runs that failed or were canceled can be run again from there"
            } else {
                "A run must be over before it is run again"
            };
            return self.toast(Tone::Failed, why, now);
        };
        let steps = if from_failure {
            "The steps that failed, and those after them, are run again."
        } else {
            "All of its steps are run again."
        };
        let mut body = vec![
            format!("{}.", names(again.iter().map(|run| run.job.as_str()))),
            String::from(steps),
        ];
        if again.len() < runs.len() {
            let left = runs.len() - again.len();
            body.push(format!("{left} marked cannot be, and are left alone."));
        }
        let title = match again.len() {
            1 => format!("Run {} again?", short_id(&first.run_id)),
            count => format!("Run {count} runs again?"),
        };
        let requests = again
            .iter()
            .map(|run| {
                let run_id = run.run_id.clone();
                (
                    None,
                    Command::ReexecuteRun {
                        run_id,
                        from_failure,
                        if_open: false,
                    },
                )
            })
            .collect();
        self.confirm(title, body, None, requests);
    }

    /// Reloads the named code location, or the only one there is.
    pub(in crate::console) fn reload_location(
        &mut self,
        name: &str,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let mut known: Vec<&str> = self
            .snapshot
            .jobs
            .iter()
            .map(|job| job.location.as_str())
            .collect();
        known.sort_unstable();
        known.dedup();
        let location = match known.as_slice() {
            [only] if name.is_empty() => (*only).to_owned(),
            // A location that does not load has no jobs, but is the most likely target.
            _ if !name.is_empty() => name.to_owned(),
            _ => {
                let text = format!("Name the code location: {}", known.join(", "));
                return self.toast(Tone::Failed, text, now);
            }
        };
        self.send(None, Command::ReloadLocation { location }, now, effects);
    }

    /// Shows the runs of the next status, or of the named one.
    pub(in crate::console) fn show_status(
        &mut self,
        name: &str,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let shown = self.list().filter.text().to_owned();
        let at = STATUSES
            .iter()
            .position(|(word, _)| shown == format!("status:{word}"));
        let next = match at {
            _ if !name.is_empty() => STATUSES.iter().position(|(word, _)| *word == name),
            None => Some(0),
            Some(at) => Some(at + 1),
        };
        let status = next.and_then(|next| STATUSES.get(next));
        if status.is_none() && !name.is_empty() && name != "all" {
            let text =
                format!("There is no status `{name}`: unfinished, failure, success, canceled, all");
            return self.toast(Tone::Failed, text, now);
        }
        match status {
            Some((word, statuses)) => {
                self.set_filter(&format!("status:{word}"));
                self.go_to_top();
                // All unfinished runs are already known.
                if !statuses.is_empty() {
                    self.settle();
                    self.load_older(now, effects);
                }
            }
            None => self.set_filter(""),
        }
    }

    /// Puts the cursor on the first row: of the unfinished runs, one that waits.
    fn go_to_top(&mut self) {
        let (view, snapshot, level) = (self.view, self.snapshot.clone(), self.logs.level);
        let list = self.list_mut();
        list.refresh(view, &snapshot, level);
        list.move_to(0);
        list.remember(view, &snapshot);
    }

    /// Loads older runs when the cursor is sent beyond the last row.
    pub(super) fn load_at_end(
        &mut self,
        motion: Motion,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let down = matches!(motion, Motion::Down | Motion::PageDown | Motion::Bottom);
        let list = self.list();
        if self.view == View::Runs && down && list.cursor + 1 >= list.rows.len() {
            self.load_older(now, effects);
        }
    }

    fn load_older(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.loading_runs.is_some() {
            return;
        }
        let shown = self.list().filter.text();
        let status = STATUSES
            .iter()
            .find(|(word, _)| shown == format!("status:{word}"));
        let statuses = status.map_or(&[][..], |(_, statuses)| *statuses);
        // With a status filter, load those after the last run shown; without one, those after the
        // known runs, because unfinished ones from long ago come in between.
        let before = (!statuses.is_empty())
            .then(|| self.oldest_shown())
            .flatten();
        let query = Query::OlderRuns {
            statuses: statuses.to_vec(),
            before,
        };
        self.loading_runs = Some(self.query(query, effects));
        let which = status.map_or("", |(word, _)| word);
        let text = format!("Loading older {which} runs").replace("  ", " ");
        self.toast(Tone::Note, text, now);
    }

    fn oldest_shown(&self) -> Option<String> {
        let (rows, runs): (&Rows, _) = (&self.list().rows, &self.snapshot.runs);
        let shown = (0..rows.len()).filter_map(|row| runs.get(rows.get(row)?));
        let oldest = shown.min_by_key(|run| run.created_at)?;
        Some(oldest.run_id.clone())
    }

    /// Records that older runs were loaded.
    pub(super) fn older_loaded(&mut self, request: u64, count: usize, last: bool, now: Timestamp) {
        if self.loading_runs != Some(request) {
            return;
        }
        self.loading_runs = None;
        let text = match (count, last) {
            (0, _) => String::from("There are no older runs"),
            (count, true) => format!("{} more: that is all of them", plural(count, "run")),
            (count, false) => format!("{} more", plural(count, "run")),
        };
        self.toast(Tone::Note, text, now);
    }
}
