//! The program as process 1, as in a container without an init.

use crate::support;

use std::path::Path;
use std::process::{Command, Output};

use support::{PATIENCE, Process, binary, say_not_run, wait_until};

/// The program in a process-id namespace of its own; none where the machine allows none.
fn as_first_process() -> Option<Command> {
    let mut unshare = Command::new("unshare");
    if !rustix::process::getuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    unshare.args(["--pid", "--mount-proc", "--fork", "--kill-child", "--"]);
    let program = unshare.get_program().to_owned();
    let arguments: Vec<_> = unshare.get_args().map(ToOwned::to_owned).collect();
    match Command::new(program).args(arguments).arg("true").output() {
        Ok(Output { status, .. }) if status.success() => {}
        other => {
            say_not_run(&format!("the program as process 1: {other:?}"));
            return None;
        }
    }
    unshare.arg(binary());
    Some(unshare)
}

/// Processes whose parent is this one: their process ids and states.
fn children(pid: u32) -> Vec<(u32, char)> {
    let listed = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = listed.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|child| {
        let stat = std::fs::read_to_string(Path::new("/proc").join(child.to_string()).join("stat"));
        let stat = stat.ok()?;
        let mut fields = stat.rsplit(')').next()?.split_whitespace();
        let state = fields.next()?.chars().next()?;
        (fields.next()?.parse() == Ok(pid)).then_some((child, state))
    })
    .collect()
}

#[test]
fn as_process_1_it_passes_signals_on_reaps_orphans_and_ends_with_its_own_exit_code() {
    let Some(mut command) = as_first_process() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    command.args(["broker", "serve", "--listen", "127.0.0.1:0", "--data-dir"]);
    command.arg(folder.path().join("data"));
    let mut process = Process::start(&mut command, "container", folder.path());
    process.wait_for_line("endpoint: ");
    let [(first, _)] = children(process.pid())[..] else {
        panic!("unshare has one child: {:?}", children(process.pid()));
    };
    let [(broker, _)] = children(first)[..] else {
        panic!("process 1 runs the broker: {:?}", children(first));
    };

    // What is left behind by a process that has ended falls to process 1.
    let mut enter = Command::new("nsenter");
    if !rustix::process::getuid().is_root() {
        enter.args(["--user", "--preserve-credentials"]);
    }
    enter.args(["--pid", "--target", &first.to_string(), "--"]);
    let left = enter.args(["sh", "-c", "sleep 0.2 & sleep 0.1 & exit 0"]);
    assert!(left.status().unwrap().success());
    wait_until("orphans are reaped", PATIENCE, || {
        (children(first) == [(broker, 'S')]).then_some(())
    });

    support::signal(first, "TERM");
    assert_eq!(process.wait(PATIENCE), 0, "{}", process.output());
}

#[test]
fn as_process_1_it_fails_with_the_sentence_and_the_exit_code_of_any_other() {
    let Some(mut command) = as_first_process() else {
        return;
    };
    let plain = Command::new(binary()).arg("no-such-verb").output().unwrap();
    let first = command.arg("no-such-verb").output().unwrap();
    assert!(!first.status.success());
    assert_eq!(first.status.code(), plain.status.code());
    assert_eq!(first.stderr, plain.stderr);
}
