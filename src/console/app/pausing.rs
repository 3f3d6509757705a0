//! Pause and resume of queues for every worker of the deployment.

use jiff::Timestamp;

use super::App;
use super::confirm::names;
use crate::console::labels::plural;
use crate::console::toast::Tone;
use crate::domain::{Command, QueueRole, QueueView};
use crate::protocol::frames::own_name;

impl App {
    /// Opens the confirmation of a pause of the selected queues; resumes them if all are paused.
    pub(in crate::console) fn confirm_pause_queue(&mut self, now: Timestamp) {
        let (paused, open): (Vec<QueueView>, Vec<QueueView>) = self
            .pausable()
            .into_iter()
            .partition(|queue| self.snapshot.paused_queues.contains_key(&queue.name));
        if open.is_empty() && !paused.is_empty() {
            return self.confirm_resume(&paused);
        }
        if open.is_empty() {
            return self.toast(Tone::Failed, self.no_queue_to_pause(), now);
        }
        let body = vec![
            format!(
                "No worker of the deployment, and none that starts later, receives from {} until \
                 it is resumed.",
                names(open.iter().map(|queue| queue.name.as_str()))
            ),
            String::from("Messages stay where they are; held ones go back; running steps go on."),
        ];
        let requests = open
            .iter()
            .map(|queue| {
                let command = Command::PauseQueue {
                    queue: queue.name.clone(),
                    by: own_name(),
                    reason: None,
                };
                (None, command)
            })
            .collect();
        let title = format!("Pause {}?", title_of(&open));
        self.confirm(title, body, None, requests);
    }

    /// Opens the confirmation of the end of a pause.
    pub(in crate::console) fn confirm_resume_queue(&mut self, now: Timestamp) {
        let mut queues = self.pausable();
        queues.retain(|queue| self.snapshot.paused_queues.contains_key(&queue.name));
        if queues.is_empty() {
            return self.toast(Tone::Failed, "No paused queue is under the cursor", now);
        }
        self.confirm_resume(&queues);
    }

    fn confirm_resume(&mut self, queues: &[QueueView]) {
        let name = names(queues.iter().map(|queue| queue.name.as_str()));
        let body = vec![format!("The workers receive from {name} again.")];
        let requests = queues
            .iter()
            .map(|queue| {
                let queue = queue.name.clone();
                (None, Command::ResumeQueue { queue })
            })
            .collect();
        let title = format!("Resume {}?", title_of(queues));
        self.confirm(title, body, None, requests);
    }

    /// The selected queues that workers receive from.
    fn pausable(&self) -> Vec<QueueView> {
        let mut queues = self.known_queues(&self.queues_here());
        queues.retain(|queue| queue.role != QueueRole::DeadLetter);
        queues
    }

    fn no_queue_to_pause(&self) -> &'static str {
        if self.queues_here().is_empty() {
            "No queue is under the cursor"
        } else {
            "No worker receives from a dead-letter queue: there is nothing to pause"
        }
    }
}

fn title_of(queues: &[QueueView]) -> String {
    match queues {
        [queue] => format!("the queue {}", queue.name),
        queues => plural(queues.len(), "queue"),
    }
}
