//! The console where no worker is connected: it looks at the queues, and does what is asked of them,
//! itself.

use crate::support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;

use support::scene::Scene;
use support::terminal::Terminal;
use support::{PATIENCE, processes_of, wait_until};

/// The console on a scene whose worker cannot start, since others may write to the folder of the
/// sockets.
pub fn console(scene: &Scene, more: &[&str]) -> Terminal {
    let run = scene.project.folder().join("run");
    fs::create_dir_all(&run).unwrap();
    fs::set_permissions(&run, fs::Permissions::from_mode(0o777)).unwrap();
    open(scene, &run, more)
}

/// How many workers run with something of the scene.
fn workers_of(scene: &Scene) -> usize {
    let lines = processes_of(scene.project.folder());
    let is_worker = |line: &&String| line.contains(" worker start ");
    lines.iter().filter(is_worker).count()
}

/// The console on a scene, with its sockets in this folder; nobody listens where the webserver should
/// be.
fn open(scene: &Scene, run: &Path, more: &[&str]) -> Terminal {
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

/// Stops every worker with a socket in this folder, as an operator would.
fn stop_workers(run: &Path) {
    for entry in fs::read_dir(run).unwrap() {
        let socket = entry.unwrap().path();
        if socket.extension().is_some_and(|ending| ending == "sock") {
            let mut stop = support::command();
            stop.args(["worker", "stop"])
                .arg(socket.file_stem().unwrap());
            stop.arg("--runtime-dir").arg(run);
            assert!(stop.output().unwrap().status.success());
        }
    }
}

/// Kills what a test that failed has left of a scene.
struct Leftovers<'a>(&'a Path);

impl Drop for Leftovers<'_> {
    fn drop(&mut self) {
        for line in processes_of(self.0) {
            let pid = line.split([' ', '/']).find_map(|word| word.parse().ok());
            if let (true, Some(pid)) = (line.contains(" worker start "), pid) {
                support::signal(pid, "KILL");
            }
        }
    }
}

/// A console with a pool of its own that runs one step of the run, which waits at its gate.
fn console_with_a_step(scene: &mut Scene, run: &str, step: &str) -> Terminal {
    let sockets = scene.project.folder().join("run");
    fs::create_dir_all(&sockets).unwrap();
    fs::set_permissions(&sockets, fs::Permissions::from_mode(0o700)).unwrap();
    let console = open(scene, &sockets, &[]);
    console.wait_for("workers 1/1");
    let message = scene.side.step(run, step, 5);
    scene.side.send(&[message]);
    scene.side.wait_traced(run, step);
    console.wait_for(step);
    console
}

const ONCE: [&str; 2] = ["STEP_START", "STEP_SUCCESS"];

/// Lets the step that waits at its gate go on, and waits for its success.
fn finishes_once(scene: &mut Scene, run: &str, step: &str) {
    scene.side.open_gate(run, Some(step));
    wait_until("the step's success", PATIENCE, || {
        (scene.side.life(run, step) == ONCE).then_some(())
    });
    assert_eq!(scene.side.traced(run, step).len(), 1, "one process ran it");
    scene.side.wait_empty();
}

#[test]
fn a_pool_outlives_the_console_that_started_it_however_that_ends() {
    let mut scene = Scene::new("outlives");
    let folder = scene.project.folder().to_owned();
    let _leftovers = Leftovers(&folder);
    let run = scene.side.make_run("ten");
    for (number, ending) in ["TERM", "HUP", "KILL", "b"].into_iter().enumerate() {
        let step = format!("gated_{number}");
        let mut console = console_with_a_step(&mut scene, &run, &step);
        if ending == "b" {
            console.keys("q");
            console.wait_for("Leave?");
            console.keys("b");
        } else {
            support::signal(console.pid(), ending);
        }
        console.wait_for_end();
        assert_eq!(workers_of(&scene), 1, "after {ending}");
        finishes_once(&mut scene, &run, &step);
        stop_workers(&folder.join("run"));
        wait_until("the worker has ended", PATIENCE, || {
            (workers_of(&scene) == 0).then_some(())
        });
    }
}

