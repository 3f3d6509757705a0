//! Standard queues: the oldest message first, as long as no message group (a tenant, in the terms
//! of SQS) takes more than its share of the consumers. A group with more than a tenth of the
//! messages in flight is busy, and waits until no quiet group has messages. Among busy groups the
//! one with the fewest in flight comes first. A message without a group is a tenant of its own, and
//! so never busy.
//!
//! SQS counts a group as busy from 30 of its messages in flight, or by its share of the consumers'
//! time. Here a queue often has fewer than 30 consumers. Whatever occupies them is in flight, so
//! the share of messages in flight covers both.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::sqs_server::state::message::{Seq, Stage};

/// A group with more than one in this many of the messages in flight is busy. Fewer groups than
/// this can be busy at once, which bounds the work of a receive.
const BUSY_SHARE: usize = 10;

/// The waiting messages of a standard queue, and the number in flight of each group.
#[derive(Debug, Default)]
pub struct Fair {
    /// Waiting messages without a group.
    alone: BTreeSet<Seq>,
    groups: HashMap<Arc<str>, Tenant>,
    /// Groups with waiting messages, by the place of their oldest.
    heads: BTreeSet<(Seq, Arc<str>)>,
    in_flight: usize,
}

#[derive(Debug, Default)]
struct Tenant {
    waiting: BTreeSet<Seq>,
    in_flight: usize,
}

impl Fair {
    /// Adds a message in a stage.
    pub fn add(&mut self, seq: Seq, stage: Stage, group: Option<&Arc<str>>) {
        self.in_flight += usize::from(stage == Stage::InFlight);
        match (group, stage) {
            (_, Stage::Delayed) | (None, Stage::InFlight) => {}
            (None, Stage::Waiting) => {
                self.alone.insert(seq);
            }
            (Some(group), _) => self.change(group, |tenant| {
                if stage == Stage::Waiting {
                    tenant.waiting.insert(seq);
                } else {
                    tenant.in_flight += 1;
                }
            }),
        }
    }

    /// Removes a message that was in a stage.
    pub fn remove(&mut self, seq: Seq, stage: Stage, group: Option<&Arc<str>>) {
        self.in_flight -= usize::from(stage == Stage::InFlight);
        match (group, stage) {
            (_, Stage::Delayed) | (None, Stage::InFlight) => {}
            (None, Stage::Waiting) => {
                self.alone.remove(&seq);
            }
            (Some(group), _) => self.change(group, |tenant| {
                if stage == Stage::Waiting {
                    tenant.waiting.remove(&seq);
                } else {
                    tenant.in_flight -= 1;
                }
            }),
        }
    }

    /// The oldest waiting message.
    #[must_use]
    pub fn oldest(&self) -> Option<Seq> {
        let of_groups = self.heads.first().map(|(seq, _)| *seq);
        self.alone
            .first()
            .copied()
            .into_iter()
            .chain(of_groups)
            .min()
    }

    /// The messages a receive of at most `max` takes; each choice counts before the next.
    #[must_use]
    pub fn pick(&self, max: usize) -> Vec<Seq> {
        if self.heads.is_empty() {
            return self.alone.iter().take(max).copied().collect();
        }
        let mut turn = Turn {
            fair: self,
            alone: self.alone.iter().copied().peekable(),
            taken: HashMap::new(),
            count: 0,
        };
        std::iter::from_fn(|| turn.next()).take(max).collect()
    }

    fn change(&mut self, group: &Arc<str>, change: impl FnOnce(&mut Tenant)) {
        let tenant = self.groups.entry(group.clone()).or_default();
        let before = tenant.waiting.first().copied();
        change(tenant);
        let after = tenant.waiting.first().copied();
        if after.is_none() && tenant.in_flight == 0 {
            self.groups.remove(group);
        }
        if before != after {
            if let Some(head) = before {
                self.heads.remove(&(head, group.clone()));
            }
            if let Some(head) = after {
                self.heads.insert((head, group.clone()));
            }
        }
    }
}

/// One receive under way.
struct Turn<'a, Alone: Iterator<Item = Seq>> {
    fair: &'a Fair,
    alone: std::iter::Peekable<Alone>,
    /// Messages this receive took from each group: their number, and the newest.
    taken: HashMap<&'a str, (usize, Seq)>,
    /// Total number of messages this receive took.
    count: usize,
}

