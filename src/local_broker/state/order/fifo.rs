//! FIFO queues: strict order within a group, and a group with a message in flight is locked.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::local_broker::state::message::{Seq, Stage};

/// The groups of a FIFO queue.
#[derive(Debug, Default)]
pub struct Groups {
    groups: HashMap<Arc<str>, Members>,
    /// Groups that can be received from, by the place of their head.
    open: BTreeSet<(Seq, Arc<str>)>,
}

#[derive(Debug, Default)]
struct Members {
    waiting: BTreeSet<Seq>,
    delayed: BTreeSet<Seq>,
    in_flight: usize,
}

impl Members {
    /// The first message, when the group is neither locked nor behind a delayed one.
    fn head(&self) -> Option<Seq> {
        let first = *self.waiting.first()?;
        let behind_delayed = self.delayed.first().is_some_and(|delayed| *delayed < first);
        (self.in_flight == 0 && !behind_delayed).then_some(first)
    }

    fn receivable(&self) -> impl Iterator<Item = Seq> {
        let limit = self.delayed.first().copied().unwrap_or(Seq::MAX);
        self.waiting.range(..limit).copied()
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.delayed.is_empty() && self.in_flight == 0
    }
}

impl Groups {
    /// Notes a message in a stage.
    pub fn add(&mut self, seq: Seq, stage: Stage, group: Option<&Arc<str>>) {
        self.change(group, |members| match stage {
            Stage::Waiting => {
                members.waiting.insert(seq);
            }
            Stage::Delayed => {
                members.delayed.insert(seq);
            }
            Stage::InFlight => members.in_flight += 1,
        });
    }

    /// Forgets a message that was in a stage.
    pub fn remove(&mut self, seq: Seq, stage: Stage, group: Option<&Arc<str>>) {
        self.change(group, |members| match stage {
            Stage::Waiting => {
                members.waiting.remove(&seq);
            }
            Stage::Delayed => {
                members.delayed.remove(&seq);
            }
            Stage::InFlight => members.in_flight -= 1,
        });
    }

    /// As many of one group as there are, then of the next.
    #[must_use]
    pub fn pick(&self, max: usize) -> Vec<Seq> {
        self.open
            .iter()
            .filter_map(|(_, group)| self.groups.get(group))
            .flat_map(Members::receivable)
            .take(max)
            .collect()
    }

    /// The oldest message that can be received.
    #[must_use]
    pub fn oldest(&self) -> Option<Seq> {
        self.open.first().map(|(seq, _)| *seq)
    }

    fn change(&mut self, group: Option<&Arc<str>>, change: impl FnOnce(&mut Members)) {
        let group = group.cloned().unwrap_or_else(|| Arc::from(""));
        let members = self.groups.entry(group.clone()).or_default();
        let before = members.head();
        change(members);
        let after = members.head();
        if members.is_empty() {
            self.groups.remove(&group);
        }
        if before != after {
            if let Some(head) = before {
                self.open.remove(&(head, group.clone()));
            }
            if let Some(head) = after {
                self.open.insert((head, group));
            }
        }
    }
}
