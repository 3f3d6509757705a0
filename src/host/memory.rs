//! What a process uses, from `/proc`.

use std::fs;

/// Proportional set size in KiB: memory shared with forked children counts by its share.
pub(super) fn pss_kib(pid: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn the_memory_of_this_process_is_known() {
        assert!(super::pss_kib(std::process::id()).is_some_and(|kib| kib > 100));
    }
}
