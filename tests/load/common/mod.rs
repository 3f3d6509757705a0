//! What the benchmarks have in common: the machine they run on, the processor time of a process, and
//! an embedded broker as a process of its own.

#![allow(dead_code, reason = "each benchmark uses a part of it")]

pub mod server;

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why a benchmark ends early.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Clock ticks a second in `/proc`, fixed on Linux.
pub const TICKS: u64 = 100;

/// The binary that was built with this program.
pub fn binary_beside() -> Result<PathBuf, Failure> {
    let here = std::env::current_exe()?;
    let folder = here.parent().and_then(Path::parent);
    let binary = folder.ok_or("no folder")?.join("dagster-taskiq-tui");
    if binary.exists() {
        Ok(binary)
    } else {
        Err(
            "there is no dagster-taskiq-tui beside this program; run `cargo build --release`"
                .into(),
        )
    }
}

/// Processor time of a process so far, of all its threads, in user and kernel mode.
pub fn cpu_of(process: &str) -> Result<Duration, Failure> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<_> = after_name.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 1_000 / TICKS))
}

/// Processor and number of processors.
pub fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{cpus} CPUs, {model}")
}

/// Processes that ran or waited in the last minute, five and fifteen minutes.
pub fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}
