//! The console where no worker is linked: it looks at the queues, and does what is asked of them,
//! itself.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use support::scene::Scene;
use support::terminal::Terminal;
use support::{PATIENCE, wait_until};

/// The console on a scene. Its worker cannot start, since others may write to the folder of the
/// sockets, and nobody listens where the webserver should be.
fn console(scene: &Scene, more: &[&str]) -> Terminal {
    let run = scene.project.folder().join("run");
    fs::create_dir_all(&run).unwrap();
    fs::set_permissions(&run, fs::Permissions::from_mode(0o777)).unwrap();
    let mut command = support::command();
    scene.project.settings(&mut command);
    command
        .args(["-y", &scene.settings])
        .args(["--runtime-dir", run.to_str().unwrap()])
        .args(["--python", support::python().to_str().unwrap()])
        .args(["--webserver-url", "http://127.0.0.1:9"])
        .args(more)
        .env("XDG_STATE_HOME", scene.project.folder().join("state"))
        .env("HOME", scene.project.folder());
    Terminal::run(&command)
}

#[test]
fn without_a_worker_the_console_counts_shows_and_purges_messages_and_tells_dagster() {
    let mut scene = Scene::new("alone");
    let run = scene.side.make_run("three");
    let bodies = ["good_0", "good_1"].map(|step| scene.side.step(&run, step, 7));
    scene.side.send(&bodies);

    let mut careful = console(&scene, &["--read-only"]);
    careful.keys("2");
    careful.wait_for("~2");
    careful.keys("P");
    careful.wait_for("Read-only: `purge-queue` is refused");
    drop(careful);
    assert_eq!(scene.side.counts(), (2, 0));

    let mut console = console(&scene, &["--ring", "bell,desktop"]);
    console.wait_for("No worker was started");
    console.keys("2");
    console.wait_for("alone-dead");
    console.wait_for("~2");
    // Its details: attributes, and messages as they lie.
    console.keys("\r");
    console.wait_for("good_1");
    console.keys("\x1b");
    // An escape with a key right behind it would be that key with Alt.
    console.wait_for("WAITING");
    console.keys("P");
    console.wait_for("Purge the queue alone?");
    console.keys("alone\r");
    wait_until("the queue is empty", PATIENCE, || {
        (scene.side.counts() == (0, 0)).then_some(())
    });
    let events = scene.side.events(&run, Some("good_0"));
    let ended = events.iter().any(|event| event["type"] == "STEP_FAILURE");
    assert!(ended, "nobody waits for it: {events:#?}");
    let state = scene.project.folder().join("state/dagster-taskiq-tui");
    wait_until("the purge in the audit log", PATIENCE, || {
        let audit = fs::read_to_string(state.join("audit.jsonl")).unwrap_or_default();
        let purge = r#""verb":"purge queue","target":"queue alone""#;
        audit.contains(purge).then_some(())
    });
    console.keys("8");
    console.wait_for("queue alone");

    let rung = b"\x1b]9;dagster-taskiq: ";
    wait_until("the notification of an alarm", PATIENCE, || {
        let written = console.written();
        let at = written.windows(rung.len()).position(|part| part == rung)?;
        // The notification's own end, and the bell after it.
        let end = at + written[at..].iter().position(|byte| *byte == 7)?;
        (*written.get(end + 1)? == 7).then_some(())
    });
}
