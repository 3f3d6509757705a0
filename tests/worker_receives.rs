//! Receives are few: SQS itself moves a message away after a number of them, and tells nobody. None
//! is spent without need, and where a message is lost all the same, no run waits for ever.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "local_broker/http.rs"]
mod http;
mod support;

use http::send_raw;
use serde_json::Value;
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
fn counts(scene: &Scene, queue: &str) -> [u64; 3] {
    let address = scene.broker.endpoint.trim_start_matches("http://");
    let host = [format!("Host: {address}")];
    let answer = send_raw(address, "GET /_dtq/status", &host, "");
    let status: Value = serde_json::from_str(&answer.body).unwrap();
    let counts = &status["queues"][queue];
    ["waiting", "in_flight", "delayed"].map(|name| counts[name].as_u64().unwrap())
}

#[test]
fn a_step_of_days_keeps_its_message_however_few_receives_it_has() {
    for receives in [3, 10] {
        let mut scene = Scene::limited("days", SETTINGS, receives);
        // Slots for what comes again.
        let mut worker = scene.worker(2, &["--run-slots", "2"]);
        let run = scene.side.launch("single");
        scene.side.wait_traced(&run, "gated");
        for _ in 0..4 {
            advance(&scene, HALF_A_DAY);
            for queue in ["days", "days-runs"] {
                wait_until("the message is in hand again", PATIENCE, || {
                    let counts = counts(&scene, queue);
                    if counts[2] > 0 {
                        // A copy with fresh receives, which rests for one visibility timeout.
                        advance(&scene, 11);
                    }
                    (counts == [0, 1, 0]).then_some(())
                });
            }
        }
        scene.side.open_gate(&run, None);
        scene.side.wait_status(&run, "SUCCESS");
        wait_until("all messages are gone", PATIENCE, || {
            let left = ["days", "days-runs", "days-dead"].map(|queue| counts(&scene, queue));
            if left.iter().any(|counts| counts[2] > 0) {
                advance(&scene, 11);
            }
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
    let (endpoint, url) = (&scene.broker.endpoint, scene.project.queue_url());
    scene.project.python(&format!(
        "import boto3; boto3.client('sqs', endpoint_url='{endpoint}').purge_queue(QueueUrl='{url}')"
    ));
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
