//! Faults, each really injected into real processes: workers, hosts, brokers and steps that are
//! killed or stopped, messages that come twice. What must hold: the run goes on, every step ends
//! exactly once, and no message is left.

use crate::support;

use support::scene::Scene;
use support::side::alive;
use support::{PATIENCE, Worker, processes_of, signal, wait_until};

/// An attempt that was lost with its worker does not count as one of the step's own: the next one
/// begins like a first one.
const LOST_ONCE: [&str; 4] = [
    "STEP_START",
    "STEP_UP_FOR_RETRY",
    "STEP_START",
    "STEP_SUCCESS",
];

/// An attempt that the step's own policy asked for.
const RETRIED_ONCE: [&str; 4] = [
    "STEP_START",
    "STEP_UP_FOR_RETRY",
    "STEP_RESTARTED",
    "STEP_SUCCESS",
];

fn gated(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("gated_{n}")).collect()
}

/// The process ids below a process, itself included.
fn tree(root: u32) -> Vec<u32> {
    let parent = |pid: u32| -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit(')')
            .next()?
            .split_whitespace()
            .nth(1)?
            .parse()
            .ok()
    };
    let all: Vec<u32> = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    let mut found = vec![root];
    let mut seen = 0;
    while seen < found.len() {
        let above = found[seen];
        found.extend(
            all.iter()
                .copied()
                .filter(|pid| parent(*pid) == Some(above)),
        );
        seen += 1;
    }
    found
}

#[test]
fn a_worker_that_is_killed_with_ten_steps_costs_each_of_them_one_attempt() {
    let mut scene = Scene::new("killed");
    let mut second = scene.worker(0, &[]);
    let mut first = scene.worker(10, &["--run-slots", "0"]);
    let run = scene.side.launch("ten");
    let pids: Vec<u32> = gated(10)
        .iter()
        .map(|step| scene.side.wait_traced(&run, step))
        .collect();

    second.call(dagster_taskiq_tui::domain::Command::Scale { steps: 10 });
    first.process.signal("KILL");
    first.process.wait(PATIENCE);
    wait_until("its steps are gone with it", PATIENCE, || {
        (!pids.iter().any(|pid| alive(*pid))).then_some(())
    });
    scene.side.open_gate(&run, None);

    scene.side.wait_status(&run, "SUCCESS");
    scene.assert_lives(&run, &gated(10), &LOST_ONCE);
    for step in gated(10) {
        let events = scene.side.events(&run, Some(&step));
        let lost = events
            .iter()
            .find(|e| e["type"] == "STEP_UP_FOR_RETRY")
            .unwrap();
        assert_eq!(lost["error"], "dagster_taskiq.WorkerLost");
        // Nobody waited for more than the lease: the loss was told by the very next delivery, and
        // a message whose lease is over is delivered to whoever polls for it.
        let said = lost["message"].as_str().unwrap();
        assert!(said.contains("the message was received 2 times"), "{said}");
    }
    scene.side.wait_empty();
    assert_eq!(second.finish(), 0, "{}", second.process.output());
    wait_until("no process is left", PATIENCE, || {
        let left = processes_of(scene.project.home().as_path());
        left.iter()
            .all(|line| line.contains("dagster_side"))
            .then_some(())
    });
}

