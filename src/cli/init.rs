//! Process 1 of a container. The kernel gives it every orphan and expects it to reap them, and does
//! not end it by a signal without a handler. So process 1 runs the program as its child, passes
//! signals on, reaps all orphans, and ends with the program's exit code. Its end ends everything
//! else in the container.

use std::io::{Error, IsTerminal as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Signals that are passed on.
const PASSED: [Signal; 6] = [
    Signal::HUP,
    Signal::INT,
    Signal::QUIT,
    Signal::TERM,
    Signal::USR1,
    Signal::USR2,
];

/// Whether this process is the first of its container.
pub(super) fn is_first() -> bool {
    std::process::id() == 1
}

/// Runs this program with the same arguments as a child, until the child ends.
///
/// # Errors
/// The child cannot be started, or signals cannot be received.
pub(super) fn run() -> Result<ExitCode, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut children = signal(SignalKind::child())?;
        let mut passed = passed()?;
        let child = start()?;
        loop {
            tokio::select! {
                _ = children.recv() => {
                    if let Some(status) = reap(child) {
                        return Ok(status);
                    }
                }
                // A child that has just ended needs no signal.
                Some(signal) = passed.recv() => drop(kill_process(child, signal)),
            }
        }
    })
}

/// Receives the signals that are passed on.
fn passed() -> Result<mpsc::UnboundedReceiver<Signal>, Error> {
    let (sender, receiver) = mpsc::unbounded_channel();
    for kind in PASSED {
        let mut stream = signal(SignalKind::from_raw(kind.as_raw()))?;
        let sender = sender.clone();
        tokio::spawn(
            async move { while stream.recv().await.is_some() && sender.send(kind).is_ok() {} },
        );
    }
    Ok(receiver)
}

/// Starts the child in a process group of its own, in the terminal's foreground if there is one:
/// keys that interrupt reach it from the terminal, and not once more from here.
fn start() -> Result<Pid, Error> {
    let program = std::env::current_exe()?;
    let mut arguments = std::env::args_os();
    let mut command = Command::new(program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    // Reaped below, with all others.
    let child = command.args(arguments).process_group(0).spawn()?.id();
    let child = Pid::from_raw(child.cast_signed()).ok_or_else(|| Error::other("no process id"))?;
    if std::io::stdin().is_terminal() {
        // Without job control there is no foreground process group to set.
        let _ = rustix::termios::tcsetpgrp(std::io::stdin(), child);
    }
    Ok(child)
}

/// Reaps all ended processes; returns the exit code of the child if it is among them.
fn reap(child: Pid) -> Option<ExitCode> {
    let mut code = None;
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == child {
            code = Some(exit_code(status));
        }
    }
    code
}

/// Exit code as in a shell: 128 and the signal's number for a process that a signal ended.
fn exit_code(status: WaitStatus) -> ExitCode {
    let code = status
        .exit_status()
        .or_else(|| status.terminating_signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
