//! Backfills and their progress.

use std::fmt::Write;

use serde::Deserialize;
use serde_json::json;

use super::{answer, error_text, seconds};
use crate::dagster::schema::{AssetPath, PythonError, Results};
use crate::dagster::{Client, DagsterError};
use crate::domain::{DagsterPart, Health, PartKind};

/// Number of backfills: the newest.
const BACKFILLS: u32 = 20;

impl Client {
    /// The newest backfills.
    pub(super) async fn backfills(&self) -> Result<Vec<DagsterPart>, DagsterError> {
        let document = include_str!("../queries/backfills.graphql");
        let answer = self.read(document, json!({"limit": BACKFILLS})).await?;
        let found: Results<Backfill> = answer::expect(answer, "PartitionBackfills")?;
        Ok(found.results.into_iter().map(Backfill::part).collect())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Backfill {
    id: String,
    status: String,
    title: Option<String>,
    partition_set_name: Option<String>,
    asset_selection: Option<Vec<AssetPath>>,
    num_partitions: Option<u64>,
    #[serde(default)]
    partition_status_counts: Vec<StatusCount>,
    timestamp: Option<f64>,
    error: Option<PythonError>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StatusCount {
    run_status: String,
    count: u64,
}

impl Backfill {
    fn part(self) -> DagsterPart {
        let health = match self.status.as_str() {
            "FAILED" | "FAILING" | "COMPLETED_FAILED" => Health::Bad,
            "REQUESTED" | "CANCELING" => Health::Pending,
            _ => Health::Off,
        };
        let of = |wanted: &str| -> u64 {
            let counts = self.partition_status_counts.iter();
            let counts = counts.filter(|count| count.run_status == wanted);
            counts.map(|count| count.count).sum()
        };
        let (done, failed) = (of("SUCCESS"), of("FAILURE"));
        let total = self.num_partitions.unwrap_or(0);
        // Dagster does not count the partitions of a backfill of assets by run.
        let mut result = if self.partition_status_counts.is_empty() {
            format!("{total} partitions")
        } else {
            format!("{done}/{total}")
        };
        if failed > 0 {
            // Writing to a string cannot fail.
            let _ = write!(result, ", {failed} failed");
        }
        let assets = self.asset_selection.unwrap_or_default();
        let assets: Vec<String> = assets.iter().map(|asset| asset.path.join("/")).collect();
        let detail = [self.title, self.partition_set_name];
        let mut detail: Vec<String> = detail.into_iter().flatten().collect();
        detail.extend(assets);
        DagsterPart {
            name: self.id.clone(),
            id: format!("backfill {}", self.id),
            kind: PartKind::Backfill,
            location: String::new(),
            state: self.status.to_lowercase().replace('_', " "),
            health,
            at: seconds(self.timestamp),
            result,
            detail: detail.join(" "),
            error: self.error.as_ref().map(error_text),
            instigator: None,
        }
    }
}
