//! The console in a real pseudo-terminal: this test binary starts itself as the console's process.

use crate::fixture;
mod leaving;
mod reports;
mod session;

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use dagster_taskiq_tui::console::{self, ConsoleOptions};
use dagster_taskiq_tui::domain::{Answer, Command, JobDetail, Query, Reply, Snapshot, Timestamp};
use dagster_taskiq_tui::fleet::Handle;
use dagster_taskiq_tui::protocol::Request;
use portable_pty::{CommandBuilder, PtySize, native_pty_system};
use rustix::process::Signal;
use session::{SCENE, SIZE, Session};
use tokio::sync::{mpsc, watch};

/// Names a file for what the console's process returned, where nobody can read it from its terminal.
const LEFT: &str = "CONSOLE_PTY_LEFT";

/// Not a test by itself: run by the others in a pseudo-terminal, it is the console.
#[test]
fn console_process() {
    let Ok(scene) = std::env::var(SCENE) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let left = runtime.block_on(async {
        let (snapshots, seen) = watch::channel(fixture::calm());
        let (requests, received) = mpsc::channel(64);
        match scene.as_str() {
            "busy" => drop(tokio::spawn(count(snapshots.clone()))),
            "idle" => drop(tokio::spawn(live(snapshots.clone()))),
            _ => {}
        }
        tokio::spawn(answer(received, snapshots, scene == "panic"));
        let handle = Handle::new(seen, requests);
        console::run(handle, ConsoleOptions::default()).await
    });
    if let Some(file) = std::env::var_os(LEFT) {
        std::fs::write(file, format!("{left:?}")).unwrap();
    }
    println!("LEFT {left:?}");
}

/// A thousand snapshots a second, each with one counter more.
async fn count(snapshots: watch::Sender<Arc<Snapshot>>) {
    let mut snapshot = (*fixture::calm()).clone();
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    loop {
        tick.tick().await;
        snapshot.revision += 1;
        let queues = Arc::make_mut(&mut snapshot.queues);
        queues[0].counts.as_mut().unwrap().visible += 1;
        if snapshots.send(Arc::new(snapshot.clone())).is_err() {
            return;
        }
    }
}

/// An idle deployment: every worker lives, every queue is counted again and again, and nothing changes.
async fn live(snapshots: watch::Sender<Arc<Snapshot>>) {
    let mut snapshot = (*fixture::calm()).clone();
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    loop {
        tick.tick().await;
        let now = Timestamp::now();
        snapshot.revision += 1;
        for source in &mut snapshot.sources {
            source.seen_at = Some(now);
        }
        for worker in Arc::make_mut(&mut snapshot.workers) {
            worker.heartbeat_at = now;
        }
        for queue in Arc::make_mut(&mut snapshot.queues) {
            queue.counted_at = Some(now);
        }
        if snapshots.send(Arc::new(snapshot.clone())).is_err() {
            return;
        }
    }
}

/// Answers commands. A launch makes a thread panic; in the scene `panic`, a pause sends a snapshot
/// that no code can draw, so that the console's own thread does.
async fn answer(
    mut requests: mpsc::Receiver<Request>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    breaks: bool,
) {
    while let Some(request) = requests.recv().await {
        let mut reply = Reply::Done(String::from("done as asked"));
        match request.command {
            Command::LaunchRun(_) => {
                drop(thread::spawn(|| panic!("a worker thread broke")).join());
            }
            Command::Pause if breaks => drop(snapshots.send(undrawable())),
            Command::Query(Query::Job { .. }) => {
                reply = Reply::Answer(Box::new(Answer::Job(JobDetail {
                    default_config: String::from("ops: {}\n"),
                    ..JobDetail::default()
                })));
            }
            Command::Query(Query::CheckConfig(_)) => {
                reply = Reply::Answer(Box::new(Answer::CheckConfig(Vec::new())));
            }
            _ => {}
        }
        let _ = request.reply.send(reply);
    }
}

/// A snapshot whose counts overflow a sum: arithmetic panics in this build.
fn undrawable() -> Arc<Snapshot> {
    let mut snapshot = (*fixture::snapshot()).clone();
    for queue in Arc::make_mut(&mut snapshot.queues) {
        queue.counts.as_mut().unwrap().visible = u64::MAX;
    }
    Arc::new(snapshot)
}

/// Seconds after which a console that has nothing to show has looked at its clock for certain.
const IDLE: u64 = 12;

