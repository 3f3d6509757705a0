//! Priority and queues as a worker serves them: bands, starvation, run slots, FIFO groups, queues
//! that appear later.

use crate::support;

use std::time::Instant;

use dagster_taskiq_tui::domain::{QueueRole, SourceHealth, SourceKind};
use dagster_taskiq_tui::queue_ops::queue_depth::COUNTS;
use serde_json::json;
use support::proxy::Proxy;
use support::scene::{SETTINGS, Scene};
use support::{PATIENCE, Worker, wait_until};

const BANDS: &str = "priority_bands: [{name: high, min: 8}, {name: normal, min: 3}, {name: low}]\n";

/// A scene with the queues of the bands; their URLs, high and low.
fn banded(queue: &str, settings: &str) -> (Scene, String, String) {
    let mut scene = Scene::with(queue, &format!("{SETTINGS}{BANDS}{settings}"));
    let high = scene.side.create_queue(&format!("{queue}-high"), None);
    let low = scene.side.create_queue(&format!("{queue}-low"), None);
    (scene, high, low)
}

#[test]
fn a_high_step_starts_next_although_500_low_ones_wait() {
    let (mut scene, high, low) = banded("backlog", "");
    let run = scene.side.make_run("many");
    let bodies: Vec<String> = (0..500)
        .map(|n| scene.side.step(&run, &format!("low_{n}"), 0))
        .collect();
    scene.side.send_to(&low, &bodies);
    let _worker = scene.worker(1, &[]);
    let running = |scene: &Scene| -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(scene.side.traces(&run)) else {
            return Vec::new();
        };
        let names = entries
            .flatten()
            .map(|entry| entry.file_name().into_string().unwrap());
        names.filter(|name| !name.starts_with("go")).collect()
    };
    let first = wait_until("a low one runs", PATIENCE, || running(&scene).pop());

    let urgent = scene.side.step(&run, "high", 9);
    scene.side.send_to(&high, &[urgent]);
    scene.side.open_gate(&run, Some(&first));
    let next = wait_until("the next one runs", PATIENCE, || {
        running(&scene).into_iter().find(|name| *name != first)
    });
    assert_eq!(next, "high");
}

#[test]
fn a_low_step_has_its_turn_while_high_ones_keep_coming() {
    let (mut scene, high, low) = banded("starving", "starvation_guard: 3\n");
    let run = scene.side.make_run("seconds");
    let bodies: Vec<String> = (0..20)
        .map(|n| scene.side.step(&run, &format!("high_{n}"), 9))
        .collect();
    scene.side.send_to(&high, &bodies);
    let body = scene.side.step(&run, "low", 0);
    scene.side.send_to(&low, &[body]);
    let _worker = scene.worker(1, &[]);
    let order = scene.project.home().join("traces/order");
    let started = wait_until("the low one starts", PATIENCE, || {
        let text = std::fs::read_to_string(&order).unwrap_or_default();
        let started: Vec<String> = text.lines().map(str::to_owned).collect();
        started.contains(&"low".to_owned()).then_some(started)
    });
    // Each takes a second at least, so the guard's three seconds are over after three of them; the
    // bands' weights alone would let eight go first.
    assert!(started.len() <= 6, "{started:?}");
}

#[test]
fn four_runs_on_four_run_slots_share_one_step_slot_without_a_deadlock() {
    for separate in [true, false] {
        let mut scene = Scene::new("deadlock");
        if !separate {
            // Runs and steps share the base queue, as with older senders.
            let runs = format!("{}-runs", scene.project.queue_url());
            let script = format!(
                "import boto3; boto3.client('sqs', endpoint_url='{}').delete_queue(QueueUrl='{runs}')",
                scene.broker.endpoint
            );
            scene.project.python(&script);
        }
        let proxy = Proxy::start(&scene.broker.endpoint, &[]);
        let url = scene
            .project
            .queue_url()
            .replace(&scene.broker.endpoint, &proxy.endpoint);
        let args = [
            "-y",
            &scene.settings,
            "--run-slots",
            "4",
            "--queue-url",
            &url,
            "--endpoint-url",
            &proxy.endpoint,
        ];
        let _worker = Worker::start(&scene.project, 1, &args);
        let runs: Vec<String> = (0..4).map(|_| scene.side.launch("three")).collect();
        for run in &runs {
            scene.side.wait_status(run, "SUCCESS");
        }
        scene.side.wait_empty();
    }
}

