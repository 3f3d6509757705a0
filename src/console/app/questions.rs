//! What is asked before work is interrupted or messages are removed.

use jiff::Timestamp;

use super::App;
use crate::console::format::short_id;
use crate::console::overlay::{Confirm, Input, Overlay};
use crate::console::toast::Tone;
use crate::console::words::plural;
use crate::domain::{Command, TaskView, WorkerView};

impl App {
    fn ask(
        &mut self,
        title: String,
        body: Vec<String>,
        typed: Option<&str>,
        requests: Vec<(Option<String>, Command)>,
    ) {
        let typed = typed.map(str::to_owned);
        self.overlay = Some(Overlay::Confirm(Confirm {
            title,
            body,
            typed,
            input: Input::default(),
            requests,
        }));
    }

    pub(super) fn ask_drain_worker(&mut self, now: Timestamp) {
        let targets = self.targets_or_toast(now);
        if targets.is_empty() {
            return;
        }
        let (running, held) = self.load_of(&targets);
        let body = vec![
            format!("{running} running will finish; {held} held go back to their queues."),
            format!("Then {} will end.", name_of(&targets)),
        ];
        let requests = targets
            .iter()
            .map(|worker| (Some(worker.id.clone()), Command::Drain))
            .collect();
        self.ask(
            format!("Drain {}?", name_of(&targets)),
            body,
            None,
            requests,
        );
    }

    pub(super) fn ask_stop_worker(&mut self, now: Timestamp) {
        let targets = self.targets_or_toast(now);
        if targets.is_empty() {
            return;
        }
        let (running, held) = self.load_of(&targets);
        let body = vec![
            format!("{running} running will be interrupted; {held} held go back to their queues."),
            format!("Then {} will end.", name_of(&targets)),
        ];
        let requests = targets
            .iter()
            .map(|worker| (Some(worker.id.clone()), Command::Stop))
            .collect();
        self.ask(
            format!("Stop {}?", name_of(&targets)),
            body,
            Some("stop"),
            requests,
        );
    }

    pub(super) fn ask_drain_queue(&mut self, now: Timestamp) {
        let Some(queue) = self
            .list()
            .selected()
            .and_then(|index| self.snapshot.queues.get(index))
            .cloned()
        else {
            return self.toast(Tone::Failed, "No queue is under the cursor", now);
        };
        let (waiting, in_flight) = match queue.counts {
            Some(counts) => (
                format!("~{}", counts.visible),
                format!("~{}", counts.in_flight),
            ),
            None => (String::from("An unknown number of"), String::from("those")),
        };
        let body = vec![
            format!("{waiting} waiting messages will be written to an archive file and deleted;"),
            format!("{in_flight} in flight are not touched."),
            String::from("What they stand for will not run until they are restored."),
        ];
        let requests = vec![(
            None,
            Command::DrainQueue {
                queue: queue.name.clone(),
            },
        )];
        self.ask(
            format!("Drain the queue {}?", queue.name),
            body,
            Some(&queue.name),
            requests,
        );
    }

    pub(super) fn ask_cancel(&mut self, now: Timestamp) {
        let Some(task) = self.selected_task().cloned() else {
            return self.toast(Tone::Failed, "No step is under the cursor", now);
        };
        if !task.is_running() {
            return self.toast(Tone::Failed, format!("{} does not run", task.name()), now);
        }
        let body = vec![
            format!("Its process on {} will be interrupted.", task.worker),
            format!("Run {}, attempt {}.", short_id(&task.run_id), task.attempt),
        ];
        let command = Command::CancelTask {
            task_id: task.task_id.clone(),
        };
        let requests = vec![(Some(task.worker.clone()), command)];
        self.ask(
            format!("Cancel {}?", task.name()),
            body,
            Some("cancel"),
            requests,
        );
    }

    pub(super) fn ask_terminate(&mut self, now: Timestamp) {
        let Some(run) = self.selected_run().cloned() else {
            return self.toast(Tone::Failed, "No run is under the cursor", now);
        };
        let id = short_id(&run.run_id).to_owned();
        if run.status.is_finished() {
            return self.toast(Tone::Failed, format!("Run {id} is over already"), now);
        }
        let in_flight = self
            .snapshot
            .tasks
            .iter()
            .filter(|task| task.run_id == run.run_id)
            .count();
        let body = vec![
            format!(
                "Job {}. {} of it here will be interrupted or removed.",
                run.job,
                plural(in_flight, "task")
            ),
            String::from("Dagster marks the run as canceled."),
        ];
        let requests = vec![(
            None,
            Command::TerminateRuns {
                run_ids: vec![run.run_id],
            },
        )];
        self.ask(format!("Terminate run {id}?"), body, Some(&id), requests);
    }

    /// How many tasks these workers run and hold.
    fn load_of(&self, workers: &[WorkerView]) -> (usize, usize) {
        let theirs = |task: &&TaskView| workers.iter().any(|worker| worker.id == task.worker);
        let tasks = self.snapshot.tasks.iter().filter(theirs);
        let (running, held): (Vec<_>, Vec<_>) = tasks.partition(|task| task.is_running());
        (running.len(), held.len())
    }
}

fn name_of(workers: &[WorkerView]) -> String {
    match workers {
        [worker] => format!("worker {}", worker.id),
        workers => plural(workers.len(), "worker"),
    }
}
