//! The guard: what it started ends with whoever started the guard.

use crate::support;

use std::process::{Command, Stdio};
use std::time::Duration;

use support::{PATIENCE, command, processes_of, wait_until};

/// A guard over a shell script that knows `folder` by an environment variable.
fn guard(script: &str, folder: &std::path::Path) -> Command {
    let mut command = command();
    command
        .args(["guard", "--grace", "1", "--", "/bin/sh", "-c", script])
        .env("TEST_FOLDER", folder)
        .stdin(Stdio::piped());
    command
}

#[test]
fn closing_the_guards_input_ends_a_program_that_ignores_sigterm_and_its_sessions() {
    let folder = tempfile::tempdir().unwrap();
    let script = "trap '' TERM; setsid sh -c 'trap \"\" TERM; touch $TEST_FOLDER/up; \
                  while :; do sleep 1; done' & while :; do sleep 1; done";
    let mut guarded = guard(script, folder.path()).spawn().unwrap();
    wait_until("the script is up", PATIENCE, || {
        folder.path().join("up").exists().then_some(())
    });
    assert!(processes_of(folder.path()).len() >= 3);

    drop(guarded.stdin.take());
    guarded.wait().unwrap();

    assert_eq!(processes_of(folder.path()), Vec::<String>::new());
}

#[test]
fn what_a_killed_program_leaves_is_ended_without_a_word() {
    let folder = tempfile::tempdir().unwrap();
    let script = "setsid sh -c 'trap \"touch $TEST_FOLDER/told\" TERM; touch $TEST_FOLDER/up; \
                  while :; do sleep 1; done' & \
                  until [ -e $TEST_FOLDER/up ]; do sleep 0.02; done; kill -KILL $$";
    let mut guarded = guard(script, folder.path()).spawn().unwrap();
    let _open = guarded.stdin.take();
    assert_eq!(guarded.wait().unwrap().code(), Some(128 + 9));
    assert_eq!(processes_of(folder.path()), Vec::<String>::new());
    assert!(!folder.path().join("told").exists());
}

#[test]
fn killing_the_owner_of_the_guard_ends_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let binary = support::binary().display();
    // The shell holds the other end of the pipe; `exec` makes the first process that very shell.
    let script =
        format!("sleep 1000 | '{binary}' guard -- sh -c 'touch $TEST_FOLDER/up; sleep 1000'");
    let mut owner = Command::new("/bin/sh")
        .args(["-c", &script])
        .env("TEST_FOLDER", folder.path())
        .spawn()
        .unwrap();
    wait_until("the program is up", PATIENCE, || {
        folder.path().join("up").exists().then_some(())
    });
    let holder = processes_of(folder.path())
        .into_iter()
        .find(|line| line.contains("sleep 1000") && !line.contains("guard"))
        .unwrap();
    let pid = holder
        .split([' ', '/'])
        .find_map(|word| word.parse().ok())
        .unwrap();
    support::signal(pid, "KILL");
    owner.wait().unwrap();
    wait_until("everything has ended", Duration::from_secs(20), || {
        processes_of(folder.path()).is_empty().then_some(())
    });
}

#[test]
fn the_programs_exit_code_is_the_guards() {
    let folder = tempfile::tempdir().unwrap();
    let mut guarded = guard("exit 7", folder.path()).spawn().unwrap();
    let _open = guarded.stdin.take();
    assert_eq!(guarded.wait().unwrap().code(), Some(7));
}

#[test]
fn a_program_that_does_not_exist_is_named() {
    let output = command()
        .args(["guard", "--", "/nowhere/program"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("/nowhere/program"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}
