//! Resource usage of a task's processes, from `/proc`.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use crate::domain::{ProcessUsage, Usage};
use crate::telemetry::proc;

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
        let pids = family(self.root);
        let (mut ticks, mut pages, mut used) = (0, 0, HashMap::new());
        for pid in pids {
            let (Some(stat), Some(own)) = (proc::stat(pid), own_pages(pid)) else {
                continue;
            };
            let total = stat.ticks;
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
        let used_ms = u128::from(milliseconds(ticks));
        let page = rustix::param::page_size() as u64;
        Some(Usage {
            cpu_percent: u32::try_from(used_ms * 100 / elapsed).unwrap_or(u32::MAX),
            memory_mib: pages * page / (1024 * 1024),
        })
    }
}

/// A process and its descendants, at most [`MAX_PROCESSES`].
fn family(root: u32) -> Vec<u32> {
    let mut pids = vec![root];
    let mut next = 0;
    while let Some(pid) = pids.get(next).copied() {
        next += 1;
        pids.extend(proc::children(pid));
        pids.truncate(MAX_PROCESSES);
    }
    pids
}

fn milliseconds(ticks: u64) -> u64 {
    ticks.saturating_mul(1000) / rustix::param::clock_ticks_per_second()
}

/// Time over which [`report`] measures the share of a core.
const MEASURED: Duration = Duration::from_millis(500);

/// Measures a task's process and its descendants in full, which costs more than a sample.
///
/// # Errors
/// One sentence: it has no process, or that has just ended.
pub(super) async fn report(process: Option<u32>) -> Result<ProcessUsage, String> {
    let Some(pid) = process else {
        return Err(String::from(
            "it has no process: it has not been started yet, or has just ended",
        ));
    };
    let mut sampler = Sampler::new(pid);
    sampler.look();
    tokio::time::sleep(MEASURED).await;
    let measured = tokio::task::spawn_blocking(move || full(pid, sampler.look()?.cpu_percent));
    let measured = measured.await.ok().flatten();
    measured.ok_or_else(|| format!("process {pid} has just ended"))
}

fn full(root: u32, cpu_percent: u32) -> Option<ProcessUsage> {
    let status = fs::read_to_string(format!("/proc/{root}/status")).ok()?;
    let limits = fs::read_to_string(format!("/proc/{root}/limits")).unwrap_or_default();
    let limit = proc::value(&limits, "Max open files");
    let mut usage = ProcessUsage {
        pid: root,
        state: proc::value(&status, "State:")?.to_owned(),
        cpu_percent,
        open_files_limit: limit.and_then(|line| line.split_whitespace().next()?.parse().ok()),
        ..ProcessUsage::default()
    };
    let (mut ticks, mut pss) = (0, Some(0));
    for pid in family(root) {
        let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else {
            continue;
        };
        usage.processes += 1;
        let threads = proc::value(&status, "Threads:");
        usage.threads += threads.and_then(|n| n.parse().ok()).unwrap_or(0);
        usage.rss_kib += proc::kib(&status, "VmRSS:").unwrap_or(0);
        let files = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        usage.open_files += u32::try_from(files).unwrap_or(u32::MAX);
        ticks += proc::stat(pid).map_or(0, |stat| stat.ticks);
        pss = pss.zip(proc::pss_kib(pid)).map(|(sum, own)| sum + own);
    }
    usage.cpu_ms = milliseconds(ticks);
    usage.pss_kib = pss;
    Some(usage)
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
        let full = full(child.id(), 0).unwrap();
        assert!(full.processes >= 2 && full.threads >= 2, "{full:?}");
        assert!(full.cpu_ms > 0 && full.open_files >= 6, "{full:?}");
        assert!(full.rss_kib >= full.pss_kib.unwrap(), "{full:?}");
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(super::full(child.id(), 0), None);
        assert_eq!(Sampler::new(child.id()).look(), None);
    }
}
