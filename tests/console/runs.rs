//! What is done with runs: terminated, marked, run again, older ones loaded.

use std::sync::Arc;

use dagster_taskiq_tui::console::app::{Effect, Message};
use dagster_taskiq_tui::domain::{
    Answer, Command, EventPage, Query, Reply, RunEvent, RunStatus, RunStep, RunSteps,
};
use jiff::SignedDuration;

use super::fixture;
use super::harness::{Harness, Options};

/// The runs' view with these statuses, from the top.
fn runs(statuses: &[RunStatus]) -> Harness {
    let mut snapshot = (*fixture::snapshot()).clone();
    let runs = Arc::make_mut(&mut snapshot.runs);
    for (run, status) in runs.iter_mut().zip(statuses) {
        run.status = *status;
    }
    let mut harness = Harness::new(Options::default(), Arc::new(snapshot));
    harness.keys("4");
    harness
}

/// What must be typed for the first run.
fn first() -> String {
    fixture::snapshot().runs[0].run_id[..8].to_owned()
}

fn terminated(commands: &[(Option<String>, Command)]) -> Vec<(usize, bool)> {
    let counted = |(_, command): &(_, Command)| match command {
        Command::TerminateRuns { run_ids, force } => (run_ids.len(), *force),
        other => panic!("{other:?}"),
    };
    commands.iter().map(counted).collect()
}

#[test]
fn a_run_that_has_not_started_is_offered_to_be_marked_as_canceled() {
    let mut harness = runs(&[RunStatus::Starting]);
    harness.keys("X");
    let screen = harness.screen();
    assert!(screen.contains("has not started"), "{screen}");
    assert_eq!(
        terminated(&harness.commands(&format!("{}<enter>", first()))),
        [(1, true)]
    );
}

#[test]
fn marked_runs_are_terminated_each_in_the_way_dagster_takes_with_their_number_typed() {
    let mut harness = runs(&[
        RunStatus::Starting,
        RunStatus::Started,
        RunStatus::Queued,
        RunStatus::Success,
    ]);
    harness.keys("<space><space><space><space>X");
    let screen = harness.screen();
    assert!(screen.contains("Terminate 3 runs?"), "{screen}");
    assert!(screen.contains("1 marked are over already."), "{screen}");
    assert_eq!(harness.commands("2<enter>"), []);
    assert_eq!(
        terminated(&harness.commands("<bs>3<enter>")),
        [(2, false), (1, true)]
    );
}

#[test]
fn a_started_run_can_be_marked_as_canceled_when_its_processes_are_gone() {
    let mut harness = runs(&[RunStatus::Started]);
    assert_eq!(
        terminated(&harness.commands(&format!("C{}<enter>", first()))),
        [(1, true)]
    );
    let mut over = runs(&[RunStatus::Success]);
    assert_eq!(over.commands("C"), []);
    assert!(over.screen().contains("is over already"));
}

#[test]
fn a_run_is_run_again_whole_or_from_its_failure_after_a_question() {
    let mut harness = runs(&[RunStatus::Failure, RunStatus::Success, RunStatus::Started]);
    let [
        (
            None,
            Command::ReexecuteRun {
                from_failure: true, ..
            },
        ),
    ] = harness.commands("Ey")[..]
    else {
        panic!("{}", harness.screen())
    };
    assert_eq!(harness.commands("jE"), [], "it did not fail");
    assert!(harness.screen().contains("Only runs that failed"));
    assert_eq!(harness.commands("ken"), []);
    let again = harness.commands("<space><space><space>ey");
    assert_eq!(again.len(), 2, "the one that goes on is left alone");
}

#[test]
fn the_end_of_the_list_loads_older_runs_once_and_says_when_there_are_none() {
    let mut harness = runs(&[]);
    let asked = harness.commands("G");
    let older = Command::Query(Query::OlderRuns {
        statuses: Vec::new(),
        before: None,
    });
    assert_eq!(asked, [(None, older.clone())]);
    let Some(Effect::Request { request, .. }) = harness.effects.last().cloned() else {
        panic!("nothing was asked")
    };
    assert_eq!(harness.commands("G"), [], "it is being loaded");
    let answer = |count, last| Reply::Answer(Box::new(Answer::OlderRuns { count, last }));
    harness.tell(Message::Reply {
        request,
        reply: answer(100, false),
    });
    assert!(harness.screen().contains("100 runs more"));
    assert_eq!(harness.commands("j"), [(None, older)]);
    let reply = Reply::Failed(String::from("cannot reach it"));
    harness.tell(Message::Reply {
        request: request + 1,
        reply,
    });
    assert_eq!(
        harness.commands("j").len(),
        1,
        "a failure can be tried again"
    );
}

#[test]
fn the_status_key_goes_through_the_statuses_and_loads_more_of_the_one_that_is_shown() {
    let mut harness = runs(&[
        RunStatus::Starting,
        RunStatus::Failure,
        RunStatus::Success,
        RunStatus::Canceled,
    ]);
    assert_eq!(
        harness.commands("f"),
        [],
        "the unfinished ones are all known"
    );
    assert!(harness.screen().contains("/status:unfinished"));
    let asked = harness.commands("f");
    let [
        (
            None,
            Command::Query(Query::OlderRuns {
                statuses,
                before: Some(_),
            }),
        ),
    ] = asked.as_slice()
    else {
        panic!("{asked:?}")
    };
    assert_eq!(statuses[..], [RunStatus::Failure]);
    harness.keys("fff");
    assert!(!harness.screen().contains("/status"));
}

