//! Dagster's runs and jobs, from its webserver.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Dagster's run status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "the names are Dagster's")]
pub enum RunStatus {
    Queued,
    NotStarted,
    Managed,
    Starting,
    Started,
    Success,
    Failure,
    Canceling,
    Canceled,
}

impl RunStatus {
    /// All of them, in the order of a run's life.
    pub const ALL: [Self; 9] = [
        Self::Queued,
        Self::NotStarted,
        Self::Managed,
        Self::Starting,
        Self::Started,
        Self::Success,
        Self::Failure,
        Self::Canceling,
        Self::Canceled,
    ];

    /// The statuses that are not final.
    pub const UNFINISHED: [Self; 6] = [
        Self::Queued,
        Self::NotStarted,
        Self::Managed,
        Self::Starting,
        Self::Started,
        Self::Canceling,
    ];

    /// Whether the run has not started yet.
    #[must_use]
    pub fn is_waiting(self) -> bool {
        matches!(
            self,
            Self::Queued | Self::NotStarted | Self::Managed | Self::Starting
        )
    }

    /// Dagster's word for the status.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::NotStarted => "NOT_STARTED",
            Self::Managed => "MANAGED",
            Self::Starting => "STARTING",
            Self::Started => "STARTED",
            Self::Success => "SUCCESS",
            Self::Failure => "FAILURE",
            Self::Canceling => "CANCELING",
            Self::Canceled => "CANCELED",
        }
    }

    /// Whether Dagster can terminate it safely; others can only be marked as canceled.
    #[must_use]
    pub fn can_be_terminated(self) -> bool {
        matches!(self, Self::Queued | Self::Started)
    }

    /// Whether the status is final.
    #[must_use]
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Success | Self::Failure | Self::Canceled)
    }
}

/// A run in the console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunView {
    /// Run id.
    pub run_id: String,
    /// Job name.
    pub job: String,
    /// Status.
    pub status: RunStatus,
    /// Creation time.
    pub created_at: Option<Timestamp>,
    /// Start time.
    pub started_at: Option<Timestamp>,
    /// End time.
    pub ended_at: Option<Timestamp>,
    /// Number of steps that have succeeded.
    pub steps_succeeded: u32,
    /// Number of steps that have failed.
    pub steps_failed: u32,
    /// Number of steps in its own plan, if Dagster reports it; not for a plan with dynamic outputs.
    pub steps_total: Option<u32>,
    /// `dagster-taskiq/run_priority`, if the tag is set.
    pub priority: Option<i64>,
    /// Its tags, without Dagster's hidden ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<(String, String)>,
    /// The assets it was launched for, `/` between the parts of a key; empty if not for chosen ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assets: Vec<String>,
}

/// Tags in which Dagster notes what launched a run, and the word for it.
const LAUNCHERS: [(&str, &str); 5] = [
    ("dagster/schedule_name", "schedule"),
    ("dagster/sensor_name", "sensor"),
    ("dagster/backfill", "backfill"),
    ("dagster/from_automation_condition", "automation"),
    ("user", "user"),
];

impl RunView {
    /// Prefix of the tags that Dagster does not show.
    pub const HIDDEN_TAG: &str = ".dagster/";

    /// The value of a tag.
    #[must_use]
    pub fn tag(&self, key: &str) -> Option<&str> {
        let found = self.tags.iter().find(|(known, _)| known == key);
        found.map(|(_, value)| value.as_str())
    }

    /// The partition it is for.
    #[must_use]
    pub fn partition(&self) -> Option<&str> {
        self.tag("dagster/partition")
    }

    /// What launched it, such as `schedule nightly`; `None` if its tags do not say.
    #[must_use]
    pub fn launched_by(&self) -> Option<String> {
        let mut known = LAUNCHERS.iter();
        known.find_map(|(tag, word)| match (self.tag(tag)?, *word) {
            (_, word @ "automation") => Some(word.to_owned()),
            (value, word) => Some(format!("{word} {value}")),
        })
    }

    /// Its tags as `key=value`.
    pub fn written_tags(&self) -> impl Iterator<Item = String> {
        self.tags
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
    }
}

/// A job that can be launched: what GraphQL's job selector needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobRef {
    /// Code location name.
    pub location: String,
    /// Repository name.
    pub repository: String,
    /// Job name.
    pub job: String,
}

impl JobRef {
    /// Name of Dagster's own job over every asset; it is launched for chosen ones only.
    pub const ALL_ASSETS: &str = "__ASSET_JOB";

    /// Whether it is Dagster's own job over every asset.
    #[must_use]
    pub fn is_all_assets(&self) -> bool {
        self.job == Self::ALL_ASSETS
    }
}
