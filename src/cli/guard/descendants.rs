//! Finds and ends the processes that a program left behind.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::Duration;

use rustix::process::{Pid, Signal, getpid, kill_process};

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
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    for entry in entries.flatten() {
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let stat = fs::read_to_string(entry.path().join("stat")).ok();
        if let (Some(pid), Some((zombie, parent))) = (pid, stat.as_deref().and_then(parse_stat)) {
            children.entry(parent).or_default().push((pid, zombie));
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

/// Parses a `/proc/<pid>/stat` line into (is a zombie, parent). The name in parentheses may contain
/// any character.
fn parse_stat(stat: &str) -> Option<(bool, i32)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    Some((matches!(state, "Z" | "X"), fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::parse_stat;

    #[test]
    fn a_process_name_with_parentheses_and_spaces_does_not_confuse_the_reader() {
        assert_eq!(parse_stat("12 (a) b (c)) S 7 12 12"), Some((false, 7)));
        assert_eq!(parse_stat("13 (x) Z 12 1 1"), Some((true, 12)));
        assert_eq!(parse_stat("nonsense"), None);
    }
}
