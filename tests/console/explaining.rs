//! Why something does not start: its page, the line in the details, and a pool slot given back.

use std::sync::Arc;

use dagster_taskiq_tui::console::app::{Effect, Message};
use dagster_taskiq_tui::domain::{
    Answer, Command, Explanation, Holder, Query, Reason, Reply, RunStatus, SentMessage, WaitingStep,
};
use jiff::SignedDuration;

use super::fixture;
use super::harness::{Harness, Options};

/// The question among the effects: its number, the run and the step.
fn asked(effects: &[Effect]) -> Option<(u64, String, Option<String>)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Request {
            request,
            worker: None,
            command: Command::Query(Query::Explain { run_id, step_key }),
            ..
        } => Some((*request, run_id.clone(), step_key.clone())),
        _ => None,
    })
}

fn answer(harness: &mut Harness, request: u64, found: Explanation) {
    harness.effects.clear();
    let reply = Reply::Answer(Box::new(Answer::Explanation(found)));
    harness.tell(Message::Reply { request, reply });
}

/// A run whose step waits for a pool, of which a step of a run that is over has the slot.
fn of_run(run_id: &str) -> Explanation {
    let holder = Holder {
        run_id: String::from("0f0f0f0f-dead"),
        step_key: Some(String::from("load")),
        state: String::from("over"),
        text: String::from("load of run 0f0f0f0f has had it for 3 h: its run is over (FAILURE)."),
        can_free: true,
        is_named: true,
        ..Holder::default()
    };
    let held = format!(
        "The pool warehouse has 1 slot, and it is held. Its holder may not need it any more: {}",
        holder.text
    );
    Explanation {
        run_id: run_id.to_owned(),
        job: String::from("nightly"),
        status: String::from("QUEUED"),
        waits: true,
        reasons: vec![
            Reason {
                holders: vec![holder],
                pool: Some(String::from("warehouse")),
                ..Reason::new("pool", held)
            },
            Reason::new(
                "run_queue_place",
                String::from("2 queued runs go before it."),
            ),
        ],
        unknown: vec![String::from(
            "what is in the queue etl: the broker does not answer",
        )],
        steps: vec![WaitingStep {
            step_key: String::from("publish"),
            reason: String::from("It needs 1 step that has not ended: load (in progress)."),
        }],
        ..Explanation::default()
    }
}

/// The runs' view, its first run queued.
fn queued(options: Options) -> Harness {
    let mut snapshot = (*fixture::snapshot()).clone();
    Arc::make_mut(&mut snapshot.runs)[0].status = RunStatus::Queued;
    let mut harness = Harness::new(options, Arc::new(snapshot));
    harness.keys("4");
    harness
}

#[test]
fn all_reasons_of_a_run_and_what_is_not_known_are_on_its_page() {
    let mut harness = queued(Options {
        size: (100, 34),
        ..Options::default()
    });
    let run_id = fixture::snapshot().runs[0].run_id.clone();
    let (request, run, step) = asked(&harness.keys("w")).unwrap();
    assert_eq!((run.as_str(), step), (run_id.as_str(), None));
    assert!(harness.screen().contains("Reading Dagster's storage"));
    answer(&mut harness, request, of_run(&run_id));
    let screen = harness.screen();
    for text in [
        "Why it does not start",
        "The pool warehouse has 1 slot, and it is held.",
        "Its holder may not need it any more:",
        "its run is over (FAILURE).",
        "2 queued runs go before it.",
        "publish  It needs 1 step that has not ended: load (in progress).",
        "Not known",
        "the broker does not answer",
        "F gives back the pool slot of load",
    ] {
        assert!(screen.contains(text), "{text}: {screen}");
    }
    let named = screen.matches("(FAILURE)").count();
    assert_eq!(named, 1, "a holder is named once: {screen}");
    harness.tell(Message::Tick);
    assert_eq!(
        asked(&harness.effects),
        None,
        "an answer is good for a while"
    );
    harness.now += SignedDuration::from_secs(11);
    harness.tell(Message::Tick);
    let (request, ..) = asked(&harness.effects).unwrap();
    let reply = Reply::Failed(String::from("explain: Dagster's storage does not answer"));
    harness.tell(Message::Reply { request, reply });
    assert!(
        harness
            .screen()
            .contains("Dagster's storage does not answer")
    );
    harness.keys("<esc>");
    assert!(!harness.screen().contains("Explain"));
}

#[test]
fn a_pool_slot_is_given_back_after_a_question_and_never_in_read_only() {
    for read_only in [false, true] {
        let mut harness = queued(Options {
            read_only,
            ..Options::default()
        });
        let (request, run_id, _) = asked(&harness.keys("w")).unwrap();
        answer(&mut harness, request, of_run(&run_id));
        let commands = harness.commands("F");
        assert_eq!(commands, []);
        let screen = harness.screen();
        if read_only {
            assert!(
                screen.contains("Read-only: `run free-slot` is refused"),
                "{screen}"
            );
            continue;
        }
        assert!(screen.contains("Free the pool slot of load?"), "{screen}");
        assert!(
            screen.contains("run free-slot 0f0f0f0f-dead load"),
            "{screen}"
        );
        let command = Command::FreeSlot {
            run_id: String::from("0f0f0f0f-dead"),
            step_key: String::from("load"),
        };
        assert_eq!(harness.commands("y"), [(None, command)]);
    }
}

#[test]
fn a_step_is_explained_by_name_and_the_workers_tell_what_they_hold() {
    let mut harness = Harness::night();
    let (_, run, step) = asked(&harness.keys(":explain 4f0c load<enter>")).unwrap();
    assert_eq!((run.as_str(), step.as_deref()), ("4f0c", Some("load")));
    harness.keys("<esc>");

    let snapshot = fixture::snapshot();
    let held = snapshot
        .tasks
        .iter()
        .find(|task| task.step_key.as_deref() == Some("score_customers"));
    let held = held.unwrap();
    harness.keys("3/score_customers<enter>");
    let (request, run, step) = asked(&harness.keys("<enter>")).unwrap();
    assert_eq!((&run, &step), (&held.run_id, &held.step_key));
    let found = Explanation {
        run_id: run,
        step_key: step,
        waits: true,
        sent: Some(SentMessage {
            queue: held.queue.clone(),
            task_id: held.task_id.clone(),
            at: fixture::now(),
            priority: Some(held.priority),
            attempt: 1,
        }),
        reasons: vec![Reason::new(
            "slots_busy",
            String::from("Every slot is busy."),
        )],
        ..Explanation::default()
    };
    answer(&mut harness, request, found);
    let screen = harness.screen();
    let text = format!("Worker {} has received it", held.worker);
    assert!(screen.contains("waits for"), "{screen}");
    assert!(screen.contains(&text), "{screen}");
}
