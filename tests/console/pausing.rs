//! Pause of a queue by keys, and how it is shown.

use std::sync::Arc;

use dagster_taskiq_tui::console::app::Message;
use dagster_taskiq_tui::domain::{Command, QueuePause};

use super::fixture;
use super::harness::{Harness, Options};

const QUEUE: &str = "dagster-tasks";

fn paused() -> Harness {
    let mut snapshot = (*fixture::snapshot()).clone();
    let pause = QueuePause {
        by: String::from("ann@bastion"),
        at: fixture::now() - jiff::SignedDuration::from_mins(7),
        reason: Some(String::from("the warehouse is down")),
    };
    snapshot.paused_queues.insert(QUEUE.to_owned(), pause);
    let mut harness = Harness::night();
    harness.tell(Message::Snapshot(Arc::new(snapshot)));
    harness
}

#[test]
fn a_queue_is_paused_after_a_yes_and_resumed_by_the_same_key() {
    let mut harness = Harness::night();
    assert_eq!(harness.commands("2jTn"), []);
    harness.keys("T");
    let screen = harness.screen();
    assert!(screen.contains("queue pause dagster-tasks"), "{screen}");
    let commands = harness.commands("<tab>deploy<enter>y");
    let [(None, Command::PauseQueue { queue, by, reason })] = commands.as_slice() else {
        panic!("{commands:?}");
    };
    assert_eq!((queue.as_str(), reason.as_deref()), (QUEUE, Some("deploy")));
    assert!(by.contains('@'), "{by}");

    let mut harness = paused();
    let resume = Command::ResumeQueue {
        queue: QUEUE.to_owned(),
    };
    assert_eq!(harness.commands("2jTy"), [(None, resume)]);
}

#[test]
fn a_dead_letter_queue_is_not_paused_and_nothing_is_while_it_is_read_only() {
    let mut harness = Harness::night();
    harness.keys("2GT");
    assert!(
        harness.screen().contains("dead-letter queue"),
        "{}",
        harness.screen()
    );
    let options = Options {
        read_only: true,
        ..Options::default()
    };
    let mut harness = Harness::new(options, fixture::snapshot());
    harness.keys("2jT");
    assert!(
        harness.screen().contains("is refused"),
        "{}",
        harness.screen()
    );
}

#[test]
fn a_paused_queue_is_marked_in_its_row_in_its_details_and_in_every_head_line() {
    let mut harness = paused();
    assert!(
        harness.screen().contains("1 queue paused"),
        "{}",
        harness.screen()
    );
    harness.keys("2j");
    let screen = harness.screen();
    for words in [
        "‖ dagster-tasks ",
        "paused 7m ago by ann@bastion: the warehouse is down",
    ] {
        assert!(screen.contains(words), "{words}: {screen}");
    }
    harness.keys("<enter>");
    let screen = harness.screen();
    assert!(screen.contains("paused"), "{screen}");
}
