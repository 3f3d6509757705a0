//! A batch: many re-executions or redrives, sent one after the other at a rate an operator chose.
//!
//! The console alone keeps the list. If it ends, what was sent is done and the rest is not; the
//! next scan of the failures counts what is left.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;

use jiff::{SignedDuration, Timestamp};

use super::{App, Effect};
use crate::console::key::Key;
use crate::console::labels::plural;
use crate::console::line::Typed;
use crate::console::overlay::{Overlay, Stagger};
use crate::console::toast::Tone;
use crate::domain::{Command, Reply};

/// Maximum rate, in items a minute.
pub(in crate::console) const MAX_RATE: usize = 600;

/// Failures in a row after which the rest is not sent: their reason is not in the items.
const GIVE_UP: usize = 3;

/// Fraction of a minute's dead letters that one redrive takes: each looks through the whole queue.
const REDRIVES_A_MINUTE: usize = 6;

/// Items of a batch, before it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Failed runs to execute again from their failure.
    Runs(Vec<String>),
    /// SQS message ids of dead letters, by queue.
    Letters(BTreeMap<String, Vec<String>>),
}

impl Plan {
    /// Number of runs or messages.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Runs(runs) => runs.len(),
            Self::Letters(queues) => queues.values().map(Vec::len).sum(),
        }
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The commands, each with its number of items.
    fn commands(self, rate: usize) -> VecDeque<(usize, Command)> {
        match self {
            Self::Runs(runs) => {
                let command = |run_id| Command::ReexecuteRun {
                    run_id,
                    from_failure: true,
                    if_open: true,
                };
                runs.into_iter().map(|run| (1, command(run))).collect()
            }
            Self::Letters(queues) => {
                let at_once = (rate / REDRIVES_A_MINUTE).max(1);
                let of_queue = |(queue, ids): (String, Vec<String>)| {
                    let chunks: Vec<(usize, Command)> = ids
                        .chunks(at_once)
                        .map(|messages| {
                            let command = Command::Redrive {
                                queue: queue.clone(),
                                messages: messages.to_vec(),
                                to: None,
                            };
                            (messages.len(), command)
                        })
                        .collect();
                    chunks
                };
                queues.into_iter().flat_map(of_queue).collect()
            }
        }
    }
}

/// A batch under way.
#[derive(Clone, Debug)]
pub struct Batch {
    verb: &'static str,
    left: VecDeque<(usize, Command)>,
    total: usize,
    done: usize,
    failed: usize,
    failed_in_a_row: usize,
    problem: Option<String>,
    /// Items a minute.
    rate: usize,
    /// The operator's reason.
    reason: Option<String>,
    due: Timestamp,
    /// The request under way, and its number of items.
    sent: Option<(u64, usize)>,
    /// Whether the operator was warned on leaving.
    pub(super) is_leaving: bool,
}

impl Batch {
    /// Progress, for the head line.
    pub(in crate::console) fn note(&self) -> String {
        let (ended, total) = (self.done + self.failed, self.total);
        let failed = match self.failed {
            0 => String::new(),
            failed => format!(", {failed} failed"),
        };
        format!("{} {ended}/{total}{failed}, {}/min", self.verb, self.rate)
    }

    /// Time of the next command; `None` while the one before is not answered.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.sent.is_none().then_some(self.due)
    }

    pub(super) fn move_deadlines(&mut self, moved: impl Fn(Timestamp) -> Timestamp) {
        self.due = moved(self.due);
    }

    /// One sentence about its end.
    fn end(&self) -> (Tone, String) {
        let left: usize = self.left.iter().map(|(items, _)| items).sum();
        // Writing to a string cannot fail.
        let mut text = format!("{}: {} of {} done", self.verb, self.done, self.total);
        if self.failed > 0 {
            let _ = write!(text, ", {} failed", self.failed);
        }
        if left > 0 {
            let _ = write!(text, ", {left} not sent");
        }
        if let Some(problem) = &self.problem {
            let _ = write!(text, " (last: {problem})");
        }
        let tone = if self.failed > 0 || left > 0 {
            Tone::Failed
        } else {
            Tone::Done
        };
        (tone, text)
    }
}

impl App {
    /// The batch under way.
    #[must_use]
    pub fn batch(&self) -> Option<&Batch> {
        self.batch.as_ref()
    }

