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
fn a_command_without_a_question_takes_its_reason_from_its_line() {
    let mut harness = Harness::night();
    harness.keys("5");
    let reason = || Some(String::from("deploying y"));
    let line = ":worker pause --reason deploying y<enter>";
    assert_eq!(sent(&mut harness, line), [(Command::Pause, reason())]);
    let (four, six) = (Command::Scale { steps: 4 }, Command::Scale { steps: 6 });
    let line = ":worker scale 4 --reason \"deploying y\"<enter>";
    assert_eq!(sent(&mut harness, line), [(four, reason())]);
    let line = ":worker scale --reason deploying y<enter>6<enter>";
    assert_eq!(sent(&mut harness, line), [(six, reason())]);
    // Drawing the screen again leaves it in the dialog.
    let line = ":worker scale --reason deploying y<enter><c-l>7<enter>";
    let seven = Command::Scale { steps: 7 };
    assert_eq!(sent(&mut harness, line), [(seven, reason())]);
    // Completed by the palette; and the next command has a reason of its own, or none.
    let line = ":worker reloa --reason deploying y<tab><enter>";
    assert_eq!(sent(&mut harness, line), [(Command::Reload, reason())]);
    assert_eq!(sent(&mut harness, "r"), [(Command::Reload, None)]);
    // A question has it already.
    assert_eq!(
        sent(&mut harness, ":worker drain --reason deploying y<enter>"),
        []
    );
    let screen = harness.screen();
    assert!(screen.contains("Reason: deploying y"), "{screen}");
    let drain = Command::Drain { within: None };
    assert_eq!(sent(&mut harness, "y"), [(drain, reason())]);
    // What changes nothing is in no audit log.
    harness.keys(":queues --reason x<enter>");
    let screen = harness.screen();
    assert!(
        screen.contains("no command `queues --reason x`"),
        "{screen}"
    );
}

#[test]
fn the_dialog_of_a_rate_takes_a_reason_that_goes_with_each_command() {
    let mut harness = Harness::night();
    harness.keys("9E<tab>bad deployment<enter>");
    let screen = harness.screen();
    assert!(screen.contains("Reason: bad deployment"), "{screen}");
    assert!(screen.contains("How many a minute?"), "{screen}");
    let sent = sent(&mut harness, "<enter>");
    let [(Command::ReexecuteRun { .. }, reason)] = sent.as_slice() else {
        panic!("{sent:?}");
    };
    assert_eq!(reason.as_deref(), Some("bad deployment"));
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
