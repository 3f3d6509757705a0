//! The order of receives: by age and fairly between groups on standard queues; by turns of the
//! groups on FIFO queues.

mod fair;
mod fifo;

use super::message::{Message, Seq};
use fair::Fair;
use fifo::Groups;

/// The receivable messages of a queue, in order.
#[derive(Debug)]
pub enum Order {
    /// The oldest first, those of quiet groups before those of busy ones.
    Standard(Fair),
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
            Self::Standard(Fair::default())
        }
    }

    /// Adds a message in its current stage.
    pub fn add(&mut self, seq: Seq, message: &Message) {
        let (stage, group) = (message.stage, message.group.as_ref());
        match self {
            Self::Standard(fair) => fair.add(seq, stage, group),
            Self::Fifo(groups) => groups.add(seq, stage, message.due_at, group),
        }
    }

    /// Removes a message, which must be in the stage in which it was added.
    pub fn remove(&mut self, seq: Seq, message: &Message) {
        let (stage, group) = (message.stage, message.group.as_ref());
        match self {
            Self::Standard(fair) => fair.remove(seq, stage, group),
            Self::Fifo(groups) => groups.remove(seq, stage, group),
        }
    }

    /// The messages that a receive of at most `max` would take now.
    #[must_use]
    pub fn pick(&self, max: usize) -> Vec<Seq> {
        match self {
            Self::Standard(fair) => fair.pick(max),
            Self::Fifo(groups) => groups.pick(max),
        }
    }

    /// The oldest message that can be received, regardless of turns.
    #[must_use]
    pub fn oldest(&self) -> Option<Seq> {
        match self {
            Self::Standard(fair) => fair.oldest(),
            Self::Fifo(groups) => groups.oldest(),
        }
    }

    /// Whether a receive would take a message now.
    #[must_use]
    pub fn has_receivable(&self) -> bool {
        self.oldest().is_some()
    }
}
