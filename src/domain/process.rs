//! The process of a running task: its stacks, its resource usage, and its usual run time.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::secrets::redact_in_place;

/// The stacks of a process's threads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackReport {
    /// Process id on the worker's host.
    pub pid: u32,
    /// When they were read.
    pub at: Timestamp,
    /// Program or function that read them: `py-spy` or `faulthandler`.
    pub by: String,
    /// The stacks as text, newest frame first.
    pub text: String,
}

impl StackReport {
    /// Maximum size of the text, in bytes: some hundred threads.
    pub const MAX: usize = 256 * 1024;

    /// The report with the secrets in its text hidden.
    #[must_use]
    pub fn redacted(mut self) -> Self {
        redact_in_place(&mut self.text);
        self
    }
}

/// Resource usage of a process and its descendants, from `/proc`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessUsage {
    /// Process id on the worker's host.
    pub pid: u32,
    /// State of that process in the kernel's words, such as `S (sleeping)`.
    pub state: String,
    /// Number of processes: it and its descendants.
    pub processes: u32,
    /// Number of their threads.
    pub threads: u32,
    /// Processor time that they have used, in milliseconds.
    pub cpu_ms: u64,
    /// Share of one core while they were measured, in percent.
    pub cpu_percent: u32,
    /// Their resident memory in KiB; memory that they share counts once for each.
    pub rss_kib: u64,
    /// Their proportional memory in KiB; absent if the kernel does not tell it.
    pub pss_kib: Option<u64>,
    /// Number of their open files.
    pub open_files: u32,
    /// Limit of open files of the process; absent if it has none.
    pub open_files_limit: Option<u64>,
}

/// Durations of a step in earlier runs of its job in which it succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsualTime {
    /// Number of these runs.
    pub runs: u32,
    /// Median, in milliseconds.
    pub median_ms: u64,
    /// 95th percentile, in milliseconds: a step that runs longer is beyond its usual time.
    pub late_ms: u64,
    /// Longest, in milliseconds.
    pub longest_ms: u64,
}
