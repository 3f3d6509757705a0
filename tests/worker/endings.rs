//! How tasks end that are not simply run: cancelled, poisoned, removed, refused by SQS. Nobody
//! waits for a message that is gone, and nothing spins.

use crate::support;

use dagster_taskiq_tui::domain::{Command, Phase, QueueRole, Reply, TaskOutcome};
use serde_json::{Value, json};
use support::scene::{SETTINGS, Scene};
use support::side::{alive, body};
use support::{PATIENCE, Worker, wait_until};

/// The last event of a type of a step.
fn event(scene: &mut Scene, run: &str, step: &str, kind: &str) -> Value {
    let events = scene.side.events(run, Some(step));
    let found = events.iter().rfind(|event| event["type"] == kind);
    found
        .unwrap_or_else(|| panic!("{step} has no {kind}: {events:#?}"))
        .clone()
}

#[test]
fn cancelling_a_run_ends_its_steps_and_all_that_they_started_on_every_worker() {
    // With a grace period that no test outlasts, what ends was ended by the interrupt alone.
    let mut scene = Scene::with("cancel", "visibility_timeout: 10\ncancel_grace: 3600\n");
    let mut runs = scene.worker(0, &[]);
    let mut steps = scene.worker(2, &["--run-slots", "0"]);
    let cancel = |scene: &mut Scene, job: &str, names: &[&str]| {
        let run = scene.side.launch(job);
        let pids: Vec<u32> = names
            .iter()
            .map(|name| scene.side.wait_traced(&run, name))
            .collect();
        scene.side.ask("terminate", &json!({"run_id": run}));
        let asked = std::time::Instant::now();
        wait_until("its processes are gone", PATIENCE, || {
            (!pids.iter().any(|pid| alive(*pid))).then_some(())
        });
        let after = asked.elapsed().as_millis();
        println!("{names:?} were gone {after} ms after the request");
        scene.side.wait_status(&run, "CANCELED");
        scene.side.wait_empty();
        let life = scene.side.life(&run, names[0]);
        assert!(!life.contains(&"STEP_UP_FOR_RETRY".to_owned()), "{life:?}");
    };
    cancel(&mut scene, "interrupted", &["has_grandchild", "grandchild"]);

    assert_eq!(steps.finish(), 0, "{}", steps.process.output());
    let settings = scene.project.yaml("cancel_grace: 1\n");
    let mut steps = Worker::start(&scene.project, 1, &["-y", &settings, "--run-slots", "0"]);
    cancel(&mut scene, "stubborn", &["ignores_interrupts"]);
    for worker in [&mut runs, &mut steps] {
        assert_eq!(worker.finish(), 0, "{}", worker.process.output());
    }
}

#[test]
fn cancelling_a_runs_task_on_its_worker_cancels_the_run() {
    let mut scene = Scene::new("task");
    let worker = scene.worker(1, &[]);
    let run = scene.side.launch("single");
    let pid = scene.side.wait_traced(&run, "gated");
    let status = worker.status();
    let task = status.tasks.iter().find(|task| task.kind.is_run()).unwrap();
    let reply = worker.call(Command::CancelTask {
        task_id: task.task_id.clone(),
    });
    assert!(matches!(&reply, Reply::Done(_)), "{reply:?}");
    scene.side.wait_status(&run, "CANCELED");
    wait_until("its step is gone", PATIENCE, || (!alive(pid)).then_some(()));
    scene.side.wait_empty();
}

#[test]
fn a_run_that_is_cancelled_while_it_waits_never_starts() {
    let mut scene = Scene::new("waiting");
    let run = scene.side.launch("three");
    scene.side.ask("terminate", &json!({"run_id": run}));
    let mut worker = scene.worker(2, &[]);
    worker
        .process
        .wait_for_line("execute_job not run: its run is CANCELED");
    scene.side.wait_status(&run, "CANCELED");
    assert!(!scene.side.traces(&run).exists());
}

#[test]
fn the_last_message_of_a_cancelled_run_whose_worker_is_gone_ends_the_run() {
    let mut scene = Scene::new("orphan");
    let mut runs = scene.worker(0, &[]);
    let run = scene.side.launch("single");
    scene.side.wait_status(&run, "STARTED");
    wait_until("its step is sent", PATIENCE, || {
        (scene.side.counts().0 == 1).then_some(())
    });
    runs.process.signal("KILL");
    runs.process.wait(PATIENCE);
    scene
        .side
        .ask("set_status", &json!({"run_id": run, "status": "CANCELING"}));

    // It takes no runs, so the run's own message does not reach it.
    let _steps = scene.worker(1, &["--run-slots", "0"]);
    scene.side.wait_status(&run, "CANCELED");
    scene.side.wait_empty();
    assert!(scene.side.traced(&run, "gated").is_empty());
}

