//! A queue that is paused for the whole deployment.

use dagster_taskiq_tui::domain::{Answer, Command, Query, Reply};
use serde_json::Value;

use crate::queue_operations::Shell;
use crate::support::scene::Scene;
use crate::support::{PATIENCE, Worker, wait_until};

const QUEUE: &str = "pausing";

fn wait_paused(worker: &Worker, paused: bool) {
    wait_until("the pause in the worker's state", PATIENCE, || {
        let known = worker.status().paused_queues.contains_key(QUEUE);
        (known == paused).then_some(())
    });
}

/// The reasons why a step does not start, as the worker explains them.
fn explained(worker: &Worker, run: &str, step: &str) -> String {
    let query = Query::Explain {
        run_id: run.to_owned(),
        step_key: Some(step.to_owned()),
    };
    let reply = worker.call(Command::Query(query));
    let Reply::Answer(answer) = reply else {
        panic!("{reply:?}");
    };
    let Answer::Explanation(found) = *answer else {
        panic!("{answer:?}");
    };
    let reasons = found.reasons.iter().map(|reason| reason.text.as_str());
    reasons.collect::<Vec<_>>().join(" ")
}

#[test]
fn no_worker_receives_from_a_paused_queue_until_it_is_resumed_also_none_that_starts_later() {
    let mut scene = Scene::new(QUEUE);
    let shell = Shell::new(&scene);
    let mut first = scene.worker(2, &[]);
    let pause = ["pause", QUEUE, "--reason", "the warehouse is down"];
    let done = shell.json(&scene, &pause);
    assert_eq!(done[0]["failed"], false, "{done:?}");
    wait_paused(&first, true);
    assert_eq!(first.finish(), 0);

    // The other queues are received from: the run starts, and its steps wait.
    let second = scene.worker(2, &[]);
    let run = scene.side.launch("three");
    wait_until("the steps wait", PATIENCE, || {
        (scene.side.counts() == (3, 0)).then_some(())
    });
    let why = explained(&second, &run, "good_0");
    assert!(why.contains("paused that queue"), "{why}");
    assert!(why.contains("the warehouse is down"), "{why}");
    let shown: Vec<Value> = shell.json(&scene, &["peek", QUEUE]);
    for message in &shown {
        assert_eq!(message["receive_count"], 0, "{message}");
    }

    shell.json(&scene, &["resume", QUEUE]);
    scene.side.wait_status(&run, "SUCCESS");
    wait_paused(&second, false);
    let audit: Vec<(String, Option<String>)> = shell
        .audit()
        .into_iter()
        .map(|entry| (entry.verb, entry.reason))
        .collect();
    let reason = Some(String::from("the warehouse is down"));
    let expected = [("queue pause", reason), ("queue resume", None)];
    assert_eq!(audit, expected.map(|(verb, why)| (verb.to_owned(), why)));
}

#[test]
fn what_is_held_of_a_queue_goes_back_when_a_worker_is_told_to_pause_it() {
    let mut scene = Scene::with(
        QUEUE,
        "visibility_timeout: 10\nload_grace: 0\nprefetch: 4\n",
    );
    let worker = scene.worker(1, &[]);
    let run = scene.side.make_run("four");
    let bodies: Vec<String> = (0..3)
        .map(|n| scene.side.step(&run, &format!("gated_{n}"), 5))
        .collect();
    scene.side.send(&bodies);
    wait_until("one runs, two are held", PATIENCE, || {
        let tasks = worker.status().tasks.clone();
        let running = tasks.iter().filter(|task| task.is_running()).count();
        (tasks.len() == 3 && running == 1).then_some(())
    });
    let reply = worker.call(Command::PauseQueue {
        queue: QUEUE.to_owned(),
        by: String::from("ann@bastion"),
        reason: None,
    });
    assert!(
        matches!(&reply, Reply::Done(text) if text.contains("is paused")),
        "{reply:?}"
    );
    wait_until("only the running one is left", PATIENCE, || {
        (worker.status().tasks.len() == 1).then_some(())
    });
    let pause = &worker.status().paused_queues[QUEUE];
    assert_eq!(pause.by, "ann@bastion");

    let resume = Command::ResumeQueue {
        queue: QUEUE.to_owned(),
    };
    worker.call(resume);
    scene.side.open_gate(&run, None);
    for n in 0..3 {
        scene.side.wait_traced(&run, &format!("gated_{n}"));
    }
}
