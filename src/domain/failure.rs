//! Failures of runs, and dead letters, grouped by what broke: the exception class and the job.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::hash::BuildHasher;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{PeekedMessage, parse_duration};

/// Maximum number of failed runs that are counted; the newest.
pub const MAX_FAILED_RUNS: usize = 1_000;

/// Maximum length of an error's text, in bytes.
const MAX_TEXT: usize = 2_000;

/// A failed run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedRun {
    /// Run id.
    pub run_id: String,
    /// Job name.
    pub job: String,
    /// Creation time.
    pub created_at: Option<Timestamp>,
    /// Time of its failure.
    pub ended_at: Option<Timestamp>,
    /// Reason why it needs no re-execution.
    pub settled: Option<Settled>,
}

/// Reason why a failed run needs no re-execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "settled", rename_all = "snake_case")]
pub enum Settled {
    /// It, or the run it repeats, was executed again since.
    Reexecuted {
        /// The newest re-execution.
        run_id: String,
    },
    /// Dagster is going to retry it by itself.
    RetryDue,
}

impl fmt::Display for Settled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reexecuted { run_id } => write!(f, "run {run_id} is a newer execution of it"),
            Self::RetryDue => f.write_str("Dagster is going to retry it"),
        }
    }
}

/// Failed runs, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedRunPage {
    /// The runs of this page.
    pub runs: Vec<FailedRun>,
    /// Number of runs on all pages, at least of this one.
    pub total: u64,
    /// Start of the next page; `None` after the last.
    pub next: Option<String>,
}

/// A failure in a run's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepFailure {
    /// The step; `None` if the run failed outside of its steps.
    pub step_key: Option<String>,
    /// Time of the event.
    pub at: Option<Timestamp>,
    /// Class of the step's own exception, or a short text if there is none.
    pub class: String,
    /// The exception's text.
    pub text: String,
    /// The worker that ran the step last, if one announced itself.
    pub worker: Option<String>,
    /// Its host.
    pub host: Option<String>,
}

impl StepFailure {
    /// Shortens an error's text to what is kept of it.
    #[must_use]
    pub fn shortened(text: &str) -> String {
        let text = text.trim();
        if text.len() <= MAX_TEXT {
            return text.to_owned();
        }
        let end = text.floor_char_boundary(MAX_TEXT);
        format!("{} …", &text[..end])
    }
}

/// The failures in one run's log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFailures {
    /// Run id.
    pub run_id: String,
    /// Its failures, oldest first; at least one.
    pub failures: Vec<StepFailure>,
    /// Whether the log was too long to be read to its end.
    pub is_cut: bool,
}

/// Kind of a group's members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// Failures in the logs of runs.
    Run,
    /// Messages in dead-letter queues.
    DeadLetter,
}

impl FailureKind {
    /// The word for tables and filters.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Run => "failure",
            Self::DeadLetter => "dead letter",
        }
    }
}

/// One failure of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureMember {
    /// The run; empty for a dead letter that is not a task.
    pub run_id: String,
    /// The step; `None` outside of steps.
    pub step_key: Option<String>,
    /// Time of the failure; of a dead letter, the time it was sent.
    pub at: Option<Timestamp>,
    /// The worker.
    pub worker: Option<String>,
    /// The worker's host.
    pub host: Option<String>,
    /// The error's text, or the reason of the dead letter.
    pub text: String,
    /// Reason why the run needs no re-execution.
    pub settled: Option<Settled>,
    /// Queue and SQS message id of a dead letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub letter: Option<(String, String)>,
}

/// Failures with the same exception class and job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureGroup {
    /// Its identity: kind, class and job.
    pub id: String,
    /// Kind of its members.
    pub kind: FailureKind,
    /// Exception class, or the class of the dead letters' reason.
    pub class: String,
    /// Job name; empty if it is not known.
    pub job: String,
    /// Number of failures.
    pub count: usize,
    /// Number of runs with these failures.
    pub runs: usize,
    /// Number of runs that were not executed again since; for dead letters, of messages.
    pub open: usize,
    /// The first failure.
    pub first_at: Option<Timestamp>,
    /// The last failure.
    pub last_at: Option<Timestamp>,
    /// Hosts and workers, as far as they announced themselves.
    pub hosts: BTreeSet<String>,
    /// Steps.
    pub steps: BTreeSet<String>,
    /// Text of the newest failure.
    pub example: String,
    /// The failures, newest first.
    pub members: Vec<FailureMember>,
}