#[test]
fn the_first_screen_comes_and_an_idle_console_writes_not_one_byte() {
    let mut session = Session::start("idle");
    session.wait_for_text("No alarms");
    for (view, seconds) in [("1", IDLE), ("2", 2), ("5", 2)] {
        session.keys(view);
        session.settle();
        let before = session.written().len();
        // Not a wait for anything: this is how long nothing must come.
        thread::sleep(Duration::from_secs(seconds));
        let written = session.written();
        assert_eq!(
            written.len(),
            before,
            "{:?}",
            String::from_utf8_lossy(&written[before..])
        );
    }
    session.keys("q");
    session.ends_restored("LEFT Ok(Left)");
}

/// The parameters of the sequences that set colours and attributes.
fn styles(written: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(written);
    let after = text.split("\x1b[").skip(1);
    let set = after.filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != ';')?;
        rest[end..].starts_with('m').then(|| rest[..end].to_owned())
    });
    set.collect()
}

#[test]
fn the_terminal_gets_no_more_colours_than_it_has_and_none_where_none_are_wanted() {
    let shown = |variables: &[(&str, &str)]| {
        let mut session = Session::spawn_with(Session::console("calm", "true"), variables);
        session.wait_for_text("No steps in flight");
        session.settle();
        session.keys(":theme light\r");
        session.settle();
        let styles = styles(&session.written());
        session.keys("q");
        session.ends_restored("LEFT Ok(Left)");
        styles
    };
    let has = |styles: &BTreeSet<String>, begins: &[&str]| {
        let found = |style: &String| begins.iter().any(|begin| style.starts_with(begin));
        styles.iter().any(found)
    };
    let true_colour = shown(&[("COLORTERM", "truecolor")]);
    assert!(has(&true_colour, &["38;2;"]), "{true_colour:?}");
    let of_256 = shown(&[("COLORTERM", "")]);
    assert!(
        has(&of_256, &["38;5;"]) && !has(&of_256, &["38;2;", "48;2;"]),
        "{of_256:?}"
    );
    let of_16 = shown(&[("COLORTERM", ""), ("TERM", "xterm")]);
    let is_known = |style: &String| {
        let numbers = style.split("8;5;").skip(1);
        let mut numbers = numbers.filter_map(|rest| rest.split(';').next()?.parse::<u8>().ok());
        !style.contains("8;2;") && numbers.all(|number| number < 16)
    };
    assert!(
        has(&of_16, &["38;5;"]) && of_16.iter().all(is_known),
        "{of_16:?}"
    );
    for none in [("NO_COLOR", "1"), ("TERM", "vt100")] {
        let styles = shown(&[("COLORTERM", "truecolor"), none]);
        let plain = [
            "", "0", "1", "2", "4", "7", "22", "24", "27", "39", "49", "59",
        ];
        let more: Vec<&String> = styles
            .iter()
            .filter(|style| !plain.contains(&style.as_str()))
            .collect();
        assert!(more.is_empty(), "{none:?}: {styles:?}");
    }
}

#[test]
fn a_frame_is_bracketed_in_a_synchronized_update() {
    let mut session = Session::start("calm");
    session.wait_for_text("No steps in flight");
    session.settle();
    let before = session.written().len();
    session.keys("5");
    session.wait_for_text("Python hosts of");
    session.settle();
    let frame = session.written()[before..].to_vec();
    let frame = String::from_utf8_lossy(&frame).into_owned();
    assert!(
        frame.starts_with("\u{1b}[?2026h") && frame.ends_with("\u{1b}[?2026l"),
        "{frame:?}"
    );
    session.keys("q");
    session.ends_restored("LEFT Ok(Left)");
}

#[test]
fn a_resized_terminal_is_filled_again() {
    let mut session = Session::start("calm");
    session.wait_for_text("No steps in flight");
    let size = PtySize {
        rows: 40,
        cols: 130,
        ..SIZE
    };
    session.master.resize(size).unwrap();
    session.wait_until("frames of panels", |session| {
        session.contents().contains("╭─ Status")
    });
    for (rows, cols) in [(10, 40), (24, 80)] {
        let size = PtySize { rows, cols, ..SIZE };
        let mut fresh = Session::spawn_sized(Session::console("calm", "false"), &[], size);
        fresh.wait_for_text("No steps in flight");
        fresh.settle();
        session.master.resize(size).unwrap();
        session.wait_until("the screen of a console that starts so", |session| {
            session.contents() == fresh.contents()
        });
        fresh.keys("q");
        fresh.ends_restored("LEFT Ok(Left)");
    }
    session.keys("q");
    session.ends_restored("LEFT Ok(Left)");
}

#[test]
fn a_panic_of_the_consoles_own_thread_restores_the_terminal() {
    let mut session = Session::start("panic");
    session.wait_for_text("No steps in flight");
    session.keys("py");
    session.ends_restored("LEFT Err(Panicked");
}

