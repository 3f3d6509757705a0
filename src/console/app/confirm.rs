//! Confirmations before work is interrupted or messages are removed.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::App;
use crate::console::cli_equivalent::twins;
use crate::console::format::short_id;
use crate::console::labels::plural;
use crate::console::overlay::{Action, Confirm, Input, Overlay, Reason};
use crate::console::toast::Tone;
use crate::console::{rows, text};
use crate::domain::{Command, TaskView, WorkerView, parse_seconds};

/// Maximum columns of a name that must be typed whole; of a longer one the beginning suffices.
const TYPED_WHOLE: u16 = 48;

/// Columns of a longer name that must be typed.
const TYPED_OF_LONG: u16 = 12;

impl App {
    /// Opens a confirmation that shows the command line with the same effect.
    pub(super) fn confirm(
        &mut self,
        title: String,
        body: Vec<String>,
        typed: Option<&str>,
        requests: Vec<(Option<String>, Command)>,
    ) {
        self.confirm_action(title, body, typed, Action::Send(requests));
    }

    /// As [`App::confirm`], of any action.
    pub(super) fn confirm_action(
        &mut self,
        title: String,
        mut body: Vec<String>,
        typed: Option<&str>,
        action: Action,
    ) {
        let typed = typed.map(|typed| self.handle(typed));
        if let Action::Send(requests) | Action::Roll(requests) = &action {
            let commands = requests.iter();
            let commands = commands.map(|(worker, command)| (worker.as_deref(), command));
            body.extend(twins(commands));
        }
        self.overlay = Some(Overlay::Confirm(Confirm {
            title,
            body,
            typed,
            input: Input::default(),
            is_refused: false,
            reason: Reason::given(self.given_reason.take()),
            action,
        }));
    }

    /// The part of a name that must be typed: as much as is reasonable, and as the screen can show.
    fn handle(&self, name: &str) -> String {
        let name = if text::width(name) > TYPED_WHOLE {
            text::prefix(name, TYPED_OF_LONG)
        } else {
            name
        };
        if self.setup.glyphs.is_unicode() {
            return name.to_owned();
        }
        let shown = |c: char| if c.is_ascii() { c } else { '?' };
        name.chars().map(shown).collect()
    }

    pub(in crate::console) fn confirm_start_worker(&mut self) {
        let body = vec![String::from(
            "It runs on this host, in the background, with the flags, the settings file and the \
             environment that this console was started with.",
        )];
        let requests = vec![(None, Command::StartWorker)];
        self.confirm(String::from("Start a worker?"), body, None, requests);
    }

    /// Opens the confirmation of a drain. `argument` is the time after which running
    /// tasks are interrupted.
    pub(in crate::console) fn confirm_drain_worker(&mut self, argument: &str, now: Timestamp) {
        let within = match argument {
            "" => None,
            span => match parse_seconds(span) {
                Ok(seconds) => Some(seconds),
                Err(problem) => return self.toast(Tone::Failed, problem, now),
            },
        };
        let targets = self.targets_or_toast(now);
        if targets.is_empty() {
            return;
        }
        let (running, held) = self.load_of(&targets);
        let body = vec![
            match within {
                None => format!("{running} running will finish; {held} held go back."),
                Some(seconds) => format!(
                    "{running} running may finish for {seconds} s, then they are interrupted; \
                     {held} held go back."
                ),
            },
            format!("Then {} will end.", name_of(&targets)),
        ];
        let requests = targets
            .iter()
            .map(|worker| (Some(worker.id.clone()), Command::Drain { within }))
            .collect();
        self.confirm(
            format!("Drain {}?", name_of(&targets)),
            body,
            None,
            requests,
        );
    }

    pub(in crate::console) fn confirm_kill_worker(&mut self, now: Timestamp) {
        let targets = self.targets_or_toast(now);
        if targets.is_empty() {
            return;
        }
        let (running, held) = self.load_of(&targets);
        let body = vec![
            format!(
                "{running} running are killed with it, {held} held come back when their lease ends."
            ),
            String::from(
                "Other workers find the steps lost and try them again. D and X end it in order.",
            ),
        ];
        let requests = targets
            .iter()
            .map(|worker| (Some(worker.id.clone()), Command::Kill))
            .collect();
        let title = format!("Kill {}?", name_of(&targets));
        self.confirm(title, body, Some(&typed_for(&targets)), requests);
    }

