//! Is a step slow or stuck: its stack and its usage from a shell, and its usual time in the worker's
//! snapshot.

use crate::support;

use std::fs;
use std::process::Output;

use serde_json::Value;
use support::scene::Scene;
use support::{PATIENCE, Worker, wait_until};

/// The output of `step VERB RUN STEP`.
fn step(worker: &Worker, verb: &str, run: &str, more: &[&str]) -> Output {
    let folder = worker.socket.parent().unwrap();
    let mut command = support::command();
    command
        .args(["step", verb, run, "gated", "--runtime-dir"])
        .arg(folder)
        .args(more);
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Whether a stack has the step's function, as Python writes it or, where it is on `PATH`, py-spy.
fn is_in_gated(stack: &str) -> bool {
    stack.contains("in gated") || stack.contains(" gated (")
}

#[test]
fn a_step_beyond_its_usual_time_is_marked_and_shows_where_it_is_and_what_it_uses() {
    let mut scene = Scene::with("stuck", "visibility_timeout: 10\nslow_after: 1\n");
    let mut worker = scene.worker(1, &[]);
    let go = |run: &str| scene.project.home().join("traces").join(run).join("go");
    let mut usual = Vec::new();
    for _ in 0..3 {
        let run = scene.side.launch("single");
        scene.side.wait_traced(&run, "gated");
        fs::write(go(&run), "").unwrap();
        scene.side.wait_status(&run, "SUCCESS");
        usual.push(run);
    }
    let run = scene.side.launch("single");
    scene.side.wait_traced(&run, "gated");
    let found = wait_until("its usual time", PATIENCE, || {
        let status = worker.status();
        let task = status.tasks.iter().find(|task| task.step_key.is_some())?;
        task.beyond_usual
    });
    assert_eq!(found.runs, 3, "{found:?}");

    let stack = text(&step(&worker, "stack", &run, &[]));
    assert!(is_in_gated(&stack), "{stack}");
    let json = text(&step(&worker, "stack", &run[..8], &["--json"]));
    let report: Value = serde_json::from_str(&json).unwrap();
    assert!(is_in_gated(report["text"].as_str().unwrap()), "{report}");
    let usage = text(&step(&worker, "usage", &run, &["--json"]));
    let usage: Value = serde_json::from_str(&usage).unwrap();
    assert_eq!(usage["pid"], report["pid"]);
    for figure in ["processes", "threads", "rss_kib", "open_files"] {
        assert!(usage[figure].as_u64().unwrap() > 0, "{usage}");
    }

    fs::write(go(&run), "").unwrap();
    scene.side.wait_status(&run, "SUCCESS");
    scene.side.wait_empty();
    let refused = step(&worker, "stack", &run, &[]);
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success());
    assert!(
        error.contains("no worker of this host runs step gated of run"),
        "{error}"
    );
    assert_eq!(worker.finish(), 0, "{}", worker.process.output());
}
