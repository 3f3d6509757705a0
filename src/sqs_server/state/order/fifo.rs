//! FIFO queues: strict order within a group. The receivable messages of a group are the waiting
//! ones before the first that is in flight or delayed. So a message that was given back is received
//! again while later ones are still in flight. Groups take turns: the one whose head has been
//! visible for longest comes first, so a group that was just given back is last.
//!
//! The answers of AWS to both are recorded in `LocalStack`'s `tests/aws/services/sqs/test_sqs.py`
//! (`test_fifo_message_group_visibility_*`, `test_fifo_receive_message_*`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::sqs_server::state::message::{Millis, Seq, Stage};

/// The groups of a FIFO queue.
#[derive(Debug, Default)]
pub struct Groups {
    by_name: HashMap<Arc<str>, Members>,
    /// Groups that can be received from, by their heads: the time since which a head is visible,
    /// and its place.
    open: BTreeSet<(Head, Arc<str>)>,
    /// The places of the same heads.
    heads: BTreeSet<Seq>,
}

/// A group's first receivable message: the time since which it is visible, and its place.
type Head = (Millis, Seq);

#[derive(Debug, Default)]
struct Members {
    /// Waiting messages, with the time since which each is visible.
    waiting: BTreeMap<Seq, Millis>,
    /// Messages that block those behind them: in flight or delayed.
    blocking: BTreeSet<Seq>,
}

impl Members {
    fn head(&self) -> Option<Head> {
        let (seq, since) = self.receivable().next()?;
        Some((since, seq))
    }

    fn receivable(&self) -> impl Iterator<Item = (Seq, Millis)> {
        let limit = self.blocking.first().copied().unwrap_or(Seq::MAX);
        self.waiting
            .range(..limit)
            .map(|(seq, since)| (*seq, *since))
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.blocking.is_empty()
    }
}

impl Groups {
    /// Adds a message in a stage; a waiting one has been visible since `since`.
    pub fn add(&mut self, seq: Seq, stage: Stage, since: Millis, group: Option<&Arc<str>>) {
        self.change(group, |members| match stage {
            Stage::Waiting => {
                members.waiting.insert(seq, since);
            }
            Stage::Delayed | Stage::InFlight => {
                members.blocking.insert(seq);
            }
        });
    }

    /// Removes a message that was in a stage.
    pub fn remove(&mut self, seq: Seq, stage: Stage, group: Option<&Arc<str>>) {
        self.change(group, |members| match stage {
            Stage::Waiting => {
                members.waiting.remove(&seq);
            }
            Stage::Delayed | Stage::InFlight => {
                members.blocking.remove(&seq);
            }
        });
    }

    /// Picks as many of one group as there are, then of the next.
    #[must_use]
    pub fn pick(&self, max: usize) -> Vec<Seq> {
        self.open
            .iter()
            .filter_map(|(_, group)| self.by_name.get(group))
            .flat_map(Members::receivable)
            .map(|(seq, _)| seq)
            .take(max)
            .collect()
    }

    /// The oldest message that can be received, regardless of turns.
    #[must_use]
    pub fn oldest(&self) -> Option<Seq> {
        self.heads.first().copied()
    }

    fn change(&mut self, group: Option<&Arc<str>>, change: impl FnOnce(&mut Members)) {
        let group = group.cloned().unwrap_or_else(|| Arc::from(""));
        let members = self.by_name.entry(group.clone()).or_default();
        let before = members.head();
        change(members);
        let after = members.head();
        if members.is_empty() {
            self.by_name.remove(&group);
        }
        if before == after {
            return;
        }
        if let Some(head) = before {
            self.heads.remove(&head.1);
            self.open.remove(&(head, group.clone()));
        }
        if let Some(head) = after {
            self.heads.insert(head.1);
            self.open.insert((head, group));
        }
    }
}
