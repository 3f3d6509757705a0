//! Confirmations before messages are removed, redriven or resent.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::App;
use super::confirm::names;
use crate::console::labels::{self, plural};
use crate::console::toast::Tone;
use crate::domain::{Command, MAX_PEEKED, QueueCounts, QueueRole, QueueView};

/// Kind of removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Removal {
    /// Into an archive.
    Drain,
    /// Permanently.
    Purge,
}

impl App {
    pub(in crate::console) fn confirm_drain_queue(&mut self, argument: &str, now: Timestamp) {
        self.confirm_remove(Removal::Drain, argument, now);
    }

    pub(in crate::console) fn confirm_purge_queue(&mut self, argument: &str, now: Timestamp) {
        self.confirm_remove(Removal::Purge, argument, now);
    }

    /// Opens the confirmation of a removal, which requires the queue's name, or the number of
    /// several queues.
    fn confirm_remove(&mut self, removal: Removal, argument: &str, now: Timestamp) {
        let keep_waiting = match argument {
            "" => false,
            "keep-waiting" => true,
            other => {
                let text = format!("`{other}` is nothing to add: keep-waiting");
                return self.toast(Tone::Failed, text, now);
            }
        };
        let queues = self.known_queues(&self.queues_here());
        let [first, ..] = queues.as_slice() else {
            return self.toast(Tone::Failed, "No queue is under the cursor", now);
        };
        let (name, typed) = match queues.as_slice() {
            [queue] => (format!("the queue {}", queue.name), first.name.clone()),
            queues => (format!("{} queues", queues.len()), queues.len().to_string()),
        };
        let (waiting, in_flight) = messages_of(&queues);
        let verb = match removal {
            Removal::Drain => "Drain",
            Removal::Purge => "Purge",
        };
        let mut body = match (removal, keep_waiting) {
            (Removal::Drain, _) => vec![
                format!(
                    "{waiting} waiting messages will be written to an archive file and deleted;"
                ),
                format!("{in_flight} in flight are not touched."),
            ],
            (Removal::Purge, false) => vec![
                format!("{waiting} waiting messages will be deleted for good;"),
                format!("{in_flight} in flight are not touched."),
            ],
            (Removal::Purge, true) => vec![format!(
                "{waiting} waiting messages will be deleted for good, and {in_flight} in flight."
            )],
        };
        body.push(String::from(match (removal, keep_waiting) {
            (_, false) => "Their steps and runs end with that reason in Dagster's log.",
            (Removal::Drain, true) => "Their steps and runs go on waiting: what is restored runs.",
            (Removal::Purge, true) => "Their steps and runs go on waiting; nothing comes for them.",
        }));
        if queues.len() > 1 {
            body.insert(0, names(queues.iter().map(|queue| queue.name.as_str())));
        }
        let requests = queues
            .iter()
            .map(|queue| {
                let queue = queue.name.clone();
                let command = match removal {
                    Removal::Drain => Command::DrainQueue {
                        queue,
                        keep_waiting,
                    },
                    Removal::Purge => Command::PurgeQueue {
                        queue,
                        keep_waiting,
                    },
                };
                (None, command)
            })
            .collect();
        self.confirm(format!("{verb} {name}?"), body, Some(&typed), requests);
    }

    /// Opens the confirmation of a redrive of the marked dead letters, or the one under the cursor,
    /// to the named queue or to their source queues.
    pub(in crate::console) fn confirm_redrive(&mut self, to: &str, now: Timestamp) {
        let mut by_queue: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for at in self.target_rows() {
            if let Some(letter) = self.snapshot.dead_letters.get(at) {
                let ids = by_queue.entry(letter.queue.clone()).or_default();
                ids.push(letter.message_id.clone());
            }
        }
        let count: usize = by_queue.values().map(Vec::len).sum();
        if count == 0 {
            return self.toast(Tone::Failed, "No dead letter is under the cursor", now);
        }
        let letters = plural(count, "dead letter");
        let from = names(by_queue.keys().map(String::as_str));
        let body = vec![
            format!(
                "{letters} of {from}: {}, to be tried again.",
                destination(to, "back to where they came from")
            ),
            String::from("A step that has ended in Dagster's log does not run again."),
        ];
        let requests = by_queue
            .into_iter()
            .map(|(queue, messages)| {
                let command = Command::Redrive {
                    queue,
                    messages,
                    to: named(to),
                };
                (None, command)
            })
            .collect();
        self.confirm(format!("Redrive {letters}?"), body, None, requests);
    }