#[test]
fn a_message_that_is_delivered_twice_at_once_runs_once_and_again_later_not_at_all() {
    let mut scene = Scene::new("twice");
    let workers = [scene.worker(16, &[]), scene.worker(16, &[])];
    let runs: Vec<String> = (0..20).map(|_| scene.side.make_run("single")).collect();
    let mut bodies = || -> Vec<String> {
        let step = |run: &String| scene.side.step(run, "gated", 5);
        runs.iter().map(step).collect()
    };
    // The same message once more, and one of another task id, which no worker knows for the same.
    let (first, others) = (bodies(), bodies());
    let all = [first.clone(), others, first.clone()].concat();
    scene.side.send(&all);
    wait_until("every step runs", PATIENCE, || {
        let runs_of = |run: &String| scene.side.traced(run, "gated").len();
        runs.iter().all(|run| runs_of(run) > 0).then_some(())
    });
    // None has ended, so each duplicate of another id meets the claim of a living process.
    wait_until("every duplicate has met a claim", PATIENCE, || {
        let given_way = |worker: &Worker| {
            let output = worker.process.output();
            output.matches("is run by another process").count()
        };
        let all: usize = workers.iter().map(given_way).sum();
        (all >= runs.len()).then_some(())
    });
    for run in &runs {
        scene.side.open_gate(run, None);
    }
    scene.side.wait_empty();
    let once = |scene: &mut Scene| {
        for run in &runs {
            assert_eq!(scene.side.traced(run, "gated").len(), 1, "{run}");
            assert_eq!(
                scene.side.life(run, "gated"),
                ["STEP_START", "STEP_SUCCESS"],
                "{run}"
            );
        }
    };
    once(&mut scene);

    scene.side.send(&first);
    scene.side.wait_empty();
    once(&mut scene);
}

#[test]
fn a_step_longer_than_its_lease_runs_once_even_if_its_worker_is_paused_beyond_it() {
    let mut scene = Scene::new("paused");
    let first = scene.worker(1, &[]);
    let run = scene.side.make_run("single");
    let body = scene.side.step(&run, "gated", 5);
    scene.side.send(&[body]);
    scene.side.wait_traced(&run, "gated");
    let second = scene.worker(1, &[]);

    // Twice the lease: it is renewed, and nobody else gets the message.
    std::thread::sleep(std::time::Duration::from_secs(20));
    assert!(
        !second
            .process
            .output()
            .contains("is run by another process")
    );
    assert_eq!(scene.side.counts(), (0, 1));

    let paused = tree(first.process.pid());
    for pid in &paused {
        signal(*pid, "STOP");
    }
    let mut second = second;
    second.process.wait_for_line("is run by another process");
    scene.side.open_gate(&run, None);
    for pid in &paused {
        signal(*pid, "CONT");
    }
    scene.side.wait_empty();
    assert_eq!(
        scene.side.life(&run, "gated"),
        ["STEP_START", "STEP_SUCCESS"]
    );
    assert_eq!(scene.side.traced(&run, "gated").len(), 1);
}

/// There a message whose lease is over cannot be deleted any more with its old receipt handle.
#[test]
fn a_worker_of_a_fifo_queue_that_is_paused_beyond_its_lease_ends_its_step_once() {
    let mut scene = Scene::new("paused.fifo");
    let mut first = scene.worker(1, &[]);
    let run = scene.side.make_run("single");
    let body = scene.side.step(&run, "gated", 5);
    scene.side.send(&[body]);
    scene.side.wait_traced(&run, "gated");
    let mut second = scene.worker(1, &[]);

    let paused = tree(first.process.pid());
    for pid in &paused {
        signal(*pid, "STOP");
    }
    second.process.wait_for_line("is run by another process");
    scene.side.open_gate(&run, None);
    for pid in &paused {
        signal(*pid, "CONT");
    }
    let refused = first.process.wait_for_line("cannot delete message");
    assert!(refused.contains("has expired"), "{refused}");
    assert!(
        !refused.contains("trying again"),
        "what cannot succeed is not tried again: {refused}"
    );
    scene.side.wait_empty();
    assert_eq!(
        scene.side.life(&run, "gated"),
        ["STEP_START", "STEP_SUCCESS"]
    );
    assert_eq!(scene.side.traced(&run, "gated").len(), 1);
}

#[test]
fn a_broker_that_is_killed_and_started_again_loses_nothing() {
    let mut scene = Scene::new("broker");
    let mut worker = scene.worker(2, &[]);
    let run = scene.side.launch("four");
    wait_until("two steps run", PATIENCE, || {
        let running = gated(4)
            .iter()
            .filter(|step| !scene.side.traced(&run, step).is_empty())
            .count();
        (running == 2).then_some(())
    });

    let Scene {
        broker,
        project,
        side,
        settings,
    } = scene;
    let broker = broker.restart();
    let mut scene = Scene {
        broker,
        project,
        side,
        settings,
    };
    scene.side.open_gate(&run, None);

    scene.side.wait_status(&run, "SUCCESS");
    scene.assert_lives(&run, &gated(4), &["STEP_START", "STEP_SUCCESS"]);
    scene.side.wait_empty();
    assert_eq!(worker.finish(), 0, "{}", worker.process.output());
}