#[test]
fn a_step_that_is_held_and_cancelled_is_ended_before_its_message_goes() {
    let mut scene = Scene::with("held", &format!("{SETTINGS}prefetch: 3\n"));
    let worker = scene.worker(1, &[]);
    let run = scene.side.make_run("four");
    let bodies = [
        scene.side.step(&run, "gated_0", 9),
        scene.side.step(&run, "gated_1", 5),
    ];
    scene.side.send(&bodies[..1]);
    scene.side.wait_traced(&run, "gated_0");
    scene.side.send(&bodies[1..]);
    let held = wait_until("the second one is held", PATIENCE, || {
        let status = worker.status();
        let held = status.tasks.iter().find(|task| task.phase == Phase::Held)?;
        Some(held.task_id.clone())
    });

    let reply = worker.call(Command::CancelTask { task_id: held });
    assert!(matches!(&reply, Reply::Done(_)), "{reply:?}");
    let failure = event(&mut scene, &run, "gated_1", "STEP_FAILURE");
    assert_eq!(failure["error"], "dagster_taskiq.StepCanceled");
    wait_until("its message is gone", PATIENCE, || {
        (scene.side.counts() == (0, 1)).then_some(())
    });
    scene.side.open_gate(&run, None);
    scene.side.wait_empty();
    assert!(scene.side.traced(&run, "gated_1").is_empty());
    assert_eq!(
        scene.side.life(&run, "gated_0"),
        ["STEP_START", "STEP_SUCCESS"]
    );
}

