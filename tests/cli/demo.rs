//! `demo`: the whole product on one machine.

use crate::support;

use std::net::TcpListener;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use support::terminal::Terminal;
use support::{Process, command, processes_of, wait_until};

/// The longest a demo may take on a loaded machine, its environment made already.
const DEMO: Duration = Duration::from_mins(5);

/// Guards give a program 4 s, and its leftovers 2 s.
const ENDING: Duration = Duration::from_secs(30);

/// One at a time: each is a handful of Python processes.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn demo(folder: &Path, args: &[&str]) -> Process {
    support::demo_environment();
    let mut command = command();
    command.args(["demo", "--no-ui", "--exit-when-done", "--dir"]);
    command.arg(folder.join("demo")).args(args);
    Process::start(&mut command, "demo", folder)
}

fn nothing_is_left(folder: &Path) {
    let folder = folder.join("demo");
    wait_until("no process is left", ENDING, || {
        processes_of(&folder).is_empty().then_some(())
    });
}

#[test]
fn every_run_succeeds_with_the_usual_ports_taken_and_no_process_is_left() {
    let _turn = alone();
    // Where another program has them already, they are as taken as can be.
    let _broker = TcpListener::bind("127.0.0.1:9324");
    let _webserver = TcpListener::bind("127.0.0.1:3000");
    let folder = tempfile::tempdir().unwrap();

    let mut demo = demo(folder.path(), &["--steps", "6"]);
    let code = demo.wait(DEMO);

    let output = demo.output();
    assert_eq!(code, 0, "{output}");
    assert!(
        output.contains("4 of 4 runs succeeded, 28 steps"),
        "{output}"
    );
    nothing_is_left(folder.path());
}

#[test]
fn an_interrupt_while_runs_are_on_leaves_no_process_behind() {
    let _turn = alone();
    let folder = tempfile::tempdir().unwrap();
    let mut demo = demo(folder.path(), &[]);
    demo.wait_for_line("started");
    demo.signal("INT");
    assert_eq!(demo.wait(ENDING), 130, "{}", demo.output());
    nothing_is_left(folder.path());
}

#[test]
fn a_demo_that_is_killed_takes_its_processes_with_it() {
    let _turn = alone();
    let folder = tempfile::tempdir().unwrap();
    let mut demo = demo(folder.path(), &[]);
    demo.wait_for_line("Launched");
    demo.signal("KILL");
    assert_eq!(demo.wait(ENDING), 137);
    nothing_is_left(folder.path());
}

#[test]
fn a_demo_whose_reader_is_gone_still_ends_its_processes() {
    let _turn = alone();
    support::demo_environment();
    let folder = tempfile::tempdir().unwrap();
    let mut command = command();
    command.args(["demo", "--no-ui", "--exit-when-done", "--dir"]);
    command.arg(folder.path().join("demo"));
    let mut demo = command
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(demo.stdout.take());
    let mut demo = Process::adopt(demo);
    wait_until("the daemon is up", DEMO, || {
        let daemon = |line: &String| line.contains("dagster._daemon");
        processes_of(&folder.path().join("demo"))
            .iter()
            .any(daemon)
            .then_some(())
    });
    demo.signal("HUP");
    assert_eq!(demo.wait(ENDING), 129);
    nothing_is_left(folder.path());
}

#[test]
fn a_folder_with_other_files_is_refused_before_anything_is_started() {
    support::demo_environment();
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("demo")).unwrap();
    std::fs::write(folder.path().join("demo/letter.txt"), "dear").unwrap();
    let mut demo = demo(folder.path(), &[]);
    assert_eq!(demo.wait(ENDING), 1);
    assert!(demo.output().contains("--dir"), "{}", demo.output());
}

#[test]
fn its_console_takes_the_consoles_flags_works_on_queues_without_its_worker_and_starts_that_again() {
    let _turn = alone();
    support::demo_environment();
    let folder = tempfile::tempdir().unwrap();
    let mut command = command();
    command.args(["demo", "--steps", "1", "--theme", "mono", "--ring", "bell"]);
    command.args(["--ring-for", "no-consumer", "--dir"]);
    command.arg(folder.path().join("demo"));
    let mut console = Terminal::run(&command);
    let rang = |console: &Terminal| console.written().contains(&7);
    wait_until("the console", DEMO, || {
        console.screen().contains("1 Over").then_some(())
    });
    assert!(!rang(&console));
    let is_worker = |line: &String| line.contains(" worker start ") && !line.contains(" guard ");
    let lines = processes_of(&folder.path().join("demo"));
    let worker = lines.iter().find(|line| is_worker(line));
    let worker = worker.unwrap_or_else(|| panic!("no worker: {lines:#?}"));
    let pid = worker.split([' ', '/']).find_map(|part| part.parse().ok());
    let pid = pid.unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    console.wait_for("No worker is connected");
    wait_until("the bell", DEMO, || rang(&console).then_some(()));

    console.keys("2");
    // At 80 columns the end of its name is cut.
    console.wait_for("dagster-tasks-ru");
    console.keys("\r");
    console.wait_for("DelaySeconds");
    let colours = [b"\x1b[38;".as_slice(), b"\x1b[31m", b"\x1b[32m"];
    let written = console.written();
    let has = |part: &&[u8]| written.windows(part.len()).any(|bytes| bytes == *part);
    assert_eq!(colours.iter().find(|colour| has(colour)), None, "mono");
    // Its worker comes back when the operator wants it.
    console.keys("\x1b");
    console.wait_for("WAITING");
    console.keys("S");
    console.wait_for("Start a worker?");
    console.keys("y");
    wait_until("the worker is back", DEMO, || {
        let screen = console.screen();
        screen.contains("workers 1/1").then_some(())
    });
    console.keys("S");
    console.wait_for("Start a worker?");
    console.keys("y");
    console.wait_for("the demo has one");
    drop(console);
    nothing_is_left(folder.path());
}

#[test]
fn a_theme_that_is_none_is_refused_before_anything_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = command();
    command.args(["demo", "--theme", "pink", "--dir"]);
    command.arg(folder.path().join("demo"));
    let mut demo = Process::start(&mut command, "demo", folder.path());
    assert_eq!(demo.wait(ENDING), 1);
    let output = demo.output();
    assert!(output.contains("the theme pink is not valid"), "{output}");
    assert!(!folder.path().join("demo").exists());
}