#[test]
fn a_panic_of_another_thread_is_told_and_disturbs_nothing() {
    let mut session = Session::start("calm");
    session.wait_for_text("No steps in flight");
    session.keys("lnightly\r");
    session.wait_for_text("checks and launches");
    session.keys("\r");
    session.wait_for_text("A background task failed");
    session.wait_for_text("done as asked");
    assert!(session.terminal().screen().alternate_screen());
    session.keys("q");
    session.ends_restored("LEFT Ok(Left)");
}

#[test]
fn the_terminal_is_the_editors_while_it_edits_and_the_consoles_again_afterwards() {
    let mut session = Session::start_with(
        "calm",
        // It answers to keys of its own, and Ctrl-C is not the console's meanwhile.
        "trap 'echo interrupted' INT; stty -a | grep -q ' icanon' && echo COOKED; read word; printf 'mended: %s\\n' \"$word\" >>",
    );
    session.wait_for_text("No steps in flight");
    session.keys("lnightly\r");
    session.wait_for_text("the job's own, 1 line");
    session.keys("e");
    session.wait_for_text("COOKED");
    assert!(!session.terminal().screen().alternate_screen());
    session.bytes(b"\x03quickly\n");
    session.wait_for_text("edited, 2 lines");
    session.wait_for_text("mended: quickly");
    assert!(session.terminal().screen().alternate_screen());
    session.keys("\x1b");
    session.wait_for_text("goes on to configuration");
    session.keys("\x03q");
    session.ends_restored("LEFT Ok(Left)");
}

#[test]
fn sigterm_restores_the_terminal_and_is_told_to_the_caller() {
    let session = Session::start("calm");
    session.wait_for_text("No steps in flight");
    session.signal(Signal::TERM);
    session.ends_restored("LEFT Ok(Terminated)");
}

#[test]
fn sighup_ends_the_console_alone() {
    let session = Session::start("calm");
    session.wait_for_text("No steps in flight");
    session.signal(Signal::HUP);
    session.ends_restored("LEFT Ok(HungUp)");
}

#[test]
fn ctrl_z_gives_the_terminal_back_and_a_continued_console_draws_again() {
    let mut session = Session::start("calm");
    session.wait_for_text("No steps in flight");
    session.keys("\u{1a}");
    // A session leader's group is orphaned here, so nothing stops it for long; what counts is that the
    // terminal was given back in between and everything is drawn again.
    session.wait_until("a second entry", |session| {
        let written = session.written();
        String::from_utf8_lossy(&written)
            .matches("\u{1b}[?1049h")
            .count()
            == 2
    });
    session.wait_for_text("No steps in flight");
    let written = session.written();
    assert!(String::from_utf8_lossy(&written).contains("\u{1b}[?1049l"));
    session.signal(Signal::CONT);
    // What is typed before that is not for the console.
    session.wait_until("a third entry", |session| {
        let written = session.written();
        String::from_utf8_lossy(&written)
            .matches("\u{1b}[?1049h")
            .count()
            == 3
    });
    session.settle();
    session.keys("q");
    session.ends_restored("LEFT Ok(Left)");
}

#[test]
fn a_shell_has_its_terminal_while_the_console_is_stopped_and_fg_brings_it_back() {
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
    let mut session = Session::spawn(command);
    session.wait_for_text("No steps in flight");
    session.keys(":mouse\r");
    session.wait_until("the mouse", Session::tells_of_the_mouse);
    session.keys("\u{1a}");
    session.wait_for_text("STOPPED");
    assert!(session.is_cooked(), "the shell cannot edit its line");
    assert!(!session.terminal().screen().alternate_screen());
    assert!(!session.tells_of_the_mouse(), "the shell gets its clicks");
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

#[test]
fn a_dropped_connection_ends_the_console_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("left");
    ends_with_its_connection(Session::console("calm", "false"), &file);
}

#[test]
fn a_dropped_connection_that_no_signal_tells_of_ends_the_console_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("left");
    let console = Session::console("calm", "false");
    let mut command = CommandBuilder::new("sh");
    // The session's leader is the one that gets SIGHUP, and it stays.
    command.args(["-c", "trap '' HUP; \"$@\"; exit 0", "sh"]);
    command.args(console.get_argv());
    for (key, value) in console.iter_extra_env_as_str() {
        command.env(key, value);
    }
    ends_with_its_connection(command, &file);
}

