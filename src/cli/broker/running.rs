//! State and end of a running broker.

use std::time::Duration;

use clap::Args;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::time::Instant;

use super::BrokerError;
use crate::cli::output::out;
use crate::cli::table::{self, Align};
use crate::domain::innermost;
use crate::sqs_server::admin::{Refusal, SERVER_NAME, Status};

/// Time limit of a broker's end: it answers the pending requests, flushes its log and ends.
pub(super) const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// Which broker is meant.
#[derive(Debug, Args)]
pub(super) struct RunningBroker {
    /// The broker's endpoint
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9324")]
    endpoint: String,
}

impl RunningBroker {
    /// Prints its queues and disk use.
    pub async fn show(self) -> Result<(), BrokerError> {
        let (_, _, status) = self.query_status().await?;
        print(&status);
        Ok(())
    }

    /// Sends it SIGTERM and waits for its end.
    pub async fn stop(self) -> Result<(), BrokerError> {
        let (_, endpoint, status) = self.query_status().await?;
        let pid = status.pid;
        // The answering broker may be behind a tunnel: its process id then belongs to another
        // process.
        let process = Pid::from_raw(pid.cast_signed())
            .filter(|_| is_broker(pid))
            .ok_or_else(|| BrokerError::Elsewhere {
                endpoint: endpoint.clone(),
                pid,
            })?;
        kill_process(process, Signal::TERM).map_err(|error| BrokerError::Signal {
            endpoint: endpoint.clone(),
            pid,
            source: error.into(),
        })?;
        let deadline = Instant::now() + ENDS_WITHIN;
        while test_kill_process(process).is_ok() && is_broker(pid) {
            if Instant::now() >= deadline {
                return Err(BrokerError::StillRunning { endpoint, pid });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        out!("the broker at {endpoint} (pid {pid}) has ended; its queues stay in its folder");
        Ok(())
    }

    /// Queries its state; also returns the client and the endpoint.
    pub async fn query_status(self) -> Result<(reqwest::Client, String, Status), BrokerError> {
        let endpoint = self.endpoint.trim_end_matches('/').to_owned();
        let unreachable = |error: reqwest::Error| BrokerError::Unreachable {
            endpoint: endpoint.clone(),
            detail: innermost(&error),
        };
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(10))
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(unreachable)?;
        let response = client
            .get(format!("{endpoint}/_dtq/status"))
            .send()
            .await
            .map_err(unreachable)?;
        let is_ours = |name: Option<&str>| name.is_some_and(|name| name.starts_with(SERVER_NAME));
        let server = response.headers().get(reqwest::header::SERVER);
        let refuses = response.status() == reqwest::StatusCode::FORBIDDEN
            && is_ours(server.and_then(|value| value.to_str().ok()));
        if refuses {
            let refusal = response.json::<Refusal>().await.map_err(unreachable)?;
            let reason = refusal.error;
            return Err(BrokerError::Refused { endpoint, reason });
        }
        let status = response.json::<Status>().await.ok();
        match status.filter(|status| status.server == SERVER_NAME) {
            Some(status) => Ok((client, endpoint, status)),
            None => Err(BrokerError::Foreign { endpoint }),
        }
    }
}

/// Whether a process of this host serves queues.
fn is_broker(pid: u32) -> bool {
    let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<&[u8]> = words.split(|byte| *byte == 0).collect();
    words
        .windows(2)
        .any(|two| two == [b"broker".as_slice(), b"serve"])
}

fn print(status: &Status) {
    out!(
        "broker {} (pid {}), {} KiB on disk",
        status.version,
        status.pid,
        status.disk_bytes.div_ceil(1_024)
    );
    let titles = ["queue", "waiting", "in flight", "delayed"].map(str::to_owned);
    let rows = status.queues.iter().map(|(name, counts)| {
        [
            name.clone(),
            counts.waiting.to_string(),
            counts.in_flight.to_string(),
            counts.delayed.to_string(),
        ]
    });
    let rows: Vec<_> = std::iter::once(titles).chain(rows).collect();
    table::print(
        [Align::Left, Align::Right, Align::Right, Align::Right],
        &rows,
    );
}
