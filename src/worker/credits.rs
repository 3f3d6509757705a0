//! Which queue to ask first. Bands weigh 8:3:1: a band that has had its weight of messages lets
//! the next one have a turn, so that a low band still moves under endless high load; a band that
//! had nothing to send keeps its credit, so that its next message goes first.

/// Credits of the step queues, in the order of the queue set (highest first).
#[derive(Debug)]
pub(super) struct Credits {
    weights: Vec<u32>,
    left: Vec<u32>,
}

impl Credits {
    pub fn new(weights: Vec<u32>) -> Self {
        Self {
            left: weights.clone(),
            weights,
        }
    }

    /// The queues in the order in which to ask them: those with credit first, highest first.
    pub fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.left.len()).collect();
        order.sort_by_key(|&index| (self.left[index] == 0, index));
        order
    }

    /// Counts messages received from a queue. When the receiving queue has no credit left, all
    /// others with credit had nothing to send: everybody starts afresh.
    pub fn spend(&mut self, queue: usize, messages: u32) {
        if self.left[queue] == 0 {
            self.left.clone_from(&self.weights);
        }
        self.left[queue] = self.left[queue].saturating_sub(messages);
        if self.left.iter().all(|&left| left == 0) {
            self.left.clone_from(&self.weights);
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;

    /// Takes one message at a time from the first queue in order that has any.
    fn take(credits: &mut Credits, backlog: &mut [u32]) -> usize {
        let queue = credits
            .order()
            .into_iter()
            .find(|&queue| backlog[queue] > 0)
            .unwrap();
        backlog[queue] -= 1;
        credits.spend(queue, 1);
        queue
    }

    #[test]
    fn under_endless_load_the_bands_share_eight_to_three_to_one() {
        let mut credits = Credits::new(vec![8, 3, 1]);
        let mut backlog = [1000, 1000, 1000];
        let mut taken = [0; 3];
        for _ in 0..120 {
            taken[take(&mut credits, &mut backlog)] += 1;
        }
        assert_eq!(taken, [80, 30, 10]);
    }

    #[test]
    fn a_high_message_goes_next_after_any_backlog_of_low_ones() {
        for low_first in 0..40 {
            let mut credits = Credits::new(vec![8, 3, 1]);
            let mut backlog = [0, 0, 500];
            for _ in 0..low_first {
                assert_eq!(take(&mut credits, &mut backlog), 2);
            }
            backlog[0] = 1;
            assert_eq!(
                take(&mut credits, &mut backlog),
                0,
                "after {low_first} low ones"
            );
        }
    }
}