#[test]
fn an_operator_who_leaves_drains_the_pool_or_stops_it() {
    let mut scene = Scene::new("leaves");
    let folder = scene.project.folder().to_owned();
    let _leftovers = Leftovers(&folder);
    let run = scene.side.make_run("ten");
    let mut console = console_with_a_step(&mut scene, &run, "gated_0");
    console.keys("q");
    console.wait_for("Leave?");
    console.keys("d");
    finishes_once(&mut scene, &run, "gated_0");
    console.wait_for_end();
    assert_eq!(workers_of(&scene), 0);

    let mut console = console_with_a_step(&mut scene, &run, "gated_1");
    console.keys("q");
    console.wait_for("Leave?");
    console.keys("S");
    console.wait_for_end();
    assert_eq!(workers_of(&scene), 0);
    // The executor of the run, which this run has not, sends the next attempt.
    let life = scene.side.life(&run, "gated_1");
    assert_eq!(life, ["STEP_START", "STEP_UP_FOR_RETRY"]);
    scene.side.wait_empty();
}

#[test]
fn a_pool_that_did_not_start_is_started_with_a_key_and_ends_with_its_console() {
    let scene = Scene::new("again");
    let mut console = console(&scene, &[]);
    console.wait_for("No worker was started");
    let run = scene.project.folder().join("run");
    fs::set_permissions(&run, fs::Permissions::from_mode(0o700)).unwrap();
    console.keys("S");
    console.wait_for("Start a worker?");
    console.keys("y");
    console.wait_for("workers 1/1");
    console.keys("S");
    console.wait_for("Start a worker?");
    console.keys("y");
    console.wait_for("workers 2/2");
    assert_eq!(workers_of(&scene), 2);
    let state = scene.project.folder().join("state/dagster-taskiq-tui");
    let audit = fs::read_to_string(state.join("audit.jsonl")).unwrap();
    let started = r#""verb":"worker start","target":"a worker on this host""#;
    assert_eq!(audit.matches(started).count(), 2, "{audit}");
    console.keys("q");
    wait_until("both have ended", PATIENCE, || {
        (workers_of(&scene) == 0).then_some(())
    });
}

#[test]
fn a_worker_that_never_says_a_word_holds_up_neither_the_screen_nor_the_keys() {
    let scene = Scene::new("silent");
    let run = scene.project.folder().join("run");
    fs::create_dir_all(&run).unwrap();
    fs::set_permissions(&run, fs::Permissions::from_mode(0o700)).unwrap();
    // Connections wait here for ever.
    let _listener = UnixListener::bind(run.join("silent.sock")).unwrap();
    let mut console = open(&scene, &run, &[]);
    console.wait_for("No steps in flight");
    console.keys("5");
    console.wait_for("S starts one");
    console.wait_for("workers 0/1");
    console.keys("q");
    console.wait_for_end();
    assert_eq!(workers_of(&scene), 0, "it may be one that others see");
}

#[test]
fn a_console_that_only_looks_starts_no_worker() {
    let mut scene = Scene::new("looks");
    let run_of_dagster = scene.side.make_run("three");
    let message = scene.side.step(&run_of_dagster, "good_0", 5);
    scene.side.send(&[message]);
    let run = scene.project.folder().join("run");
    fs::create_dir_all(&run).unwrap();
    fs::set_permissions(&run, fs::Permissions::from_mode(0o700)).unwrap();
    let mut console = open(&scene, &run, &["--read-only"]);
    // While one is being started that is told instead.
    console.wait_for("No worker is connected; ~1 message waits");
    console.keys("S");
    console.wait_for("Read-only: `worker start` is refused");
    assert_eq!(workers_of(&scene), 0);
}

#[test]
fn a_worker_that_is_started_beside_somebody_elses_outlives_the_console() {
    let scene = Scene::new("beside");
    let run = scene.project.folder().join("run");
    fs::create_dir_all(&run).unwrap();
    fs::set_permissions(&run, fs::Permissions::from_mode(0o700)).unwrap();
    let mut other = scene.worker(1, &["--runtime-dir", run.to_str().unwrap()]);
    let mut console = open(&scene, &run, &[]);
    console.wait_for("workers 1/1");
    console.keys("S");
    console.wait_for("Start a worker?");
    console.keys("y");
    console.wait_for("workers 2/2");
    console.keys("q");
    console.wait_for("runs on; `worker stop");
    assert_eq!(workers_of(&scene), 2);
    stop_workers(&run);
    wait_until("both have ended", PATIENCE, || {
        (workers_of(&scene) == 0).then_some(())
    });
    other.process.wait(PATIENCE);
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
    careful.wait_for("Read-only: `queue purge` is refused");
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
        let purge = r#""verb":"queue purge","target":"queue alone""#;
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
