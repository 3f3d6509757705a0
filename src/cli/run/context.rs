//! Context of a run command: the webserver's client, read-only mode, the audit log.

use serde_json::Value;

use super::RunError;
use crate::cli::output::out;
use crate::cli::reason::ReasonArgs;
use crate::cli::table::{self, Align};
use crate::config::Settings;
use crate::dagster::{Client, DagsterError, RunFilter};
use crate::domain::{Command, Danger, Reply};
use crate::protocol::audit::{self, AuditLog};

/// Number of recent runs that are searched for a shortened id.
const LOOK_BACK: u32 = 500;

/// Client, read-only mode and audit log of a run command.
pub(super) struct RunContext {
    pub(super) client: Client,
    read_only: bool,
    audit: Option<AuditLog>,
    json: bool,
    reason: Option<String>,
}

impl RunContext {
    pub(super) fn new(settings: &Settings, json: bool) -> Result<Self, RunError> {
        let url = settings.webserver_url.value.as_deref();
        Ok(Self {
            client: Client::new(url.ok_or(RunError::NoWebserver)?)?,
            read_only: settings.read_only.value,
            audit: AuditLog::default_path().map(AuditLog::new),
            json,
            reason: None,
        })
    }

    /// Records the operator's reason with each command.
    pub(super) fn because(self, reason: &ReasonArgs) -> Self {
        let reason = reason.text();
        Self { reason, ..self }
    }

    /// Prints a value as JSON, or its text.
    pub(super) fn print(&self, value: &Value, words: &str) {
        if self.json {
            out!("{value}");
        } else {
            out!("{words}");
        }
    }

    /// Prints rows, each as JSON or as cells of a table.
    pub(super) fn print_rows<const N: usize>(
        &self,
        columns: [Align; N],
        rows: impl IntoIterator<Item = (Value, [String; N])>,
    ) {
        let (values, cells): (Vec<Value>, Vec<_>) = rows.into_iter().unzip();
        if self.json {
            for value in values {
                out!("{value}");
            }
        } else {
            table::print(columns, &cells);
        }
    }

    /// Whether to print JSON.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Refuses a command in read-only mode; the refusal is recorded, too.
    pub(super) async fn allow(&self, command: &Command) -> Result<(), RunError> {
        if !self.read_only || command.danger() == Danger::Safe {
            return Ok(());
        }
        let refusal = RunError::ReadOnly {
            verb: command.verb(),
        };
        self.record(command, Reply::Failed(refusal.to_string()))
            .await;
        Err(refusal)
    }

    /// Records the outcome of a command.
    pub(super) async fn record(&self, command: &Command, reply: Reply) {
        let entry = audit::own_entry("dagster", command, &reply);
        if let (Some(audit), Some(entry)) = (&self.audit, entry) {
            audit.record(entry.because(self.reason.as_deref())).await;
        }
    }

    /// Records the outcome of a command that is one call.
    pub(super) async fn recorded<T>(
        &self,
        command: &Command,
        outcome: Result<T, DagsterError>,
        done: impl Fn(&T) -> String,
    ) -> Result<T, RunError> {
        let reply = match &outcome {
            Ok(value) => Reply::Done(done(value)),
            Err(error) => Reply::Failed(error.to_string()),
        };
        self.record(command, reply).await;
        Ok(outcome?)
    }

    /// Expands the beginning of a run's id, as the console shows it, to the whole id.
    pub(super) async fn run_id(&self, given: &str) -> Result<String, RunError> {
        if given.len() >= 36 {
            return Ok(given.to_owned());
        }
        let page = self
            .client
            .runs(&RunFilter::default(), LOOK_BACK, None)
            .await?;
        let ids = page.runs.into_iter().map(|run| run.run_id);
        let mut found: Vec<String> = ids.filter(|id| id.starts_with(given)).collect();
        match found.len() {
            1 => Ok(found.swap_remove(0)),
            0 => Err(RunError::Unclear(format!(
                "no run begins with {given} among the newest {LOOK_BACK}; `run list` prints them"
            ))),
            count => Err(RunError::Unclear(format!(
                "{count} runs begin with {given}: {}; give more of its id",
                found.join(", ")
            ))),
        }
    }
}
