//! Resource usage of a task's processes, from `/proc`.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use crate::domain::Usage;

/// Interval of the samples of a task: a few small files per process.
pub(super) const EVERY: Duration = Duration::from_secs(2);

/// Maximum number of processes sampled per task: the usage of a step with more is understated.
const MAX_PROCESSES: usize = 128;

/// Samples one process and its descendants.
#[derive(Debug)]
pub(super) struct Sampler {
    root: u32,
    /// Clock ticks each process had used at the last sample.
    used: HashMap<u32, u64>,
    looked_at: Instant,
}

impl Sampler {
    pub(super) fn new(root: u32) -> Self {
        Self {
            root,
            used: HashMap::new(),
            looked_at: Instant::now(),
        }
    }

    /// Takes a sample; `None` once the processes are gone, or if there is no `/proc`.
    pub(super) fn look(&mut self) -> Option<Usage> {
        let mut pids = vec![self.root];
        let mut next = 0;
        while let Some(pid) = pids.get(next).copied() {
            next += 1;
            pids.extend(children(pid));
            pids.truncate(MAX_PROCESSES);
        }
        let (mut ticks, mut pages, mut used) = (0, 0, HashMap::new());
        for pid in pids {
            let (Some(total), Some(own)) = (cpu_ticks(pid), own_pages(pid)) else {
                continue;
            };
            // A process that began since then has used all of it since then.
            ticks += total.saturating_sub(self.used.get(&pid).copied().unwrap_or(0));
            pages += own;
            used.insert(pid, total);
        }
        if used.is_empty() {
            return None;
        }
        self.used = used;
        let elapsed = self.looked_at.elapsed().as_millis().max(1);
        self.looked_at = Instant::now();
        let used_ms =
            u128::from(ticks) * 1000 / u128::from(rustix::param::clock_ticks_per_second());
        let page = rustix::param::page_size() as u64;
        Some(Usage {
            cpu_percent: u32::try_from(used_ms * 100 / elapsed).unwrap_or(u32::MAX),
            memory_mib: pages * page / (1024 * 1024),
        })
    }
}

/// The child processes of a process's threads.
fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let lists = threads
        .flatten()
        .take(MAX_PROCESSES)
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| {
            let pids = list
                .split_ascii_whitespace()
                .filter_map(|pid| pid.parse().ok());
            pids.collect::<Vec<u32>>()
        })
        .collect()
}

/// User and system time, in clock ticks.
fn cpu_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may contain any character.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Resident pages that belong to no file and are not shared memory. Pages that a fork still shares
/// with its host are included if the kernel counts so.
fn own_pages(pid: u32) -> Option<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let mut fields = statm.split_ascii_whitespace().skip(1);
    let resident: u64 = fields.next()?.parse().ok()?;
    let shared: u64 = fields.next()?.parse().ok()?;
    Some(resident.saturating_sub(shared))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_childs_child_that_computes_is_seen_and_an_ended_tree_is_not() {
        let mut child = Command::new("sh")
            .args(["-c", "sh -c 'while :; do :; done' & cat; kill $!"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut sampler = Sampler::new(child.id());
        let mut seen = Usage {
            cpu_percent: 0,
            memory_mib: 0,
        };
        while seen.cpu_percent == 0 {
            std::thread::sleep(Duration::from_millis(20));
            seen = sampler.look().unwrap();
        }
        assert!(sampler.used.len() >= 2, "{sampler:?}");
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(Sampler::new(child.id()).look(), None);
    }
}
