#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use jiff::SignedDuration;
use proptest::prelude::*;

use super::publish::PUBLISH_EVERY;
use super::*;
use crate::domain::{
    QueueCounts, QueueRole, Slots, SourceHealth, SourceKind, TaskKind, Trend, WorkerState,
};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn worker() -> WorkerView {
    WorkerView {
        id: "host-1".to_owned(),
        hostname: "host".to_owned(),
        pid: 1,
        version: "0.1.0".to_owned(),
        state: WorkerState::Starting,
        steps: Slots::default(),
        runs: Slots::default(),
        started_at: NOW,
        heartbeat_at: NOW,
        clock_behind: 0,
        hosts: Vec::new(),
        queues: Vec::new(),
        shared_name: None,
        finished: 0,
        failed: 0,
        deadline: None,
        dropped_events: 0,
    }
}

fn received(id: &str, priority: i64) -> Event {
    Event::Received {
        task: Box::new(TaskView {
            task_id: id.to_owned(),
            message_id: format!("m-{id}"),
            queue: "q".to_owned(),
            kind: TaskKind::ExecutePlan,
            run_id: "run".to_owned(),
            job: None,
            step_key: Some("step".to_owned()),
            priority,
            attempt: 1,
            receive_count: 1,
            sent_at: None,
            received_at: NOW,
            phase: Phase::Held,
            worker: "host-1".to_owned(),
            usage: None,
            beyond_usual: None,
        }),
    }
}

fn started(id: &str) -> Event {
    Event::Started {
        task_id: id.to_owned(),
        at: NOW,
    }
}

fn finished(id: &str, outcome: TaskOutcome) -> Event {
    Event::Finished {
        task_id: id.to_owned(),
        at: NOW,
        outcome,
    }
}

fn given_back() -> TaskOutcome {
    TaskOutcome::GivenBack {
        reason: "held elsewhere".to_owned(),
    }
}

fn folded(events: &[Event]) -> WorkerSnapshot {
    let mut store = StatusStore::new(worker());
    for event in events {
        store.apply(event);
    }
    store.snapshot(NOW)
}

#[test]
fn a_step_goes_from_held_to_running_to_recent() {
    let forked = Event::Forked {
        task_id: "a".to_owned(),
        pid: 42,
    };
    let mut events = vec![received("a", 5), started("a"), forked];
    let snapshot = folded(&events);
    assert_eq!(snapshot.worker.steps.busy, 1);
    let running = Phase::Running {
        since: NOW,
        pid: Some(42),
    };
    assert_eq!(snapshot.tasks[0].phase, running);

    events.push(finished("a", TaskOutcome::Success));
    let snapshot = folded(&events);
    assert!(snapshot.tasks.is_empty());
    assert_eq!(snapshot.worker.steps.busy, 0);
    assert_eq!(snapshot.worker.finished, 1);
    let done = Phase::Done {
        at: NOW,
        started: Some(NOW),
        outcome: TaskOutcome::Success,
    };
    assert_eq!(snapshot.recent[0].phase, done);
}

#[test]
fn failures_and_retries_are_counted_and_given_back_steps_are_not() {
    let failure = TaskOutcome::Failure {
        reason: "boom".to_owned(),
    };
    let mut events: Vec<Event> = ["a", "b", "c"].map(|id| received(id, 5)).into();
    events.push(finished("a", failure));
    events.push(finished(
        "b",
        TaskOutcome::UpForRetry {
            reason: String::new(),
        },
    ));
    events.push(finished("c", given_back()));
    let snapshot = folded(&events);
    assert_eq!((snapshot.worker.finished, snapshot.worker.failed), (2, 1));
}

#[test]
fn a_delivery_that_was_given_back_makes_way_for_the_next_of_its_task() {
    let mut events = vec![
        received("a", 5),
        finished("a", given_back()),
        received("b", 5),
        finished("b", given_back()),
    ];
    assert_eq!(folded(&events).recent.len(), 2);
    events.extend([received("a", 5), started("a")]);
    let snapshot = folded(&events);
    let known: Vec<&str> = [&snapshot.tasks[0], &snapshot.recent[0]]
        .map(|task| task.task_id.as_str())
        .into();
    assert_eq!((known, snapshot.recent.len()), (vec!["a", "b"], 1));
}

