//! Receives are few: SQS itself moves a message away after a number of them, and tells nobody. None
//! is spent without need, and where a message is lost all the same, no run waits for ever.

use crate::http;
use crate::support;

use std::collections::HashMap;

use http::send_raw;
use serde_json::{Value, json};
use support::scene::{SETTINGS, Scene};
use support::side::alive;
use support::{PATIENCE, Worker, wait_until};

/// After so long SQS renews no lease, in seconds.
const HALF_A_DAY: u32 = 43_200;

/// Moves the broker's clock.
fn advance(scene: &Scene, seconds: u32) {
    let address = scene.broker.endpoint.trim_start_matches("http://");
    let host = [format!("Host: {address}")];
    let body = format!("{{\"advance_seconds\": {seconds}}}");
    let answer = send_raw(address, "POST /_dtq/clock", &host, &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// A queue's messages: waiting, in flight, delayed.
fn counts_of(scene: &Scene, queue: &str) -> [u64; 3] {
    let address = scene.broker.endpoint.trim_start_matches("http://");
    let host = [format!("Host: {address}")];
    let answer = send_raw(address, "GET /_dtq/status", &host, "");
    let status: Value = serde_json::from_str(&answer.body).unwrap();
    let counts = &status["queues"][queue];
    ["waiting", "in_flight", "delayed"].map(|name| counts[name].as_u64().unwrap())
}

/// Removes all messages of a queue, those in flight too.
fn purge(scene: &Scene, url: &str) {
    let endpoint = &scene.broker.endpoint;
    scene.project.python(&format!(
        "import boto3; boto3.client('sqs', endpoint_url='{endpoint}').purge_queue(QueueUrl='{url}')"
    ));
}

#[test]
fn a_step_of_days_keeps_its_message_however_few_receives_it_has() {
    for receives in [3, 10] {
        let mut scene = Scene::limited("days", SETTINGS, receives);
        // Slots for what comes again.
        let mut worker = scene.worker(2, &["--run-slots", "2"]);
        let run = scene.side.launch("single");
        scene.side.wait_traced(&run, "gated");
        for times in 1..=3 {
            advance(&scene, HALF_A_DAY);
            // A copy with fresh receives rests for one visibility timeout first.
            wait_until("both messages are in hand again", PATIENCE, || {
                let output = worker.process.output();
                let again = |name: &str| output.matches(&format!("{name} came again")).count();
                (again("gated") >= times && again("execute_job") >= times).then_some(())
            });
        }
        scene.side.open_gate(&run, None);
        scene.side.wait_status(&run, "SUCCESS");
        wait_until("all messages are gone", PATIENCE, || {
            let left = ["days", "days-runs", "days-dead"].map(|queue| counts_of(&scene, queue));
            (left == [[0; 3]; 3]).then_some(())
        });
        assert_eq!(
            scene.side.life(&run, "gated"),
            ["STEP_START", "STEP_SUCCESS"]
        );
        assert_eq!(worker.finish(), 0);
    }
}

#[test]
fn a_step_whose_message_was_purged_is_tried_again_when_its_worker_dies() {
    let mut scene = Scene::new("purged");
    // A run worker that looks after its steps each second.
    let args = ["-y", &scene.settings, "--run-slots", "1"];
    let often = [("DAGSTER_TASKIQ_RESEND_AFTER", "15")];
    let _runs = Worker::start_with(&scene.project, 0, &args, &often);
    let run = scene.side.launch("single");
    wait_until("the run has a worker", PATIENCE, || {
        (scene.side.run_workers(&run).len() == 1).then_some(())
    });
    let mut victim = scene.worker(1, &["--run-slots", "0"]);
    let pid = scene.side.wait_traced(&run, "gated");
    purge(&scene, scene.project.queue_url());
    victim.process.signal("KILL");
    victim.process.wait(PATIENCE);
    wait_until("its step is dead", PATIENCE, || (!alive(pid)).then_some(()));
    scene.side.open_gate(&run, None);
    let _other = scene.worker(1, &["--run-slots", "0"]);
    scene.side.wait_status(&run, "SUCCESS");
    let life = [
        "STEP_START",
        "STEP_UP_FOR_RETRY",
        "STEP_START",
        "STEP_SUCCESS",
    ];
    assert_eq!(scene.side.life(&run, "gated"), life);
}

#[test]
fn a_run_whose_message_was_purged_goes_on_when_its_worker_dies() {
    let mut scene = Scene::new("purged");
    let mut victim = scene.worker(0, &["--run-slots", "1"]);
    let _steps = scene.worker(1, &["--run-slots", "0"]);
    let run = scene.side.launch("single");
    scene.side.wait_traced(&run, "gated");
    purge(&scene, &format!("{}-runs", scene.project.queue_url()));
    victim.process.signal("KILL");
    victim.process.wait(PATIENCE);
    let _other = scene.worker(0, &["--run-slots", "1"]);
    wait_until("the run has another worker", PATIENCE, || {
        (scene.side.run_workers(&run).len() == 2).then_some(())
    });
    scene.side.open_gate(&run, None);
    scene.side.wait_status(&run, "SUCCESS");
    let life = ["STEP_START", "STEP_SUCCESS"];
    assert_eq!(scene.side.life(&run, "gated"), life);
}

#[test]
fn bands_spend_no_receives_on_workers_that_are_full() {
    const WORKERS: usize = 5;
    const MESSAGES: usize = 200;
    let bands = "priority_bands: [{name: high, min: 8}, {name: normal, min: 3}, {name: low}]\n";
    let mut scene = Scene::with("bands", &format!("{SETTINGS}{bands}"));
    let urls = ["-high", "", "-low"].map(|suffix| {
        let name = format!("bands{suffix}");
        match suffix {
            "" => scene.project.queue_url().to_owned(),
            _ => scene.side.create_queue(&name, None),
        }
    });
    // Of a run that is over: they take a look-up each.
    let run = scene.side.make_run("three");
    let canceled = json!({"run_id": run, "status": "CANCELED"});
    scene.side.ask("set_status", &canceled);
    let body = scene.side.step(&run, "good_0", 5);
    let workers: Vec<Worker> = (0..WORKERS)
        .map(|_| scene.worker(1, &["--run-slots", "0"]))
        .collect();
    // A few at a time, so that full workers have open polls on the other bands.
    for start in (0..MESSAGES).step_by(4) {
        let message = |n: usize| {
            let mut message: Value = serde_json::from_str(&body).unwrap();
            message["task_id"] = json!(format!("{:032x}", start + n));
            message.to_string()
        };
        let url = &urls[start / 4 % 3];
        scene
            .side
            .send_to(url, &[message(0), message(1), message(2), message(3)]);
    }
    let received = wait_until("all are done", PATIENCE, || {
        let mut counts = HashMap::new();
        for worker in &workers {
            for task in &worker.status().recent {
                let most = counts.entry(task.task_id.clone()).or_insert(0);
                *most = task.receive_count.max(*most);
            }
        }
        let empty = ["bands", "bands-high", "bands-low"];
        let is_empty = empty.iter().all(|queue| counts_of(&scene, queue) == [0; 3]);
        (is_empty && counts.len() == MESSAGES).then_some(counts)
    });
    let mut received: Vec<u32> = received.into_values().collect();
    received.sort_unstable();
    let (median, most) = (received[MESSAGES / 2], received[MESSAGES - 1]);
    assert!(median == 1 && most <= 3, "{received:?}");
}

#[test]
fn a_run_is_ended_by_rule_before_sqs_moves_its_message_away() {
    let mut scene = Scene::limited("stuck", &format!("{SETTINGS}max_deliveries: 10\n"), 3);
    let worker = scene.worker(1, &[]);
    let run = scene.side.launch("single");
    for times in 1..=2 {
        let pid = wait_until("a run worker announces itself", PATIENCE, || {
            let pids = scene.side.run_workers(&run);
            (pids.len() == times).then(|| pids[times - 1])
        });
        support::signal(pid, "KILL");
    }
    scene.side.wait_status(&run, "FAILURE");
    let text = worker.process.output();
    assert!(text.contains("2 run workers began the run"), "{text}");
}
