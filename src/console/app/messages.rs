//! Data about queues and messages beyond the snapshot: requested when a view shows them, and again
//! when the counts indicate a change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::{App, Effect};
use crate::console::overlay::Overlay;
use crate::console::toast::Tone;
use crate::console::view::View;
use crate::domain::{
    Answer, Command, MAX_PEEKED, Peek, PeekedMessage, Query, QueueDetail, QueueRole, QueueView,
    Reply, Snapshot,
};

/// Data received so far.
#[derive(Clone, Debug, Default)]
pub struct Messages {
    /// Attributes and pairing, by queue.
    pub details: BTreeMap<String, QueueDetail>,
    /// Messages, by queue.
    pub peeks: BTreeMap<String, Peek>,
    /// Queues whose messages can be seen only by receiving them.
    pub only_by_receiving: BTreeSet<String>,
    /// Reasons why the last peek at a queue failed.
    pub problems: BTreeMap<String, String>,
    /// A message in the operator's editor.
    editing: Option<Editing>,
    /// The id and the text of the message that was edited last. If it is not sent, for example
    /// because its target was not found, the next edit continues with it.
    edited: Option<(String, String)>,
    pending: BTreeMap<u64, PendingQuery>,
}

#[derive(Clone, Debug)]
struct Editing {
    queue: String,
    message_id: String,
    /// The target queue; empty for the source queue.
    to: String,
    shown: String,
}

/// Subject of a pending request.
#[derive(Clone, Debug, PartialEq, Eq)]
enum PendingQuery {
    Detail(String),
    /// Requested by the operator, not by a view that is shown.
    Peek {
        queue: String,
        requested: bool,
    },
    /// A command that changes a queue's messages.
    Change(String),
}

impl App {
    /// The data about queues and messages.
    #[must_use]
    pub fn messages(&self) -> &Messages {
        &self.messages
    }

    /// The dead-letter queues, in the snapshot's order.
    pub(in crate::console) fn dead_letter_queues(&self) -> impl Iterator<Item = &QueueView> {
        let queues = self.snapshot.queues.iter();
        queues.filter(|queue| queue.role == QueueRole::DeadLetter)
    }

    /// Sends a query without showing it on the screen.
    fn query_in_background(
        &mut self,
        query: Query,
        pending: PendingQuery,
        effects: &mut Vec<Effect>,
    ) {
        let request = self.query(query, effects);
        self.messages.pending.insert(request, pending);
    }

    /// Peeks at a queue's messages in place. With `requested`, the operator did so and is offered
    /// to receive them if that is the only way.
    pub(super) fn peek(&mut self, queue: &str, requested: bool, effects: &mut Vec<Effect>) {
        let under_way =
            |one: &PendingQuery| matches!(one, PendingQuery::Peek { queue: of, .. } if of == queue);
        if !requested && self.messages.pending.values().any(under_way) {
            return;
        }
        let query = Query::Peek {
            queue: queue.to_owned(),
            limit: MAX_PEEKED,
            message_id: None,
        };
        let queue = queue.to_owned();
        self.query_in_background(query, PendingQuery::Peek { queue, requested }, effects);
    }

    /// Requests the data for the details of the queue under the cursor.
    pub(super) fn look_at_queue(&mut self, effects: &mut Vec<Effect>) {
        let selected = self.list().selected();
        let Some(queue) = selected.and_then(|at| self.snapshot.queues.get(at)) else {
            return;
        };
        let queue = queue.name.clone();
        let query = Query::Queue {
            queue: queue.clone(),
        };
        self.query_in_background(query, PendingQuery::Detail(queue.clone()), effects);
        if !self.messages.only_by_receiving.contains(&queue) {
            self.peek(&queue, false, effects);
        }
    }

    /// Peeks at all dead letters that can be seen without receiving them.
    pub(super) fn look_at_dead_letters(&mut self, effects: &mut Vec<Effect>) {
        let names: Vec<String> = self
            .dead_letter_queues()
            .filter(|queue| !self.messages.only_by_receiving.contains(&queue.name))
            .map(|queue| queue.name.clone())
            .collect();
        for name in names {
            self.peek(&name, false, effects);
        }
    }

    /// Peeks again at queues whose counts changed, while dead letters are on the screen.
    pub(super) fn refresh_peeks(&mut self, before: &Snapshot, effects: &mut Vec<Effect>) {
        if !matches!(self.view, View::DeadLetters | View::Failures) {
            return;
        }
        let counts = |queue: &QueueView| queue.counts.map(|c| (c.visible, c.in_flight, c.delayed));
        let was = |name: &str| before.queues.iter().find(|queue| queue.name == name);
        let changed: Vec<String> = self
            .dead_letter_queues()
            .filter(|queue| was(&queue.name).is_none_or(|old| counts(old) != counts(queue)))
            .filter(|queue| !self.messages.only_by_receiving.contains(&queue.name))
            .map(|queue| queue.name.clone())
            .collect();
        for name in changed {
            self.peek(&name, false, effects);
        }
    }

    /// Records the subject of a command that is sent.
    pub(super) fn note_request(&mut self, request: u64, command: &Command) {
        let Some(queue) = command.queue().map(str::to_owned) else {
            return;
        };
        let pending = match command {
            Command::PeekByReceiving { .. } => PendingQuery::Peek {
                queue,
                requested: true,
            },
            _ => PendingQuery::Change(queue),
        };
        self.messages.pending.insert(request, pending);
    }

