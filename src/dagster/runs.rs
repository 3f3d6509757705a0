//! Runs: lists, step counts, and one run with its steps.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{self, seconds};
use super::schema::{AssetPath, Results, Tag};
use super::{Client, DagsterError};
use crate::domain::secrets::redact_text;
use crate::domain::{RunStatus, RunStep, RunSteps, RunView, Timestamp};

/// The tag that sets a run's priority.
const RUN_PRIORITY: &str = "dagster-taskiq/run_priority";

/// Filter of runs; the default matches all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Only runs with these ids.
    pub run_ids: Option<Vec<String>>,
    /// Only runs with these statuses.
    pub statuses: Option<Vec<RunStatus>>,
    /// Only runs of this job.
    pub job: Option<String>,
    /// Only runs with all of these tags.
    pub tags: Vec<(String, String)>,
}

impl RunFilter {
    /// GraphQL's `RunsFilter`.
    fn value(&self) -> Value {
        let mut filter = json!({});
        if let Some(run_ids) = &self.run_ids {
            filter["runIds"] = json!(run_ids);
        }
        if let Some(statuses) = &self.statuses {
            filter["statuses"] = json!(statuses);
        }
        if let Some(job) = &self.job {
            filter["pipelineName"] = json!(job);
        }
        if !self.tags.is_empty() {
            let tags = self.tags.iter();
            let tags = tags.map(|(key, value)| json!({"key": key, "value": value}));
            filter["tags"] = tags.collect();
        }
        filter
    }
}

/// Runs, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunPage {
    /// The runs. Their step counts are 0: use [`Client::run_stats`], which costs Dagster a look
    /// into each run's log.
    pub runs: Vec<RunView>,
    /// Start of the next page, if this one was full.
    pub next: Option<String>,
}

/// Counts of the ended steps of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunStats {
    /// The run had ended at that time: the counts will not change.
    pub finished: bool,
    /// Steps that succeeded.
    pub succeeded: u32,
    /// Steps that failed.
    pub failed: u32,
}

impl RunStats {
    /// Adds the counts to a run.
    pub fn add_to(self, run: &mut RunView) {
        run.steps_succeeded = self.succeeded;
        run.steps_failed = self.failed;
    }
}

/// One run in detail.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunDetail {
    /// Run id.
    pub run_id: String,
    /// Status.
    pub status: RunStatus,
    /// Job name.
    #[serde(rename = "jobName")]
    pub job: String,
    /// Its configuration, as YAML.
    #[serde(rename = "runConfigYaml")]
    pub config: String,
    /// Whether Dagster would terminate it safely.
    pub can_terminate: bool,
    /// Whether the webserver permits running it again.
    #[serde(rename = "hasReExecutePermission")]
    pub can_reexecute: bool,
    /// The steps that began.
    #[serde(rename = "stepStats")]
    pub steps: Vec<StepStats>,
    /// The steps of its plan; absent if the plan was not stored.
    #[serde(rename = "executionPlan", deserialize_with = "plan")]
    pub plan: Vec<PlanStep>,
}

/// A step that began.
#[derive(Clone, Debug, PartialEq)]
pub struct StepStats {
    /// Step key.
    pub key: String,
    /// `SUCCESS`, `FAILURE`, `SKIPPED`, `IN_PROGRESS`; absent if Dagster does not report it.
    pub status: Option<String>,
    /// Start of its last attempt.
    pub started_at: Option<Timestamp>,
    /// End of its last attempt.
    pub ended_at: Option<Timestamp>,
    /// Time at which its last attempt was sent.
    pub sent_at: Option<Timestamp>,
    /// Start and end of each attempt.
    pub attempts: Vec<(Option<Timestamp>, Option<Timestamp>)>,
}

/// A step of a plan and the steps before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanStep {
    /// Step key.
    pub key: String,
    /// Keys of the steps whose outputs it needs.
    pub depends_on: Vec<String>,
}

impl Client {
    /// A page of runs, newest first, after `cursor`.
    ///
    /// # Errors
    /// See [`DagsterError`].
    pub async fn runs(
        &self,
        filter: &RunFilter,
        limit: u32,
        cursor: Option<&str>,
    ) -> Result<RunPage, DagsterError> {
        let variables = json!({"filter": filter.value(), "limit": limit, "cursor": cursor});
        let answer = self
            .read(include_str!("queries/runs.graphql"), variables)
            .await?;
        let runs: Results<RawRun> = answer::expect(answer, "Runs")?;
        let runs: Vec<RunView> = runs.results.into_iter().map(RawRun::view).collect();
        let full = u32::try_from(runs.len()).is_ok_and(|count| count == limit);
        let next = runs.last().filter(|_| full).map(|run| run.run_id.clone());
        Ok(RunPage { runs, next })
    }