impl FailureGroup {
    /// The runs to execute again, oldest first: each failed and has no newer re-execution.
    #[must_use]
    pub fn open_runs(&self) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let open = self.members.iter().rev().filter(|member| {
            self.kind == FailureKind::Run
                && member.settled.is_none()
                && seen.insert(member.run_id.as_str())
        });
        open.map(|member| member.run_id.clone()).collect()
    }

    /// Its dead letters, as queue and message id.
    pub fn letters(&self) -> impl Iterator<Item = &(String, String)> {
        self.members
            .iter()
            .filter_map(|member| member.letter.as_ref())
    }

    fn of(kind: FailureKind, class: String, job: String, mut members: Vec<FailureMember>) -> Self {
        members.sort_by(|a, b| b.at.cmp(&a.at).then_with(|| b.run_id.cmp(&a.run_id)));
        let runs: BTreeSet<&str> = members
            .iter()
            .map(|member| member.run_id.as_str())
            .filter(|run_id| !run_id.is_empty())
            .collect();
        let times = || members.iter().filter_map(|member| member.at);
        let place = |member: &FailureMember| {
            let (host, worker) = (member.host.as_ref(), member.worker.as_ref());
            worker.or(host).cloned()
        };
        let mut group = Self {
            id: format!("{} {class} {job}", kind.word()),
            kind,
            count: members.len(),
            runs: runs.len(),
            open: 0,
            first_at: times().min(),
            last_at: times().max(),
            hosts: members.iter().filter_map(place).collect(),
            steps: members
                .iter()
                .filter_map(|member| member.step_key.clone())
                .collect(),
            example: members
                .first()
                .map_or_else(String::new, |member| member.text.clone()),
            class,
            job,
            members,
        };
        group.open = match kind {
            FailureKind::Run => group.open_runs().len(),
            FailureKind::DeadLetter => group.count,
        };
        group
    }
}

/// Groups the failures of runs whose logs were read, and dead letters; largest group first.
#[must_use]
pub fn group_failures<S: BuildHasher>(
    runs: &[FailedRun],
    read: &HashMap<String, RunFailures, S>,
    letters: &[PeekedMessage],
) -> Vec<FailureGroup> {
    let mut groups: BTreeMap<(FailureKind, String, String), Vec<FailureMember>> = BTreeMap::new();
    for run in runs {
        let failures = read.get(&run.run_id).map(|read| read.failures.as_slice());
        for failure in failures.unwrap_or_default() {
            let key = (FailureKind::Run, failure.class.clone(), run.job.clone());
            groups.entry(key).or_default().push(FailureMember {
                run_id: run.run_id.clone(),
                step_key: failure.step_key.clone(),
                at: failure.at.or(run.ended_at),
                worker: failure.worker.clone(),
                host: failure.host.clone(),
                text: failure.text.clone(),
                settled: run.settled.clone(),
                letter: None,
            });
        }
    }
    for letter in letters {
        let task = letter.envelope.as_ref();
        let job = task.and_then(|task| task.job.clone()).unwrap_or_default();
        let reason = letter.reason.as_deref().or(letter.problem.as_deref());
        let reason = reason.unwrap_or("received more often than its queue allows");
        let key = (FailureKind::DeadLetter, reason_class(reason), job);
        groups.entry(key).or_default().push(FailureMember {
            run_id: task.map_or_else(String::new, |task| task.run_id.clone()),
            step_key: task.and_then(|task| task.step_key.clone()),
            at: letter.sent_at,
            worker: None,
            host: None,
            text: StepFailure::shortened(reason),
            settled: None,
            letter: Some((letter.queue.clone(), letter.message_id.clone())),
        });
    }
    let mut groups: Vec<FailureGroup> = groups
        .into_iter()
        .map(|((kind, class, job), members)| FailureGroup::of(kind, class, job, members))
        .collect();
    groups.sort_by(|a, b| b.count.cmp(&a.count).then(b.last_at.cmp(&a.last_at)));
    groups
}

