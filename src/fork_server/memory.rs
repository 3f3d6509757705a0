//! Memory usage of a process, from `/proc`.

use std::fs;

use crate::telemetry::proc;

/// Proportional set size of a process and its children, in KiB.
pub(super) fn family_kib(pid: u32) -> Option<u64> {
    let own = proc::pss_kib(pid)?;
    let children = proc::children(pid).into_iter();
    Some(own + children.filter_map(proc::pss_kib).sum::<u64>())
}

/// Memory available to this process, in KiB: that of the machine, or its control group's limit if
/// that is less.
pub(super) fn available_kib() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let machine = proc::kib(&text, "MemTotal:")?;
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
        let own = super::proc::pss_kib(std::process::id()).unwrap_or(0);
        let all = super::available_kib().unwrap_or(0);
        assert!(own > 100 && own < all, "{own} of {all} KiB");
    }
}
