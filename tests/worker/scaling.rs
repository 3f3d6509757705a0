//! Slots that follow the load: they grow while steps wait, and shrink when they are free.

use dagster_taskiq_tui::domain::{Command, Reply, SlotRange, Slots};
use serde_json::json;

use crate::fleet::{list, row};
use crate::metrics::scraping::{LISTEN, address, is, sum, wait_for_sum};
use crate::support::scene::{SETTINGS, Scene};
use crate::support::{PATIENCE, Worker, wait_until};

const RANGE: SlotRange = SlotRange { min: 1, max: 4 };

fn wait_for_slots(worker: &Worker, target: u32, busy: u32) {
    let slots = Slots {
        target,
        busy,
        range: Some(RANGE),
    };
    wait_until(&format!("the slots are {slots}"), PATIENCE, || {
        (worker.status().worker.steps == slots).then_some(())
    });
}

/// The changes that a worker has logged: slots before, and after.
fn changes(worker: &Worker) -> Vec<(u32, u32)> {
    let output = worker.process.output();
    let lines = output
        .lines()
        .filter_map(|line| line.split_once("step slots go from "));
    lines
        .map(|(_, rest)| {
            let mut words = rest.split(' ');
            let mut number = || words.find_map(|word| word.parse().ok()).unwrap();
            (number(), number())
        })
        .collect()
}

#[test]
fn slots_grow_while_steps_wait_and_shrink_to_what_runs_when_they_are_free() {
    // Whatever else this machine computes.
    let often = "slots_grow_after: 1\nslots_shrink_after: 2\nslots_cpu_limit: 100\n";
    let mut scene = Scene::with("followed", &format!("{SETTINGS}{often}"));
    let here = scene.project.folder().join("here");
    let flags = [
        "--runtime-dir",
        here.to_str().unwrap(),
        LISTEN[0],
        LISTEN[1],
    ];
    let mut worker = scene.worker(RANGE, &flags);
    let address = address(&worker);
    let run = scene.side.launch("ten");
    wait_for_slots(&worker, 4, 4);
    let line = worker
        .process
        .wait_for_line("step slots go from 3 to 4 (1..4)");
    assert!(line.contains("all are in use and ~"), "{line}");
    assert_eq!(changes(&worker), [(1, 2), (2, 3), (3, 4)]);

    // What an autoscaler outside needs.
    let waiting = ["queue=\"followed\""];
    let found = wait_for_sum(&address, "queue_depth", &waiting, 6.0);
    for (name, value) in [
        ("slots_busy", 4.0),
        ("slots", 4.0),
        ("slots_min", 1.0),
        ("slots_max", 4.0),
    ] {
        assert!(is(sum(&found, name, &["kind=\"step\""]), value), "{name}");
    }
    let home = scene.project.home();
    let rows = list(&here, Some(&home));
    let range = json!({"min": 1, "max": 4});
    let listed = &row(&rows, &worker.name).unwrap()["steps"];
    assert_eq!(*listed, json!({"target": 4, "busy": 4, "range": range}));
    // As a worker of another host is listed: from its heartbeat.
    wait_until("the heartbeat has the bounds", PATIENCE, || {
        let rows = list(&scene.project.folder().join("elsewhere"), Some(&home));
        (row(&rows, &worker.name)?["steps"]["range"] == range).then_some(())
    });

    let steps: Vec<String> = (0..10).map(|n| format!("gated_{n}")).collect();
    for step in &steps[2..] {
        scene.side.open_gate(&run, Some(step));
    }
    wait_for_slots(&worker, 2, 2);
    scene.side.open_gate(&run, None);
    scene.side.wait_status(&run, "SUCCESS");
    wait_for_slots(&worker, 1, 0);
    worker
        .process
        .wait_for_line("step slots go from 2 to 1 (1..4)");
    let shrunk: Vec<(u32, u32)> = changes(&worker).into_iter().skip(3).collect();
    assert!(shrunk.iter().all(|(from, to)| to < from), "{shrunk:?}");
    scene.assert_lives(&run, &steps, &["STEP_START", "STEP_SUCCESS"]);
    scene.side.wait_empty();

    // An operator's number stays, and bounds may be given again.
    let fixed = "3 step slots, fixed: `worker scale 1..4` lets them follow the load again";
    let reply = worker.call(Command::Scale { steps: 3 });
    assert_eq!(reply, Reply::Done(fixed.to_owned()));
    let slots = worker.status().worker.steps;
    assert_eq!((slots.target, slots.range), (3, None));
    worker.call(Command::scale(RANGE));
    wait_for_slots(&worker, 1, 0);
    let range = SlotRange { min: 4, max: 1 };
    let reply = worker.call(Command::ScaleWithin { range });
    assert!(matches!(reply, Reply::Failed(_)), "{reply:?}");
    assert_eq!(worker.finish(), 0);
}
