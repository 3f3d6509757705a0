//! Dagster itself by keys: what runs, what does not, and turning it on and off.

use std::sync::Arc;

use dagster_taskiq_tui::console::app::{Effect, Message};
use dagster_taskiq_tui::domain::{Command, Query, Reply};
use jiff::SignedDuration;

use super::fixture;
use super::harness::{Harness, Options};

fn wide() -> Harness {
    let options = Options {
        size: (200, 50),
        ..Options::default()
    };
    Harness::new(options, fixture::snapshot())
}

/// Requests for the parts of Dagster that are sent within a minute.
fn looks(harness: &mut Harness) -> Vec<u64> {
    harness.now += SignedDuration::from_secs(60);
    harness.effects.clear();
    harness.tell(Message::Tick);
    let effects = harness.effects.clone().into_iter();
    effects
        .filter_map(|effect| match effect {
            Effect::Request {
                request,
                command: Command::Query(Query::DagsterParts),
                ..
            } => Some(request),
            _ => None,
        })
        .collect()
}

#[test]
fn daemons_locations_schedules_sensors_and_backfills_are_shown_with_their_errors() {
    let mut harness = wide();
    harness.keys("0");
    let screen = harness.screen();
    for words in [
        "SCHEDULER",
        "dead",
        "does not load",
        "ModuleNotFoundError: No module",
        "nightly_etl_schedule",
        "0 3 * * * UTC",
        "KeyError: 'bucket'",
        "12/30, 2 failed",
    ] {
        assert!(screen.contains(words), "{words}: {screen}");
    }
    harness.keys("/status:load<enter><enter>");
    let screen = harness.screen();
    assert!(
        screen.contains("line 4, in <module>"),
        "all of the error: {screen}"
    );
}

#[test]
fn a_schedule_is_stopped_after_a_yes_and_marked_ones_are_turned_on_together() {
    let mut harness = wide();
    harness.keys("0/kind:schedule nightly<enter>T");
    let screen = harness.screen();
    assert!(
        screen.contains("Stop the schedule nightly_etl_schedule?"),
        "{screen}"
    );
    assert!(
        screen.contains("$ dagster-taskiq-tui dagster stop nightly_etl_schedule"),
        "{screen}"
    );
    let sent = harness.commands("y");
    let [
        (
            None,
            Command::Switch {
                instigator,
                on: false,
            },
        ),
    ] = &sent[..]
    else {
        panic!("{sent:?}");
    };
    assert!(!instigator.is_sensor && instigator.is_on);
    harness.keys("<esc><esc>/kind:s<enter>*:switch on<enter>");
    let sent = harness.commands("y");
    let [
        (
            None,
            Command::Switch {
                instigator,
                on: true,
            },
        ),
    ] = &sent[..]
    else {
        panic!("only what is off is turned on: {sent:?}");
    };
    assert_eq!(instigator.name, "weekly_report_schedule");
    harness.keys("<esc><esc>/kind:daemon<enter>");
    assert_eq!(harness.commands("T"), []);
    assert!(harness.screen().contains("Only schedules and sensors"));
}

#[test]
fn a_read_only_console_turns_nothing_off() {
    let options = Options {
        read_only: true,
        ..Options::default()
    };
    let mut harness = Harness::new(options, fixture::snapshot());
    assert_eq!(harness.commands("0/nightly<enter>Ty"), []);
}

#[test]
fn a_lost_daemon_is_a_badge_in_every_view() {
    let mut snapshot = Arc::unwrap_or_clone(fixture::snapshot());
    let lost = fixture::parts()
        .into_iter()
        .filter(|part| part.name == "SCHEDULER");
    snapshot.lost_daemons = Arc::new(lost.collect());
    for keys in ["1", "4", "9"] {
        let mut harness = Harness::new(Options::default(), Arc::new(snapshot.clone()));
        harness.keys(keys);
        let screen = harness.screen();
        let head = screen.lines().next().unwrap();
        assert!(head.contains("scheduler daemon dead 14m"), "{screen}");
    }
}

#[test]
fn dagster_is_asked_only_while_the_view_is_shown_and_a_refusal_is_one_sentence() {
    let mut harness = wide();
    harness.keys("01");
    assert_eq!(looks(&mut harness), [0; 0]);
    harness.keys("0");
    let [request] = looks(&mut harness)[..] else {
        panic!("it is asked again while it is shown");
    };
    assert_eq!(looks(&mut harness), [0; 0], "one question at a time");
    let reply = Reply::Failed(String::from("Cannot query field 'daemonHealth'"));
    harness.tell(Message::Reply { request, reply });
    let screen = harness.screen();
    assert!(
        screen.contains("Cannot query field 'daemonHealth'"),
        "{screen}"
    );
    assert!(
        screen.contains("nightly_etl_schedule"),
        "what was known stays: {screen}"
    );
}