    /// Handles a key in the dialog of a rate, which was taken.
    pub(super) fn stagger_key(&mut self, key: Key, mut stagger: Box<Stagger>, now: Timestamp) {
        if stagger.reason.key(key) {
            self.overlay = Some(Overlay::Stagger(stagger));
            return;
        }
        // As in the dialog of slots, letters are not accepted.
        if key.typed().is_some_and(|c| !c.is_ascii_digit()) {
            self.overlay = Some(Overlay::Stagger(stagger));
            return;
        }
        match stagger.input.key(key) {
            Typed::Left => {}
            Typed::Given => {
                if let Some(rate) = stagger.rate() {
                    let reason = stagger.reason.text();
                    self.start_batch(stagger.plan, rate, reason, now);
                } else {
                    stagger.is_refused = true;
                    self.overlay = Some(Overlay::Stagger(stagger));
                }
            }
            Typed::Edited | Typed::Other => {
                stagger.is_refused = false;
                self.overlay = Some(Overlay::Stagger(stagger));
            }
        }
    }

    fn start_batch(&mut self, plan: Plan, rate: usize, reason: Option<String>, now: Timestamp) {
        if let Some(batch) = &self.batch {
            let text = format!("{} is under way: x stops it", batch.note());
            return self.toast(Tone::Failed, text, now);
        }
        let verb = match plan {
            Plan::Runs(_) => "re-executing",
            Plan::Letters(_) => "redriving",
        };
        let total = plan.len();
        self.lists[self.view.index()].marks.clear();
        self.batch = Some(Batch {
            verb,
            left: plan.commands(rate),
            total,
            done: 0,
            failed: 0,
            failed_in_a_row: 0,
            problem: None,
            rate,
            reason,
            due: now,
            sent: None,
            is_leaving: false,
        });
    }

    /// Sends the next command if it is due and the one before was answered.
    pub(super) fn keep_sending(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(batch) = &mut self.batch else { return };
        if batch.sent.is_some() || batch.due > now {
            return;
        }
        let Some((items, command)) = batch.left.pop_front() else {
            return;
        };
        self.next_request += 1;
        let request = self.next_request;
        batch.sent = Some((request, items));
        let pause = i64::try_from(items * 60_000 / batch.rate.max(1)).unwrap_or(i64::MAX);
        batch.due = now
            .saturating_add(SignedDuration::from_millis(pause))
            .unwrap_or(Timestamp::MAX);
        let reason = batch.reason.clone();
        self.note_request(request, &command);
        effects.push(Effect::Request {
            request,
            worker: None,
            command,
            reason,
        });
    }

    /// Takes an answer to a command of the batch; `false` if it belongs to something else.
    pub(super) fn batch_reply(&mut self, request: u64, reply: &Reply, now: Timestamp) -> bool {
        let Some(batch) = &mut self.batch else {
            return false;
        };
        let Some((_, items)) = batch.sent.take_if(|(sent, _)| *sent == request) else {
            return false;
        };
        if let Some(reason) = reply.problem() {
            batch.failed += items;
            batch.failed_in_a_row += 1;
            batch.problem = Some(reason.to_owned());
        } else {
            batch.done += items;
            batch.failed_in_a_row = 0;
        }
        if batch.left.is_empty() || batch.failed_in_a_row >= GIVE_UP {
            self.end_batch(now);
        }
        true
    }

    /// Stops the batch: what was sent goes on, the rest is not sent.
    pub(in crate::console) fn stop_batch(&mut self, now: Timestamp) {
        if self.batch.is_none() && self.rolling.is_none() {
            let text = "No re-executions, redrives or restarts are under way";
            return self.toast(Tone::Note, text, now);
        }
        self.end_batch(now);
        self.stop_rolling("stopped", now);
    }

    fn end_batch(&mut self, now: Timestamp) {
        if let Some(batch) = self.batch.take() {
            let (tone, text) = batch.end();
            self.toast(tone, text, now);
            self.failures.scan_again();
        }
    }

    /// Warns once before the console is left while a batch is under way; `true` if it did.
    pub(super) fn warns_of_batch(&mut self, now: Timestamp) -> bool {
        if self.warns_of_programs(now) || self.warns_of_restarts(now) {
            return true;
        }
        let Some(batch) = self.batch.as_mut().filter(|batch| !batch.is_leaving) else {
            return false;
        };
        batch.is_leaving = true;
        let left: usize = batch.left.iter().map(|(items, _)| items).sum();
        let text = format!(
            "{} {} not sent yet: q again leaves them",
            plural(left, "item"),
            if left == 1 { "is" } else { "are" }
        );
        self.toast(Tone::Failed, text, now);
        true
    }
}
