//! The client of a Dagster webserver's GraphQL endpoint.
//!
//! Each operation is one document in `dagster/queries`, as Dagster 1.13 answers them. A union that
//! is not the success it should be becomes [`DagsterError::Refused`] with Dagster's own words.

mod answer;
mod error;
mod job_detail;
mod jobs;
mod launch;
mod logs;
mod runs;

use std::time::Duration;

use reqwest::Url;
use reqwest::redirect::Policy;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::secrets::redact_text;

pub use error::DagsterError;
pub use job_detail::{PartitionDetail, nearest};
pub use jobs::{Job, Location};
pub use launch::{Launched, Reexecution, Termination, TerminationPolicy};
pub use runs::{PlanStep, RunDetail, RunFilter, RunPage, RunStats, StepStats};

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(3);

/// How long a connection is kept that nobody uses. Uvicorn, which serves Dagster's webserver, closes
/// it after 5 s, and a question sent in that moment fails.
const IDLE: Duration = Duration::from_secs(3);

/// Longest wait for the answer to a question.
const READ: Duration = Duration::from_secs(15);

/// Longest wait for the answer to a command: launching may start a code location's server.
const WRITE: Duration = Duration::from_mins(1);

/// Largest answer that is read, in bytes: a page of 1,000 events with long messages is some 2 MiB.
const MAX_ANSWER: usize = 32 * 1024 * 1024;

/// What `/server_info` tells.
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
    /// With its user name and password, which are sent to this server alone.
    base: Url,
    /// For people.
    shown: String,
}

impl Client {
    /// A client of the webserver at `url` (with its path prefix, if it has one). Connects to
    /// nothing yet.
    ///
    /// # Errors
    /// When `url` is no http(s) URL.
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
            // A proxy that wants a login redirects to its page, which is no answer.
            .redirect(Policy::none());
        if is_loopback(&parsed) {
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

    /// The webserver's address, without a slash at its end, a user name and a password.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.shown
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.base.as_str().trim_end_matches('/'))
    }

    /// Asks for the versions: the cheapest question there is.
    ///
    /// # Errors
    /// When the webserver cannot be reached or is none of Dagster's.
    pub async fn server_info(&self) -> Result<ServerInfo, DagsterError> {
        let request = self.http.get(self.at("/server_info"));
        let body = self.send(request, READ).await?;
        serde_json::from_slice(&body).map_err(|_| self.not_dagster("/server_info is not Dagster's"))
    }

    /// Asks a question; the value of the answer's only field.
    async fn read(&self, document: &str, variables: Value) -> Result<Value, DagsterError> {
        self.post(document, variables, READ).await
    }

    /// Gives a command; the value of the answer's only field.
    async fn write(&self, document: &str, variables: Value) -> Result<Value, DagsterError> {
        self.post(document, variables, WRITE).await
    }

    async fn post(
        &self,
        document: &str,
        variables: Value,
        limit: Duration,
    ) -> Result<Value, DagsterError> {
        let body = json!({"query": document, "variables": variables});
        let request = self.http.post(self.at("/graphql")).json(&body);
        let body = self.send(request, limit).await?;
        answer::field(&body).map_err(|problem| match problem {
            answer::Problem::NotGraphQl => self.not_dagster("/graphql does not speak GraphQL"),
            answer::Problem::Errors(reason) => DagsterError::GraphQl {
                url: self.shown.clone(),
                reason,
            },
        })
    }

    /// The body of the answer, whatever its status: GraphQL errors come with 400.
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
        // The innermost cause is the one a person can act on ("Connection refused").
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        let reason = redact_text(&cause.to_string()).into_owned();
        DagsterError::Unreachable { url, reason }
    }

    fn not_dagster(&self, reason: &str) -> DagsterError {
        DagsterError::NotDagster {
            url: self.shown.clone(),
            reason: reason.to_owned(),
        }
    }
}

/// A URL as it may be shown, logged and written down: its user name and password are left out, and
/// other secrets in it hidden.
#[must_use]
pub fn without_credentials(url: &str) -> String {
    let start = url.find("://").map_or(0, |at| at + "://".len());
    let rest = &url[start..];
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let host = rest[..end].rfind('@').map_or(0, |at| at + 1);
    redact_text(&format!("{}{}", &url[..start], &rest[host..])).into_owned()
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let address = host.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}
