//! `guard -- PROGRAM ARGS`: runs a program that must not outlive its parent.
//!
//! The owner of the guard holds the other end of its standard input. When that closes (at the
//! owner's request or at its death, by any signal), or on SIGTERM, the program's process group gets
//! SIGTERM, and SIGKILL after the grace period. Then all processes the program left behind are
//! ended too, those in sessions of their own included: on Linux orphans of a subreaper become its
//! children. The leftovers of a program that was ended by a signal are killed at once.

mod descendants;

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

/// Time for which leftovers may end after SIGTERM.
const LEFTOVER_GRACE: Duration = Duration::from_secs(2);

/// Interval of the checks whether a process that is not our child has ended.
const LOOK: Duration = Duration::from_millis(20);

/// Runs a program and ends it, with all its descendants, when standard input closes.
#[derive(Clone, Debug, clap::Args)]
pub struct GuardArgs {
    /// Seconds between SIGTERM and SIGKILL.
    #[arg(long, default_value_t = 10)]
    grace: u64,
    /// The program and its arguments.
    #[arg(trailing_var_arg = true, required = true)]
    command: Vec<OsString>,
}

/// Reason why the program could not be guarded.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// It did not start.
    #[error("cannot start {program}: {source}; check that it is installed and executable")]
    Start {
        /// The program.
        program: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The runtime or a signal handler could not be set up.
    #[error("cannot watch over the program: {0}")]
    Setup(#[from] std::io::Error),
}

/// Runs the program; its exit code is the guard's (128 + signal if a signal ended it).
///
/// # Errors
/// [`GuardError`]
pub fn run(args: &GuardArgs) -> Result<ExitCode, GuardError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(watch(args))
}

async fn watch(args: &GuardArgs) -> Result<ExitCode, GuardError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // A closed terminal also closes standard input if the owner is gone with it.
    let mut hangup = signal(SignalKind::hangup())?;
    descendants::adopt_orphans()?;
    let mut child = start(&args.command)?;
    let status = tokio::select! {
        status = child.wait() => Some(status?),
        () = end_of_input() => None,
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        _ = hangup.recv() => None,
    };
    let status = match status {
        Some(status) => status,
        None => end(&mut child, Duration::from_secs(args.grace)).await?,
    };
    // A worker that was killed has lost its steps: a SIGTERM would turn them into failures.
    let grace = status.signal().is_none().then_some(LEFTOVER_GRACE);
    descendants::end_all(grace, LOOK).await;
    Ok(exit_code(status))
}

fn start(command: &[OsString]) -> Result<Child, GuardError> {
    let mut words = command.iter();
    let program = words.next().cloned().unwrap_or_default();
    Command::new(&program)
        .args(words)
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|source| GuardError::Start {
            program: program.to_string_lossy().into_owned(),
            source,
        })
}

/// Waits for the end of standard input, which is read on a thread of its own that ends with the
/// process.
async fn end_of_input() {
    let (closed, seen) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        // Only its end matters, not its content; an error counts as the end.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = closed.send(());
    });
    let _ = seen.await;
}

/// Sends SIGTERM to the group, and SIGKILL after the grace period.
async fn end(child: &mut Child, grace: Duration) -> std::io::Result<ExitStatus> {
    let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    signal_group(group, Signal::TERM);
    if let Ok(status) = tokio::time::timeout(grace, child.wait()).await {
        return status;
    }
    signal_group(group, Signal::KILL);
    child.wait().await
}

/// Sends a signal to a group; one that is already gone is not an error.
fn signal_group(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group {
        let _ = kill_process_group(group, signal);
    }
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
