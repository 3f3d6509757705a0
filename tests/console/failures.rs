//! Failures by keys: counted page by page, grouped, executed again or redriven at a rate.

use dagster_taskiq_tui::console::Exit;
use dagster_taskiq_tui::console::app::{Effect, Message};
use dagster_taskiq_tui::console::toast::Tone;
use dagster_taskiq_tui::domain::{Command, Query, Reply};
use jiff::SignedDuration;

use super::fixture;
use super::harness::{Harness, Options};

/// The commands among some effects, with their requests.
fn sent(effects: Vec<Effect>) -> Vec<(u64, Command)> {
    let effects = effects.into_iter();
    effects
        .filter_map(|effect| match effect {
            Effect::Request {
                request, command, ..
            } => Some((request, command)),
            _ => None,
        })
        .collect()
}

/// Lets time pass; the commands that are sent then.
fn after(harness: &mut Harness, seconds: i64) -> Vec<(u64, Command)> {
    harness.now += SignedDuration::from_secs(seconds);
    harness.effects.clear();
    harness.tell(Message::Tick);
    let mut commands = sent(harness.effects.clone());
    commands.retain(|(_, command)| !matches!(command, Command::Query(_)));
    commands
}

/// Answers a request; the commands that are sent then.
fn reply(harness: &mut Harness, request: u64, reply: Reply) -> Vec<(u64, Command)> {
    harness.effects.clear();
    harness.tell(Message::Reply { request, reply });
    let mut commands = sent(harness.effects.clone());
    commands.retain(|(_, command)| !matches!(command, Command::Query(_)));
    commands
}

fn done() -> Reply {
    Reply::Done(String::from("launched"))
}

fn again(number: usize) -> Command {
    Command::ReexecuteRun {
        run_id: fixture::failed_run(number),
        from_failure: true,
        if_open: true,
    }
}

#[test]
fn failures_of_all_pages_are_grouped_with_their_counts_and_an_example() {
    let options = Options {
        size: (200, 50),
        ..Options::default()
    };
    let mut harness = Harness::new(options, fixture::snapshot());
    harness.keys("9");
    let screen = harness.screen();
    for words in [
        "last 24h: 5 failed runs",
        "OperationalError",
        "DiskFullError",
        "dead letter: run … does not exist",
        "3 of 4 runs not executed again since: E does",
        "etl-1.internal-4127",
    ] {
        assert!(screen.contains(words), "{words}: {screen}");
    }
    harness.keys("<enter>");
    let screen = harness.screen();
    for words in [
        "4 failures in 4 runs",
        "is a newer execution of it",
        "server closed",
    ] {
        assert!(screen.contains(words), "{words}: {screen}");
    }
    harness.keys("<esc>/job:nightly_etl status:failure<enter>");
    let screen = harness.screen();
    assert!(screen.contains("1 of 5"), "{screen}");
}

#[test]
fn the_failed_runs_of_a_group_are_executed_again_one_after_the_other_at_the_chosen_rate() {
    let mut harness = Harness::night();
    harness.keys("9E");
    let screen = harness.screen();
    for words in [
        "Execute 3 failed runs again?",
        "1 other run",
        "How many a minute? 10",
        "run reexecute --group OperationalError",
    ] {
        assert!(screen.contains(words), "{words}: {screen}");
    }
    assert_eq!(harness.commands("<bs><bs><enter>"), []);
    let effects = harness.keys("6<enter>");
    let [(request, command)] = &sent(effects)[..] else {
        panic!("{}", harness.screen());
    };
    assert_eq!(*command, again(4), "the oldest first");
    assert!(harness.screen().contains("re-executing 0/3, 6/min"));
    assert_eq!(after(&mut harness, 20), [], "the first is not answered yet");
    let second = reply(&mut harness, *request, done());
    let [(request, command)] = &second[..] else {
        panic!("{}", harness.screen());
    };
    assert_eq!(*command, again(2));
    assert_eq!(reply(&mut harness, *request, done()), []);
    assert_eq!(after(&mut harness, 9), [], "ten seconds have to pass");
    assert_eq!(after(&mut harness, 1).len(), 1);
    assert!(harness.screen().contains("re-executing 2/3"));
}

