//! SIGTERM of a worker that has run workers of its own: it ends, and its runs go on elsewhere or
//! later. SIGHUP, as of a terminal that closes, drains it as well.

use crate::support;

use std::io::{BufRead as _, BufReader};
use std::process::Command;
use std::time::Duration;

use portable_pty::{PtySize, native_pty_system};
use support::scene::Scene;
use support::terminal::in_terminal;
use support::{PATIENCE, Process, wait_until};

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

/// A run with one step that runs on this worker until its gate opens.
fn gated(scene: &mut Scene) -> String {
    let run = scene.side.launch("plain");
    scene.side.wait_traced(&run, "gated");
    run
}

/// The command of a worker whose log is in `log` in the project's folder.
fn worker_command(scene: &Scene, program: &[&str]) -> Command {
    let mut command = support::command();
    let binary = command.get_program().to_owned();
    if let [first, rest @ ..] = program {
        let mut wrapped = Command::new(first);
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(name, value),
                None => wrapped.env_remove(name),
            };
        }
        wrapped.args(rest).arg(binary);
        command = wrapped;
    }
    scene.project.settings(&mut command);
    command
        .args(["worker", "start", "--workers", "1", "--run-slots", "1"])
        .args(["-y", &scene.settings, "--python"])
        .arg(support::python())
        .arg("--log-dir")
        .arg(scene.project.folder().join("log"))
        .env("PYTHONPATH", support::library());
    command
}

#[test]
fn a_worker_whose_terminal_is_closed_finishes_its_step_although_it_can_print_nothing() {
    let mut scene = Scene::new("closed-terminal");
    let command = worker_command(&scene, &[]);
    let mut builder = in_terminal(&command);
    builder.cwd(scene.project.folder());
    let pair = native_pty_system().openpty(PtySize::default()).unwrap();
    let mut worker = pair.slave.spawn_command(builder).unwrap();
    drop(pair.slave);
    let mut lines = BufReader::new(pair.master.try_clone_reader().unwrap()).lines();
    let ready = lines.find(|line| line.as_ref().unwrap().contains(" ready: "));
    ready.unwrap().unwrap();
    let run = gated(&mut scene);
    drop(lines);
    drop(pair.master);

    let log = || {
        let files = std::fs::read_dir(scene.project.folder().join("log")).unwrap();
        let texts = files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
        texts.collect::<String>()
    };
    wait_until("it drains", PATIENCE, || {
        assert!(worker.try_wait().unwrap().is_none(), "{}", log());
        log().contains("is draining").then_some(())
    });
    assert!(log().contains("the terminal is gone"), "{}", log());
    scene.side.open_gate(&run, None);
    let status = wait_until("its end", PATIENCE, || worker.try_wait().unwrap());
    assert_eq!(
        (status.exit_code(), status.signal()),
        (0, None),
        "{}",
        log()
    );
    scene.side.wait_status(&run, "SUCCESS");
    assert!(!log().contains("panicked"), "{}", log());
}

#[test]
fn sighup_never_interrupts_a_step_however_often_it_comes_and_whatever_came_before() {
    let mut scene = Scene::new("hung-up");
    let mut worker = scene.worker(1, &["--run-slots", "1"]);
    let run = gated(&mut scene);
    for (signal, line) in [
        ("HUP", "(SIGHUP)"),
        ("HUP", ""),
        ("TERM", "a second signal stops"),
        ("HUP", ""),
    ] {
        worker.process.signal(signal);
        worker.process.wait_for_line(line);
        std::thread::sleep(Duration::from_millis(300));
    }
    let output = worker.process.output();
    assert_eq!(output.matches("(SIGHUP)").count(), 1, "{output}");
    scene.side.open_gate(&run, None);
    let code = worker.process.wait(PATIENCE);
    let output = worker.process.output();
    assert_eq!(code, 0, "{output}");
    assert!(!output.contains("second signal: "), "{output}");
    scene.side.wait_status(&run, "SUCCESS");
    assert_eq!(
        scene.side.life(&run, "gated"),
        ["STEP_START", "STEP_SUCCESS"]
    );
}

#[test]
fn a_worker_under_nohup_ignores_sighup() {
    let scene = Scene::new("nohup");
    let mut command = worker_command(&scene, &["nohup"]);
    let mut worker = Process::start(&mut command, "nohup", scene.project.folder());
    worker.wait_for_line(" ready: ");
    worker.signal("HUP");
    std::thread::sleep(Duration::from_secs(1));
    worker.signal("TERM");
    let line = worker.wait_for_line("finishing what runs");
    assert!(line.contains("signal: "), "{line}");
    assert_eq!(worker.wait(PATIENCE), 0, "{}", worker.output());
    assert!(!worker.output().contains("SIGHUP"), "{}", worker.output());
}