    /// Takes an answer about a queue; returns whether it needs no further handling.
    pub(super) fn queue_reply(
        &mut self,
        request: u64,
        reply: &Reply,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Some(pending) = self.messages.pending.remove(&request) else {
            return false;
        };
        match (pending, reply) {
            (PendingQuery::Change(queue), _) => {
                if self.messages.peeks.contains_key(&queue)
                    && !self.messages.only_by_receiving.contains(&queue)
                {
                    self.peek(&queue, false, effects);
                }
                return false;
            }
            (_, Reply::Answer(answer)) => {
                self.toasts.retain(|toast| toast.request != Some(request));
                self.take_answer(answer, now);
            }
            (
                PendingQuery::Peek {
                    requested: true, ..
                },
                Reply::Failed(_),
            )
            | (_, Reply::Done(_) | Reply::Operation(_)) => {
                return false;
            }
            (
                PendingQuery::Peek { queue, .. } | PendingQuery::Detail(queue),
                Reply::Failed(reason),
            ) => {
                self.messages.problems.insert(queue, reason.clone());
            }
        }
        true
    }

    fn take_answer(&mut self, answer: &Answer, now: Timestamp) {
        match answer {
            Answer::Queue(detail) => {
                let name = detail.queue.clone();
                self.messages.details.insert(name, detail.clone());
            }
            Answer::Peek(peek) => {
                self.messages.problems.remove(&peek.queue);
                if !peek.received {
                    self.messages.only_by_receiving.remove(&peek.queue);
                }
                self.messages.peeks.insert(peek.queue.clone(), peek.clone());
                self.show_dead_letters();
            }
            Answer::OnlyByReceiving(queue) => {
                let known = !self.messages.only_by_receiving.insert(queue.clone());
                if known {
                    self.confirm_receive(queue, now);
                }
            }
            _ => {}
        }
    }

    /// Peeks at the queue under the cursor, or at that of the dead letter there (`m`).
    pub(in crate::console) fn peek_here(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let names = self.queues_here();
        let Some(name) = names.first().cloned() else {
            return self.toast(Tone::Failed, "No queue is under the cursor", now);
        };
        if self.view == View::Queues {
            self.overlay = Some(Overlay::Detail { scroll: 0 });
            self.look_at_queue(effects);
        }
        for name in names {
            if self.messages.only_by_receiving.contains(&name) {
                return self.confirm_receive(&name, now);
            }
        }
        if self.view == View::DeadLetters {
            self.look_at_dead_letters(effects);
        } else {
            self.peek(&name, true, effects);
        }
    }

    /// Names of the queues that a command applies to: in the queues view the marked ones or the one
    /// under the cursor; among dead letters their queues, or all dead-letter queues if none is
    /// shown.
    pub(super) fn queues_here(&self) -> Vec<String> {
        let rows = self.target_rows();
        let names: BTreeSet<String> = match self.view {
            View::Queues => rows
                .iter()
                .filter_map(|at| Some(self.snapshot.queues.get(*at)?.name.clone()))
                .collect(),
            View::DeadLetters if rows.is_empty() => self
                .dead_letter_queues()
                .map(|queue| queue.name.clone())
                .collect(),
            View::DeadLetters => rows
                .iter()
                .filter_map(|at| Some(self.snapshot.dead_letters.get(*at)?.queue.clone()))
                .collect(),
            _ => BTreeSet::new(),
        };
        names.into_iter().collect()
    }

    /// The dead letter under the cursor.
    pub(in crate::console) fn selected_letter(&self) -> Option<&PeekedMessage> {
        self.snapshot.dead_letters.get(self.list().selected()?)
    }

    /// Opens the message under the cursor in the editor (`e`), to be sent to the named queue or to
    /// its source queue.
    pub(in crate::console) fn edit_message(
        &mut self,
        to: &str,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let Some(letter) = self.selected_letter().cloned() else {
            return self.toast(Tone::Failed, "No dead letter is under the cursor", now);
        };
        let Some(body) = &letter.body else {
            let text = "Its body is too large to be carried here: use `queue peek --body`";
            return self.toast(Tone::Failed, text, now);
        };
        let shown = crate::console::text::pretty(body);
        let kept = self.messages.edited.as_ref();
        let kept = kept.filter(|(id, _)| *id == letter.message_id);
        let text = kept.map_or_else(|| shown.clone(), |(_, text)| text.clone());
        effects.push(Effect::Edit(text));
        self.messages.editing = Some(Editing {
            queue: letter.queue,
            message_id: letter.message_id,
            to: to.to_owned(),
            shown,
        });
    }

    /// Takes the outcome of `$EDITOR`, if a message was edited.
    pub(super) fn message_edited(
        &mut self,
        edited: Result<String, String>,
        now: Timestamp,
    ) -> Option<Result<String, String>> {
        let Some(editing) = self.messages.editing.take() else {
            return Some(edited);
        };
        match edited {
            Err(reason) => self.toast(Tone::Failed, reason, now),
            Ok(text) if text.trim_end() == editing.shown.trim_end() => {
                self.messages.edited = None;
                self.toast(Tone::Note, "Not changed: nothing was sent", now);
            }
            Ok(text) => {
                self.messages.edited = Some((editing.message_id.clone(), text.clone()));
                self.confirm_resend((editing.queue, editing.message_id), text, &editing.to);
            }
        }
        None
    }

    /// Makes the known dead letters the list of their view.
    pub(super) fn show_dead_letters(&mut self) {
        let letters: Vec<PeekedMessage> = self
            .dead_letter_queues()
            .filter_map(|queue| self.messages.peeks.get(&queue.name))
            .flat_map(|peek| peek.messages.iter().cloned())
            .collect();
        if *self.snapshot.dead_letters != letters {
            self.snapshot.dead_letters = Arc::new(letters);
            self.lists[View::DeadLetters.index()].stale = true;
            self.show_failures();
        }
    }
}