/// A group's next message, and the number it already has in flight.
#[derive(Clone, Copy)]
struct Candidate<'a> {
    seq: Seq,
    holds: usize,
    group: &'a str,
}

impl<'a, Alone: Iterator<Item = Seq>> Turn<'a, Alone> {
    fn next(&mut self) -> Option<Seq> {
        let in_flight = self.fair.in_flight + self.count;
        let is_busy = |one: &Candidate<'_>| one.holds * BUSY_SHARE > in_flight;
        let mut quiet = self.alone.peek().copied();
        let mut chosen: Option<Candidate<'a>> = None;
        let mut busy: Option<Candidate<'a>> = None;
        // Groups this receive took from have another head now; they are few.
        let touched = self.taken.keys().filter_map(|group| self.candidate(group));
        // The others by the age of their heads, up to the first quiet one. The skipped groups are
        // busy or touched, and so few as well.
        let untouched = self
            .fair
            .heads
            .iter()
            .filter(|(_, group)| !self.taken.contains_key(group.as_ref()))
            .filter_map(|(_, group)| self.candidate(group));
        let mut look = |one: Candidate<'a>| {
            if !is_busy(&one) {
                if quiet.is_none_or(|seq| one.seq < seq) {
                    quiet = Some(one.seq);
                    chosen = Some(one);
                }
                return true;
            }
            if busy.is_none_or(|other| (one.holds, one.seq) < (other.holds, other.seq)) {
                busy = Some(one);
            }
            false
        };
        for one in touched {
            look(one);
        }
        for one in untouched {
            if look(one) {
                break;
            }
        }
        let (seq, from) = match (quiet, busy) {
            (Some(seq), _) => (seq, chosen),
            (None, Some(one)) => (one.seq, Some(one)),
            (None, None) => return None,
        };
        match from {
            Some(one) => {
                let taken = self.taken.entry(one.group).or_default();
                *taken = (taken.0 + 1, seq);
            }
            None => drop(self.alone.next()),
        }
        self.count += 1;
        Some(seq)
    }

    fn candidate(&self, group: &str) -> Option<Candidate<'a>> {
        let (name, tenant) = self.fair.groups.get_key_value(group)?;
        let (count, seq) = match self.taken.get(group) {
            None => (0, tenant.waiting.first()),
            Some((count, last)) => (*count, tenant.waiting.range(last + 1..).next()),
        };
        Some(Candidate {
            seq: *seq?,
            holds: tenant.in_flight + count,
            group: name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(fair: &mut Fair, group: Option<&str>, places: impl IntoIterator<Item = Seq>) {
        let group = group.map(Arc::from);
        for seq in places {
            fair.add(seq, Stage::Waiting, group.as_ref());
        }
    }

    fn receive(fair: &mut Fair, group: &str, seq: Seq) {
        let group = Arc::from(group);
        fair.remove(seq, Stage::Waiting, Some(&group));
        fair.add(seq, Stage::InFlight, Some(&group));
    }

    #[test]
    fn without_groups_the_oldest_come_first() {
        let mut fair = Fair::default();
        fill(&mut fair, None, [3, 1, 2]);
        assert_eq!(fair.pick(2), [1, 2]);
    }

    #[test]
    fn a_quiet_group_comes_before_a_busy_ones_backlog() {
        let mut fair = Fair::default();
        fill(&mut fair, Some("noisy"), 0..1_000);
        for seq in 0..40 {
            receive(&mut fair, "noisy", seq);
        }
        fill(&mut fair, Some("quiet"), [5_000, 5_001]);
        fill(&mut fair, None, [6_000]);
        assert_eq!(fair.pick(5), [5_000, 5_001, 6_000, 40, 41]);
    }

    #[test]
    fn busy_groups_share_a_receive() {
        let mut fair = Fair::default();
        fill(&mut fair, Some("a"), 0..100);
        fill(&mut fair, Some("b"), 100..200);
        fill(&mut fair, Some("c"), 200..202);
        assert_eq!(fair.pick(7), [0, 100, 200, 1, 101, 201, 2]);
    }

    #[test]
    fn a_group_that_holds_a_tenth_or_less_is_served_by_age() {
        let mut fair = Fair::default();
        for name in 0..20 {
            fill(&mut fair, Some(&name.to_string()), [name, 100 + name]);
            receive(&mut fair, &name.to_string(), name);
        }
        assert_eq!(fair.pick(3), [100, 101, 102]);
    }
}
