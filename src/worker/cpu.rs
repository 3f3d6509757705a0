//! CPU in use on the CPUs that this worker may use, from `/proc/stat` and its control groups.

use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Where control groups (version 2) are mounted.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Measures the CPU in use between two looks.
#[derive(Debug)]
pub(super) struct CpuMeter {
    allowed: CpuList,
    host: Option<Ticks>,
    groups: Vec<Group>,
    looked_at: Instant,
}

/// Time of the CPUs since the system's start, in clock ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ticks {
    busy: u64,
    all: u64,
}

/// A control group of this process that limits its CPU.
#[derive(Debug)]
struct Group {
    folder: PathBuf,
    /// CPU time used by it, in microseconds.
    used_us: u64,
}

impl CpuMeter {
    pub fn new() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mut meter = Self {
            allowed: CpuList::of_status(&status),
            host: None,
            groups: limiting_groups(Path::new(CGROUPS), &membership),
            looked_at: Instant::now(),
        };
        let _ = meter.percent();
        meter
    }

    /// CPU in use since the last look, by whatever processes, in percent: of the CPUs that this
    /// worker may use, or of the limit of its control group, whichever is fuller. `None` if the
    /// system does not report it.
    pub fn percent(&mut self) -> Option<u32> {
        let elapsed_us = self.looked_at.elapsed().as_micros().max(1);
        self.looked_at = Instant::now();
        let stat = fs::read_to_string("/proc/stat").ok();
        let now = stat.and_then(|stat| self.allowed.ticks(&stat));
        let before = std::mem::replace(&mut self.host, now);
        let host = before.zip(now).and_then(|(before, now)| before.share(now));
        let groups = self.groups.iter_mut();
        let groups = groups.filter_map(|group| group.share(elapsed_us));
        groups.chain(host).max()
    }
}

impl Ticks {
    /// The share that was busy between two times, in percent; `None` if no tick has passed.
    fn share(self, later: Self) -> Option<u32> {
        let all = later.all.saturating_sub(self.all);
        let busy = later.busy.saturating_sub(self.busy);
        u32::try_from((busy * 100).checked_div(all)?).ok()
    }
}

impl Group {
    fn share(&mut self, elapsed_us: u128) -> Option<u32> {
        let (quota, period) = limit(&self.folder)?;
        let used = used_us(&self.folder)?;
        let share = u128::from(used.saturating_sub(self.used_us)) * 100 * u128::from(period);
        self.used_us = used;
        u32::try_from(share / (elapsed_us * u128::from(quota))).ok()
    }
}

/// The groups that limit the CPU of a process with this `/proc/self/cgroup`: its own, and those
/// around it. Inside a container the process sees its own group as the root.
fn limiting_groups(root: &Path, membership: &str) -> Vec<Group> {
    let own = membership
        .lines()
        .find_map(|line| line.strip_prefix("0::/"));
    let own = root.join(own.unwrap_or_default());
    let around = own
        .ancestors()
        .take_while(|folder| folder.starts_with(root));
    around
        .filter(|folder| limit(folder).is_some())
        .map(|folder| Group {
            used_us: used_us(folder).unwrap_or(0),
            folder: folder.to_owned(),
        })
        .collect()
}

/// CPU time that a group may use in each period, and the period, in microseconds.
fn limit(group: &Path) -> Option<(u64, u64)> {
    let text = fs::read_to_string(group.join("cpu.max")).ok()?;
    let (quota, period) = text.trim().split_once(' ')?;
    let limit = (quota.parse().ok()?, period.parse().ok()?);
    (limit.0 > 0).then_some(limit)
}

fn used_us(group: &Path) -> Option<u64> {
    let text = fs::read_to_string(group.join("cpu.stat")).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("usage_usec "));
    line?.parse().ok()
}

/// Numbers of CPUs, as in `0-3,8`; an empty list means all.
#[derive(Debug, Default, PartialEq, Eq)]
struct CpuList(Vec<RangeInclusive<u32>>);

