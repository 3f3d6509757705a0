//! Processes, as `/proc` has them. The kernel's numbers are read as they are: a library that reads
//! whole files fails where a sandbox leaves out a line.

use std::fs;

/// Maximum number of threads whose children are looked for.
const MAX_THREADS: usize = 128;

/// State, parent and CPU time of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessStat {
    /// The kernel's letter: `S` sleeps, `Z` is a zombie.
    pub state: char,
    /// Process id of the parent.
    pub parent: i32,
    /// User and system time, in clock ticks.
    pub ticks: u64,
}

impl ProcessStat {
    /// Whether the process has ended and is not waited for yet.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }

    /// Parses a line of `/proc/<pid>/stat`. The name in parentheses may contain any character.
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.rsplit_once(')')?.1.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let parent = fields.next()?.parse().ok()?;
        let mut times = fields.skip(9).map(str::parse::<u64>);
        let ticks = times.next()?.ok()? + times.next()?.ok()?;
        Some(Self {
            state,
            parent,
            ticks,
        })
    }
}

/// State, parent and CPU time of a process; `None` if there is none.
#[must_use]
pub fn stat(pid: u32) -> Option<ProcessStat> {
    ProcessStat::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The value of a line such as `VmRSS:` in a file of `/proc`.
#[must_use]
pub fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .map(str::trim)
}

/// The same, of a line in KiB.
#[must_use]
pub fn kib(text: &str, name: &str) -> Option<u64> {
    value(text, name)?.strip_suffix("kB")?.trim().parse().ok()
}

/// Proportional set size of a process in KiB: memory shared with forked children counts
/// proportionally.
#[must_use]
pub fn pss_kib(pid: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    kib(&rollup, "Pss:")
}

/// The child processes of a process's threads.
#[must_use]
pub fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let threads = threads.into_iter().flatten().flatten().take(MAX_THREADS);
    let lists =
        threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let mut found = Vec::new();
    for list in lists {
        let pids = list.split_ascii_whitespace();
        found.extend(pids.filter_map(|pid| pid.parse::<u32>().ok()));
    }
    found
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_with_parentheses_and_spaces_does_not_confuse_the_reader() {
        let rest = "1 1 0 -1 4194560 9 0 0 0 30 12 0 0 20 0 1 0";
        let parse = |start: &str| ProcessStat::parse(&format!("{start} {rest}"));
        let found = parse("12 (a) b (c)) S 7").unwrap();
        assert_eq!((found.parent, found.ticks), (7, 42));
        assert!(!found.is_ended());
        assert!(parse("13 (x) Z 12").is_some_and(|found| found.is_ended()));
        assert_eq!(ProcessStat::parse("nonsense"), None);
    }
}
