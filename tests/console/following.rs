//! What is followed while a step's details are open.

use dagster_taskiq_tui::console::app::{Effect, Message};
use dagster_taskiq_tui::domain::{Answer, Command, EventPage, OutputPage, Query, Reply, RunEvent};
use jiff::SignedDuration;

use super::fixture;
use super::harness::{Harness, Options};

/// The questions among the effects, with their numbers; without those how long a step usually takes and
/// what it uses.
fn asked(effects: &[Effect]) -> Vec<(u64, Query)> {
    let asked = |effect: &Effect| match effect {
        Effect::Request {
            command: Command::Query(Query::Explain { .. } | Query::Usage { .. }),
            ..
        } => None,
        Effect::Request {
            request,
            command: Command::Query(query),
            ..
        } => Some((*request, query.clone())),
        _ => None,
    };
    effects.iter().filter_map(asked).collect()
}

fn answer(harness: &mut Harness, request: u64, answer: Answer) {
    harness.effects.clear();
    let reply = Reply::Answer(Box::new(answer));
    harness.tell(Message::Reply { request, reply });
}

fn event(kind: &str, message: &str) -> RunEvent {
    RunEvent {
        at: Some(fixture::now()),
        level: String::from("DEBUG"),
        kind: Some(kind.to_owned()),
        step_key: None,
        message: message.to_owned(),
        error: None,
        file_key: None,
        captured: Vec::new(),
    }
}

/// The details of the step under the cursor, with events, output and message told.
pub fn details(options: Options) -> Harness {
    let mut harness = Harness::new(options, fixture::snapshot());
    let questions = asked(&harness.keys("3j<enter>"));
    let [
        (message, Query::Payload { .. }),
        (
            events,
            Query::StepEvents {
                step_key: Some(step),
                after: None,
                ..
            },
        ),
    ] = questions.as_slice()
    else {
        panic!("{questions:?}")
    };
    let body =
        r#"{"task_name": "execute_plan", "labels": {"priority": 9}, "password": "(redacted)"}"#;
    answer(&mut harness, *message, Answer::Payload(body.to_owned()));
    let captured = RunEvent {
        file_key: Some(String::from("abcd")),
        captured: vec![step.clone()],
        ..event("LOGS_CAPTURED", "Started capturing logs")
    };
    let page = EventPage {
        events: vec![captured, event("STEP_START", "Started execution of step")],
        after: String::from("2"),
        has_more: false,
    };
    answer(&mut harness, *events, Answer::StepEvents(page));
    let questions = asked(&harness.effects);
    let [(output, Query::StepOutput { file_key, .. })] = questions.as_slice() else {
        panic!("its output is asked for as soon as its key is known: {questions:?}")
    };
    assert_eq!(file_key, "abcd");
    harness.effects.clear();
    harness.tell(Message::Tick);
    assert_eq!(harness.effects, [], "all is asked: there is a pause");
    harness.now += SignedDuration::from_secs(2);
    harness.tell(Message::Tick);
    let questions = asked(&harness.effects);
    let [
        (
            _,
            Query::StepEvents {
                after: Some(after), ..
            },
        ),
    ] = questions.as_slice()
    else {
        panic!("{questions:?}")
    };
    assert_eq!(after, "2");
    let page = OutputPage {
        stdout: String::from("epoch 1: loss 0.51\nepoch 2: loss 0.42\n"),
        stderr: String::from("warning: \u{1b}[31mslow\n"),
        after: Some(String::from("0:40")),
        missing: false,
    };
    answer(&mut harness, *output, Answer::StepOutput(page));
    harness
}

#[test]
fn an_open_step_shows_dagsters_events_its_output_and_its_message() {
    let harness = details(Options {
        size: (120, 70),
        ..Options::default()
    });
    let screen = harness.screen();
    for expected in [
        "STEP_START",
        "epoch 2: loss 0.42",
        "slow",
        "(redacted)",
        "etl-",
    ] {
        assert!(
            screen.contains(expected),
            "{expected} is missing:\n{screen}"
        );
    }
    assert!(!screen.contains('\u{1b}'));
}