impl CpuList {
    /// The CPUs that a process with this `/proc/self/status` may use.
    fn of_status(status: &str) -> Self {
        let mut lines = status.lines();
        let allowed = lines.find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        let ranges = allowed.unwrap_or_default().trim().split(',');
        let range = |text: &str| {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            Some(first.parse().ok()?..=last.parse().ok()?)
        };
        Self(ranges.filter_map(range).collect())
    }

    fn contains(&self, cpu: u32) -> bool {
        self.0.is_empty() || self.0.iter().any(|range| range.contains(&cpu))
    }

    /// The time of these CPUs in `/proc/stat`.
    fn ticks(&self, stat: &str) -> Option<Ticks> {
        let mut sum = Ticks::default();
        for line in stat.lines() {
            let mut fields = line.split_ascii_whitespace();
            let name = fields.next().and_then(|name| name.strip_prefix("cpu"));
            let Some(Ok(cpu)) = name.map(str::parse) else {
                continue;
            };
            if !self.contains(cpu) {
                continue;
            }
            // user nice system idle iowait irq softirq steal; guests are part of user.
            let times: Vec<u64> = fields
                .take(8)
                .filter_map(|time| time.parse().ok())
                .collect();
            let idle = times.get(3)? + times.get(4).unwrap_or(&0);
            let all: u64 = times.iter().sum();
            sum.all += all;
            sum.busy += all - idle;
        }
        (sum.all > 0).then_some(sum)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;

    const STAT: &str = "cpu  300 0 100 500 100 0 0 0 0 0\n\
                        cpu0 100 0 50 50 0 0 0 0 0 0\n\
                        cpu1 100 0 50 40 10 0 0 0 0 0\n\
                        cpu10 100 0 0 410 90 0 0 0 0 0\nintr 1 2 3\nctxt 5\n";

    #[test]
    fn only_the_cpus_that_the_worker_may_use_count() {
        let list =
            |text: &str| CpuList::of_status(&format!("Name:\tx\nCpus_allowed_list:\t{text}\n"));
        let ticks = |busy, all| Some(Ticks { busy, all });
        assert_eq!(list("0-1").ticks(STAT), ticks(300, 400));
        assert_eq!(list("0,10").ticks(STAT), ticks(250, 800));
        assert_eq!(CpuList::default().ticks(STAT), ticks(400, 1000));
        assert_eq!(list("7").ticks(STAT), None);
        assert_eq!(list("0").ticks("no such file"), None);
        let (before, later) = (Ticks { busy: 10, all: 100 }, Ticks { busy: 85, all: 200 });
        assert_eq!(before.share(later), Some(75));
        assert_eq!(before.share(before), None);
    }

    #[test]
    fn a_group_around_the_workers_own_may_be_the_one_that_is_full() {
        let root = tempfile::tempdir().unwrap();
        let own = root.path().join("pod/worker");
        fs::create_dir_all(&own).unwrap();
        let write = |folder: &Path, limit: &str, used: u64| {
            fs::write(folder.join("cpu.max"), limit).unwrap();
            let stat = format!("usage_usec {used}\nuser_usec 1\n");
            fs::write(folder.join("cpu.stat"), stat).unwrap();
        };
        write(&own, "max 100000\n", 0);
        // A CPU and a half.
        write(&root.path().join("pod"), "150000 100000\n", 1_000_000);
        let mut groups = limiting_groups(root.path(), "0::/pod/worker\n");
        assert_eq!(groups.len(), 1);
        write(&root.path().join("pod"), "150000 100000\n", 2_500_000);
        assert_eq!(groups[0].share(2_000_000), Some(50));
        // In a container whose group is its root, and on a host without such groups.
        write(root.path(), "50000 100000\n", 0);
        assert_eq!(limiting_groups(root.path(), "0::/\n").len(), 1);
        assert_eq!(limiting_groups(&root.path().join("none"), "").len(), 0);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_loop_that_computes_is_seen() {
        let mut meter = CpuMeter::new();
        let begin = Instant::now();
        let mut seen = None;
        while seen.is_none_or(|percent| percent == 0) {
            assert!(begin.elapsed().as_secs() < 60);
            let turn = Instant::now();
            while turn.elapsed().as_millis() < 100 {}
            seen = meter.percent();
        }
    }
}
