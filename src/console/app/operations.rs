//! The commands that change something: their targets and confirmations.

use jiff::Timestamp;

use super::confirm::names;
use super::{App, Effect};
use crate::console::labels::{self, plural};
use crate::console::options::{Exit, QuitPolicy};
use crate::console::overlay::{Input, Overlay};
use crate::console::toast::{MAX_TOASTS, Toast, Tone};
use crate::console::view::View;
use crate::console::{fuzzy, rows};
use crate::domain::{
    Command, JobRef, RunView, SlotChange, SourceHealth, TaskView, WorkerState, WorkerView,
};

/// Maximum number of slots, more than any host runs processes: guards against typing errors.
const MAX_SLOTS: u32 = 1024;

impl App {
    /// Sends a command, with the reason given in its `:` line, and shows a toast; the answer replaces
    /// the toast.
    pub(super) fn send(
        &mut self,
        worker: Option<String>,
        command: Command,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let reason = self.given_reason.take();
        self.send_because(worker, command, reason, now, effects);
    }

    /// As [`App::send`], with the reason of a dialog.
    pub(super) fn send_because(
        &mut self,
        worker: Option<String>,
        mut command: Command,
        reason: Option<String>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(reason) = &reason {
            command.give_reason(reason);
        }
        self.next_request += 1;
        let request = self.next_request;
        let whom = worker
            .as_deref()
            .map(|id| format!(" to {id}"))
            .unwrap_or_default();
        self.toast(Tone::Sent, format!("Sent {}{whom}", command.verb()), now);
        if let Some(Toast { request: of, .. }) = self.toasts.last_mut() {
            *of = Some(request);
        }
        debug_assert!(self.toasts.len() <= MAX_TOASTS);
        if let (Some(id), Command::Scale { steps }) = (&worker, &command) {
            self.requested_slots.insert(id.clone(), *steps);
        }
        self.note_request(request, &command);
        effects.push(Effect::Request {
            request,
            worker,
            command,
            reason,
        });
    }

    /// The positions of the rows a command applies to: the marked ones, or the one under the
    /// cursor.
    pub(super) fn target_rows(&self) -> Vec<usize> {
        self.list().targets(self.view, &self.snapshot)
    }

    /// The workers a command applies to: in the workers view the marked ones or the one under the
    /// cursor, else all that have not ended.
    fn targets(&self) -> Vec<WorkerView> {
        let alive = |worker: &&WorkerView| !worker.state.is_over();
        match self.view {
            View::Workers => self
                .target_rows()
                .into_iter()
                .filter_map(|index| self.snapshot.workers.get(index).cloned())
                .collect(),
            _ => self
                .snapshot
                .workers
                .iter()
                .filter(alive)
                .cloned()
                .collect(),
        }
    }

    pub(super) fn targets_or_toast(&mut self, now: Timestamp) -> Vec<WorkerView> {
        let targets = self.targets();
        if targets.is_empty() {
            self.toast(Tone::Failed, self.no_target_reason(), now);
        }
        targets
    }

    /// Reason why a command has no target worker.
    fn no_target_reason(&self) -> String {
        let first = self.target_rows().first().copied();
        let row = first.filter(|_| self.view == View::Workers);
        match row.and_then(|index| rows::worker_at(&self.snapshot, index)) {
            Some(worker) => format!(
                "{} is on another host: dagster-taskiq-tui attach --host {} reaches it",
                worker.id(),
                worker.hostname()
            ),
            None => String::from("No worker is connected: S starts one"),
        }
    }

    pub(in crate::console) fn pause_or_resume(
        &mut self,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let targets = self.targets_or_toast(now);
        let (receiving, others): (Vec<_>, Vec<_>) = targets.into_iter().partition(|worker| {
            matches!(worker.state, WorkerState::Running | WorkerState::Starting)
        });
        if !receiving.is_empty() {
            return self.order("Pause", &receiving, |_| Command::Pause, now, effects);
        }
        self.resume_those(others, now, effects);
    }

    pub(in crate::console) fn resume(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let targets = self.targets_or_toast(now);
        self.resume_those(targets, now, effects);
    }

    /// Resumes the paused ones of these workers.
    fn resume_those(
        &mut self,
        workers: Vec<WorkerView>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let is_none = workers.is_empty();
        let is_paused = |worker: &WorkerView| worker.state == WorkerState::Paused;
        let paused: Vec<WorkerView> = workers.into_iter().filter(is_paused).collect();
        if paused.is_empty() && !is_none {
            let text = "No worker here is paused; one that is ending cannot be";
            self.toast(Tone::Failed, text, now);
        }
        self.order("Resume", &paused, |_| Command::Resume, now, effects);
    }