    /// The step counts of these runs; runs that Dagster does not know are left out.
    ///
    /// # Errors
    /// See [`DagsterError`].
    pub async fn run_stats(
        &self,
        run_ids: &[String],
    ) -> Result<HashMap<String, RunStats>, DagsterError> {
        let variables = json!({"filter": {"runIds": run_ids}, "limit": run_ids.len()});
        let answer = self
            .read(include_str!("queries/run_stats.graphql"), variables)
            .await?;
        let runs: Results<RawStats> = answer::expect(answer, "Runs")?;
        Ok(runs
            .results
            .into_iter()
            .filter_map(RawStats::counted)
            .collect())
    }

    /// Adds their step counts to runs.
    ///
    /// # Errors
    /// See [`DagsterError`].
    pub async fn count_steps(&self, runs: &mut [RunView]) -> Result<(), DagsterError> {
        let ids: Vec<String> = runs.iter().map(|run| run.run_id.clone()).collect();
        let counts = self.run_stats(&ids).await?;
        for run in runs {
            if let Some(stats) = counts.get(&run.run_id) {
                stats.add_to(run);
            }
        }
        Ok(())
    }

    /// Number of steps of each of these runs, by its own plan: a run that repeats a part of another
    /// has fewer. Runs without a plan are left out, and those whose number of steps is only known
    /// while they run (dynamic outputs).
    ///
    /// # Errors
    /// See [`DagsterError`].
    pub async fn plan_sizes(
        &self,
        run_ids: &[String],
    ) -> Result<HashMap<String, u32>, DagsterError> {
        let variables = json!({"filter": {"runIds": run_ids}, "limit": run_ids.len()});
        let answer = self
            .read(include_str!("queries/run_plans.graphql"), variables)
            .await?;
        let runs: Results<RawPlan> = answer::expect(answer, "Runs")?;
        Ok(runs
            .results
            .into_iter()
            .filter_map(RawPlan::counted)
            .collect())
    }

    /// One run with its steps.
    ///
    /// # Errors
    /// See [`DagsterError`]; an unknown run is `Refused`.
    pub async fn run(&self, run_id: &str) -> Result<RunDetail, DagsterError> {
        let document = include_str!("queries/run_detail.graphql");
        let answer = self.read(document, json!({"id": run_id})).await?;
        answer::expect(answer, "Run")
    }
}

impl RunDetail {
    /// The steps for display: those of the plan in its order, then those that were added while it
    /// ran.
    #[must_use]
    pub fn into_steps(self) -> RunSteps {
        let mut begun: HashMap<String, StepStats> = HashMap::new();
        let mut order = Vec::new();
        for step in self.steps {
            order.push(step.key.clone());
            begun.insert(step.key.clone(), step);
        }
        let mut steps: Vec<RunStep> = Vec::new();
        for planned in self.plan {
            // `load[?]` stands for the dynamic steps.
            if !planned.key.contains("[?]") {
                let stats = begun.remove(&planned.key);
                steps.push(run_step(planned.key, stats, planned.depends_on));
            }
        }
        for key in order {
            if let Some(stats) = begun.remove(&key) {
                steps.push(run_step(key, Some(stats), Vec::new()));
            }
        }
        steps.truncate(RunSteps::MAX);
        RunSteps {
            steps,
            config: self.config,
        }
    }
}