#[test]
fn what_nobody_can_run_is_dead_lettered_with_the_reason_shown_and_ended() {
    let mut scene = Scene::new("poison");
    let worker = scene.worker(2, &[]);
    let run = scene.side.make_run("three");
    let message = scene
        .side
        .ask("step_message", &json!({"run_id": run, "step": "good_0"}));
    let labels = json!({"dtq": "1", "attempt": "1"});
    let broken = json!({"job": "steps", "status": "STARTED", "file": "broken.py", "load": false});
    let broken = scene.side.ask("make_run", &broken)["run_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let unknown_run = message
        .to_string()
        .replace(&run, "00000000-0000-0000-0000-000000000000");
    let mut nowhere = message.clone();
    nowhere["execute_step_args_packed"]["pipeline_origin"]["repository_origin"] = Value::Null;
    let bodies = [
        "hello".to_owned(),
        body("send_mail", &json!({}), &labels),
        body(
            "execute_plan",
            &serde_json::from_str(&unknown_run).unwrap(),
            &labels,
        ),
        scene.side.step(&broken, "good", 5),
        body("execute_plan", &nowhere, &labels),
    ];
    scene.side.send(&bodies);
    scene.side.wait_empty();

    let dead = scene.project.queue_url().replace("poison", "poison-dead");
    let arguments = json!({"endpoint": scene.broker.endpoint, "url": dead});
    let letters = scene.side.ask("receive", &arguments);
    let reasons: Vec<&str> = letters
        .as_array()
        .unwrap()
        .iter()
        .map(|letter| letter["attributes"]["dtq_reason"].as_str().unwrap())
        .collect();
    for words in [
        "not a Taskiq message",
        "send_mail",
        "does not exist",
        "the warehouse is closed",
        "where its code is",
    ] {
        assert!(
            reasons.iter().any(|reason| reason.contains(words)),
            "{words}: {reasons:#?}"
        );
    }
    let ended = event(&mut scene, &broken, "good", "STEP_FAILURE");
    assert!(
        ended["message"]
            .as_str()
            .unwrap()
            .contains("the warehouse is closed"),
        "{ended}"
    );
    event(&mut scene, &run, "good_0", "STEP_FAILURE");

    wait_until("all of them are shown", PATIENCE, || {
        let status = worker.status();
        let is_dead = |phase: &Phase| {
            matches!(
                phase,
                Phase::Done {
                    outcome: TaskOutcome::DeadLettered { .. },
                    ..
                }
            )
        };
        let shown = status.recent.iter().filter(|task| is_dead(&task.phase));
        (shown.count() == bodies.len()).then_some(())
    });
    let counted = wait_until("the dead letters are counted", PATIENCE, || {
        let status = worker.status();
        let queue = status
            .queues
            .iter()
            .find(|queue| queue.role == QueueRole::DeadLetter)?;
        queue.counts.filter(|counts| counts.visible == 5)
    });
    assert_eq!(counted.in_flight, 0);
    assert!(
        worker
            .process
            .output()
            .contains("asks for the task \"send_mail\"")
    );
}

#[test]
fn what_nobody_can_run_is_kept_and_shown_where_there_is_no_dead_letter_queue() {
    let mut scene = Scene::new("kept");
    let runs = format!("{}-runs", scene.project.queue_url());
    let mut worker = scene.worker(1, &[]);
    scene.side.send_to(&runs, &["hello".to_owned()]);
    worker
        .process
        .wait_for_line("kept-runs has no dead-letter queue");
    wait_until("it is shown", PATIENCE, || {
        let status = worker.status();
        let reason = match &status.recent.front()?.phase {
            Phase::Done { outcome, .. } => outcome.reason()?.to_owned(),
            _ => return None,
        };
        reason.contains("not a Taskiq message").then_some(())
    });
    // Longer than the lease: it is hidden, not received again and again.
    std::thread::sleep(std::time::Duration::from_secs(12));
    let arguments = json!({"endpoint": scene.broker.endpoint, "url": runs});
    assert_eq!(scene.side.ask("counts", &arguments), json!([0, 1]));
    assert_eq!(worker.status().recent.len(), 1);
}

#[test]
fn a_run_that_no_run_worker_brings_to_an_end_is_put_away_after_max_deliveries() {
    let mut scene = Scene::with("stuck", &format!("{SETTINGS}max_deliveries: 2\n"));
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

#[test]
fn a_step_that_takes_every_worker_down_before_it_starts_is_put_away_after_max_deliveries() {
    let mut scene = Scene::with("deadly", &format!("{SETTINGS}max_deliveries: 2\n"));
    let run = scene.side.make_run("deadly");
    let body = scene.side.step(&run, "poisoned", 5);
    scene.side.send(&[body]);
    for _ in 0..2 {
        let mut victim = scene.worker(1, &[]);
        assert_eq!(victim.process.wait(PATIENCE), 128 + 9);
    }
    let mut worker = scene.worker(1, &[]);
    worker.process.wait_for_line("2 processes began attempt 1");
    scene.side.wait_empty();
    let failure = event(&mut scene, &run, "poisoned", "STEP_FAILURE");
    assert!(
        failure["message"]
            .as_str()
            .unwrap()
            .contains("max_deliveries is 2"),
        "{failure}"
    );
    assert_eq!(worker.finish(), 0);
}

#[test]
fn a_worker_that_may_not_delete_or_renew_says_so_and_runs_nothing_twice() {
    for (action, words) in [
        // One permission each for a call and its batch.
        ("DeleteMessage", "cannot delete message"),
        ("ChangeMessageVisibility", "cannot renew 1 lease on"),
    ] {
        let mut scene = Scene::new("denied");
        scene.broker.fault(&json!({
            "kind": "error",
            "code": "AccessDenied",
            "message": "User: arn:aws:iam::000000000000:user/worker is not authorized to perform \
                        this action",
            "action": [action, format!("{action}Batch")],
        }));
        let mut worker = scene.worker(1, &[]);
        let run = scene.side.make_run("single");
        let message = scene.side.step(&run, "gated", 5);
        scene.side.send(&[message]);
        scene.side.wait_traced(&run, "gated");
        if action == "DeleteMessage" {
            scene.side.open_gate(&run, None);
        }
        let line = worker.process.wait_for_line(words);
        assert!(
            line.contains("access denied") && line.contains("permission"),
            "{line}"
        );
        scene.side.open_gate(&run, None);
        if action == "DeleteMessage" {
            worker.process.wait_for_line("gated had ended before");
        } else {
            scene.side.wait_empty();
        }
        assert_eq!(
            scene.side.life(&run, "gated"),
            ["STEP_START", "STEP_SUCCESS"]
        );
    }
}

#[test]
fn an_outage_in_which_no_lease_is_renewed_is_two_lines_of_the_log_however_long_it_lasts() {
    let mut scene = Scene::new("away");
    let mut worker = scene.worker(1, &[]);
    let run = scene.side.make_run("single");
    let message = scene.side.step(&run, "gated", 5);
    scene.side.send(&[message]);
    scene.side.wait_traced(&run, "gated");
    // The SDK makes three requests of each renewal.
    scene.broker.fault(&json!({
        "kind": "error",
        "code": "InternalError",
        "message": "away",
        "action": "ChangeMessageVisibilityBatch",
        "count": 8,
    }));
    worker
        .process
        .wait_for_line("leases on away are renewed again");
    let output = worker.process.output();
    assert_eq!(output.matches("cannot renew").count(), 1, "{output}");
    scene.side.open_gate(&run, None);
    scene.side.wait_empty();
    assert_eq!(worker.finish(), 0);
}