    pub(in crate::console) fn scale_by(
        &mut self,
        by: i32,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let targets = self.targets_or_toast(now);
        let requested = self.requested_slots.clone();
        let present = |worker: &WorkerView| {
            let requested = requested.get(&worker.id).copied();
            requested.unwrap_or(worker.steps.target)
        };
        let next = |worker: &WorkerView| present(worker).saturating_add_signed(by).min(MAX_SLOTS);
        let changed = |worker: &WorkerView| next(worker) != present(worker);
        let targets: Vec<WorkerView> = targets.into_iter().filter(changed).collect();
        let command = |worker: &WorkerView| Command::Scale {
            steps: next(worker),
        };
        self.order("Scale", &targets, command, now, effects);
    }

    /// Sets the number of slots, or opens the line for it.
    pub(in crate::console) fn scale(
        &mut self,
        number: &str,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        if number.is_empty() {
            let input = Input::default();
            self.overlay = Some(Overlay::Scale { input });
        } else {
            self.scale_to(number, now, effects);
        }
    }

    pub(super) fn scale_to(&mut self, number: &str, now: Timestamp, effects: &mut Vec<Effect>) {
        match number.parse::<SlotChange>() {
            Ok(SlotChange::By(by)) => self.scale_by(by, now, effects),
            Ok(SlotChange::To(range)) if range.max <= MAX_SLOTS => {
                let targets = self.targets_or_toast(now);
                self.order("Scale", &targets, |_| Command::scale(range), now, effects);
            }
            _ => {
                let text = format!(
                    "`{number}` is no number of slots (0 to {MAX_SLOTS}) and no range (2..16)"
                );
                self.toast(Tone::Failed, text, now);
            }
        }
    }

    /// Sends a command to the workers that are meant. `verb` begins the question.
    pub(in crate::console) fn order_targets(
        &mut self,
        verb: &str,
        command: &Command,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let targets = self.targets_or_toast(now);
        self.order(verb, &targets, |_| command.clone(), now, effects);
    }

    /// Sends a command to a worker. If it goes to several, which the current view may not show, it
    /// is confirmed first.
    fn order(
        &mut self,
        verb: &str,
        workers: &[WorkerView],
        command: impl Fn(&WorkerView) -> Command,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        if let [worker] = workers {
            return self.send(Some(worker.id.clone()), command(worker), now, effects);
        }
        if workers.is_empty() {
            return;
        }
        let title = format!("{verb} {}?", plural(workers.len(), "worker"));
        let requests = workers.iter();
        let requests = requests.map(|worker| (Some(worker.id.clone()), command(worker)));
        let requests = requests.collect();
        let names = names(workers.iter().map(|worker| worker.id.as_str()));
        self.confirm(title, vec![names], None, requests);
    }

    /// The jobs that match the typed text, best first.
    pub(in crate::console) fn matching_jobs(&self, query: &str) -> Vec<&JobRef> {
        let jobs = &self.snapshot.jobs;
        let names: Vec<String> = jobs
            .iter()
            .map(|job| format!("{} {}", labels::job(job), job.location))
            .collect();
        let ranked = fuzzy::rank(query, names.iter().map(String::as_str));
        ranked.into_iter().map(|index| &jobs[index]).collect()
    }

    pub(in crate::console) fn pick_job(
        &mut self,
        name: &str,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let named: Vec<JobRef> = self
            .snapshot
            .jobs
            .iter()
            .filter(|job| job.job == name)
            .cloned()
            .collect();
        if self.snapshot.jobs.is_empty() {
            let webserver = self.snapshot.webserver().map(|source| &source.health);
            let text = match webserver {
                None | Some(SourceHealth::Absent) => labels::NO_WEBSERVER,
                Some(_) => "No job is known: Dagster's webserver lists none",
            };
            self.toast(Tone::Failed, text, now);
        } else if let [job] = named.as_slice() {
            self.open_form(job.clone(), effects);
        } else {
            let input = Input::new(name);
            self.overlay = Some(Overlay::Launch { input, choice: 0 });
        }
    }

    pub(in crate::console) fn selected_task(&self) -> Option<&TaskView> {
        rows::task_at(&self.snapshot, self.list().selected()?)
    }

    pub(in crate::console) fn selected_run(&self) -> Option<&RunView> {
        self.snapshot.runs.get(self.list().selected()?)
    }

    pub(super) fn quit(&mut self, effects: &mut Vec<Effect>) {
        let confirms = self.setup.quit == QuitPolicy::Confirm && !self.setup.read_only;
        if confirms && !self.snapshot.tasks.is_empty() {
            self.overlay = Some(Overlay::Quit);
        } else {
            effects.push(Effect::Exit(Exit::Left));
        }
    }
}
