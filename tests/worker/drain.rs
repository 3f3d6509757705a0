//! SIGTERM of a worker that has run workers of its own: it ends, and its runs go on elsewhere or
//! later.

use crate::support;

use support::scene::Scene;
use support::{PATIENCE, wait_until};

/// The only step of the run that runs by now.
fn running(scene: &Scene, run: &str) -> String {
    wait_until("a step runs", PATIENCE, || {
        let entries = std::fs::read_dir(scene.side.traces(run)).ok()?;
        let names = entries.flatten().map(|entry| entry.file_name());
        names.map(|name| name.into_string().unwrap()).next()
    })
}

#[test]
fn the_only_worker_ends_although_its_run_has_steps_left_and_the_next_one_goes_on() {
    let mut scene = Scene::new("restarted");
    let mut first = scene.worker(1, &["--run-slots", "1"]);
    let run = scene.side.launch("four");
    let step = running(&scene, &run);
    first.process.signal("TERM");
    first.process.wait_for_line("is draining");
    scene.side.open_gate(&run, Some(&step));
    // Its own step is done; the other three wait in the queue, for nobody.
    assert_eq!(
        first.process.wait(PATIENCE),
        0,
        "{}",
        first.process.output()
    );
    assert_eq!(scene.side.life(&run, &step), ["STEP_START", "STEP_SUCCESS"]);
    scene.side.wait_status(&run, "STARTED");

    let mut second = scene.worker(1, &["--run-slots", "1"]);
    scene.side.open_gate(&run, None);
    scene.side.wait_status(&run, "SUCCESS");
    let steps: Vec<String> = (0..4).map(|n| format!("gated_{n}")).collect();
    scene.assert_lives(&run, &steps, &["STEP_START", "STEP_SUCCESS"]);
    assert_eq!(scene.side.run_workers(&run).len(), 2);
    scene.side.wait_empty();
    assert_eq!(second.finish(), 0);
}

#[test]
fn a_run_whose_executor_would_lose_its_steps_is_not_handed_over() {
    let mut scene = Scene::new("kept");
    let mut worker = scene.worker(1, &["--run-slots", "1"]);
    let run = scene.side.launch("plain");
    scene.side.wait_traced(&run, "gated");
    worker.process.signal("TERM");
    worker.process.wait_for_line("is draining");
    // Longer than it takes to hand one over.
    std::thread::sleep(std::time::Duration::from_secs(3));
    scene.side.open_gate(&run, None);
    assert_eq!(worker.process.wait(PATIENCE), 0);
    scene.side.wait_status(&run, "SUCCESS");
    assert_eq!(scene.side.run_workers(&run).len(), 1);
}
