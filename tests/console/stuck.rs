//! Is the step under the cursor slow or stuck: its stack, its usage, its usual time.

use std::sync::Arc;

use dagster_taskiq_tui::console::app::{Effect, Message};
use dagster_taskiq_tui::domain::{
    Answer, Command, ProcessUsage, Query, Reply, Snapshot, StackReport, UsualTime,
};

use super::fixture;
use super::harness::{Harness, Options};

fn requests(effects: &[Effect]) -> Vec<(u64, Option<String>, Query)> {
    let requested = |effect: &Effect| match effect {
        Effect::Request {
            request,
            worker,
            command: Command::Query(query),
            ..
        } => Some((*request, worker.clone(), query.clone())),
        _ => None,
    };
    effects.iter().filter_map(requested).collect()
}

/// The request of this kind among the effects.
fn request(effects: &[Effect], is_it: impl Fn(&Query) -> bool) -> Option<(u64, Option<String>)> {
    let found = requests(effects).into_iter();
    let mut found = found.filter(|(_, _, query)| is_it(query));
    let (number, worker, _) = found.next()?;
    assert!(found.next().is_none(), "one is enough: {effects:?}");
    Some((number, worker))
}

fn wants_stack(query: &Query) -> bool {
    matches!(query, Query::Stack { .. })
}

fn report() -> StackReport {
    StackReport {
        pid: 18_239,
        at: fixture::now(),
        by: String::from("faulthandler"),
        text: String::from(
            "Current thread 0x00007f72 (most recent call first):\n  File \"train.py\", line 10 in fit\n",
        ),
    }
}

/// The steps' view, with the cursor on a running step.
fn on_running_step(options: Options) -> Harness {
    let mut harness = Harness::new(options, fixture::snapshot());
    harness.keys("3j");
    harness
}

#[test]
fn a_key_reads_the_stack_from_the_steps_worker_and_shows_it_first() {
    for size in [(80, 24), (200, 50)] {
        let mut harness = on_running_step(Options {
            size,
            read_only: true,
            ..Options::default()
        });
        let effects = harness.keys("b");
        let (number, worker) = request(&effects, wants_stack).unwrap();
        assert!(worker.is_some(), "the worker that runs it");
        assert!(harness.screen().contains("Reading the stack"));
        let reply = Reply::Answer(Box::new(Answer::Stack(report())));
        harness.tell(Message::Reply {
            request: number,
            reply,
        });
        let screen = harness.screen();
        assert!(screen.contains("Stack of process 18239"), "{screen}");
        assert!(screen.contains("line 10 in fit"), "{screen}");

        let (again, _) = request(&harness.keys("b"), wants_stack).unwrap();
        let reason = String::from("process 18239 has just ended: there is no stack to read");
        harness.tell(Message::Reply {
            request: again,
            reply: Reply::Failed(reason),
        });
        let screen = harness.screen();
        assert!(screen.contains("process 18239 has just ended"), "{screen}");
        assert!(!screen.contains("line 10 in fit"), "{screen}");
    }
}

#[test]
fn what_does_not_run_has_no_stack_and_nothing_is_requested() {
    let mut harness = Harness::new(Options::default(), fixture::snapshot());
    let effects = harness.keys("3Gb");
    assert_eq!(request(&effects, wants_stack), None);
    let screen = harness.screen();
    assert!(
        screen.contains("does not run: only a process has a stack"),
        "{screen}"
    );
}

#[test]
fn open_details_of_a_running_step_measure_its_usage_again_and_again() {
    let mut harness = on_running_step(Options {
        size: (120, 50),
        ..Options::default()
    });
    let is_usage = |query: &Query| matches!(query, Query::Usage { .. });
    let (number, _) = request(&harness.keys("<enter>"), is_usage).unwrap();
    let usage = ProcessUsage {
        pid: 18_239,
        state: String::from("S (sleeping)"),
        processes: 2,
        threads: 5,
        cpu_ms: 64_000,
        cpu_percent: 12,
        rss_kib: 250_000,
        pss_kib: Some(30_000),
        open_files: 37,
        open_files_limit: Some(1024),
    };
    harness.tell(Message::Reply {
        request: number,
        reply: Reply::Answer(Box::new(Answer::Usage(usage))),
    });
    let screen = harness.screen();
    for part in [
        "12% of a core, 1m 04s of processor time, 244M resident (29M proportional)",
        "2 processes, 5 threads, 37 open files of 1024; S (sleeping)",
    ] {
        assert!(screen.contains(part), "{part}: {screen}");
    }
    harness.effects.clear();
    harness.now += jiff::SignedDuration::from_secs(2);
    harness.tell(Message::Tick);
    assert!(request(&harness.effects, is_usage).is_some());
}

#[test]
fn a_step_beyond_its_usual_time_is_marked_in_its_row_and_explained_in_its_details() {
    let mut snapshot: Snapshot = (*fixture::snapshot()).clone();
    let late = Arc::make_mut(&mut snapshot.tasks)
        .iter_mut()
        .find(|task| task.name() == "train_gradient_boosting");
    late.unwrap().beyond_usual = Some(UsualTime {
        runs: 12,
        median_ms: 1_200_000,
        late_ms: 1_500_000,
        longest_ms: 1_600_000,
    });
    let mut harness = Harness::new(Options::default(), Arc::new(snapshot));
    harness.keys("3/train<enter>");
    let screen = harness.screen();
    assert!(screen.contains("1h 05m!"), "{screen}");
    harness.keys("<enter>");
    let words = "It runs longer than usual: 20m 00s (median), 25m 00s (p95)";
    let screen = harness.screen();
    assert!(screen.contains(words), "{screen}");
}