#[test]
fn a_killed_warm_host_and_a_killed_run_worker_let_the_run_go_on() {
    let mut scene = Scene::new("host");
    let mut steps = scene.worker(2, &["--run-slots", "0"]);
    let runs = scene.worker(0, &[]);
    let run = scene.side.launch("four");
    wait_until("two steps run", PATIENCE, || {
        let running = gated(4)
            .iter()
            .filter(|step| !scene.side.traced(&run, step).is_empty())
            .count();
        (running == 2).then_some(())
    });

    let run_worker = scene.side.run_workers(&run)[0];
    signal(run_worker, "KILL");
    wait_until("the run is resumed", PATIENCE, || {
        (scene.side.run_workers(&run).len() == 2).then_some(())
    });

    // The step host: the parent of its steps.
    let loaded = steps.process.wait_for_line("loaded in");
    let host: u32 = loaded
        .rsplit("(pid ")
        .next()
        .unwrap()
        .trim_end_matches(')')
        .parse()
        .unwrap();
    let in_flight: Vec<String> = gated(4)
        .into_iter()
        .filter(|step| !scene.side.traced(&run, step).is_empty())
        .collect();
    signal(host, "KILL");
    // They die with their host: no step goes on without somebody who answers for it.
    for step in &in_flight {
        let pid = scene.side.traced(&run, step)[0];
        wait_until("the host's steps are gone", PATIENCE, || {
            (!alive(pid)).then_some(())
        });
    }
    scene.side.open_gate(&run, None);

    scene.side.wait_status(&run, "SUCCESS");
    for step in gated(4) {
        let life = scene.side.life(&run, &step);
        let expected: &[&str] = if in_flight.contains(&step) {
            &LOST_ONCE
        } else {
            &["STEP_START", "STEP_SUCCESS"]
        };
        assert_eq!(life, expected, "{step}");
    }
    assert!(!alive(run_worker));
    scene.side.wait_empty();
    drop(runs);
}

#[test]
fn steps_that_kill_their_own_process_are_retried_by_their_policy_or_fail_with_the_signal() {
    let mut scene = Scene::new("crashing");
    let _worker = scene.worker(3, &[]);
    let retried = scene.side.launch("crashing");
    let failed = scene.side.launch("dying");

    scene.side.wait_status(&retried, "SUCCESS");
    let steps = ["by_exit", "by_segfault", "by_signal"].map(str::to_owned);
    scene.assert_lives(&retried, &steps, &RETRIED_ONCE);
    let reason = |scene: &mut Scene, run: &str, step: &str, kind: &str| {
        let events = scene.side.events(run, Some(step));
        let event = events.iter().find(|event| event["type"] == kind).unwrap();
        event["message"].as_str().unwrap().to_owned()
    };
    for (step, how) in [
        ("by_exit", "exit code 3"),
        ("by_segfault", "SIGSEGV"),
        ("by_signal", "SIGKILL"),
    ] {
        let pid = scene.side.traced(&retried, step)[0].to_string();
        let said = reason(&mut scene, &retried, step, "STEP_UP_FOR_RETRY");
        assert!(
            said.contains(how) && said.contains(&pid) && said.contains("host "),
            "{said}"
        );
        // Told by whoever reaped the process: nobody had to wait for a lease to end.
        let events = scene.side.events(&retried, Some(step));
        let counts = events.iter().map(|e| &e["metadata"]["receive_count"]);
        let counts: Vec<&str> = counts.filter_map(|count| count.as_str()).collect();
        assert_eq!(counts, ["1", "1"], "{step}");
    }
    scene.side.wait_status(&failed, "FAILURE");
    let said = reason(&mut scene, &failed, "dies", "STEP_FAILURE");
    assert!(said.contains("signal 9") && said.contains("pid "), "{said}");
    scene.side.wait_empty();
}
