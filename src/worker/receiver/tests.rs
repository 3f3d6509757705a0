#![expect(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]

use super::*;
use crate::config::Settings;
use crate::domain::QueueRole;
use crate::worker::ready_queue::tests::task;

const GUARD: Duration = Duration::from_mins(1);

/// A receiver for so many queues. Its receives make no request before they are waited for.
async fn polls(queues: usize) -> Receiver {
    let broker = Broker::connect(&Settings::merge(&[], true).unwrap()).await;
    let queue = |n| Queue::new(format!("http://h/1/q{n}"), QueueRole::Base, 1);
    let set = QueueSet {
        steps: (0..queues).map(|n| Arc::new(queue(n))).collect(),
        ..QueueSet::default()
    };
    Receiver::new(broker, &set, GUARD)
}

/// Lets a receive of the first queue bring messages.
fn bring(polls: &mut Receiver, count: usize, max: usize, is_further: bool) {
    let polled = ReceivedBatch {
        source: None,
        wait: SHORT_POLL,
        max,
        is_further,
        starved: false,
        result: Ok(vec![task("a", 5, 0).delivery; count]),
    };
    polls.steps[0].note(&polled);
}

#[tokio::test]
async fn a_queue_that_fills_a_receive_gets_as_many_as_the_slots_need() {
    for queues in [1, 3] {
        let mut polls = polls(queues).await;
        for other in &mut polls.steps[1..] {
            other.state = State::Open;
        }
        polls.demand(25, 0);
        assert_eq!(polls.steps[0].requested, 10, "no backlog is known yet");
        bring(&mut polls, 10, 10, false);
        polls.demand(25, 0);
        assert_eq!(polls.steps[0].requested, 25);
        polls.demand(25, 0);
        assert_eq!(polls.steps[0].requested, 25, "they are under way");
    }
}

#[tokio::test]
async fn the_turns_decide_where_other_queues_may_have_messages() {
    let mut polls = polls(2).await;
    polls.demand(25, 0);
    bring(&mut polls, 10, 10, false);
    polls.demand(25, 0);
    assert_eq!(polls.steps[0].requested, 10);
}

#[tokio::test]
async fn a_receive_that_brings_less_than_it_could_ends_the_further_ones() {
    let mut polls = polls(1).await;
    polls.demand(25, 0);
    bring(&mut polls, 10, 10, false);
    polls.demand(25, 0);
    bring(&mut polls, 5, 5, true);
    assert!(polls.steps[0].has_backlog);
    bring(&mut polls, 9, 10, true);
    polls.demand(25, 0);
    assert_eq!(polls.steps[0].requested, 10);
    assert_eq!(polls.steps[0].state, State::Open);
}

#[tokio::test]
async fn a_worker_of_ten_slots_has_one_receive_of_a_queue() {
    let mut polls = polls(1).await;
    polls.demand(10, 0);
    bring(&mut polls, 10, 10, false);
    polls.demand(10, 0);
    assert_eq!(polls.steps[0].requested, 10);
}