#[test]
fn a_second_delivery_that_is_given_back_does_not_end_the_running_step() {
    let events = [
        received("a", 5),
        started("a"),
        received("a", 5),
        finished("a", given_back()),
    ];
    let snapshot = folded(&events);
    assert!(snapshot.tasks[0].is_running());
    assert!(snapshot.recent.is_empty());
}

#[test]
fn waiting_counts_are_absent_until_the_broker_reports_and_then_zero_where_none_waits() {
    let mut events = vec![received("a", 5), received("b", 9), started("b")];
    let rows = folded(&events).priorities;
    let seen: Vec<_> = rows
        .iter()
        .map(|row| (row.priority, row.waiting, row.held, row.running))
        .collect();
    assert_eq!(seen, [(9, None, 0, 1), (5, None, 1, 0)]);

    events.push(Event::Waiting {
        queue: "q".to_owned(),
        counts: vec![(5, 3), (1, 2), (0, 0)],
    });
    let rows = folded(&events).priorities;
    let seen: Vec<_> = rows
        .iter()
        .map(|row| (row.priority, row.waiting, row.held, row.running))
        .collect();
    assert_eq!(
        seen,
        [(9, Some(0), 0, 1), (5, Some(3), 1, 0), (1, Some(2), 0, 0)]
    );
}

#[test]
fn each_queue_has_its_own_past_so_that_a_console_just_opened_sees_which_one_grows() {
    let queue = |name: &str, visible, minute: i64| Event::Queue {
        queue: QueueView {
            name: name.to_owned(),
            url: format!("http://127.0.0.1/{name}"),
            role: QueueRole::Base,
            counts: Some(QueueCounts {
                visible,
                ..QueueCounts::default()
            }),
            counted_at: Some(NOW + SignedDuration::from_mins(minute)),
            oldest: None,
            error: None,
            unreachable: false,
            trend: Trend::default(),
        },
    };
    let floods = [40, 140, 240, 340].into_iter().zip(0..);
    let events: Vec<Event> = floods
        .flat_map(|(count, minute)| {
            [
                queue("low", count, minute),
                queue("high", 900 - count, minute),
            ]
        })
        .collect();
    let now = NOW + SignedDuration::from_mins(3);
    let queues = folded(&events).queues;
    let grows = |name: &str| {
        let queue = queues.iter().find(|queue| queue.name == name).unwrap();
        queue
            .trend
            .growth(now)
            .map(|growth| (growth.from, growth.to))
    };
    assert_eq!((grows("low"), grows("high")), (Some((40, 340)), None));
}

#[test]
fn queues_and_sources_are_updated_in_place() {
    let queue = |visible| Event::Queue {
        queue: QueueView {
            name: "q".to_owned(),
            url: "http://127.0.0.1/q".to_owned(),
            role: QueueRole::Base,
            counts: Some(QueueCounts {
                visible,
                ..QueueCounts::default()
            }),
            counted_at: Some(NOW),
            oldest: None,
            error: None,
            unreachable: false,
            trend: Trend::default(),
        },
    };
    let source = |health| Event::Source {
        source: Source {
            kind: SourceKind::Broker,
            address: "http://127.0.0.1".to_owned(),
            health,
            seen_at: Some(NOW),
            retry_at: None,
        },
    };
    let snapshot = folded(&[
        queue(1),
        source(SourceHealth::Connecting),
        queue(7),
        source(SourceHealth::Up),
    ]);
    assert_eq!(snapshot.queues.len(), 1);
    assert_eq!(snapshot.queues[0].counts.unwrap().visible, 7);
    assert_eq!(snapshot.sources.len(), 1);
    assert_eq!(snapshot.sources[0].health, SourceHealth::Up);
}

#[test]
fn an_event_that_changes_nothing_is_not_a_change() {
    let mut store = StatusStore::new(worker());
    let slots = Event::Slots {
        steps: 4,
        runs: 1,
        range: None,
    };
    assert_eq!(store.apply(&slots), Change::Snapshot);
    assert_eq!(store.apply(&slots), Change::Nothing);
    assert_eq!(store.apply(&started("unknown")), Change::Nothing);
}

