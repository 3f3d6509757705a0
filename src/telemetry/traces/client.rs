//! Requests to the collector, with the HTTP client that the rest of the program uses. They run in
//! the worker's runtime, and the thread that sends spans waits for them.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use tokio::runtime::Handle;
use tracing::{info, warn};

use super::environment::Configured;
use crate::domain::innermost;

/// Interval of the warnings about a collector that is down.
const WARN_EVERY: Duration = Duration::from_mins(10);

/// The largest answer that is read: it says at most how many spans were refused.
const MAX_ANSWER: usize = 64 * 1024;

/// Sends requests to a collector.
#[derive(Debug)]
pub(super) struct CollectorClient {
    http: reqwest::Client,
    runtime: Handle,
    /// When the last warning was logged, while requests fail.
    warned_at: Mutex<Option<Instant>>,
}

impl CollectorClient {
    pub fn new(configured: &Configured) -> Result<Self, reqwest::Error> {
        // A collector sends no redirects, and another server must not choose who gets the headers.
        let mut http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(configured.timeout);
        if configured.is_loopback {
            http = http.no_proxy();
        }
        Ok(Self {
            http: http.build()?,
            runtime: Handle::current(),
            warned_at: Mutex::default(),
        })
    }

    /// Logs that requests begin to fail, again after a while, and that they succeed again.
    fn note(&self, answer: &Result<Response<Bytes>, HttpError>) {
        let mut warned_at = self
            .warned_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let problem = match answer {
            Ok(answer) if answer.status().is_success() => {
                if warned_at.take().is_some() {
                    info!("traces are sent again");
                }
                return;
            }
            Ok(answer) => format!("the collector answers {}", answer.status()),
            Err(error) => innermost(&**error),
        };
        if warned_at.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
            *warned_at = Some(Instant::now());
            warn!("traces cannot be sent: {problem}; steps go on, and spans are dropped");
        }
    }
}

impl HttpClient for CollectorClient {
    fn send_bytes<'client, 'answer>(
        &'client self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'answer>>
    where
        'client: 'answer,
        Self: 'answer,
    {
        // The caller has no runtime of its own.
        let sent = self.runtime.spawn(send(self.http.clone(), request));
        Box::pin(async move {
            let answer = sent.await.unwrap_or_else(|error| Err(error.into()));
            self.note(&answer);
            answer
        })
    }
}

async fn send(
    http: reqwest::Client,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, HttpError> {
    let request = reqwest::Request::try_from(request)?;
    let answer = http.execute(request).await;
    let mut answer = answer.map_err(reqwest::Error::without_url)?;
    let (status, headers) = (answer.status(), std::mem::take(answer.headers_mut()));
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await? {
        if body.len() + part.len() > MAX_ANSWER {
            return Err("the collector's answer is too long".into());
        }
        body.extend_from_slice(&part);
    }
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}