/// Opens the console in a terminal that goes away, and waits until it has left for that.
fn ends_with_its_connection(mut command: CommandBuilder, file: &Path) {
    command.env("TERM", "xterm-256color");
    command.env("LC_ALL", "C.UTF-8");
    command.env(LEFT, file);
    let pair = native_pty_system().openpty(SIZE).unwrap();
    let mut child = pair.slave.spawn_command(command).unwrap();
    drop(pair.slave);
    let mut reader = pair.master.try_clone_reader().unwrap();
    let mut screen = vt100::Parser::new(
        SIZE.rows.try_into().unwrap(),
        SIZE.cols.try_into().unwrap(),
        0,
    );
    while !screen.screen().contents().contains("No steps in flight") {
        let mut bytes = [0; 4096];
        let read = reader.read(&mut bytes).unwrap();
        assert_ne!(read, 0, "it ended: {}", screen.screen().contents());
        screen.process(&bytes[..read]);
    }
    // As sshd does when its client is gone.
    drop((reader, pair.master));
    child.wait().unwrap();
    assert_eq!(std::fs::read_to_string(file).unwrap(), "Ok(HungUp)");
}

#[test]
fn under_ssh_a_stream_of_news_is_drawn_at_most_ten_times_a_second() {
    let command = Session::console("busy", "false");
    let ssh = [("SSH_CONNECTION", "192.0.2.1 50022 192.0.2.2 22")];
    let start = Instant::now();
    let mut session = Session::spawn_with(command, &ssh);
    let frames = |session: &Session| {
        let written = session.written();
        String::from_utf8_lossy(&written)
            .matches("\u{1b}[?2026h")
            .count()
    };
    session.wait_until("thirty frames", |session| frames(session) >= 30);
    let drawn = frames(&session);
    // All frames since before the process began: a busy machine draws fewer, and reads some of them
    // later. The first screen and the first news are drawn at once.
    let elapsed = start.elapsed();
    let most = elapsed.as_secs_f64() * 10.0 + 2.0;
    assert!(
        f64::from(u32::try_from(drawn).unwrap()) <= most,
        "{drawn} frames in {elapsed:?}, at most {most}"
    );
    session.keys("q");
    session.ends_restored("LEFT Ok(Left)");
}

#[test]
fn without_a_terminal_the_console_says_so() {
    let (_snapshots, seen) = watch::channel(fixture::calm());
    let (requests, _received) = mpsc::channel(64);
    let program = std::env::current_exe().unwrap();
    if std::env::var_os("CONSOLE_PTY_PIPE").is_none() {
        let this = "pty::without_a_terminal_the_console_says_so";
        let mut command = std::process::Command::new(program);
        command
            .args(["--exact", this, "--nocapture"])
            .env("CONSOLE_PTY_PIPE", "1");
        let output = command.stdin(std::process::Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            said.contains("SAID the console needs a terminal, and standard input is not one"),
            "{said}"
        );
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let error = runtime
        .block_on(console::run(
            Handle::new(seen, requests),
            ConsoleOptions::default(),
        ))
        .unwrap_err();
    println!("SAID {error}");
}

#[test]
fn the_first_screen_does_not_wait_for_the_worker_and_tells_why_it_did_not_start() {
    let home = tempfile::tempdir().unwrap();
    let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_dagster-taskiq-tui"));
    command.env("HOME", home.path());
    command.env_remove("XDG_STATE_HOME");
    command.env_remove("XDG_RUNTIME_DIR");
    command.arg("--runtime-dir");
    command.arg(home.path());
    // Nothing listens on port 1.
    command.args(["--queue-url", "http://127.0.0.1:1/000000000000/none"]);
    let mut session = Session::spawn(command);
    session.wait_until("the start, on the screen", |session| {
        String::from_utf8_lossy(&session.written()).contains("Starting a worker")
    });
    session.wait_for_text("the worker ended at its start");
    session.keys("4n");
    session.wait_for_text("narrow");
    session.keys("q");
    session.wait_until("the end", Session::is_cooked);
    session.child.wait().unwrap();
    let memory = home
        .path()
        .join(".local/state/dagster-taskiq-tui/console.json");
    let memory = std::fs::read_to_string(memory).unwrap();
    assert!(memory.contains("\"narrow\":true"), "{memory}");
}

#[test]
fn once_prints_a_snapshot_as_json_without_a_terminal() {
    let home = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_dagster-taskiq-tui"))
        .args(["--once", "--runtime-dir"])
        .arg(home.path())
        .env("HOME", home.path())
        .env_remove("XDG_STATE_HOME")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let snapshot: Snapshot = serde_json::from_slice(&output.stdout).unwrap();
    assert!(snapshot.workers.is_empty() && !snapshot.sources.is_empty());
}
