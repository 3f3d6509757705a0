//! Processor time and memory of processes and their descendants, from `/proc`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::common::TICKS;

/// How often memory is looked at.
const SAMPLE_EVERY: Duration = Duration::from_millis(250);

/// A process, as `/proc/PID/stat` has it; times in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    pub pid: u32,
    parent: u32,
    /// Processor time of its own.
    pub own: f64,
    /// Processor time of its children that have ended and were waited for.
    pub ended_children: f64,
}

/// A process and all its descendants; empty where it has ended.
pub fn tree(root: u32) -> Vec<Process> {
    let mut by_parent: BTreeMap<u32, Vec<Process>> = BTreeMap::new();
    let mut found = Vec::new();
    for process in all() {
        if process.pid == root {
            found.push(process);
        } else {
            by_parent.entry(process.parent).or_default().push(process);
        }
    }
    let mut next = 0;
    while next < found.len() {
        found.extend(by_parent.remove(&found[next].pid).unwrap_or_default());
        next += 1;
    }
    found
}

fn all() -> impl Iterator<Item = Process> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        process(pid)
    })
}

fn process(pid: u32) -> Option<Process> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<_> = stat.rsplit(')').next()?.split_whitespace().collect();
    let field = |at: usize| fields.get(at)?.parse::<u32>().ok();
    let seconds = |ticks: u32| f64::from(ticks) / seconds_of_ticks();
    Some(Process {
        pid,
        parent: field(1)?,
        own: seconds(field(11)?) + seconds(field(12)?),
        ended_children: seconds(field(13)?) + seconds(field(14)?),
    })
}

/// Whether a process runs this program.
pub fn runs(pid: u32, program: &Path) -> bool {
    std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == program)
}

/// Processor time that all processes of the machine have used, in seconds.
pub fn machine_busy() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().next().unwrap_or_default();
    let ticks: Vec<f64> = line
        .split_whitespace()
        .skip(1)
        .filter_map(|ticks| ticks.parse().ok())
        .collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; guest time is within user's.
    let busy = |at: usize| ticks.get(at).copied().unwrap_or_default();
    [0, 1, 2, 5, 6].map(busy).iter().sum::<f64>() / seconds_of_ticks()
}

fn seconds_of_ticks() -> f64 {
    f64::from(u32::try_from(TICKS).unwrap_or(u32::MAX))
}

/// Memory of a process or of a tree, in MiB.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Proportional set size: what is shared counts in parts.
    pub pss: f64,
    /// What no other process has.
    pub private: f64,
}

fn memory_of(pid: u32) -> Option<Memory> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let mut memory = Memory::default();
    for line in text.lines() {
        let Some((name, rest)) = line.split_once(':') else {
            continue;
        };
        let kib = || -> Option<f64> { rest.trim().strip_suffix(" kB")?.parse().ok() };
        match name {
            "Pss" => memory.pss += kib()? / 1024.0,
            "Private_Clean" | "Private_Dirty" => memory.private += kib()? / 1024.0,
            _ => {}
        }
    }
    Some(memory)
}

/// Proportional set size of a tree, in MiB, without the processes in `except`.
pub fn pss(root: u32, except: &BTreeSet<u32>) -> f64 {
    tree(root)
        .iter()
        .filter(|process| !except.contains(&process.pid))
        .filter_map(|process| memory_of(process.pid))
        .map(|memory| memory.pss)
        .sum()
}

/// What a sampler has seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// The largest proportional set size of the tree, in MiB.
    pub peak: f64,
    /// For each process, the most private memory it had, in MiB.
    pub private: BTreeMap<u32, f64>,
}

/// Looks at a tree's memory until it is asked for the result.
pub struct Sampler {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    thread: Option<JoinHandle<()>>,
}

impl Sampler {
    /// Starts looking at a tree, without the processes in `except`.
    pub fn start(root: u32, except: BTreeSet<u32>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(Seen::default()));
        let thread = std::thread::spawn({
            let (stop, seen) = (Arc::clone(&stop), Arc::clone(&seen));
            move || {
                let mut due = Instant::now();
                while !stop.load(Ordering::Relaxed) {
                    look(root, &except, &seen);
                    due += SAMPLE_EVERY;
                    std::thread::park_timeout(due.saturating_duration_since(Instant::now()));
                }
            }
        });
        Self {
            stop,
            seen,
            thread: Some(thread),
        }
    }

    /// Ends it.
    pub fn finish(mut self) -> Seen {
        self.end();
        std::mem::take(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It only reads files.
            let _ = thread.join();
        }
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.end();
    }
}

fn look(root: u32, except: &BTreeSet<u32>, seen: &Mutex<Seen>) {
    let found: Vec<_> = tree(root)
        .iter()
        .filter(|process| !except.contains(&process.pid))
        .filter_map(|process| Some((process.pid, memory_of(process.pid)?)))
        .collect();
    let pss: f64 = found.iter().map(|(_, memory)| memory.pss).sum();
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.peak = seen.peak.max(pss);
    for (pid, memory) in found {
        let most = seen.private.entry(pid).or_default();
        *most = most.max(memory.private);
    }
}
