//! Whatever ends or stops the console leaves the terminal as it was found.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use portable_pty::{CommandBuilder, PtySize};
use rustix::process::{Pid, Signal, kill_process};

use super::session::{SCENE, SIZE, Session};

/// The console as a job of a shell that says when it was stopped.
fn in_a_shell() -> Session {
    let mut command = CommandBuilder::new("bash");
    let script = r#"set -m; "$@"; echo STOPPED; read line; fg; echo OVER"#;
    command.args(["-c", script, "bash"]);
    command.arg(std::env::current_exe().unwrap());
    command.args([
        "--exact",
        "pty::console_process",
        "--nocapture",
        "--test-threads=1",
    ]);
    command.env(SCENE, "calm");
    Session::spawn(command)
}

/// The process id of the console that a shell runs.
fn console_of(session: &Session) -> Pid {
    let shell = session.child.process_id().unwrap();
    let children = format!("/proc/{shell}/task/{shell}/children");
    let children = std::fs::read_to_string(children).unwrap();
    let pid = children.split_whitespace().next().unwrap();
    Pid::from_raw(pid.parse().unwrap()).unwrap()
}

#[test]
fn a_signal_that_stops_it_gives_the_terminal_back_first() {
    for signal in [Signal::TSTP, Signal::TTIN] {
        let mut session = in_a_shell();
        session.wait_for_text("No steps in flight");
        session.keys(":mouse\r");
        session.wait_until("the mouse", Session::tells_of_the_mouse);
        kill_process(console_of(&session), signal).unwrap();
        session.wait_for_text("STOPPED");
        assert!(session.is_cooked(), "{signal:?}: raw mode was left on");
        let terminal = session.terminal();
        assert!(!terminal.screen().alternate_screen(), "{signal:?}");
        assert!(!terminal.screen().hide_cursor(), "{signal:?}");
        assert!(!terminal.screen().bracketed_paste(), "{signal:?}");
        assert!(!session.tells_of_the_mouse(), "{signal:?}");
        // What is typed for the shell is not the console's.
        session.keys("on\n");
        session.wait_until("the console again", |session| {
            session.terminal().screen().alternate_screen()
                && session.contents().contains("No steps in flight")
                && session.tells_of_the_mouse()
        });
        session.keys("q");
        session.wait_for_text("OVER");
        session.ends_restored("LEFT Ok(Left)");
    }
}

#[test]
fn signals_that_would_leave_a_core_restore_the_terminal() {
    for signal in [Signal::QUIT, Signal::ABORT] {
        let session = Session::start("calm");
        session.wait_for_text("No steps in flight");
        session.signal(signal);
        session.ends_restored("LEFT Ok(Terminated)");
    }
}

#[test]
fn a_terminal_that_takes_no_bytes_does_not_keep_the_process_from_ending() {
    let pair = portable_pty::native_pty_system()
        .openpty(PtySize {
            rows: 50,
            cols: 200,
            ..SIZE
        })
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("left");
    let mut command = Session::console("calm", "false");
    command.env("TERM", "xterm-256color");
    command.env("LC_ALL", "C.UTF-8");
    command.env(super::LEFT, &file);
    let mut child = pair.slave.spawn_command(command).unwrap();
    // Nobody reads what is written; every frame is another one.
    let mut keyboard = pair.master.take_writer().unwrap();
    let pid = Pid::from_raw(child.process_id().unwrap().try_into().unwrap()).unwrap();
    let start = Instant::now();
    while !is_blocked(pid) {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "its writes do not block"
        );
        keyboard.write_all(b"1").unwrap();
        thread::sleep(Duration::from_millis(60));
        keyboard.write_all(b"5").unwrap();
        thread::sleep(Duration::from_millis(60));
    }
    kill_process(pid, Signal::TERM).unwrap();
    // In a second or two; the test waits longer for a busy machine.
    let start = Instant::now();
    while !file.exists() {
        assert!(start.elapsed() < Duration::from_secs(15), "it does not end");
        thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    child.wait().unwrap();
}

/// Whether the terminal of a process is full of what it has written.
fn is_blocked(pid: Pid) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).unwrap();
    tasks.filter_map(Result::ok).any(|task| {
        let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        let call = std::fs::read_to_string(task.path().join("wchan")).unwrap_or_default();
        // `poll` of the new code, `write` of a blocking one; an idle console waits in `epoll`.
        name.trim() == "console"
            && (call.contains("poll_schedule")
                || call.contains("n_tty_write")
                || call.contains("do_sys_poll"))
    })
}

#[test]
fn a_terminal_without_a_size_shows_the_usual_one_and_then_its_own() {
    let size = PtySize {
        rows: 0,
        cols: 0,
        ..SIZE
    };
    let session = Session::spawn_sized(Session::console("calm", "false"), &[], size);
    session.wait_until("a first frame", |session| {
        let (rows, columns) = (24.try_into().unwrap(), 80.try_into().unwrap());
        let mut parser = vt100::Parser::new(rows, columns, 0);
        parser.process(&session.written());
        parser.screen().contents().contains("No steps in flight")
    });
    session
        .master
        .resize(PtySize {
            rows: 30,
            cols: 100,
            ..SIZE
        })
        .unwrap();
    session.wait_until("a frame of its own size", |session| {
        let before = session.contents();
        before.contains("No steps in flight") && before.lines().count() >= 29
    });
    let mut session = session;
    session.keys("q");
    session.ends_restored("LEFT Ok(Left)");
}

#[test]
fn a_terminal_that_cannot_move_its_cursor_is_refused_in_one_sentence() {
    for term in ["dumb", "", "unknown"] {
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_dagster-taskiq-tui"));
        let home = tempfile::tempdir().unwrap();
        command.env("HOME", home.path());
        command.args(["attach", "--host", "nowhere", "--ssh-command", "false"]);
        let mut session = Session::spawn_with(command, &[("TERM", term)]);
        let status = session.child.wait().unwrap();
        assert_eq!(status.exit_code(), 2, "{term}");
        session.wait_for_text("the console needs a terminal that can move its cursor");
        let written = session.written();
        assert!(
            !written.contains(&0x1b),
            "{:?}",
            String::from_utf8_lossy(&written)
        );
    }
}

#[test]
fn signs_are_those_the_terminal_has() {
    for (term, is_ascii) in [
        ("linux", true),
        ("vt220", true),
        ("screen", false),
        ("tmux-256color", false),
        ("foot", false),
    ] {
        let command = Session::console("calm", "false");
        let mut session = Session::spawn_with(command, &[("TERM", term)]);
        session.wait_for_text("No steps in flight");
        session.settle();
        assert_eq!(
            session.contents().is_ascii(),
            is_ascii,
            "{term}:\n{}",
            session.contents()
        );
        session.keys("q");
        session.ends_restored("LEFT Ok(Left)");
    }
}
