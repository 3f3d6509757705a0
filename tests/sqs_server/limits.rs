//! Limits and pauses of the queue state machine, at and beside their very moment, with a clock of the
//! tests' own.

use crate::clock;

use std::collections::BTreeMap;

use clock::{ARN, MINUTE, START, ask, broker, code, counts, in_group, message, receipt};
use dagster_taskiq_tui::sqs_server::state::Broker;
use dagster_taskiq_tui::sqs_server::state::message::NewMessage;
use dagster_taskiq_tui::sqs_server::state::move_task::MoveRequest;
use dagster_taskiq_tui::sqs_server::state::receiving::ReceiveRequest;
use uuid::Uuid;

#[test]
fn a_fifo_queue_has_no_more_than_120000_in_flight_and_says_nothing() {
    let mut broker = broker(&[("q.fifo", &[])]);
    for number in 0..120_001 {
        let new = in_group(number, &number.to_string());
        broker.send(START, "q.fifo", new).unwrap();
    }
    for _ in 0..12_000 {
        broker.receive(START, "q.fifo", &ask(10, 600)).unwrap();
    }
    assert_eq!(counts(&broker, "q.fifo"), [1, 120_000, 0]);
    assert_eq!(broker.receive(START, "q.fifo", &ask(10, 600)).unwrap(), []);
}

#[test]
fn an_attempt_id_is_forgotten_after_five_minutes_and_after_a_receive_that_reached_nobody() {
    let mut broker = broker(&[("q.fifo", &[])]);
    broker.send(START, "q.fifo", in_group(1, "g")).unwrap();
    let named = ReceiveRequest {
        attempt: Some("one".to_owned()),
        ..ask(1, 43_200)
    };
    let first = broker.receive(START, "q.fifo", &named).unwrap();
    broker.release(START, "q.fifo", &[receipt(&first[0])]);
    let other = broker.receive(START, "q.fifo", &ask(1, 43_200)).unwrap();
    assert_eq!(other.len(), 1);
    assert!(
        broker.receive(START, "q.fifo", &named).unwrap().is_empty(),
        "what another consumer holds is not the attempt's"
    );
    broker
        .change_visibility(START, "q.fifo", receipt(&other[0]), 0)
        .unwrap();

    let taken = broker.receive(START, "q.fifo", &named).unwrap();
    let soon = START + 5 * MINUTE - 1;
    assert_eq!(
        broker.receive(soon, "q.fifo", &named).unwrap()[0].seq,
        taken[0].seq
    );
    let late = START + 5 * MINUTE;
    assert!(broker.receive(late, "q.fifo", &named).unwrap().is_empty());
}

#[test]
fn purges_and_the_names_of_deleted_queues_rest_for_60_seconds() {
    let mut broker = broker(&[("q", &[])]);
    let create =
        |broker: &mut Broker, now| broker.create_queue(now, "q", BTreeMap::new(), BTreeMap::new());
    broker.purge(START, "q").unwrap();
    let again = broker.purge(START + MINUTE - 1, "q");
    assert_eq!(code(again), "AWS.SimpleQueueService.PurgeQueueInProgress");
    broker.purge(START + MINUTE, "q").unwrap();

    broker.delete_queue(START, "q").unwrap();
    let early = create(&mut broker, START + MINUTE - 1);
    assert_eq!(code(early), "AWS.SimpleQueueService.QueueDeletedRecently");
    create(&mut broker, START + MINUTE).unwrap();
}

#[test]
fn a_move_task_keeps_to_its_rate_after_a_restart_as_well() {
    let policy = format!("{{\"deadLetterTargetArn\":\"{ARN}dead\",\"maxReceiveCount\":1}}");
    let mut broker = broker(&[("dead", &[]), ("q", &[("RedrivePolicy", &policy)])]);
    for number in 0..1_000 {
        broker.send(START, "q", message(number)).unwrap();
    }
    while !broker.receive(START, "q", &ask(10, 0)).unwrap().is_empty() {}
    broker.tick(START);
    assert_eq!(counts(&broker, "dead"), [1_000, 0, 0]);
    let request = MoveRequest {
        id: Uuid::from_u128(1),
        source: String::from("dead"),
        source_arn: format!("{ARN}dead"),
        destination_arn: None,
        rate: Some(10),
    };
    broker.start_move_task(START, request).unwrap();
    for millis in (0..=5_000).step_by(50) {
        broker.tick(START + millis);
    }
    let moved = counts(&broker, "q")[0];
    assert!((50..=51).contains(&moved), "{moved} in 5 s at 10 a second");

    // As after a restart: the task is read back an hour later.
    let task = broker.move_tasks("dead", &format!("{ARN}dead")).unwrap()[0].clone();
    let text = serde_json::to_string(&task).unwrap();
    broker.cancel_move_task(task.id).unwrap();
    let again = serde_json::from_str(&text).unwrap();
    broker.restore_task(again);
    let later = START + 60 * MINUTE;
    for millis in (0..=1_000).step_by(50) {
        broker.tick(later + millis);
    }
    let more = counts(&broker, "q")[0] - moved;
    assert!((10..=11).contains(&more), "{more} in 1 s at 10 a second");
}

#[test]
fn a_move_task_moves_the_oldest_first_whatever_groups_they_are_of() {
    let policy = format!("{{\"deadLetterTargetArn\":\"{ARN}dead\",\"maxReceiveCount\":1}}");
    let mut broker = broker(&[("dead", &[]), ("q", &[("RedrivePolicy", &policy)])]);
    for number in 0..40_u128 {
        let group = if number < 30 { "noisy" } else { "quiet" };
        let new = NewMessage {
            group: Some(group.to_owned()),
            ..message(number)
        };
        broker.send(START, "dead", new).unwrap();
    }
    broker.receive(START, "dead", &ask(10, 600)).unwrap();
    let request = MoveRequest {
        id: Uuid::from_u128(1),
        source: String::from("dead"),
        source_arn: format!("{ARN}dead"),
        destination_arn: Some(format!("{ARN}q")),
        rate: None,
    };
    broker.start_move_task(START, request).unwrap();
    // A younger message of a quiet group is not the task's business, and does not end it.
    let late = NewMessage {
        group: Some("late".to_owned()),
        ..message(99)
    };
    broker.send(START, "dead", late).unwrap();
    broker.tick(START);
    assert_eq!(counts(&broker, "q"), [30, 0, 0]);
    assert_eq!(counts(&broker, "dead"), [1, 10, 0]);
}
