//! Ends idle warm hosts when they are many or hold much memory, the least recently used first. An
//! ended host starts again with its next task.

use std::sync::Arc;
use std::time::Instant;

use super::Supervisor;
use crate::fork_server::memory;
use crate::fork_server::server::ForkServer;
use crate::fork_server::sync::lock;

/// Maximum number of idle hosts that are kept.
const MAX_IDLE: usize = 8;

/// Denominator of the share of this machine's memory that idle hosts may hold.
const SHARE: u64 = 4;

impl Supervisor {
    /// Ends idle hosts beyond the limits of number and memory.
    pub(super) async fn end_idle(&self) {
        let mut idle: Vec<(Instant, Arc<ForkServer>)> = lock(&self.runners)
            .iter()
            .filter(|runner| runner.takes_work())
            .filter_map(|runner| Some((runner.idle_since()?, Arc::clone(runner))))
            .collect();
        // The next task most likely needs this one.
        if idle.len() < 2 {
            return;
        }
        idle.sort_by_key(|(since, _)| *since);
        let sizes: Vec<u64> = idle
            .iter()
            // An idle host's children are the processes it keeps for its next steps.
            .map(|(_, runner)| memory::family_kib(runner.pid()).unwrap_or(0))
            .collect();
        let budget = memory::available_kib().map_or(u64::MAX, |kib| kib / SHARE);
        for (_, runner) in idle.into_iter().take(surplus(&sizes, budget)) {
            runner.retire().await;
        }
    }
}

/// Number of hosts to end, given the memory of each, the longest idle first; never the last.
fn surplus(sizes: &[u64], budget: u64) -> usize {
    let mut held: u64 = sizes.iter().sum();
    let mut gone = 0;
    for size in &sizes[..sizes.len().saturating_sub(1)] {
        if sizes.len() - gone <= MAX_IDLE && held <= budget {
            break;
        }
        held -= size;
        gone += 1;
    }
    gone
}

#[cfg(test)]
mod tests {
    use super::surplus;

    #[test]
    fn hosts_go_while_they_are_too_many_or_hold_too_much_and_the_last_one_stays() {
        assert_eq!(surplus(&[100; 10], 10_000), 2);
        assert_eq!(surplus(&[300, 100, 100], 250), 1);
        assert_eq!(surplus(&[100, 300, 100], 250), 2);
        assert_eq!(surplus(&[900], 250), 0);
        assert_eq!(surplus(&[], 0), 0);
    }
}
