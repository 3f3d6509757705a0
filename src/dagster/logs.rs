//! A run's event log, page by page.

use serde::Deserialize;
use serde_json::json;

use super::{Client, DagsterError, answer};
use crate::domain::Timestamp;

/// Some events of a run's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPage {
    /// The events, oldest first.
    pub events: Vec<RunEvent>,
    /// Where to go on.
    pub cursor: String,
    /// There is more: ask again at once.
    pub has_more: bool,
}

/// One event of a run's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunEvent {
    /// When.
    pub at: Option<Timestamp>,
    /// Dagster's level: `DEBUG`, `INFO`, `WARNING`, `ERROR`, `CRITICAL`.
    pub level: String,
    /// Dagster's event type, such as `STEP_START`; absent for a plain log message.
    pub kind: Option<String>,
    /// The step.
    pub step_key: Option<String>,
    /// The message.
    pub message: String,
    /// What went wrong, where something did.
    pub error: Option<String>,
}

impl Client {
    /// The events of a run after `cursor` (from the start without one). Dagster gives at most
    /// 1,000 at once, or what its `DAGSTER_UI_EVENT_LOAD_CHUNK_SIZE` says.
    ///
    /// # Errors
    /// See [`DagsterError`]; an unknown run is `Refused`.
    pub async fn logs(
        &self,
        run_id: &str,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<LogPage, DagsterError> {
        let variables = json!({"id": run_id, "after": cursor, "limit": limit});
        let answer = self
            .read(include_str!("queries/logs.graphql"), variables)
            .await?;
        let page: Connection = answer::expect(answer, "EventConnection")?;
        Ok(LogPage {
            events: page.events.into_iter().map(Raw::event).collect(),
            cursor: page.cursor,
            has_more: page.has_more,
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Connection {
    cursor: String,
    has_more: bool,
    events: Vec<Raw>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(default)]
    message: String,
    /// Milliseconds since the epoch, as text.
    #[serde(default)]
    timestamp: String,
    #[serde(default)]
    level: String,
    step_key: Option<String>,
    event_type: Option<String>,
    error: Option<Failure>,
}

#[derive(Deserialize)]
struct Failure {
    message: String,
}

impl Raw {
    fn event(self) -> RunEvent {
        let milliseconds = self.timestamp.parse().ok();
        RunEvent {
            at: milliseconds.and_then(|at| Timestamp::from_millisecond(at).ok()),
            level: self.level,
            kind: self.event_type,
            step_key: self.step_key,
            message: self.message,
            error: self.error.map(|error| error.message),
        }
    }
}
