//! `--wait`: waits until a run is over.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::RunError;
use super::context::RunContext;
use crate::domain::RunStatus;

/// Interval of the queries to Dagster.
const POLL_EVERY: Duration = Duration::from_secs(1);

/// Time for which an unreachable webserver may restart; a longer outage is an error.
const GONE: Duration = Duration::from_mins(1);

/// The flag.
#[derive(Debug, Args)]
pub struct WaitArgs {
    /// Wait for the run's end; the exit code is not 0 unless it succeeded
    #[arg(short, long)]
    wait: bool,
}

/// Waits for a run's end if requested. Ctrl-C ends the waiting, not the run.
pub(super) async fn follow(
    context: &RunContext,
    args: &WaitArgs,
    run_id: &str,
) -> Result<(), RunError> {
    if !args.wait {
        return Ok(());
    }
    let mut known: Option<RunStatus> = None;
    let mut answered_at = Instant::now();
    loop {
        match context.client.run(run_id).await {
            Ok(run) => {
                answered_at = Instant::now();
                if known.replace(run.status) != Some(run.status) {
                    let word = run.status.word();
                    let words = format!("run {run_id} {}", word.to_lowercase());
                    context.print(&json!({"run_id": run_id, "status": run.status}), &words);
                }
                match run.status {
                    RunStatus::Success => return Ok(()),
                    status if status.is_finished() => {
                        let run_id = run_id.to_owned();
                        return Err(RunError::NotSuccessful { run_id, status });
                    }
                    _ => {}
                }
            }
            Err(error) if error.is_passing() && answered_at.elapsed() < GONE => {}
            Err(error) => return Err(error.into()),
        }
        sleep(POLL_EVERY).await;
    }
}
