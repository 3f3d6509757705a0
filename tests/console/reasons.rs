//! The reason that an operator types with a command.

use dagster_taskiq_tui::console::app::{Effect, Message};
use dagster_taskiq_tui::domain::Command;

use super::harness::Harness;

/// The commands that keys send, with their reasons.
fn sent(harness: &mut Harness, keys: &str) -> Vec<(Command, Option<String>)> {
    let effects = harness.keys(keys).into_iter();
    effects
        .filter_map(|effect| match effect {
            Effect::Request {
                command, reason, ..
            } => Some((command, reason)),
            _ => None,
        })
        .collect()
}

#[test]
fn tab_takes_a_reason_and_the_command_goes_with_it() {
    let mut harness = Harness::night();
    harness.keys("5D<tab>deploy y");
    let screen = harness.screen();
    assert!(screen.contains("Reason > deploy y"), "{screen}");
    assert_eq!(
        sent(&mut harness, "<enter>"),
        [],
        "y was text, Enter ends the reason only"
    );
    assert!(
        harness.screen().contains("Reason: deploy y"),
        "{}",
        harness.screen()
    );
    let drain = Command::Drain { within: None };
    let reason = Some(String::from("deploy y"));
    assert_eq!(sent(&mut harness, "y"), [(drain, reason)]);
}

#[test]
fn a_command_that_is_confirmed_by_typing_takes_a_reason_too_which_may_be_pasted() {
    let mut harness = Harness::night();
    harness.keys("5X<tab>");
    harness.tell(Message::Paste(String::from("host is retired")));
    harness.keys("<tab>");
    let name = "etl-1.internal-4127";
    let reason = Some(String::from("host is retired"));
    let keys = format!("{name}<enter>");
    assert_eq!(sent(&mut harness, &keys), [(Command::Stop, reason)]);
}

#[test]
fn escape_takes_the_reason_back_and_not_the_question() {
    let mut harness = Harness::night();
    harness.keys("5D<tab>oops<esc>");
    let drain = Command::Drain { within: None };
    assert_eq!(sent(&mut harness, "y"), [(drain, None)]);
}

#[test]
fn the_audit_log_shows_the_reason() {
    let mut harness = Harness::night();
    harness.keys("8<enter>");
    let screen = harness.screen();
    assert!(
        screen.contains("the warehouse is down until 03:00"),
        "{screen}"
    );
}
