//! Asks Dagster's webserver for runs and jobs, and says how it fares.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep};

use crate::dagster::{Client, DagsterError, RunFilter, RunStats};
use crate::domain::{JobRef, RunStatus, RunView, Timestamp};

/// How often runs are asked for while some are unfinished, and while none is.
const BUSY: Duration = Duration::from_secs(2);
const QUIET: Duration = Duration::from_secs(5);

/// How often jobs are.
const JOBS: Duration = Duration::from_secs(30);

/// The newest runs, and as many unfinished ones beyond them.
const PAGE: u32 = 100;

/// Runs whose steps are counted per question: each makes Dagster read that run's log.
const COUNTED_AT_ONCE: usize = 25;

const UNFINISHED: [RunStatus; 6] = [
    RunStatus::Queued,
    RunStatus::NotStarted,
    RunStatus::Managed,
    RunStatus::Starting,
    RunStatus::Started,
    RunStatus::Canceling,
];

/// What the webserver tells.
#[derive(Debug)]
pub(super) enum Told {
    /// The newest runs and all unfinished ones; after which run the next page begins.
    Runs(Vec<RunView>, Option<String>),
    /// A page of older ones.
    Older(OlderRuns),
    Jobs(Vec<JobRef>),
    Up,
    /// Why it cannot be asked, and when it is asked again, if ever.
    Down(String, Option<Timestamp>),
}

/// A page of older runs.
#[derive(Debug)]
pub(super) struct OlderRuns {
    pub(super) runs: Vec<RunView>,
    /// It follows the last page of all runs: the next one begins at `next`.
    pub(super) follows: bool,
    /// Where the page after it begins; `None` if there is none.
    pub(super) next: Option<String>,
}

/// Lets others have the webserver asked at once. Cloning is cheap.
#[derive(Clone, Debug, Default)]
pub(super) struct Wake {
    now: Arc<Notify>,
    jobs: Arc<AtomicBool>,
}

impl Wake {
    /// Ask now, for the jobs too if they may have changed.
    pub(super) fn ask_now(&self, jobs: bool) {
        self.jobs.fetch_or(jobs, Ordering::Relaxed);
        self.now.notify_one();
    }
}

/// Starts asking. It ends when nobody listens.
pub(super) fn start(client: Result<Client, DagsterError>, tell: mpsc::Sender<Told>) -> Wake {
    let wake = Wake::default();
    match client {
        Ok(client) => {
            let poller = Poller {
                client,
                counted: HashMap::new(),
                jobs_asked: None,
            };
            let wake = wake.clone();
            tokio::spawn(async move {
                let closed = tell.clone();
                tokio::select! {
                    () = poller.run(tell, wake) => {}
                    () = closed.closed() => {}
                }
            });
        }
        Err(error) => {
            // The queue is new and has room.
            let _ = tell.try_send(Told::Down(error.to_string(), None));
        }
    }
    wake
}

struct Poller {
    client: Client,
    /// Step counts by run id: those of finished runs are asked for once.
    counted: HashMap<String, RunStats>,
    jobs_asked: Option<Instant>,
}

impl Poller {
    async fn run(mut self, tell: mpsc::Sender<Told>, wake: Wake) {
        loop {
            let mut wait = QUIET;
            let told = match self.ask(&tell, &wake).await {
                Ok(busy) => {
                    if busy {
                        wait = BUSY;
                    }
                    Told::Up
                }
                Err(error) => Told::Down(error.to_string(), Some(Timestamp::now() + wait)),
            };
            if tell.send(told).await.is_err() {
                return;
            }
            tokio::select! {
                () = sleep(wait) => {}
                () = wake.now.notified() => {}
            }
        }
    }