#[test]
fn a_code_location_is_reloaded_by_its_name() {
    let mut harness = runs(&[]);
    let sent = harness.commands(":reload-location warehouse<enter>");
    let location = String::from("warehouse");
    assert_eq!(sent, [(None, Command::ReloadLocation { location })]);
}

fn step(key: &str, status: Option<&str>, times: [Option<i64>; 3], depends_on: &[&str]) -> RunStep {
    let at = |ago: Option<i64>| ago.map(|ago| fixture::now() - SignedDuration::from_secs(ago));
    RunStep {
        key: key.to_owned(),
        status: status.map(str::to_owned),
        sent_at: at(times[0]),
        started_at: at(times[1]),
        ended_at: at(times[2]),
        attempts: usize::from(times[1].is_some()),
        depends_on: depends_on.iter().map(|key| (*key).to_owned()).collect(),
    }
}

/// The details of the second run, as Dagster tells of its steps.
pub fn details(options: Options) -> Harness {
    let mut harness = Harness::new(options, fixture::snapshot());
    let effects = harness.keys("4j<enter>");
    let requests: Vec<(u64, Query)> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Request {
                request,
                command: Command::Query(query),
                ..
            } => Some((*request, query.clone())),
            _ => None,
        })
        .collect();
    let [
        (steps, Query::Run { .. }),
        (events, Query::StepEvents { step_key: None, .. }),
    ] = requests.as_slice()
    else {
        panic!("{requests:?}")
    };
    let known = RunSteps {
        steps: vec![
            step("load", Some("SUCCESS"), [Some(90), Some(80), Some(50)], &[]),
            step(
                "clean",
                Some("FAILURE"),
                [Some(50), Some(30), Some(10)],
                &["load"],
            ),
            step("train", None, [Some(9), None, None], &["load"]),
            step("report", None, [None, None, None], &["clean", "train"]),
        ],
        config: String::from("ops:\n  load:\n    config: {rows: 7}\n"),
    };
    let event = |step: Option<&str>, error: Option<&str>, message: &str| RunEvent {
        at: Some(fixture::now()),
        level: String::from("DEBUG"),
        kind: Some(String::from("STEP_FAILURE")),
        step_key: step.map(str::to_owned),
        message: message.to_owned(),
        error: error.map(str::to_owned),
        file_key: None,
        captured: Vec::new(),
    };
    let page = EventPage {
        events: vec![
            event(Some("load"), None, "Loaded input"),
            event(Some("clean"), Some("KeyError: 'north'"), "failed"),
            event(None, None, "Started execution of run"),
        ],
        after: String::from("3"),
        has_more: false,
    };
    for (request, answer) in [
        (*steps, Answer::Run(known)),
        (*events, Answer::StepEvents(page)),
    ] {
        let reply = Reply::Answer(Box::new(answer));
        harness.tell(Message::Reply { request, reply });
    }
    harness
}

#[test]
fn an_open_run_shows_how_long_each_step_waited_and_ran_whoever_ran_it() {
    let harness = details(Options {
        size: (120, 60),
        ..Options::default()
    });
    let screen = harness.screen();
    let line = |text: &str| screen.lines().find(|line| line.contains(text)).unwrap();
    assert!(line("load  ").contains("30.0s after 10.0s"), "{screen}");
    assert!(line("clean  ").contains("20.0s after 20.0s"), "{screen}");
    assert!(line("train  ").contains("\u{b7} after 9s"), "{screen}");
    assert!(
        line("report ").contains("waits for clean, train"),
        "{screen}"
    );
    assert!(screen.contains("KeyError: 'north'"), "{screen}");
    assert!(
        !screen.contains("Loaded input"),
        "a step's own page shows that"
    );
    assert!(screen.contains("config: {rows: 7}"), "{screen}");
}

#[test]
fn runs_are_filtered_by_tag_partition_asset_and_what_launched_them() {
    for (filter, shown) in [
        ("tag:team=data", "nightly_etl"),
        ("tag:database", "nightly_etl"),
        ("partition:2026-03", "nightly_etl"),
        ("by:schedule", "nightly_etl"),
        ("asset:customers", "ingest_orders"),
    ] {
        let mut harness = Harness::night();
        harness.keys(&format!("4/{filter}<enter>"));
        let screen = harness.screen();
        assert!(
            screen.contains("1 of 5") && screen.contains(shown),
            "{filter}: {screen}"
        );
    }
    let mut harness = Harness::new(
        Options {
            size: (240, 50),
            ..Options::default()
        },
        fixture::snapshot(),
    );
    harness.keys("4");
    let screen = harness.screen();
    for words in [
        "PARTITION",
        "2026-03-13",
        "schedule nightly",
        "sales/orders",
        "team=data",
    ] {
        assert!(screen.contains(words), "{words}: {screen}");
    }
    harness.keys("/tag:team=data<enter><enter>");
    let screen = harness.screen();
    assert!(
        screen.contains("launched by") && screen.contains("team=data"),
        "{screen}"
    );
}