fn run_step(key: String, stats: Option<StepStats>, depends_on: Vec<String>) -> RunStep {
    RunStep {
        key,
        status: stats.as_ref().and_then(|stats| stats.status.clone()),
        sent_at: stats.as_ref().and_then(|stats| stats.sent_at),
        started_at: stats.as_ref().and_then(|stats| stats.started_at),
        ended_at: stats.as_ref().and_then(|stats| stats.ended_at),
        attempts: stats.map_or(0, |stats| stats.attempts.len()),
        depends_on,
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawRun {
    run_id: String,
    job_name: String,
    status: RunStatus,
    creation_time: Option<f64>,
    start_time: Option<f64>,
    end_time: Option<f64>,
    tags: Vec<Tag>,
    step_keys_to_execute: Option<Vec<String>>,
    asset_selection: Option<Vec<AssetPath>>,
}

/// Maximum number of assets and tags of a run, and of characters of a tag's value: thousands of
/// runs are kept.
const MAX_SHOWN: usize = 50;
const MAX_VALUE: usize = 200;

/// The tags for display.
fn shown_tags(tags: Vec<Tag>) -> Vec<(String, String)> {
    let shown = tags
        .into_iter()
        .filter(|tag| !tag.key.starts_with(RunView::HIDDEN_TAG));
    let pairs = shown.take(MAX_SHOWN).map(|tag| {
        let value = redact_text(&tag.value).chars().take(MAX_VALUE).collect();
        (tag.key, value)
    });
    pairs.collect()
}

impl RawRun {
    fn view(self) -> RunView {
        let total = self.step_keys_to_execute.map(|keys| keys.len());
        let priority = self.tags.iter().find(|tag| tag.key == RUN_PRIORITY);
        RunView {
            run_id: self.run_id,
            job: self.job_name,
            status: self.status,
            created_at: seconds(self.creation_time),
            started_at: seconds(self.start_time),
            ended_at: seconds(self.end_time),
            steps_succeeded: 0,
            steps_failed: 0,
            steps_total: total.and_then(|total| u32::try_from(total).ok()),
            priority: priority.and_then(|tag| tag.value.trim().parse().ok()),
            tags: shown_tags(self.tags),
            assets: {
                let assets = self.asset_selection.into_iter().flatten();
                assets
                    .take(MAX_SHOWN)
                    .map(|asset| asset.path.join("/"))
                    .collect()
            },
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawStats {
    run_id: String,
    status: RunStatus,
    stats: StepCounts,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StepCounts {
    steps_succeeded: Option<u32>,
    steps_failed: Option<u32>,
}

impl RawStats {
    fn counted(self) -> Option<(String, RunStats)> {
        let stats = RunStats {
            finished: self.status.is_finished(),
            succeeded: self.stats.steps_succeeded?,
            failed: self.stats.steps_failed?,
        };
        Some((self.run_id, stats))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawPlan {
    run_id: String,
    #[serde(rename = "executionPlan")]
    plan: Option<Keys>,
}

#[derive(Deserialize)]
struct Keys {
    steps: Vec<Key>,
}

#[derive(Deserialize)]
struct Key {
    key: String,
}

impl RawPlan {
    fn counted(self) -> Option<(String, u32)> {
        let steps = self.plan?.steps;
        // `load[?]` stands for any number of dynamic steps.
        let dynamic = steps.iter().any(|step| step.key.contains("[?]"));
        let size = u32::try_from(steps.len()).ok()?;
        (!dynamic).then_some((self.run_id, size))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Span {
    start_time: Option<f64>,
    #[serde(default)]
    end_time: Option<f64>,
}

impl<'de> Deserialize<'de> for StepStats {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Raw {
            step_key: String,
            status: Option<String>,
            #[serde(flatten)]
            span: Span,
            attempts: Vec<Span>,
            markers: Vec<Span>,
        }
        let raw = Raw::deserialize(deserializer)?;
        let ends = |span: &Span| (seconds(span.start_time), seconds(span.end_time));
        let (started_at, ended_at) = ends(&raw.span);
        // The first recorded event of an attempt is that it is sent (`STEP_WORKER_STARTING`).
        let noted = raw
            .markers
            .iter()
            .filter_map(|span| seconds(span.start_time));
        let before = |at: &Timestamp| started_at.is_none_or(|started| *at <= started);
        let sent_at = noted.filter(before).min();
        Ok(Self {
            key: raw.step_key,
            status: raw.status,
            started_at,
            ended_at,
            sent_at,
            attempts: raw.attempts.iter().map(ends).collect(),
        })
    }
}

fn plan<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<PlanStep>, D::Error> {
    #[derive(Deserialize)]
    struct Plan {
        steps: Vec<Step>,
    }
    #[derive(Deserialize)]
    struct Step {
        key: String,
        inputs: Vec<Input>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Input {
        depends_on: Vec<Key>,
    }
    let plan = Option::<Plan>::deserialize(deserializer)?;
    let steps = plan.map(|plan| plan.steps).unwrap_or_default();
    Ok(steps
        .into_iter()
        .map(|step| {
            let before = step.inputs.into_iter().flat_map(|input| input.depends_on);
            PlanStep {
                key: step.key,
                depends_on: before.map(|step| step.key).collect(),
            }
        })
        .collect())
}
