//! Finds and ends the processes that a program left behind.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::Duration;

use rustix::process::{Pid, Signal, getpid, kill_process};

use crate::telemetry::proc;

/// Makes orphaned descendants children of this process instead of init's.
#[cfg(target_os = "linux")]
pub(super) fn adopt_orphans() -> io::Result<()> {
    rustix::process::set_child_subreaper(Some(getpid())).map_err(io::Error::from)
}

/// Does nothing: on other systems only the process group is ended.
#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "the other platform can fail")]
pub(super) fn adopt_orphans() -> io::Result<()> {
    Ok(())
}

/// Sends SIGTERM to every living descendant, and SIGKILL to those that remain after the grace
/// period; without a grace period SIGKILL at once.
pub(super) async fn end_all(grace: Option<Duration>, look: Duration) {
    if let Some(grace) = grace {
        signal_all(&living(), Signal::TERM);
        let deadline = tokio::time::Instant::now() + grace;
        while !living().is_empty() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(look).await;
        }
    }
    // Killed processes may leave children of their own behind, which are reparented to us.
    loop {
        let left = living();
        if left.is_empty() {
            return;
        }
        signal_all(&left, Signal::KILL);
        tokio::time::sleep(look).await;
    }
}

fn signal_all(pids: &[Pid], signal: Signal) {
    for pid in pids {
        // It may have ended since it was listed.
        let _ = kill_process(*pid, signal);
    }
}

/// Descendants that are not zombies. Empty if there is no `/proc`.
fn living() -> Vec<Pid> {
    let mut children: BTreeMap<i32, Vec<(i32, bool)>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.parse::<u32>().ok());
        if let Some((pid, stat)) = pid.and_then(|pid| Some((pid, proc::stat(pid)?))) {
            let child = (pid.cast_signed(), stat.is_ended());
            children.entry(stat.parent).or_default().push(child);
        }
    }
    let mut found = Vec::new();
    let mut parents = vec![getpid().as_raw_nonzero().get()];
    while let Some(parent) = parents.pop() {
        for (pid, zombie) in children.remove(&parent).unwrap_or_default() {
            parents.push(pid);
            if !zombie {
                found.extend(Pid::from_raw(pid));
            }
        }
    }
    found
}
