use jiff::SignedDuration;

use super::*;
use crate::domain::{QueueCounts, QueueRole, Slots, SourceKind, TaskKind, Trend};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap_or_default()
}

fn snapshot(id: &str) -> WorkerSnapshot {
    WorkerSnapshot {
        worker: WorkerView {
            id: id.to_owned(),
            hostname: "host".to_owned(),
            pid: 1,
            version: "0.1.0".to_owned(),
            state: WorkerState::Running,
            steps: Slots::default(),
            runs: Slots::default(),
            started_at: at(0),
            heartbeat_at: at(0),
            clock_behind: 0,
            hosts: Vec::new(),
            queues: Vec::new(),
            shared_name: None,
            finished: 0,
            failed: 0,
            deadline: None,
            dropped_events: 0,
        },
        queues: Vec::new(),
        tasks: Vec::new(),
        recent: std::collections::VecDeque::new(),
        priorities: Vec::new(),
        sources: Vec::new(),
        fleet: Vec::new(),
        alarms: None,
        acknowledged: std::collections::BTreeMap::new(),
        paused_queues: std::collections::BTreeMap::new(),
    }
}

fn report(snapshot: &WorkerSnapshot, heartbeat: i64) -> WorkerReport<'_> {
    WorkerReport {
        snapshot,
        id: &snapshot.worker.id,
        heartbeat_at: at(heartbeat),
        clock_behind: SignedDuration::ZERO,
        ended: false,
        linked: true,
    }
}

fn row(priority: i64, waiting: Option<u64>, held: u64, running: u64) -> PriorityCount {
    PriorityCount {
        queue: "q".to_owned(),
        priority,
        waiting,
        held,
        running,
    }
}

#[test]
fn held_and_running_are_summed_and_the_latest_waiting_count_wins() {
    let (mut one, mut two, mut dead) = (snapshot("a"), snapshot("b"), snapshot("c"));
    one.priorities = vec![row(5, Some(9), 1, 2)];
    two.priorities = vec![row(8, None, 1, 0), row(5, Some(4), 0, 1)];
    dead.priorities = vec![row(5, Some(99), 7, 7)];
    let gone = WorkerReport {
        ended: true,
        ..report(&dead, 9)
    };
    let rows = priorities(&[report(&two, 2), report(&one, 1), gone]);
    assert_eq!(rows, [row(8, None, 1, 0), row(5, Some(4), 1, 3)]);
}

#[test]
fn a_queue_that_two_workers_see_is_shown_once_with_its_freshest_counts() {
    let queue = |visible, second| QueueView {
        name: "q".to_owned(),
        url: "http://127.0.0.1/q".to_owned(),
        role: QueueRole::Base,
        counts: Some(QueueCounts {
            visible,
            ..QueueCounts::default()
        }),
        counted_at: Some(at(second)),
        oldest: None,
        error: None,
        unreachable: false,
        trend: Trend::default(),
    };
    let (mut one, mut two) = (snapshot("a"), snapshot("b"));
    one.queues = vec![queue(1, 1)];
    two.queues = vec![queue(2, 2)];
    for reports in [
        [report(&one, 1), report(&two, 1)],
        [report(&two, 1), report(&one, 1)],
    ] {
        let merged = queues(&reports, &[]);
        assert_eq!(merged.len(), 1);
        assert_eq!(merged[0].counts, queue(2, 2).counts);
    }
}

#[test]
fn a_queues_past_is_put_together_from_all_workers_and_from_what_was_known() {
    let queue = |visible, minute: i64, trend: &[(i64, u64)]| {
        let mut queue = QueueView {
            name: "q".to_owned(),
            url: "http://127.0.0.1/q".to_owned(),
            role: QueueRole::Base,
            counts: Some(QueueCounts {
                visible,
                ..QueueCounts::default()
            }),
            counted_at: Some(at(minute * 60)),
            oldest: None,
            error: None,
            unreachable: false,
            trend: Trend::default(),
        };
        for (minute, count) in trend {
            queue.trend.note(*count, at(minute * 60));
        }
        queue
    };
    let (mut new, mut old) = (snapshot("a"), snapshot("b"));
    // A worker of an earlier version reports no history.
    new.queues = vec![queue(340, 4, &[])];
    old.queues = vec![queue(240, 3, &[(2, 140), (3, 240)])];
    let known = [queue(140, 2, &[(0, 90), (1, 40), (2, 140)])];
    for reports in [
        [report(&new, 9), report(&old, 9)],
        [report(&old, 9), report(&new, 9)],
    ] {
        let merged = queues(&reports, &known);
        let growth = merged[0]
            .trend
            .growth(at(4 * 60))
            .map(|it| (it.from, it.to));
        assert_eq!(growth, Some((40, 340)));
    }
}

