//! Which message a receive takes next: by age on standard queues; by age of the groups' heads on
//! FIFO queues, where a group with a message in flight is locked.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::message::{Seq, Stage};

/// The receivable messages of a queue, in order.
#[derive(Debug)]
pub enum Order {
    /// Every message stands alone; the oldest first.
    Standard(BTreeSet<Seq>),
    /// Strict order within a group.
    Fifo(Groups),
}

impl Order {
    /// The empty order of a queue of this kind.
    #[must_use]
    pub fn new(fifo: bool) -> Self {
        if fifo {
            Self::Fifo(Groups::default())
        } else {
            Self::Standard(BTreeSet::new())
        }
    }

    /// Notes a message in a stage.
    pub fn add(&mut self, seq: Seq, stage: Stage, group: Option<&Arc<str>>) {
        match self {
            Self::Standard(waiting) => {
                if stage == Stage::Waiting {
                    waiting.insert(seq);
                }
            }
            Self::Fifo(groups) => groups.change(group, |members| match stage {
                Stage::Waiting => {
                    members.waiting.insert(seq);
                }
                Stage::Delayed => {
                    members.delayed.insert(seq);
                }
                Stage::InFlight => members.in_flight += 1,
            }),
        }
    }

    /// Forgets a message that was in a stage.
    pub fn remove(&mut self, seq: Seq, stage: Stage, group: Option<&Arc<str>>) {
        match self {
            Self::Standard(waiting) => {
                if stage == Stage::Waiting {
                    waiting.remove(&seq);
                }
            }
            Self::Fifo(groups) => groups.change(group, |members| match stage {
                Stage::Waiting => {
                    members.waiting.remove(&seq);
                }
                Stage::Delayed => {
                    members.delayed.remove(&seq);
                }
                Stage::InFlight => members.in_flight -= 1,
            }),
        }
    }

    /// The messages that a receive of at most `max` would take now: on a FIFO queue as many of
    /// one group as there are, then of the next.
    #[must_use]
    pub fn pick(&self, max: usize) -> Vec<Seq> {
        match self {
            Self::Standard(waiting) => waiting.iter().take(max).copied().collect(),
            Self::Fifo(groups) => groups.pick(max),
        }
    }

    /// Whether a receive would take something now.
    #[must_use]
    pub fn has_receivable(&self) -> bool {
        match self {
            Self::Standard(waiting) => !waiting.is_empty(),
            Self::Fifo(groups) => !groups.open.is_empty(),
        }
    }
}

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

    fn pick(&self, max: usize) -> Vec<Seq> {
        self.open
            .iter()
            .filter_map(|(_, group)| self.groups.get(group))
            .flat_map(Members::receivable)
            .take(max)
            .collect()
    }
}
