//! A rolling restart from the console.

use std::sync::Arc;

use dagster_taskiq_tui::console::app::{Effect, Message};
use dagster_taskiq_tui::domain::{Command, Reply, Snapshot, WorkerState};
use jiff::SignedDuration;

use super::fixture;
use super::harness::Harness;

const FIRST: &str = "etl-1.internal-4127";
const SECOND: &str = "etl-2.internal-9051";

/// The request's number and the worker that is to restart.
fn restart(effects: &[Effect]) -> Option<(u64, String)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Request {
            request,
            worker: Some(worker),
            command: Command::Restart { within: None },
            ..
        } => Some((*request, worker.clone())),
        _ => None,
    })
}

fn show(harness: &mut Harness, change: impl Fn(&mut Snapshot)) -> Vec<Effect> {
    let mut snapshot = (*fixture::snapshot()).clone();
    change(&mut snapshot);
    harness.effects.clear();
    harness.tell(Message::Snapshot(Arc::new(snapshot)));
    harness.effects.clone()
}

fn set(snapshot: &mut Snapshot, id: &str, state: WorkerState, is_new: bool) {
    let workers = Arc::make_mut(&mut snapshot.workers);
    let worker = workers.iter_mut().find(|worker| worker.id == id).unwrap();
    worker.state = state;
    if is_new {
        worker.started_at = fixture::now();
    }
}

/// Begins with both workers; the request to the first was answered.
fn begun() -> Harness {
    let mut harness = Harness::night();
    harness.keys("Z");
    let screen = harness.screen();
    for words in [
        "Restart 2 workers?",
        "One after the other",
        "$ dagster-taskiq-tui worker restart",
    ] {
        assert!(screen.contains(words), "{words}: {screen}");
    }
    let effects = harness.keys("y");
    let (request, worker) = restart(&effects).unwrap();
    assert_eq!(worker, FIRST);
    let reply = Reply::Done(String::from("restarting"));
    harness.tell(Message::Reply { request, reply });
    assert!(
        harness.screen().contains("restarting 1/2"),
        "{}",
        harness.screen()
    );
    harness
}

#[test]
fn the_next_worker_restarts_only_when_the_former_is_back() {
    let mut harness = begun();
    let drains = |snapshot: &mut Snapshot| set(snapshot, FIRST, WorkerState::Draining, false);
    assert_eq!(restart(&show(&mut harness, drains)), None);
    let is_gone = |snapshot: &mut Snapshot| set(snapshot, FIRST, WorkerState::Stopped, false);
    assert_eq!(restart(&show(&mut harness, is_gone)), None);
    let starts = |snapshot: &mut Snapshot| set(snapshot, FIRST, WorkerState::Starting, true);
    assert_eq!(restart(&show(&mut harness, starts)), None);
    let is_back = |snapshot: &mut Snapshot| set(snapshot, FIRST, WorkerState::Running, true);
    let (_, worker) = restart(&show(&mut harness, is_back)).unwrap();
    assert_eq!(worker, SECOND);
    let are_back = |snapshot: &mut Snapshot| {
        set(snapshot, FIRST, WorkerState::Running, true);
        set(snapshot, SECOND, WorkerState::Paused, true);
    };
    show(&mut harness, are_back);
    assert!(
        harness.screen().contains("Restarted 2 of 2 workers"),
        "{}",
        harness.screen()
    );
}

#[test]
fn it_stops_at_the_first_that_does_not_come_back_and_says_which_were_not_restarted() {
    let mut harness = begun();
    let is_gone = |snapshot: &mut Snapshot| set(snapshot, FIRST, WorkerState::Lost, false);
    show(&mut harness, is_gone);
    harness.now += SignedDuration::from_mins(2);
    harness.tell(Message::Tick);
    assert!(
        harness.screen().contains("restarting 1/2"),
        "{}",
        harness.screen()
    );
    harness.now += SignedDuration::from_mins(2);
    harness.effects.clear();
    harness.tell(Message::Tick);
    assert_eq!(restart(&harness.effects), None);
    let screen = harness.screen();
    for words in ["did not come back", "not restarted: etl-2"] {
        assert!(screen.contains(words), "{words}: {screen}");
    }
}

#[test]
fn a_worker_that_refuses_ends_it_and_so_does_x() {
    let mut harness = Harness::night();
    let (request, _) = restart(&harness.keys("Zy")).unwrap();
    let reply = Reply::Failed(String::from("this worker does not know this command"));
    harness.tell(Message::Reply { request, reply });
    let screen = harness.screen();
    assert!(screen.contains("does not know"), "{screen}");
    let mut harness = begun();
    harness.keys("x");
    let screen = harness.screen();
    assert!(screen.contains("stopped; not restarted: etl-2"), "{screen}");
}