#[test]
fn x_stops_what_goes_on_and_leaving_warns_once() {
    let mut harness = Harness::night();
    harness.keys("9E");
    let effects = harness.keys("<enter>");
    assert_eq!(sent(effects).len(), 1);
    assert_eq!(harness.keys("q"), [], "{}", harness.screen());
    assert!(harness.screen().contains("2 items are not sent yet"));
    assert_eq!(harness.keys("q"), [Effect::Exit(Exit::Left)]);
    harness.keys("x");
    let screen = harness.screen();
    assert!(screen.contains("0 of 3 done, 2 not sent"), "{screen}");
    assert_eq!(after(&mut harness, 60), []);
}

#[test]
fn three_failures_in_a_row_stop_a_batch_with_the_reason() {
    let mut harness = Harness::night();
    harness.keys("9*E");
    harness.effects.clear();
    let mut sent = sent(harness.keys("<bs><bs>600<enter>"));
    for _ in 0..3 {
        let (request, _) = sent.pop().unwrap();
        let refused = Reply::Failed(String::from("no webserver"));
        assert_eq!(reply(&mut harness, request, refused), []);
        sent = after(&mut harness, 1);
    }
    assert_eq!(sent, []);
    let mut toasts = harness.app.toasts().iter();
    let toast = toasts.find(|toast| toast.tone == Tone::Failed).unwrap();
    assert!(
        toast.text.contains("1 not sent (last: no webserver)"),
        "{toast:?}"
    );
}

#[test]
fn the_dead_letters_of_groups_are_redriven_in_parts() {
    let mut harness = Harness::night();
    harness.keys("9/status:dead<enter>R");
    let screen = harness.screen();
    let line = "$ dagster-taskiq-tui queue redrive dagster-tasks-dlq --group '";
    assert!(screen.contains(line), "{screen}");
    harness.keys("<esc>*");
    assert_eq!(harness.commands("E"), []);
    assert!(harness.screen().contains("redrive them with R"));
    harness.keys("R");
    let screen = harness.screen();
    assert!(screen.contains("Redrive 3 dead letters?"), "{screen}");
    let effects = harness.keys("<bs><bs>12<enter>");
    let [
        (
            _,
            Command::Redrive {
                queue,
                messages,
                to: None,
            },
        ),
    ] = &sent(effects)[..]
    else {
        panic!("{}", harness.screen());
    };
    assert_eq!((queue.as_str(), messages.len()), ("dagster-tasks-dlq", 2));
}

#[test]
fn a_read_only_console_counts_and_changes_nothing() {
    let options = Options {
        read_only: true,
        ..Options::default()
    };
    let mut harness = Harness::new(options, fixture::snapshot());
    assert_eq!(harness.commands("9E<enter>R<enter>"), []);
    assert!(harness.screen().contains("OperationalError"));
}

#[test]
fn nothing_is_asked_while_another_view_is_shown_and_a_failure_is_one_sentence() {
    let mut harness = Harness::night();
    harness.keys("92");
    let scans = |harness: &mut Harness| {
        harness.now += SignedDuration::from_secs(600);
        harness.effects.clear();
        harness.tell(Message::Tick);
        let sent = sent(harness.effects.clone()).into_iter();
        let scans =
            sent.filter(|(_, command)| matches!(command, Command::Query(Query::FailedRuns { .. })));
        scans.map(|(request, _)| request).collect::<Vec<u64>>()
    };
    assert_eq!(scans(&mut harness), [0; 0]);
    harness.keys("9");
    let sentence = "Dagster refused: no field count: this Dagster is of another version";
    harness.now += SignedDuration::from_secs(600);
    harness.effects.clear();
    harness.tell(Message::Tick);
    let request = sent(harness.effects.clone()).pop().unwrap().0;
    assert_eq!(
        reply(&mut harness, request, Reply::Failed(sentence.to_owned())),
        []
    );
    let screen = harness.screen();
    assert!(screen.contains("no field count"), "{screen}");
    assert!(
        screen.contains("OperationalError"),
        "what was known stays: {screen}"
    );
}
