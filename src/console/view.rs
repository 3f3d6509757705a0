//! The console's views, in the order of their digits. One file each: its columns, and how it is
//! drawn.

pub(super) mod audit;
pub(super) mod dagster;
pub(super) mod dead_letters;
pub(super) mod failures;
pub(super) mod logs;
pub(super) mod overview;
pub(super) mod queues;
pub(super) mod runs;
pub(super) mod steps;
pub(super) mod workers;

/// One view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum View {
    /// Shows whether and where anything is stuck.
    Overview,
    /// Queues with counts, bands and dead letters.
    Queues,
    /// Steps and run workers: in flight, then recent.
    Steps,
    /// Dagster's runs.
    Runs,
    /// Worker processes, slots, warm hosts.
    Workers,
    /// Log lines of workers and steps.
    Logs,
    /// Messages that no worker could run.
    DeadLetters,
    /// Commands on this host, with their users.
    Audit,
    /// Failures by exception and job.
    Failures,
    /// Whether Dagster itself works.
    Dagster,
}

impl View {
    /// All of them, by digit.
    pub const ALL: [Self; 10] = [
        Self::Overview,
        Self::Queues,
        Self::Steps,
        Self::Runs,
        Self::Workers,
        Self::Logs,
        Self::DeadLetters,
        Self::Audit,
        Self::Failures,
        Self::Dagster,
    ];

    /// The tab's title.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Queues => "Queues",
            Self::Steps => "Steps",
            Self::Runs => "Runs",
            Self::Workers => "Workers",
            Self::Logs => "Logs",
            Self::DeadLetters => "Dead letters",
            Self::Audit => "Audit",
            Self::Failures => "Failures",
            Self::Dagster => "Dagster",
        }
    }

    /// Its title for narrow tabs.
    #[must_use]
    pub fn short_title(self) -> &'static str {
        match self {
            Self::Overview => "Over",
            Self::Workers => "Work",
            Self::DeadLetters => "Dead",
            Self::Failures => "Fail",
            other => other.title(),
        }
    }

    /// The digit that shows it.
    #[must_use]
    pub fn digit(self) -> usize {
        (self.index() + 1) % 10
    }

    /// Its position, from 0.
    #[must_use]
    pub fn index(self) -> usize {
        Self::ALL.iter().position(|view| *view == self).unwrap_or(0)
    }

    /// The view `by` places further on, around the end.
    #[must_use]
    pub fn step(self, by: usize) -> Self {
        Self::ALL[(self.index() + by) % Self::ALL.len()]
    }
}