    /// Opens the confirmation of a redrive of all messages of the selected dead-letter queues, to
    /// the named queue or to their source queues.
    pub(in crate::console) fn confirm_redrive_all(&mut self, to: &str, now: Timestamp) {
        let mut queues = self.known_queues(&self.queues_here());
        queues.retain(|queue| queue.role == QueueRole::DeadLetter);
        if queues.is_empty() {
            let text = "No dead-letter queue is under the cursor";
            return self.toast(Tone::Failed, text, now);
        }
        let (waiting, _) = messages_of(&queues);
        let from = names(queues.iter().map(|queue| queue.name.as_str()));
        let body = vec![
            format!(
                "{waiting} messages go {}, to be tried again.",
                destination(to, "back to where they came from")
            ),
            String::from("A step that has ended in Dagster's log does not run again."),
        ];
        let requests = queues
            .into_iter()
            .map(|queue| {
                let command = Command::Redrive {
                    queue: queue.name,
                    messages: Vec::new(),
                    to: named(to),
                };
                (None, command)
            })
            .collect();
        self.confirm(format!("Redrive all of {from}?"), body, None, requests);
    }

    pub(super) fn confirm_resend(
        &mut self,
        (queue, message_id): (String, String),
        body: String,
        to: &str,
    ) {
        let destination = destination(to, "to where it came from");
        let text = vec![format!(
            "Message {message_id} of {queue} is sent as edited {destination}; then the old one is deleted."
        )];
        let command = Command::Resend {
            queue,
            message_id,
            body,
            to: named(to),
        };
        let title = String::from("Send it as edited?");
        self.confirm(title, text, None, vec![(None, command)]);
    }

    /// Opens the confirmation of `:queue restore FILE [again]`.
    pub(in crate::console) fn confirm_restore(&mut self, argument: &str, now: Timestamp) {
        let again = argument.strip_suffix(" again");
        let file = labels::path(again.unwrap_or(argument).trim());
        let file = file.display().to_string();
        if file.is_empty() {
            let text = "Name the archive: `:queue restore FILE` (a path on the worker's host)";
            return self.toast(Tone::Failed, text, now);
        }
        let again = again.is_some();
        let mut body = vec![
            format!("The messages in {file} are sent to the queues they came from."),
            String::from("Those that an earlier restore has sent are not sent again."),
        ];
        if again {
            body[1] = String::from("All of them, also those that an earlier restore has sent.");
        }
        let command = Command::RestoreArchive {
            file,
            to: None,
            again,
        };
        let title = String::from("Restore the archive?");
        self.confirm(title, body, None, vec![(None, command)]);
    }

    /// Opens the confirmation of a peek that raises receive counts.
    pub(super) fn confirm_receive(&mut self, queue: &str, now: Timestamp) {
        if self.setup.read_only {
            let text = format!(
                "Read-only: the messages of {queue} can be seen only by receiving them, which counts"
            );
            return self.toast(Tone::Failed, text, now);
        }
        let body = vec![
            format!("This broker shows the messages of {queue} only by receiving them."),
            format!(
                "Up to {MAX_PEEKED} are received and given back at once: their receive counts go"
            ),
            String::from("up by one, and one at its maximum goes to the dead-letter queue."),
        ];
        let command = Command::PeekByReceiving {
            queue: queue.to_owned(),
            limit: MAX_PEEKED,
            message_id: None,
        };
        let title = format!("Look at the messages of {queue}?");
        self.confirm(title, body, None, vec![(None, command)]);
    }

    pub(super) fn known_queues(&self, names: &[String]) -> Vec<QueueView> {
        let queues = self.snapshot.queues.iter();
        queues
            .filter(|queue| names.contains(&queue.name))
            .cloned()
            .collect()
    }
}

/// Destination of messages for a sentence: the named queue, or else `back`.
fn destination(to: &str, back: &str) -> String {
    if to.is_empty() {
        back.to_owned()
    } else {
        format!("to {to}")
    }
}

fn named(to: &str) -> Option<String> {
    (!to.is_empty()).then(|| to.to_owned())
}

/// Waiting and in-flight messages of queues, for a sentence.
fn messages_of(queues: &[QueueView]) -> (String, String) {
    let counts: Option<Vec<QueueCounts>> = queues.iter().map(|queue| queue.counts).collect();
    let Some(counts) = counts else {
        return (String::from("An unknown number of"), String::from("those"));
    };
    let sum = |of: fn(&QueueCounts) -> u64| counts.iter().map(of).fold(0, u64::saturating_add);
    (
        format!("~{}", sum(|counts| counts.visible)),
        format!("~{}", sum(|counts| counts.in_flight)),
    )
}