#[test]
fn nothing_is_asked_once_the_details_are_closed_or_without_a_webserver() {
    let mut harness = details(Options::default());
    harness.keys("<esc>");
    harness.effects.clear();
    harness.now += SignedDuration::from_secs(60);
    harness.tell(Message::Tick);
    assert_eq!(asked(&harness.effects), []);

    let mut snapshot = (*fixture::snapshot()).clone();
    snapshot.sources.clear();
    let mut harness = Harness::new(Options::default(), std::sync::Arc::new(snapshot));
    let questions = asked(&harness.keys("3j<enter>"));
    assert!(
        matches!(questions[..], [(_, Query::Payload { .. })]),
        "{questions:?}"
    );
}

#[test]
fn a_question_that_failed_is_told_and_asked_again_later() {
    let mut harness = Harness::night();
    let questions = asked(&harness.keys("3j<enter>"));
    let (request, _) = questions[1];
    harness.effects.clear();
    let reply = Reply::Failed(String::from("cannot reach Dagster"));
    harness.tell(Message::Reply { request, reply });
    assert_eq!(asked(&harness.effects), []);
    harness.keys("G");
    harness.now += SignedDuration::from_secs(2);
    harness.effects.clear();
    harness.tell(Message::Tick);
    assert!(matches!(
        asked(&harness.effects)[..],
        [(_, Query::StepEvents { .. })]
    ));
}

/// A step whose capture is known and whose output is asked for, and the number of that question.
fn output_asked() -> (Harness, u64) {
    let mut harness = Harness::new(
        Options {
            size: (120, 70),
            ..Options::default()
        },
        fixture::snapshot(),
    );
    let questions = asked(&harness.keys("3j<enter>"));
    let [_, (events, Query::StepEvents { step_key, .. })] = questions.as_slice() else {
        panic!("{questions:?}")
    };
    let captured = RunEvent {
        file_key: Some(String::from("abcd")),
        captured: step_key.iter().cloned().collect(),
        ..event("LOGS_CAPTURED", "Started capturing logs")
    };
    let page = EventPage {
        events: vec![captured],
        after: String::from("1"),
        has_more: false,
    };
    answer(&mut harness, *events, Answer::StepEvents(page));
    let questions = asked(&harness.effects);
    let (output, _) = questions.last().unwrap();
    (harness, *output)
}

fn missing() -> Answer {
    Answer::StepOutput(OutputPage {
        missing: true,
        ..OutputPage::default()
    })
}

#[test]
fn output_that_the_webserver_cannot_read_is_read_from_the_worker_that_ran_the_step() {
    let (mut harness, output) = output_asked();
    answer(&mut harness, output, missing());
    let [
        Effect::Request {
            request,
            worker: Some(worker),
            command: Command::Query(Query::OutputFiles { file_key, .. }),
            ..
        },
    ] = harness.effects.as_slice()
    else {
        panic!("{:?}", harness.effects)
    };
    assert!(worker.starts_with("etl-") && file_key == "abcd");
    let request = *request;
    let page = OutputPage {
        stdout: String::from("from the worker's disk\n"),
        after: Some(String::from("23:0")),
        ..OutputPage::default()
    };
    answer(&mut harness, request, Answer::StepOutput(page));
    assert!(harness.screen().contains("from the worker's disk"));
    harness.now += SignedDuration::from_secs(2);
    harness.effects.clear();
    harness.tell(Message::Tick);
    let questions = asked(&harness.effects);
    let Some((_, Query::OutputFiles { after, .. })) = questions.last() else {
        panic!("{questions:?}")
    };
    assert_eq!(after.as_deref(), Some("23:0"), "it goes on there");
}

#[test]
fn output_that_nobody_has_is_told_and_looked_for_in_both_places_again() {
    let (mut harness, output) = output_asked();
    answer(&mut harness, output, missing());
    let (request, _) = asked(&harness.effects)[0].clone();
    harness.effects.clear();
    let reply = Reply::Failed(String::from("worker etl-2 is not connected"));
    harness.tell(Message::Reply { request, reply });
    assert_eq!(asked(&harness.effects), []);
    let screen = harness.screen();
    assert!(screen.contains("worker etl-2 is not connected"), "{screen}");
    harness.now += SignedDuration::from_secs(2);
    harness.tell(Message::Tick);
    let questions = asked(&harness.effects);
    assert!(matches!(
        questions.last(),
        Some((_, Query::StepOutput { .. }))
    ));
}