#[test]
fn steps_of_a_fifo_queue_run_beside_each_other() {
    let mut scene = Scene::new("ordered.fifo");
    let _worker = scene.worker(4, &[]);
    let run = scene.side.launch("four");
    for n in 0..4 {
        scene.side.wait_traced(&run, &format!("gated_{n}"));
    }
    scene.side.open_gate(&run, None);
    scene.side.wait_status(&run, "SUCCESS");
    scene.side.wait_empty();
}

#[test]
fn a_band_and_a_runs_queue_that_are_created_later_are_served() {
    let mut scene = Scene::with("late", &format!("{SETTINGS}{BANDS}"));
    scene.side.create_queue("late-low", None);
    // Only the embedded broker's missing queues are made by the worker: this hides that it is one.
    let proxy = Proxy::start(&scene.broker.endpoint, &[]);
    let url = scene
        .project
        .queue_url()
        .replace(&scene.broker.endpoint, &proxy.endpoint);
    let args = [
        "-y",
        &scene.settings,
        "--queue-url",
        &url,
        "--endpoint-url",
        &proxy.endpoint,
    ];
    let mut worker = Worker::start(&scene.project, 1, &args);
    assert!(
        worker
            .process
            .output()
            .contains("going on without it until it exists")
    );

    let high = scene.side.create_queue("late-high", None);
    worker
        .process
        .wait_for_line("the queue late-high exists now and is served");
    let run = scene.side.make_run("three");
    let body = scene.side.step(&run, "good_0", 9);
    scene.side.send_to(&high, &[body]);
    scene.side.wait_traced(&run, "good_0");
    let arguments = json!({"endpoint": scene.broker.endpoint, "url": high});
    wait_until("the band is empty", PATIENCE, || {
        (scene.side.ask("counts", &arguments) == json!([0, 0])).then_some(())
    });
}

#[test]
fn a_worker_subscribed_to_a_named_queue_leaves_the_base_queue_alone() {
    let mut scene = Scene::new("named");
    let gpu = scene.side.create_queue("gpu", None);
    let settings = scene
        .project
        .yaml(&format!("{SETTINGS}queues: {{gpu: '{gpu}'}}\n"));
    let worker = Worker::start(&scene.project, 2, &["-y", &settings, "-q", "gpu"]);
    let run = scene.side.make_run("three");
    let bodies = ["good_0", "good_1"].map(|step| scene.side.step(&run, step, 5));
    scene.side.send(&bodies[..1]);
    scene.side.send_to(&gpu, &bodies[1..]);
    wait_until("the named queue's step ended", PATIENCE, || {
        (worker.status().worker.finished == 1).then_some(())
    });
    assert_eq!(scene.side.counts(), (1, 0));
    assert!(scene.side.traced(&run, "good_0").is_empty());

    // It tells of the base queue all the same, so that somebody notices that nobody serves it.
    let status = wait_until("the base queue is counted", PATIENCE, || {
        let status = worker.status();
        let base = status.queues.iter().find(|queue| queue.name == "named")?;
        (base.counts?.visible == 1).then_some(status)
    });
    assert_eq!(status.worker.queues, ["gpu"]);
}

