//! A run's event log, page by page.

use serde::Deserialize;
use serde_json::json;

use super::schema::{EventConnection, PythonError};
use super::{Client, DagsterError, answer};
use crate::domain::secrets::redact_text;
use crate::domain::{EventPage, OutputPage, RunEvent, Timestamp};

impl Client {
    /// The events of a run after `cursor` (from the start without one). Dagster returns at most
    /// 1,000 at once, or the number in its `DAGSTER_UI_EVENT_LOAD_CHUNK_SIZE`.
    ///
    /// # Errors
    /// See [`DagsterError`]; an unknown run is `Refused`.
    pub async fn logs(
        &self,
        run_id: &str,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<EventPage, DagsterError> {
        let variables = json!({"id": run_id, "after": cursor, "limit": limit});
        let answer = self
            .read(include_str!("queries/logs.graphql"), variables)
            .await?;
        let page: EventConnection<Raw> = answer::expect(answer, "EventConnection")?;
        Ok(EventPage {
            events: page.events.into_iter().map(Raw::event).collect(),
            after: page.cursor,
            has_more: page.has_more,
        })
    }

    /// The output that Dagster captured under a key, after `after`.
    ///
    /// # Errors
    /// See [`DagsterError`].
    pub async fn output(
        &self,
        run_id: &str,
        file_key: &str,
        after: Option<&str>,
    ) -> Result<OutputPage, DagsterError> {
        #[derive(Deserialize)]
        struct Captured {
            stdout: Option<String>,
            stderr: Option<String>,
            cursor: Option<String>,
        }
        let shown = |text: Option<String>| redact_text(&text.unwrap_or_default()).into_owned();
        let key = [run_id, "compute_logs", file_key];
        let variables = json!({"key": key, "after": after, "limit": OutputPage::MAX});
        let document = include_str!("queries/output.graphql");
        let captured: Captured = answer::read(self.read(document, variables).await?)?;
        Ok(OutputPage {
            missing: captured.stdout.is_none() && captured.stderr.is_none(),
            stdout: shown(captured.stdout),
            stderr: shown(captured.stderr),
            after: captured.cursor,
        })
    }
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
    error: Option<PythonError>,
    file_key: Option<String>,
    step_keys: Option<Vec<String>>,
}

impl Raw {
    fn event(self) -> RunEvent {
        let milliseconds = self.timestamp.parse().ok();
        RunEvent {
            at: milliseconds.and_then(|at| Timestamp::from_millisecond(at).ok()),
            level: self.level,
            kind: self.event_type,
            step_key: self.step_key,
            message: redact_text(&self.message).into_owned(),
            error: self
                .error
                .map(|error| redact_text(&error.messages().join("\n")).into_owned()),
            file_key: self.file_key,
            captured: self.step_keys.unwrap_or_default(),
        }
    }
}