#[test]
fn a_huge_reason_is_cut() {
    let reason = "x".repeat(1 << 20);
    let snapshot = folded(&[
        received("a", 5),
        finished("a", TaskOutcome::Failure { reason }),
    ]);
    let Phase::Done { outcome, .. } = &snapshot.recent[0].phase else {
        panic!("the task is not done");
    };
    assert!(outcome.reason().unwrap().len() <= MAX_REASON);
}

/// A running store, and the sink of its worker's events.
fn spawned() -> (
    crate::domain::EventSink,
    Published,
    tokio::task::JoinHandle<()>,
) {
    let (sink, events) = crate::domain::EventSink::channel();
    let (dropped, audience) = (sink.drop_counter(), sink.audience());
    let (published, task) = spawn(StatusStore::new(worker()), events, dropped, audience);
    (sink, published, task)
}

#[tokio::test]
async fn a_change_is_published_at_once_and_the_last_state_when_the_worker_ends() {
    let (sink, published, task) = spawned();
    let mut published = published.look().await;
    sink.send(Event::State {
        state: WorkerState::Running,
        deadline: None,
    });
    published.snapshot.changed().await.unwrap();
    assert_eq!(
        published.snapshot.borrow_and_update().worker.state,
        WorkerState::Running
    );
    sink.send(Event::State {
        state: WorkerState::Stopped,
        deadline: None,
    });
    drop(sink);
    task.await.unwrap();
    assert_eq!(
        published.snapshot.borrow().worker.state,
        WorkerState::Stopped
    );
}

#[tokio::test]
async fn a_stream_of_events_is_published_at_most_twenty_times_a_second() {
    let (sink, published, _task) = spawned();
    let mut published = published.look().await;
    let begin = std::time::Instant::now();
    let feeder = tokio::spawn(async move {
        for steps in 1..=300 {
            sink.send(Event::Slots {
                steps,
                runs: 1,
                range: None,
            });
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let mut publications = 0;
    while published.snapshot.changed().await.is_ok() {
        publications += 1;
    }
    feeder.await.unwrap();
    assert_eq!(published.snapshot.borrow().worker.steps.target, 300);
    // One at the start, one at the end, and one per interval between.
    let allowed = begin.elapsed().as_millis() / PUBLISH_EVERY.as_millis() + 2;
    assert!(
        (2..=allowed).contains(&publications),
        "{publications} publications, {allowed} allowed"
    );
}

#[tokio::test]
async fn nothing_is_published_while_nobody_looks_and_who_comes_sees_the_present_state() {
    let (sink, published, _task) = spawned();
    drop(published.look().await);
    let mut unseen = published.look_on().snapshot;
    unseen.mark_unchanged();
    for steps in 1..=10 {
        sink.send(Event::Slots {
            steps,
            runs: 1,
            range: None,
        });
    }
    let look = published.look().await;
    assert_eq!(look.snapshot.borrow().worker.steps.target, 10);
    // The one publication is the one for this viewer.
    unseen.borrow_and_update();
    assert!(!unseen.has_changed().unwrap());
}

/// The events of one step, up to any point of its life.
fn life() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(0_u8..12, 0..200)
}

proptest! {
    /// Checks for any order of events: every received task is in exactly one place, and the counts
    /// per priority are those of the tasks.
    #[test]
    fn counts_agree_with_the_tasks(steps in life()) {
        let mut store = StatusStore::new(worker());
        for step in steps {
            let id = (step % 4).to_string();
            let event = match step / 4 {
                0 => received(&id, i64::from(step % 2)),
                1 => started(&id),
                _ => finished(&id, TaskOutcome::Success),
            };
            store.apply(&event);
        }
        let snapshot = store.snapshot(NOW);
        let running: u64 = snapshot.priorities.iter().map(|row| row.running).sum();
        let held: u64 = snapshot.priorities.iter().map(|row| row.held).sum();
        prop_assert_eq!(running, u64::from(snapshot.worker.steps.busy));
        prop_assert_eq!(held + running, snapshot.tasks.len() as u64);
        prop_assert_eq!(usize::try_from(snapshot.worker.finished).ok(), Some(snapshot.recent.len()));
        let mut sorted = snapshot.priorities.clone();
        sorted.sort_by_key(|row| std::cmp::Reverse(row.priority));
        prop_assert_eq!(sorted, snapshot.priorities);
    }
}
