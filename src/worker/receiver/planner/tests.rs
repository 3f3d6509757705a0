use super::*;
use crate::domain::QueueRole;
use crate::worker::ready_queue::tests::task;

const GUARD: Duration = Duration::from_mins(1);

fn planner(queues: usize) -> Planner {
    let queue = |n| Queue::new(format!("http://h/1/q{n}"), QueueRole::Base, 1);
    let set = QueueSet {
        steps: (0..queues).map(|n| Arc::new(queue(n))).collect(),
        ..QueueSet::default()
    };
    Planner::new(false, &set, GUARD)
}

/// Lets a receive of the first queue bring messages.
fn bring(planner: &mut Planner, count: usize, max: usize, is_further: bool) {
    let polled = ReceivedBatch {
        queue: Arc::clone(&planner.steps[0].queue),
        is_runs: false,
        wait: SHORT_POLL,
        max,
        is_further,
        starved: false,
        result: Ok(vec![task("a", 5, 0).delivery; count]),
    };
    planner.steps[0].note(&polled, Instant::now());
}

fn demand(planner: &mut Planner, steps: usize) {
    let _opened = planner.demand(steps, 0, Instant::now());
}

#[test]
fn a_queue_that_fills_a_receive_gets_as_many_as_the_slots_need() {
    for queues in [1, 3] {
        let mut planner = planner(queues);
        for other in &mut planner.steps[1..] {
            other.state = State::Open;
        }
        demand(&mut planner, 25);
        assert_eq!(planner.steps[0].requested, 10, "no backlog is known yet");
        bring(&mut planner, 10, 10, false);
        demand(&mut planner, 25);
        assert_eq!(planner.steps[0].requested, 25);
        demand(&mut planner, 25);
        assert_eq!(planner.steps[0].requested, 25, "they are under way");
    }
}

#[test]
fn the_turns_decide_where_other_queues_may_have_messages() {
    let mut planner = planner(2);
    demand(&mut planner, 25);
    bring(&mut planner, 10, 10, false);
    demand(&mut planner, 25);
    assert_eq!(planner.steps[0].requested, 10);
}

#[test]
fn a_receive_that_brings_less_than_it_could_ends_the_further_ones() {
    let mut planner = planner(1);
    demand(&mut planner, 25);
    bring(&mut planner, 10, 10, false);
    demand(&mut planner, 25);
    bring(&mut planner, 5, 5, true);
    assert!(planner.steps[0].has_backlog);
    bring(&mut planner, 9, 10, true);
    demand(&mut planner, 25);
    assert_eq!(planner.steps[0].requested, 10);
    assert_eq!(planner.steps[0].state, State::Open);
}

#[test]
fn a_worker_of_ten_slots_has_one_receive_of_a_queue() {
    let mut planner = planner(1);
    demand(&mut planner, 10);
    bring(&mut planner, 10, 10, false);
    demand(&mut planner, 10);
    assert_eq!(planner.steps[0].requested, 10);
}
