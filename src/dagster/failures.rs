//! Failed runs, whether they were executed again since, and the failures in their logs.

use std::collections::HashMap;
use std::fmt::Write;

use futures::future::try_join_all;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::answer::{self, seconds};
use super::schema::{EventConnection, PythonError, Tag};
use super::{Client, DagsterError};
use crate::domain::secrets::redact_text;
use crate::domain::{FailedRun, FailedRunPage, RunFailures, Settled, StepFailure, Timestamp};

/// Number of runs in a page. Each costs Dagster a look for its newest re-execution.
const PAGE: u32 = 25;

/// Number of events in one read of a log: Dagster's maximum.
const EVENTS: u32 = 1_000;

/// Maximum number of reads of one log: a run of some 1,000 steps. What follows is not searched.
const READS: usize = 20;

/// Maximum number of failures of one run.
const FAILURES: usize = 200;

/// The tag that names the first run of a chain of re-executions.
const ROOT_RUN: &str = "dagster/root_run_id";

/// The tag of a failed run that Dagster's daemon retries.
const WILL_RETRY: &str = "dagster/will_retry";

/// Metadata label of the event with which a worker announces a step: its id. The host's label
/// follows. They are written by `_dagster_taskiq_host/engine_events.py`.
const WORKER: &str = "dagster-taskiq/worker";
const HOST: &str = "host";

/// Facts of one run's log.
#[derive(Debug)]
pub struct LogDigest {
    /// By step key: the place of its last attempt. Steps that no worker announced are absent.
    pub places: HashMap<String, Place>,
    /// The failures; of a run that has not failed, one that says so.
    pub failures: RunFailures,
}

/// The place of an attempt, as its worker announced it.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// Id of the worker.
    pub worker: Option<String>,
    /// Name of its host.
    pub host: Option<String>,
}

impl Client {
    /// A page of the runs that failed since `since`, newest first, before the run `before`.
    ///
    /// # Errors
    /// See [`DagsterError`].
    pub async fn failed_runs(
        &self,
        since: Timestamp,
        before: Option<&str>,
    ) -> Result<FailedRunPage, DagsterError> {
        let since = since.as_duration().as_secs_f64();
        let filter = json!({"statuses": ["FAILURE"], "updatedAfter": since});
        let found = self.list_failed(filter, PAGE, before).await?;
        let full = u32::try_from(found.results.len()).is_ok_and(|count| count == PAGE);
        let last = found.results.last().filter(|_| full);
        // Dagster counts apart from listing: a run that fails between the two is only in the list.
        let listed = u64::try_from(found.results.len()).unwrap_or(u64::MAX);
        Ok(FailedRunPage {
            next: last.map(|run| run.run_id.clone()),
            total: found.count.unwrap_or(0).max(listed),
            runs: self.with_newest(found.results).await?,
        })
    }

    /// Reason why a run needs no re-execution; `None` if it failed and was not executed again
    /// since.
    ///
    /// # Errors
    /// See [`DagsterError`]; an unknown run, or one that has not failed, is `Refused`.
    pub async fn settled(&self, run_id: &str) -> Result<Option<Settled>, DagsterError> {
        let filter = json!({"statuses": ["FAILURE"], "runIds": [run_id]});
        let found = self.list_failed(filter, 1, None).await?;
        let run = self.with_newest(found.results).await?.pop();
        let run = run.ok_or_else(|| DagsterError::Refused {
            kind: "RunNotFoundError".to_owned(),
            reason: format!("there is no failed run {run_id}"),
        })?;
        Ok(run.settled)
    }

    async fn list_failed(
        &self,
        filter: Value,
        limit: u32,
        cursor: Option<&str>,
    ) -> Result<RawRuns, DagsterError> {
        let variables = json!({"filter": filter, "limit": limit, "cursor": cursor});
        let document = include_str!("queries/failed_runs.graphql");
        answer::expect(self.read(document, variables).await?, "Runs")
    }