    /// One round of questions; whether any run is unfinished.
    async fn ask(&mut self, tell: &mpsc::Sender<Told>, wake: &Wake) -> Result<bool, DagsterError> {
        let (runs, next) = self.runs().await?;
        let busy = runs.iter().any(|run| !run.status.is_finished());
        // The list first, the step counts when Dagster has read the logs.
        let listed = self.with_counts(runs.clone());
        let _ = tell.send(Told::Runs(listed, next.clone())).await;
        if self.count(&runs).await? {
            let _ = tell.send(Told::Runs(self.with_counts(runs), next)).await;
        }
        let due = self.jobs_asked.is_none_or(|asked| asked.elapsed() >= JOBS);
        if wake.jobs.swap(false, Ordering::Relaxed) || due {
            let locations = self.client.locations().await?;
            let jobs = locations.into_iter().flat_map(|location| location.jobs);
            let _ = tell
                .send(Told::Jobs(jobs.map(|job| job.reference).collect()))
                .await;
            self.jobs_asked = Some(Instant::now());
        }
        Ok(busy)
    }

    async fn runs(&mut self) -> Result<(Vec<RunView>, Option<String>), DagsterError> {
        let page = self.client.runs(&RunFilter::default(), PAGE, None).await?;
        let mut runs = page.runs;
        if page.next.is_some() {
            let unfinished = RunFilter {
                statuses: Some(UNFINISHED.to_vec()),
                ..RunFilter::default()
            };
            let listed: HashSet<String> = runs.iter().map(|run| run.run_id.clone()).collect();
            let more = self.client.runs(&unfinished, PAGE, None).await?.runs;
            runs.extend(more.into_iter().filter(|run| !listed.contains(&run.run_id)));
        }
        Ok((runs, page.next))
    }

    /// Asks for the step counts that are missing or may have changed; whether any are new.
    async fn count(&mut self, runs: &[RunView]) -> Result<bool, DagsterError> {
        let listed: HashSet<&str> = runs.iter().map(|run| run.run_id.as_str()).collect();
        self.counted
            .retain(|run_id, _| listed.contains(run_id.as_str()));
        let mut wanted: Vec<&RunView> = runs
            .iter()
            .filter(|run| self.may_have_changed(run))
            .collect();
        // Runs that are under way before those of the past.
        wanted.sort_by_key(|run| run.status.is_finished());
        let wanted: Vec<String> = wanted
            .into_iter()
            .take(COUNTED_AT_ONCE)
            .map(|run| run.run_id.clone())
            .collect();
        if wanted.is_empty() {
            return Ok(false);
        }
        let mut counts = self.client.run_stats(&wanted).await?;
        let mut changed = false;
        for run_id in wanted {
            // A run that was deleted meanwhile has none, and is not asked for again.
            let gone = RunStats {
                finished: true,
                ..RunStats::default()
            };
            let stats = counts.remove(&run_id).unwrap_or(gone);
            changed |= self.counted.insert(run_id, stats) != Some(stats);
        }
        Ok(changed)
    }

    fn may_have_changed(&self, run: &RunView) -> bool {
        match run.status {
            RunStatus::Queued | RunStatus::NotStarted | RunStatus::Managed => false,
            _ => self
                .counted
                .get(&run.run_id)
                .is_none_or(|stats| !stats.finished),
        }
    }

    fn with_counts(&self, mut runs: Vec<RunView>) -> Vec<RunView> {
        for run in &mut runs {
            if let Some(stats) = self.counted.get(&run.run_id) {
                run.steps_succeeded = stats.succeeded;
                run.steps_failed = stats.failed;
            }
        }
        runs
    }
}

/// Asks for a page of older runs, with their step counts.
pub(super) async fn older(
    client: &Client,
    statuses: Vec<RunStatus>,
    before: &str,
) -> Result<(Vec<RunView>, Option<String>), DagsterError> {
    let filter = RunFilter {
        statuses: Some(statuses).filter(|statuses| !statuses.is_empty()),
        ..RunFilter::default()
    };
    let page = client.runs(&filter, PAGE, Some(before)).await?;
    let mut runs = page.runs;
    for some in runs.chunks_mut(COUNTED_AT_ONCE) {
        let ids: Vec<String> = some.iter().map(|run| run.run_id.clone()).collect();
        let counts = client.run_stats(&ids).await?;
        for run in some {
            if let Some(stats) = counts.get(&run.run_id) {
                run.steps_succeeded = stats.succeeded;
                run.steps_failed = stats.failed;
            }
        }
    }
    Ok((runs, page.next))
}
