//! Memory usage of a process, from `/proc`.

use std::fs;

/// Proportional set size in KiB: memory shared with forked children counts proportionally.
pub(super) fn pss_kib(pid: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Proportional set size of a process and its children, in KiB.
pub(super) fn family_kib(pid: u32) -> Option<u64> {
    let own = pss_kib(pid)?;
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let pids = children.unwrap_or_default();
    let pids = pids.split_whitespace().filter_map(|pid| pid.parse().ok());
    Some(own + pids.filter_map(pss_kib).sum::<u64>())
}

/// Memory available to this process, in KiB: that of the machine, or its control group's limit if
/// that is less.
pub(super) fn available_kib() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let machine: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    let limits = [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ];
    let limit = limits
        .iter()
        .find_map(|path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok());
    Some(limit.map_or(machine, |bytes| machine.min(bytes / 1024)))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn the_memory_of_this_process_is_known() {
        let own = super::pss_kib(std::process::id()).unwrap_or(0);
        let all = super::available_kib().unwrap_or(0);
        assert!(own > 100 && own < all, "{own} of {all} KiB");
    }
}