    /// Looks up the newest execution of each run's chain, all in one query: Dagster's filter takes
    /// one value for a tag.
    async fn with_newest(&self, runs: Vec<RawRun>) -> Result<Vec<FailedRun>, DagsterError> {
        if runs.is_empty() {
            return Ok(Vec::new());
        }
        let (mut takes, mut fields, mut variables) = (String::new(), String::new(), Map::new());
        for (index, run) in runs.iter().enumerate() {
            // Writing to a string cannot fail.
            let _ = write!(takes, "$r{index}: String!, ");
            let _ = write!(
                fields,
                "f{index}: runsOrError(filter: {{tags: [{{key: \"{ROOT_RUN}\", value: $r{index}}}]}}, \
                 limit: 1) {{ ... on Runs {{ results {{ runId creationTime }} }} }} "
            );
            variables.insert(format!("r{index}"), json!(run.root()));
        }
        let document = format!("query Newest({takes}) {{ {fields} }}");
        let mut answers = self.read_all(&document, variables.into()).await?;
        runs.into_iter()
            .enumerate()
            .map(|(index, run)| {
                let answer = answers.remove(&format!("f{index}")).unwrap_or_default();
                let newest: RawNewest = answer::read(answer)?;
                Ok(run.failed(newest.results.into_iter().next()))
            })
            .collect()
    }

    /// The failures in the logs of failed runs; runs that Dagster does not know are left out.
    ///
    /// # Errors
    /// See [`DagsterError`].
    pub async fn failures_of(&self, run_ids: &[String]) -> Result<Vec<RunFailures>, DagsterError> {
        let read = try_join_all(run_ids.iter().map(|run_id| self.digest(run_id))).await?;
        let read = read.into_iter().flatten();
        Ok(read.map(|digest| digest.failures).collect())
    }

    /// The failures in a run's log, and the places of its steps; `None` if Dagster does not know
    /// the run.
    ///
    /// # Errors
    /// See [`DagsterError`].
    pub async fn digest(&self, run_id: &str) -> Result<Option<LogDigest>, DagsterError> {
        let document = include_str!("queries/failures.graphql");
        let (mut log, mut after, mut has_more) = (Log::default(), None, true);
        let mut reads = 0;
        while has_more && reads < READS && log.failures.len() < FAILURES {
            let variables = json!({"id": run_id, "after": after, "limit": EVENTS});
            let answer = self.read(document, variables).await?;
            if answer::kind(&answer) == "RunNotFoundError" {
                return Ok(None);
            }
            let page: EventConnection<Event> = answer::expect(answer, "EventConnection")?;
            page.events.into_iter().for_each(|event| log.take(event));
            has_more = page.has_more;
            after = Some(page.cursor);
            reads += 1;
        }
        let is_cut = has_more || log.failures.len() > FAILURES;
        let places = std::mem::take(&mut log.places).into_iter();
        let places = places.filter_map(|(step, place)| Some((step?, place)));
        Ok(Some(LogDigest {
            places: places.collect(),
            failures: RunFailures {
                run_id: run_id.to_owned(),
                failures: log.into_failures(is_cut),
                is_cut,
            },
        }))
    }
}

#[derive(Deserialize)]
struct RawRuns {
    count: Option<u64>,
    results: Vec<RawRun>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawRun {
    run_id: String,
    job_name: String,
    creation_time: Option<f64>,
    end_time: Option<f64>,
    update_time: Option<f64>,
    root_run_id: Option<String>,
    tags: Vec<Tag>,
}

#[derive(Default, Deserialize)]
struct RawNewest {
    #[serde(default)]
    results: Vec<Newest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Newest {
    run_id: String,
    creation_time: Option<f64>,
}

impl RawRun {
    /// The first run of its chain.
    fn root(&self) -> &str {
        self.root_run_id.as_deref().unwrap_or(&self.run_id)
    }