/// The part of a dead letter's reason that others share: without what follows a colon, and with
/// `…` for words that contain a figure, such as ids.
fn reason_class(reason: &str) -> String {
    let head = reason.split(": ").next().unwrap_or(reason);
    let words = head.split_whitespace().map(|word| {
        let has_figure = word.chars().any(|c| c.is_ascii_digit());
        if has_figure { "…" } else { word }
    });
    words.collect::<Vec<&str>>().join(" ")
}

/// Parses a span of time up to now: `30m`, `24h`, `7d`.
///
/// # Errors
/// One sentence.
pub fn parse_window(text: &str) -> Result<SignedDuration, String> {
    // A year, in seconds: more than any Dagster storage is searched for.
    const MOST: i64 = 366 * 86_400;
    let bad = || format!("`{text}` is not a span of time: give one such as 30m, 24h or 7d");
    let span = parse_duration(text).map_err(|_| bad())?;
    if (60..=MOST).contains(&span.as_secs()) {
        Ok(span)
    } else {
        Err(bad())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn run(run_id: &str, settled: Option<Settled>) -> FailedRun {
        FailedRun {
            run_id: run_id.to_owned(),
            job: "etl".to_owned(),
            created_at: None,
            ended_at: None,
            settled,
        }
    }

    fn failures(run_id: &str, classes: &[&str]) -> (String, RunFailures) {
        let failures = classes
            .iter()
            .enumerate()
            .map(|(second, class)| StepFailure {
                step_key: Some(format!("step_{second}")),
                at: Timestamp::from_second(i64::try_from(second).unwrap()).ok(),
                class: (*class).to_owned(),
                text: format!("{class}: {run_id}"),
                worker: Some("w-1".to_owned()),
                host: Some("w".to_owned()),
            });
        let read = RunFailures {
            run_id: run_id.to_owned(),
            failures: failures.collect(),
            is_cut: false,
        };
        (run_id.to_owned(), read)
    }

    #[test]
    fn failures_are_grouped_by_class_and_job_and_a_run_is_open_once() {
        let settled = Settled::Reexecuted {
            run_id: "d".to_owned(),
        };
        let runs = [run("a", None), run("b", Some(settled)), run("c", None)];
        let read = HashMap::from([
            failures("a", &["ValueError", "ValueError", "KeyError"]),
            failures("b", &["ValueError"]),
        ]);
        let groups = group_failures(&runs, &read, &[]);
        let found: Vec<(&str, usize, usize, usize)> = groups
            .iter()
            .map(|group| (group.class.as_str(), group.count, group.runs, group.open))
            .collect();
        assert_eq!(found, [("ValueError", 3, 2, 1), ("KeyError", 1, 1, 1)]);
        assert_eq!(groups[0].open_runs(), ["a"]);
        assert_eq!(groups[0].hosts.iter().next().unwrap(), "w-1");
    }

    #[test]
    fn reasons_that_differ_in_ids_alone_are_one_class() {
        assert_eq!(
            reason_class("run c31f5b88 does not exist"),
            reason_class("run 4f0c81aa does not exist")
        );
        assert_eq!(
            reason_class("the body is not a Taskiq message: expected value at line 1"),
            "the body is not a Taskiq message"
        );
    }

    #[test]
    fn a_window_is_a_number_and_a_unit() {
        assert_eq!(parse_window("24h").unwrap(), SignedDuration::from_hours(24));
        assert_eq!(parse_window("7d").unwrap().as_hours(), 168);
        for wrong in ["", "h", "24", "-1h", "0m", "99999999999d", "2ä"] {
            assert!(parse_window(wrong).is_err(), "{wrong}");
        }
    }
}
