//! The Python stacks of a running task, which tell a slow step from a stuck one.
//!
//! They come from py-spy where it is on `PATH`; it reads them from outside. Otherwise the process
//! itself writes them, in a signal handler that each process of a task registers (`stacks` on the
//! other side). A process without that handler gets no signal, and the signal is one that is
//! ignored by default. A pidfd is taken before the process is looked at, so that a process that got
//! the id of an ended one is never signalled.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use crate::domain::{StackReport, Timestamp};
use crate::telemetry::proc;

/// Name of the file in memory that a process writes its stacks to.
const FILE: &str = "dagster-taskiq-stacks";

/// The signal that the handler is registered for.
const SIGNAL: Signal = Signal::URG;

/// Time limit of py-spy.
const PY_SPY: Duration = Duration::from_secs(10);

/// Time limit of a process's own answer. It takes milliseconds, unless the process is in a system
/// call that no signal interrupts, is stopped, or waits for a processor.
const ANSWER: Duration = Duration::from_secs(5);

/// Pause between two looks for the answer.
const LOOK: Duration = Duration::from_millis(10);

/// Two requests at once would empty each other's file.
static TAKING: Mutex<()> = Mutex::const_new(());

/// Reads the stacks of a task's process.
///
/// # Errors
/// One sentence: the process has ended, offers no stack or does not answer.
pub(super) async fn take(pid: u32) -> Result<StackReport, String> {
    let (by, text) = match py_spy(pid).await {
        Some(text) => ("py-spy", text),
        None => ("faulthandler", by_signal(pid).await?),
    };
    let report = StackReport {
        pid,
        at: Timestamp::now(),
        by: by.to_owned(),
        text: cut(text),
    };
    Ok(report.redacted())
}

/// The sentence about a process that has ended.
pub(super) fn ended(pid: u32) -> String {
    format!("process {pid} has just ended: there is no stack to read")
}

fn cut(mut text: String) -> String {
    if text.len() > StackReport::MAX {
        text.truncate(text.floor_char_boundary(StackReport::MAX));
        text.push_str("\n... (cut)");
    }
    text
}

/// Output of py-spy; `None` if there is none, or it may not look at the process. It does not pause
/// the process.
async fn py_spy(pid: u32) -> Option<String> {
    let started = Command::new("py-spy")
        .args(["dump", "--nonblocking", "--pid", &pid.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let output = timeout(PY_SPY, started.ok()?.wait_with_output()).await;
    let output = output.ok()?.ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && text.contains("Thread") {
        return Some(text.into_owned());
    }
    let reason = String::from_utf8_lossy(&output.stderr);
    let first = reason.lines().next().unwrap_or_default();
    tracing::debug!("py-spy cannot read process {pid}: {first}");
    None
}

async fn by_signal(pid: u32) -> Result<String, String> {
    let _one_at_a_time = TAKING.lock().await;
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let handle = process.ok_or_else(|| ended(pid))?;
    let handle = pidfd_open(handle, PidfdFlags::empty()).map_err(|error| {
        if is_gone(pid) {
            ended(pid)
        } else {
            format!("process {pid} cannot be signalled: {error}; put py-spy on the worker's PATH")
        }
    })?;
    let file = answer_file(pid)?;
    let before = blocking(pid);
    let problem = |error: std::io::Error| format!("the stack of process {pid}: {error}");
    file.set_len(0).map_err(problem)?;
    pidfd_send_signal(&handle, SIGNAL).map_err(|_| ended(pid))?;
    let deadline = Instant::now() + ANSWER;
    while file.metadata().map_err(problem)?.len() == 0 || is_writing(pid, &before) {
        if is_gone(pid) {
            return Err(ended(pid));
        }
        if Instant::now() > deadline {
            return Err(format!(
                "process {pid} did not answer within {} s: it is in state {}, or blocks SIGURG; \
                 py-spy on the worker's PATH needs no answer",
                ANSWER.as_secs(),
                state(pid).unwrap_or_default()
            ));
        }
        sleep(LOOK).await;
    }
    let mut text = Vec::new();
    let most = u64::try_from(StackReport::MAX).unwrap_or(u64::MAX);
    file.take(most + 1)
        .read_to_end(&mut text)
        .map_err(problem)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Opens the file that the process writes to, if it has registered the handler.
fn answer_file(pid: u32) -> Result<File, String> {
    let silent = || {
        if is_gone(pid) {
            return ended(pid);
        }
        format!(
            "process {pid} offers no stack: it has just started, or its code closed the file; put \
             py-spy on the worker's PATH"
        )
    };
    let files = fs::read_dir(format!("/proc/{pid}/fd")).map_err(|_| silent())?;
    let is_it = |link: &Path| {
        let name = link.to_string_lossy();
        name.starts_with("/memfd:") && name.contains(FILE)
    };
    let path = files
        .flatten()
        .map(|entry| entry.path())
        .find(|path| fs::read_link(path).is_ok_and(|link| is_it(&link)))
        .filter(|_| has_signal(&format!("/proc/{pid}/status"), "SigCgt:"))
        .ok_or_else(silent)?;
    let opened = File::options().read(true).write(true).open(path);
    opened.map_err(|_| silent())
}

/// Whether the signal waits for the process, or its handler runs: the signal is blocked in that
/// thread meanwhile. `before` are the threads that block it anyway.
fn is_writing(pid: u32, before: &BTreeSet<OsString>) -> bool {
    has_signal(&format!("/proc/{pid}/status"), "ShdPnd:") || !blocking(pid).is_subset(before)
}

/// The threads that block the signal.
fn blocking(pid: u32) -> BTreeSet<OsString> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let threads = threads.into_iter().flatten().flatten();
    let blocks = |status: PathBuf| has_signal(&status.to_string_lossy(), "SigBlk:");
    threads
        .filter(|thread| blocks(thread.path().join("status")))
        .map(|thread| thread.file_name())
        .collect()
}

/// Whether a set of signals in a status file contains the signal.
fn has_signal(status: &str, set: &str) -> bool {
    let text = fs::read_to_string(status).unwrap_or_default();
    let bits = proc::value(&text, set);
    let bits = bits.and_then(|bits| u64::from_str_radix(bits, 16).ok());
    bits.is_some_and(|bits| (bits >> (SIGNAL.as_raw() - 1)) & 1 == 1)
}

fn is_gone(pid: u32) -> bool {
    proc::stat(pid).is_none_or(|stat| stat.is_ended())
}

fn state(pid: u32) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    proc::value(&status, "State:").map(str::to_owned)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[tokio::test]
    async fn a_process_without_the_handler_gets_no_signal_and_an_ended_one_is_named() {
        let mut other = std::process::Command::new("sleep")
            .arg("600")
            .spawn()
            .unwrap();
        let problem = by_signal(other.id()).await.unwrap_err();
        assert!(problem.contains("offers no stack"), "{problem}");
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
        let problem = by_signal(other.id()).await.unwrap_err();
        assert!(problem.contains("has just ended"), "{problem}");
    }
}
