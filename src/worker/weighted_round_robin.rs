//! Order in which the queues are polled. Bands weigh 8:3:1: a band that has had its weight of
//! messages lets the next one have a turn, so that a low band still moves under endless high load;
//! an empty band keeps its credit, so that its next message goes first.
//!
//! Weights count messages, and long steps are few an hour. So a queue that waited while others had
//! the turns for as long as the starvation guard gets the next turn, for one message.

use std::time::Duration;

use tokio::time::Instant;

/// Turns of the step queues, in the order of the queue set (highest first).
#[derive(Debug)]
pub(super) struct WeightedRoundRobin {
    weights: Vec<u32>,
    /// Number of messages that each queue may still receive before the next one has a turn.
    credits: Vec<u32>,
    /// Time since which each queue waits while others have the turns.
    waiting: Vec<Option<Instant>>,
    guard: Duration,
}

impl WeightedRoundRobin {
    /// Creates the turns. `guard` is the time for which others may have the turns before a waiting
    /// queue gets the next.
    pub fn new(weights: Vec<u32>, guard: Duration) -> Self {
        Self {
            credits: weights.clone(),
            waiting: vec![None; weights.len()],
            weights,
            guard,
        }
    }

    /// The queues in polling order: those that waited too long, longest first, then those with
    /// credit, highest first.
    pub fn order(&self, now: Instant) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.weights.len()).collect();
        order.sort_by_key(|&queue| {
            let overdue = self.waiting[queue].filter(|_| self.is_overdue(queue, now));
            (overdue.is_none(), overdue, self.credits[queue] == 0, queue)
        });
        order
    }

    /// Whether others had the turns for so long that this queue gets the next one.
    pub fn is_overdue(&self, queue: usize, now: Instant) -> bool {
        self.waiting[queue].is_some_and(|since| now.duration_since(since) >= self.guard)
    }

    /// Counts messages received from a queue; the others wait from here on. If it has no credit
    /// left, all queues with credit were empty: all credits are reset.
    pub fn received(&mut self, queue: usize, messages: u32, now: Instant) {
        if self.credits[queue] == 0 {
            self.credits.clone_from(&self.weights);
        }
        self.credits[queue] = self.credits[queue].saturating_sub(messages);
        if self.credits.iter().all(|&left| left == 0) {
            self.credits.clone_from(&self.weights);
        }
        for (other, waiting) in self.waiting.iter_mut().enumerate() {
            if other != queue {
                waiting.get_or_insert(now);
            }
        }
    }

    /// Records that a queue was empty, or that its message was started: it waits no longer. A queue
    /// whose message went back for want of a slot keeps waiting.
    pub fn served(&mut self, queue: usize) {
        self.waiting[queue] = None;
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::STARVATION_GUARD;

    const LOW: usize = 2;

    fn turns() -> WeightedRoundRobin {
        WeightedRoundRobin::new(vec![8, 3, 1], STARVATION_GUARD)
    }

    /// Takes one message from the first non-empty queue in order, as a worker with one free slot
    /// does: those before it are found empty.
    fn take(turns: &mut WeightedRoundRobin, backlog: &mut [u32], now: Instant) -> usize {
        for queue in turns.order(now) {
            if backlog[queue] > 0 {
                backlog[queue] -= 1;
                turns.received(queue, 1, now);
                turns.served(queue);
                return queue;
            }
            turns.served(queue);
        }
        panic!("every queue is empty");
    }

    #[test]
    fn under_endless_load_of_short_steps_the_bands_share_eight_to_three_to_one() {
        let (mut turns, now) = (turns(), Instant::now());
        let mut backlog = [1000, 1000, 1000];
        let mut taken = [0; 3];
        for _ in 0..120 {
            taken[take(&mut turns, &mut backlog, now)] += 1;
        }
        assert_eq!(taken, [80, 30, 10]);
    }

    #[test]
    fn a_high_message_goes_next_after_any_backlog_of_low_ones_however_long_they_take() {
        for seconds in [1, 50, 7200] {
            for low_first in 1..40 {
                let (mut turns, mut now) = (turns(), Instant::now());
                let mut backlog = [0, 0, 500];
                for _ in 0..low_first {
                    assert_eq!(take(&mut turns, &mut backlog, now), LOW);
                    now += Duration::from_secs(seconds);
                }
                backlog[0] = 1;
                let next = take(&mut turns, &mut backlog, now);
                assert_eq!(next, 0, "after {low_first} low ones of {seconds} s");
            }
        }
    }

    #[test]
    fn what_went_back_for_want_of_a_slot_still_has_the_next_turn() {
        let (mut turns, mut now) = (turns(), Instant::now());
        turns.received(0, 1, now);
        turns.served(0);
        now += STARVATION_GUARD;
        assert_eq!(turns.order(now)[0], 1);
        turns.served(1);
        for _ in 0..3 {
            assert_eq!(turns.order(now)[0], LOW);
            turns.received(LOW, 1, now);
            turns.received(0, 1, now);
            turns.served(0);
        }
        turns.served(LOW);
        assert_ne!(turns.order(now)[0], LOW);
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        /// One worker of up to eight slots, endless high and normal load, steps of up to half a
        /// minute.
        #[test]
        fn a_low_step_starts_within_two_minutes_under_endless_load(
            slots in 1..=8_usize,
            lengths in proptest::collection::vec(0..=30_u64, 400),
        ) {
            let (mut turns, begin) = (turns(), Instant::now());
            let mut busy_until = vec![begin; slots];
            let mut low_at = begin;
            let mut backlog = [u32::MAX, u32::MAX, u32::MAX];
            for length in lengths {
                let free = busy_until.iter_mut().min().unwrap();
                let now = *free;
                if take(&mut turns, &mut backlog, now) == LOW {
                    low_at = now;
                }
                *free = now + Duration::from_secs(length);
                let waited = now.duration_since(low_at);
                prop_assert!(waited <= Duration::from_mins(2), "{waited:?}");
            }
        }
    }
}