#[test]
fn a_broker_that_one_worker_cannot_reach_is_down_and_names_that_worker() {
    let source = |health| Source {
        kind: SourceKind::Broker,
        address: "http://127.0.0.1".to_owned(),
        health,
        seen_at: Some(at(1)),
        retry_at: None,
    };
    let (mut one, mut two) = (snapshot("a"), snapshot("b"));
    one.sources = vec![source(SourceHealth::Up)];
    let reason = "no route".to_owned();
    two.sources = vec![source(SourceHealth::Down { reason })];
    let reason = "b: no route".to_owned();
    let expected = [source(SourceHealth::Down { reason })];
    assert_eq!(sources(&[report(&one, 1), report(&two, 1)]), expected);
    assert_eq!(sources(&[report(&two, 1), report(&one, 1)]), expected);

    let cut_off = WorkerReport {
        linked: false,
        ..report(&two, 1)
    };
    assert_eq!(
        sources(&[report(&one, 1), cut_off]),
        [source(SourceHealth::Up)]
    );
}

#[test]
fn a_worker_whose_process_ended_without_a_word_is_lost_and_what_it_ran_with_it() {
    let task = |id: &str, phase| TaskView {
        task_id: id.to_owned(),
        message_id: id.to_owned(),
        queue: "q".to_owned(),
        kind: TaskKind::ExecutePlan,
        run_id: "r".to_owned(),
        job: None,
        step_key: Some(id.to_owned()),
        priority: 5,
        attempt: 1,
        receive_count: 1,
        sent_at: None,
        received_at: at(1),
        phase,
        worker: "a".to_owned(),
        usage: None,
        beyond_usual: None,
    };
    let running = |since| Phase::Running {
        since: at(since),
        pid: Some(9),
    };
    let mut one = snapshot("a");
    one.worker.steps.busy = 2;
    one.tasks = vec![task("x", running(2)), task("y", running(3))];
    let mut other = snapshot("b");
    // One of them came back, and another worker has it.
    other.tasks = vec![task("y", Phase::Held)];
    let gone = WorkerReport {
        ended: true,
        ..report(&one, 7)
    };
    let all = [gone, report(&other, 8)];
    let views = workers(&all);
    assert_eq!(
        (views[0].state, views[0].heartbeat_at),
        (WorkerState::Lost, at(7))
    );
    assert_eq!(views[0].steps.busy, 0);
    let ids = |tasks: &[TaskView]| -> Vec<String> {
        tasks.iter().map(|task| task.task_id.clone()).collect()
    };
    assert_eq!(ids(&tasks(&all)), ["y"]);
    let recent = recent(&all);
    assert_eq!(ids(&recent), ["x"]);
    let Phase::Done {
        at: ended,
        started,
        outcome: TaskOutcome::Lost { reason },
    } = &recent[0].phase
    else {
        panic!("not lost: {:?}", recent[0].phase);
    };
    assert_eq!((*ended, *started), (at(7), Some(at(2))));
    assert!(reason.starts_with("worker a ended with it in hand"));

    // A worker that announced its end is not lost.
    one.worker.state = WorkerState::Stopped;
    let gone = WorkerReport {
        ended: true,
        ..report(&one, 7)
    };
    assert_eq!(workers(&[gone])[0].state, WorkerState::Stopped);
}

#[test]
fn an_equal_part_keeps_its_place_in_memory() {
    let mut part = Arc::new(vec![1, 2]);
    let before = Arc::clone(&part);
    assert!(!renew(&mut part, vec![1, 2]));
    assert!(Arc::ptr_eq(&part, &before));
    assert!(renew(&mut part, vec![3]));
}