#[test]
fn a_dead_letter_queue_that_a_queue_is_given_later_is_told_of_while_it_has_it() {
    let mut scene = Scene::new("paired");
    let worker = scene.worker(1, &[]);
    let dead = |worker: &Worker| -> Vec<String> {
        let status = worker.status();
        let dead = status
            .queues
            .iter()
            .filter(|q| q.role == QueueRole::DeadLetter);
        dead.map(|queue| queue.name.clone()).collect()
    };
    wait_until("the first one is told", PATIENCE, || {
        (dead(&worker) == ["paired-dead"]).then_some(())
    });

    scene.side.create_queue("another", None);
    let pair = |policy: &str| {
        let (endpoint, url) = (&scene.broker.endpoint, scene.project.queue_url());
        scene.project.python(&format!(
            "import boto3; boto3.client('sqs', endpoint_url='{endpoint}').set_queue_attributes(\
             QueueUrl='{url}', Attributes={{'RedrivePolicy': '{policy}'}})"
        ));
    };
    let arn = "arn:aws:sqs:us-east-1:000000000000:another";
    pair(&format!(
        r#"{{"deadLetterTargetArn": "{arn}", "maxReceiveCount": 5}}"#
    ));
    wait_until("the other one is told in its place", PATIENCE, || {
        (dead(&worker) == ["another"]).then_some(())
    });
    pair("");
    wait_until("it is told no more", PATIENCE, || {
        dead(&worker).is_empty().then_some(())
    });
}

#[test]
fn a_broker_that_takes_connections_and_answers_none_is_told_as_down_until_it_answers() {
    let scene = Scene::new("silent");
    let worker = scene.worker(1, &[]);
    let health = || {
        let sources = worker.status().sources.clone();
        let mut brokers = sources
            .iter()
            .filter(|source| source.kind == SourceKind::Broker);
        brokers.next().map(|broker| broker.health.clone())
    };
    let up = || (health() == Some(SourceHealth::Up)).then_some(());
    wait_until("the broker is up", PATIENCE, up);
    scene.broker.process.signal("STOP");
    let reason = wait_until("it is told as down", PATIENCE, || match health() {
        Some(SourceHealth::Down { reason }) => Some(reason),
        _ => None,
    });
    assert!(reason.starts_with("no answer within"), "{reason}");
    let queues = worker.status().queues.clone();
    assert!(
        queues.iter().all(|queue| queue.counts.is_some()),
        "the last counts stay: {queues:?}"
    );
    scene.broker.process.signal("CONT");
    wait_until("the broker is up again", PATIENCE, up);
}

#[test]
fn a_worker_counts_its_queues_only_while_somebody_looks_at_it() {
    let mut scene = Scene::new("unseen");
    let proxy = Proxy::start(&scene.broker.endpoint, &[]);
    let url = scene
        .project
        .queue_url()
        .replace(&scene.broker.endpoint, &proxy.endpoint);
    let args = ["--queue-url", &url, "--endpoint-url", &proxy.endpoint];
    let worker = scene.worker(1, &args);
    let counted = || proxy.asked("GetQueueAttributes");
    // Once at its start: the base queue, the runs queue and the dead-letter queue.
    wait_until("the first count", PATIENCE, || {
        (counted() >= 3).then_some(())
    });
    // Whoever asked whether it is up is expected back for a moment.
    let (mut last, mut since) = (counted(), Instant::now());
    wait_until("nobody is expected back", PATIENCE, || {
        if counted() != last {
            (last, since) = (counted(), Instant::now());
        }
        (since.elapsed() > 3 * COUNTS).then_some(())
    });
    let (begin, before) = (Instant::now(), counted());
    while begin.elapsed() < 2 * COUNTS {
        let run = scene.side.launch("three");
        scene.side.wait_status(&run, "SUCCESS");
    }
    assert_eq!(counted(), before, "nobody has looked");
    assert!(
        worker.status().worker.finished >= 3,
        "who comes sees what was"
    );
    wait_until("a count for who came", PATIENCE, || {
        (counted() > before).then_some(())
    });
}