    fn failed(self, newest: Option<Newest>) -> FailedRun {
        let is_newer = |other: &Newest| {
            other.run_id != self.run_id && other.creation_time >= self.creation_time
        };
        let retries = |tag: &Tag| tag.key == WILL_RETRY && tag.value == "true";
        let settled = match newest.filter(is_newer) {
            Some(Newest { run_id, .. }) => Some(Settled::Reexecuted { run_id }),
            None if self.tags.iter().any(retries) => Some(Settled::RetryDue),
            None => None,
        };
        FailedRun {
            created_at: seconds(self.creation_time),
            ended_at: seconds(self.end_time.or(self.update_time)),
            settled,
            run_id: self.run_id,
            job: self.job_name,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(rename = "__typename")]
    kind: String,
    step_key: Option<String>,
    /// Milliseconds since the epoch, as text.
    timestamp: Option<String>,
    #[serde(default)]
    message: String,
    error: Option<PythonError>,
    #[serde(default)]
    metadata_entries: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    label: String,
    text: Option<String>,
}

/// Class and text of the innermost cause: the step's own exception.
fn own_error(mut error: PythonError) -> (String, String) {
    if let Some(cause) = error.causes.pop() {
        return own_error(cause);
    }
    let class = error.class_name.filter(|name| !name.is_empty());
    let class = class.unwrap_or_else(|| "error without a class".to_owned());
    (class, error.message)
}

/// The failures of a log while it is read.
#[derive(Default)]
struct Log {
    /// Of each step's last announcement; `None` is the run itself.
    places: HashMap<Option<String>, Place>,
    failures: Vec<StepFailure>,
    /// The last error of the run outside of its steps, such as that of its launch.
    engine: Option<StepFailure>,
    /// The failure of the run, which mostly repeats those of its steps.
    run: Option<StepFailure>,
}

impl Log {
    fn take(&mut self, mut event: Event) {
        match event.kind.as_str() {
            "EngineEvent" => {
                let mut place = Place::default();
                for entry in std::mem::take(&mut event.metadata_entries) {
                    match entry.label.as_str() {
                        WORKER => place.worker = entry.text,
                        HOST => place.host = entry.text,
                        _ => {}
                    }
                }
                if place.worker.is_some() {
                    self.places.insert(event.step_key, place);
                } else if event.step_key.is_none() && event.error.is_some() {
                    self.engine = Some(self.failure(event, "engine error"));
                }
            }
            "ExecutionStepFailureEvent" => {
                let failure = self.failure(event, "step failure");
                self.failures.push(failure);
            }
            // Dagster marks a run that could not be launched as failed, without the error.
            "RunFailureEvent" if event.error.is_none() && self.engine.is_some() => {
                self.run = self.engine.take();
            }
            "RunFailureEvent" => self.run = Some(self.failure(event, "run failure")),
            _ => {}
        }
    }

    fn failure(&self, event: Event, otherwise: &str) -> StepFailure {
        let (class, text) = match event.error {
            Some(error) => own_error(error),
            None => (otherwise.to_owned(), event.message),
        };
        let milliseconds = event.timestamp.and_then(|at| at.parse().ok());
        let place = self.places.get(&event.step_key).cloned();
        let Place { worker, host } = place.unwrap_or_default();
        StepFailure {
            step_key: event.step_key,
            at: milliseconds.and_then(|at| Timestamp::from_millisecond(at).ok()),
            class,
            text: StepFailure::shortened(&redact_text(&text)),
            worker,
            host,
        }
    }

    /// The failures of the steps; without any, that of the run.
    fn into_failures(mut self, is_cut: bool) -> Vec<StepFailure> {
        self.failures.truncate(FAILURES);
        if self.failures.is_empty() {
            let text = if is_cut {
                "the beginning of its log has no failure, the rest was not read"
            } else {
                "its log has no failure"
            };
            self.failures.push(self.run.unwrap_or_else(|| StepFailure {
                step_key: None,
                at: None,
                class: "no failure in the log".to_owned(),
                text: text.to_owned(),
                worker: None,
                host: None,
            }));
        }
        self.failures
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

    use serde_json::json;

    use super::{Event, Log};

    fn failures(events: serde_json::Value) -> Vec<(String, String)> {
        let events: Vec<Event> = serde_json::from_value(events).unwrap();
        let mut log = Log::default();
        for event in events {
            log.take(event);
        }
        let failures = log.into_failures(false).into_iter();
        failures.map(|found| (found.class, found.text)).collect()
    }

    #[test]
    fn a_run_that_could_not_be_launched_failed_with_the_error_of_its_launch() {
        let error = json!({"className": "ModuleNotFoundError",
            "message": "ModuleNotFoundError: No module named 'boto3'", "causes": []});
        let launch = json!({"__typename": "EngineEvent", "error": error, "metadataEntries": [],
            "message": "Caught an unrecoverable error while dequeuing the run."});
        let marked = json!({"__typename": "RunFailureEvent", "error": null,
            "message": "This run has been marked as failed from outside the execution context."});
        let [(class, text)] = &failures(json!([launch, marked]))[..] else {
            panic!("one failure was expected");
        };
        assert_eq!(class, "ModuleNotFoundError");
        assert!(text.contains("boto3"), "{text}");

        let [(class, text)] = &failures(json!([marked]))[..] else {
            panic!("one failure was expected");
        };
        assert_eq!(class, "run failure");
        assert!(text.contains("marked as failed"), "{text}");
    }
}
