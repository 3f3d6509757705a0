//! Values of labels. Prometheus keeps a series for each, and senders choose the content of
//! messages, so every set of values is bounded.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::domain::TaskKind;

/// Replacement of values beyond a bound.
pub const OTHER: &str = "other";

/// Replacement of a value that is missing in a message.
const UNKNOWN: &str = "unknown";

const JOBS: usize = 200;
const PRIORITIES: usize = 32;
const LOCATIONS: usize = 100;

/// Maximum number of combinations of task labels: each is a series in half a dozen families.
const COMBINATIONS: usize = 1000;

/// Maximum length of a value in bytes.
const LONGEST: usize = 200;

/// The first values up to a bound.
#[derive(Debug)]
struct Bounded {
    most: usize,
    longest: usize,
    known: Mutex<BTreeSet<String>>,
}

impl Bounded {
    fn new(most: usize) -> Self {
        let known = Mutex::default();
        let longest = LONGEST;
        Self {
            most,
            longest,
            known,
        }
    }

    /// Returns the value, or [`OTHER`].
    fn value(&self, text: &str) -> String {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains(text) {
            if known.len() >= self.most || text.len() > self.longest {
                return OTHER.to_owned();
            }
            known.insert(text.to_owned());
        }
        text.to_owned()
    }
}

/// The values that have occurred.
#[derive(Debug)]
pub(super) struct Seen {
    jobs: Bounded,
    priorities: Bounded,
    locations: Bounded,
    combinations: Bounded,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            jobs: Bounded::new(JOBS),
            priorities: Bounded::new(PRIORITIES),
            locations: Bounded::new(LOCATIONS),
            combinations: Bounded {
                longest: usize::MAX,
                ..Bounded::new(COMBINATIONS)
            },
        }
    }
}

/// The values of one task's labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskLabels {
    pub(super) queue: String,
    pub(super) job: String,
    pub(super) priority: String,
    pub(super) kind: &'static str,
}

impl TaskLabels {
    /// The values in the order of the catalogue.
    pub(super) fn values(&self) -> [&str; 4] {
        [&self.queue, &self.job, &self.priority, self.kind]
    }
}

impl Seen {
    pub(super) fn task(
        &self,
        queue: &str,
        job: Option<&str>,
        priority: i64,
        kind: TaskKind,
    ) -> TaskLabels {
        let mut labels = TaskLabels {
            queue: queue.to_owned(),
            job: job.map_or_else(|| UNKNOWN.to_owned(), |job| self.jobs.value(job)),
            priority: self.priorities.value(&priority.to_string()),
            kind: if kind.is_run() { "run" } else { "step" },
        };
        if self.combinations.value(&labels.values().join(" ")) == OTHER {
            OTHER.clone_into(&mut labels.job);
            OTHER.clone_into(&mut labels.priority);
        }
        labels
    }

    /// A code location's label: without the folders of its file, which may name users.
    pub(super) fn location(&self, location: &str) -> String {
        self.locations.value(short(location))
    }
}

/// Labels of a queue's tasks on which there are no data: of messages that could not be read.
pub(super) fn unknown(queue: &str) -> TaskLabels {
    TaskLabels {
        queue: queue.to_owned(),
        job: UNKNOWN.to_owned(),
        priority: UNKNOWN.to_owned(),
        kind: UNKNOWN,
    }
}

/// A code location without the folders of its file.
pub(in crate::telemetry) fn short(location: &str) -> &str {
    location.rsplit('/').next().unwrap_or(location)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_beyond_the_bound_and_oversized_ones_are_other() {
        let seen = Seen::default();
        let job = |name: &str| seen.task("q", Some(name), 5, TaskKind::ExecutePlan).job;
        assert_eq!(job(&"x".repeat(LONGEST + 1)), OTHER);
        for number in 0..JOBS {
            assert_eq!(job(&format!("job{number}")), format!("job{number}"));
        }
        assert_eq!(job("one_more"), OTHER);
        assert_eq!(job("job7"), "job7");
        let priorities: BTreeSet<String> = (0..1000)
            .map(|priority| seen.task("q", None, priority, TaskKind::ExecuteJob))
            .map(|labels| labels.priority)
            .collect();
        assert_eq!(priorities.len(), PRIORITIES + 1);
        let all = (0..300).flat_map(|name| (0..40).map(move |priority| (name, priority)));
        let combinations: BTreeSet<String> = all
            .map(|(name, priority)| (format!("job{name}"), priority))
            .map(|(job, priority)| seen.task("q", Some(&job), priority, TaskKind::ResumeJob))
            .map(|labels| labels.values().join(" "))
            .collect();
        assert!(
            combinations.len() <= COMBINATIONS + 1,
            "{}",
            combinations.len()
        );
    }

    #[test]
    fn a_code_location_has_no_folders_in_its_label() {
        let seen = Seen::default();
        assert_eq!(seen.location("/home/ada/etl/defs.py"), "defs.py");
        assert_eq!(seen.location("etl.defs"), "etl.defs");
    }
}