    pub(in crate::console) fn confirm_stop_worker(&mut self, now: Timestamp) {
        let targets = self.targets_or_toast(now);
        if targets.is_empty() {
            return;
        }
        let (running, held) = self.load_of(&targets);
        let body = vec![
            format!("{running} running have their grace period, are killed, and go on elsewhere;"),
            format!("{held} held go back to their queues."),
            format!("Then {} will end.", name_of(&targets)),
        ];
        let requests = targets
            .iter()
            .map(|worker| (Some(worker.id.clone()), Command::Stop))
            .collect();
        self.confirm(
            format!("Stop {}?", name_of(&targets)),
            body,
            Some(&typed_for(&targets)),
            requests,
        );
    }

    pub(in crate::console) fn confirm_cancel(&mut self, now: Timestamp) {
        let rows = self.target_rows();
        let tasks: Vec<TaskView> = rows
            .iter()
            .filter_map(|index| rows::task_at(&self.snapshot, *index).cloned())
            .collect();
        let Some(first) = tasks.first() else {
            return self.toast(Tone::Failed, "No step is under the cursor", now);
        };
        let running: Vec<&TaskView> = tasks.iter().filter(|task| task.is_running()).collect();
        let requests = running
            .iter()
            .map(|task| {
                let task_id = task.task_id.clone();
                (Some(task.worker.clone()), Command::CancelTask { task_id })
            })
            .collect();
        match running.as_slice() {
            [] if tasks.len() == 1 => {
                self.toast(Tone::Failed, format!("{} does not run", first.name()), now);
            }
            [] => self.toast(Tone::Failed, "None of the marked steps runs", now),
            [task] => {
                let body = vec![
                    format!("Its process on {} will be interrupted.", task.worker),
                    format!("Run {}, attempt {}.", short_id(&task.run_id), task.attempt),
                ];
                // A run's own task has no step key.
                let run_id = short_id(&task.run_id);
                let (what, typed) = match &task.step_key {
                    Some(step) => (step.clone(), step.as_str()),
                    None => (format!("run {run_id}"), run_id),
                };
                self.confirm(format!("Cancel {what}?"), body, Some(typed), requests);
            }
            running => {
                let body = vec![
                    names(running.iter().map(|task| task.name())),
                    String::from("Their processes will be interrupted."),
                    format!("{} marked do not run.", tasks.len() - running.len()),
                ];
                let typed = running.len().to_string();
                self.confirm(
                    format!("Cancel {typed} steps?"),
                    body,
                    Some(&typed),
                    requests,
                );
            }
        }
    }

    /// Number of tasks that these workers run and hold.
    pub(super) fn load_of(&self, workers: &[WorkerView]) -> (usize, usize) {
        let theirs = |task: &&TaskView| workers.iter().any(|worker| worker.id == task.worker);
        let tasks = self.snapshot.tasks.iter().filter(theirs);
        let (running, held): (Vec<_>, Vec<_>) = tasks.partition(|task| task.is_running());
        (running.len(), held.len())
    }
}

pub(super) fn name_of(workers: &[WorkerView]) -> String {
    match workers {
        [worker] => format!("worker {}", worker.id),
        workers => plural(workers.len(), "worker"),
    }
}

/// The text to type for ending these workers: a worker's name, or their number.
fn typed_for(workers: &[WorkerView]) -> String {
    match workers {
        [worker] => worker.id.clone(),
        workers => workers.len().to_string(),
    }
}

/// The first of several names, each once, and the number of the others.
pub(super) fn names<'a>(all: impl Iterator<Item = &'a str>) -> String {
    const SHOWN: usize = 4;
    let distinct: BTreeSet<&str> = all.collect();
    let shown: Vec<&str> = distinct.iter().take(SHOWN).copied().collect();
    let more = distinct.len() - shown.len();
    if more == 0 {
        shown.join(", ")
    } else {
        format!("{} and {more} more", shown.join(", "))
    }
}
