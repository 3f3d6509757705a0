//! The client of a Dagster webserver's GraphQL endpoint.
//!
//! Each operation is one document in `dagster/queries`, as Dagster 1.13 answers them. Any member of
//! a union other than the expected success becomes [`DagsterError::Refused`] with Dagster's
//! message.

mod answer;
mod error;
mod failures;
mod job_detail;
mod jobs;
mod launch;
mod logs;
mod parts;
mod runs;
mod schema;

use std::time::Duration;

use reqwest::redirect::Policy;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use url::Url;

use crate::domain::secrets::redact_text;
use crate::domain::{innermost, is_loopback};

pub use error::DagsterError;
pub use failures::{LogDigest, Place};
pub use job_detail::PartitionDetail;
pub use jobs::{Job, Location};
pub use launch::{Launched, Reexecution, Termination, TerminationPolicy};
pub use runs::{PlanStep, RunDetail, RunFilter, RunPage, RunStats, StepStats};

/// Timeout of a connection attempt.
const CONNECT: Duration = Duration::from_secs(3);

/// Time for which an idle connection is kept. Uvicorn, which serves Dagster's webserver, closes it
/// after 5 s, and a query sent at that moment fails.
const IDLE: Duration = Duration::from_secs(3);

/// Timeout of a query.
const READ: Duration = Duration::from_secs(15);

/// Timeout of a mutation: launching may start a code location's server.
const WRITE: Duration = Duration::from_mins(1);

/// Maximum size of an answer, in bytes: a page of 1,000 events with long messages is some 2 MiB.
const MAX_ANSWER: usize = 32 * 1024 * 1024;

/// Content of `/server_info`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ServerInfo {
    /// Version of `dagster-webserver`.
    pub dagster_webserver_version: String,
    /// Version of `dagster`.
    pub dagster_version: String,
}

/// A client of one webserver. Cloning is cheap and shares the connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    /// With its user name and password, which are sent only to this server.
    base: Url,
    /// For display.
    shown: String,
}

impl Client {
    /// Creates a client of the webserver at `url` (with its path prefix, if any). Does not connect
    /// yet.
    ///
    /// # Errors
    /// `url` is not an http(s) URL.
    pub fn new(url: &str) -> Result<Self, DagsterError> {
        let bad = |reason: String| DagsterError::Url {
            url: without_credentials(url),
            reason,
        };
        let parsed = Url::parse(url).map_err(|error| bad(error.to_string()))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(bad(format!(
                "its scheme is {}, not http or https",
                parsed.scheme()
            )));
        }
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .pool_idle_timeout(IDLE)
            // A proxy that requires a login redirects to its page, which is not an answer.
            .redirect(Policy::none());
        if is_loopback(url) {
            http = http.no_proxy();
        }
        Ok(Self {
            http: http.build().map_err(|error| bad(error.to_string()))?,
            shown: without_credentials(parsed.as_str())
                .trim_end_matches('/')
                .to_owned(),
            base: parsed,
        })
    }

    /// The webserver's address for display: without a trailing slash, a user name and a password.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.shown
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.base.as_str().trim_end_matches('/'))
    }

    /// Queries the versions, the cheapest query there is.
    ///
    /// # Errors
    /// The webserver cannot be reached or is not one of Dagster's.
    pub async fn server_info(&self) -> Result<ServerInfo, DagsterError> {
        let request = self.http.get(self.at("/server_info"));
        let body = self.send(request, READ).await?;
        serde_json::from_slice(&body).map_err(|_| self.not_dagster("/server_info is not Dagster's"))
    }

    /// Sends a query; returns the value of the answer's only field.
    async fn read(&self, document: &str, variables: Value) -> Result<Value, DagsterError> {
        self.post(document, variables, READ).await.map(only)
    }

    /// Sends a query; returns the values of the answer's fields.
    async fn read_all(
        &self,
        document: &str,
        variables: Value,
    ) -> Result<Map<String, Value>, DagsterError> {
        self.post(document, variables, READ).await
    }

    /// Sends a mutation; returns the value of the answer's only field.
    async fn write(&self, document: &str, variables: Value) -> Result<Value, DagsterError> {
        self.post(document, variables, WRITE).await.map(only)
    }

    async fn post(
        &self,
        document: &str,
        variables: Value,
        limit: Duration,
    ) -> Result<Map<String, Value>, DagsterError> {
        let body = json!({"query": document, "variables": variables});
        let request = self.http.post(self.at("/graphql")).json(&body);
        let body = self.send(request, limit).await?;
        answer::fields(&body).map_err(|problem| match problem {
            answer::Problem::NotGraphQl => self.not_dagster("/graphql does not speak GraphQL"),
            answer::Problem::Errors(reason) => DagsterError::GraphQl {
                url: self.shown.clone(),
                reason,
            },
        })
    }

    /// Returns the body of the answer with any status: GraphQL errors come with 400.
    async fn send(
        &self,
        request: reqwest::RequestBuilder,
        limit: Duration,
    ) -> Result<Vec<u8>, DagsterError> {
        let failed = |error: reqwest::Error| self.unreachable(&error, limit);
        let mut response = request.timeout(limit).send().await.map_err(failed)?;
        let status = response.status();
        if status.is_redirection()
            || matches!(status.as_u16(), 401 | 403 | 404)
            || status.is_server_error()
        {
            return Err(self.not_dagster(&format!("it answered {status}")));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(self.not_dagster("its answer is larger than 32 MiB"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn unreachable(&self, error: &reqwest::Error, limit: Duration) -> DagsterError {
        let url = self.shown.clone();
        if error.is_timeout() && !error.is_connect() {
            return DagsterError::Timeout { url, after: limit };
        }
        // The innermost cause is the one an operator can act on ("Connection refused").
        let reason = redact_text(&innermost(error)).into_owned();
        DagsterError::Unreachable { url, reason }
    }

    fn not_dagster(&self, reason: &str) -> DagsterError {
        DagsterError::NotDagster {
            url: self.shown.clone(),
            reason: reason.to_owned(),
        }
    }
}

/// The value of an answer's only field, which [`answer::fields`] has made sure of.
fn only(fields: Map<String, Value>) -> Value {
    fields
        .into_iter()
        .next()
        .map(|(_, value)| value)
        .unwrap_or_default()
}

/// A URL for display, logs and files: its user name and password are removed, and other secrets in
/// it are hidden.
#[must_use]
pub fn without_credentials(url: &str) -> String {
    let start = url.find("://").map_or(0, |at| at + "://".len());
    let rest = &url[start..];
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let host = rest[..end].rfind('@').map_or(0, |at| at + 1);
    redact_text(&format!("{}{}", &url[..start], &rest[host..])).into_owned()
}
