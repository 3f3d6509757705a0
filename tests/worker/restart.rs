//! A worker that starts again in its place.

use dagster_taskiq_tui::domain::{Command, Reply, Timestamp, WorkerState};

use crate::support::scene::Scene;
use crate::support::{PATIENCE, Worker, block_on, wait_until};

/// Start of the worker's process, while it receives.
fn began(worker: &Worker) -> Option<Timestamp> {
    let state = block_on(dagster_taskiq_tui::fleet::client::status(&worker.socket)).ok()?;
    let receives = state.worker.state == WorkerState::Running;
    receives.then_some(state.worker.started_at)
}

#[test]
fn a_worker_that_restarts_finishes_what_runs_and_goes_on_under_its_pid() {
    let mut scene = Scene::new("again");
    let worker = scene.worker(1, &[]);
    let run = scene.side.make_run("four");
    let bodies: Vec<String> = (0..2)
        .map(|n| scene.side.step(&run, &format!("gated_{n}"), 5))
        .collect();
    scene.side.send(&bodies[..1]);
    scene.side.wait_traced(&run, "gated_0");
    let before = worker.status();
    let reply = worker.call(Command::Restart { within: None });
    assert!(
        matches!(&reply, Reply::Done(text) if text.contains("starts again")),
        "{reply:?}"
    );
    assert_eq!(worker.status().worker.state, WorkerState::Draining);

    scene.side.open_gate(&run, Some("gated_0"));
    wait_until("the worker is back", PATIENCE, || {
        (began(&worker)? != before.worker.started_at).then_some(())
    });
    let after = worker.status();
    assert_eq!(after.worker.pid, before.worker.pid);
    assert_eq!(after.worker.steps.target, 1, "its flags are the same");
    assert_eq!(
        scene.side.life(&run, "gated_0").last().unwrap(),
        "STEP_SUCCESS"
    );
    scene.side.send(&bodies[1..]);
    scene.side.wait_traced(&run, "gated_1");
    scene.side.open_gate(&run, None);
    scene.side.wait_empty();
}

#[test]
fn the_workers_of_a_host_restart_one_after_the_other() {
    let scene = Scene::new("rolling");
    let folder = scene.project.folder().join("sockets");
    let folder = folder.to_str().unwrap();
    let workers = [0, 1].map(|_| scene.worker(1, &["--runtime-dir", folder]));
    let before: Vec<Timestamp> = workers.iter().filter_map(began).collect();
    let mut command = crate::support::command();
    scene.project.settings(&mut command);
    let output = command
        .args([
            "worker",
            "restart",
            "--all",
            "--runtime-dir",
            folder,
            "--reason",
            "new code",
        ])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert!(
        text.contains("restarted, 1 of 2") && text.contains("restarted, 2 of 2"),
        "{text}"
    );
    let after: Vec<Timestamp> = workers.iter().filter_map(began).collect();
    assert_eq!((before.len(), after.len()), (2, 2));
    assert!(
        before
            .iter()
            .zip(&after)
            .all(|(before, after)| before < after)
    );
}
