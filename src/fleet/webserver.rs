//! Polls Dagster's webserver for runs and jobs, and reports its health. It alone keeps the list of
//! runs, so new, older and deleted ones are merged in one place.

mod counts;
mod list;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep};

use crate::dagster::{Client, DagsterError, Location, RunFilter};
use crate::domain::{
    Answer, BrokenLocation, DagsterPart, Health, JobRef, Reply, RunStatus, RunView, SourceHealth,
    Timestamp,
};
use counts::Counts;
use list::RunList;

/// Interval of the query for runs while some are unfinished, and while none is.
const BUSY: Duration = Duration::from_secs(2);
const QUIET: Duration = Duration::from_secs(5);

/// Delay of the retry after a failure, before the failure is reported.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Interval of the query for jobs.
const JOBS: Duration = Duration::from_secs(30);

/// Number of runs in one query.
const PAGE: u32 = 100;

/// Maximum number of pages of new runs between two polls; a list with more of them starts anew.
const NEW_PAGES: usize = 10;

/// Maximum number of unfinished runs beyond the newest page.
const MAX_UNFINISHED: u32 = 1_000;

/// Number of older runs that are looked up by their ids at each poll.
const CHECKED_AT_ONCE: usize = 100;

/// Capacity of the channel of requested pages; a user requests one at a time.
const MAX_PENDING_PAGES: usize = 8;

/// Update from the webserver.
#[derive(Debug)]
pub(super) enum WebserverUpdate {
    /// All known runs, newest first.
    Runs(Vec<RunView>),
    Jobs(Vec<JobRef>),
    /// Daemons of Dagster that should run and do not.
    LostDaemons(Vec<DagsterPart>),
    /// Code locations that do not load.
    BrokenLocations(Vec<BrokenLocation>),
    Up,
    /// A failure of the webserver, and the time of the next try, if any.
    Problem(SourceHealth, Option<Timestamp>),
}

/// A request for a page of older runs.
#[derive(Debug)]
pub(super) struct OlderRunsRequest {
    /// Only runs with these statuses; empty for all.
    pub(super) statuses: Vec<RunStatus>,
    /// Runs before this one; `None` for those after the part that is known without a gap.
    pub(super) before: Option<String>,
    /// Receiver of the number of runs.
    pub(super) reply: oneshot::Sender<Reply>,
}

/// Triggers queries of the webserver. Cloning is cheap.
#[derive(Clone, Debug)]
pub(super) struct WebserverHandle {
    now: Arc<Notify>,
    jobs: Arc<AtomicBool>,
    older: mpsc::Sender<OlderRunsRequest>,
}

impl WebserverHandle {
    /// Queries now, including the jobs if they may have changed.
    pub(super) fn poll_now(&self, jobs: bool) {
        self.jobs.fetch_or(jobs, Ordering::Relaxed);
        self.now.notify_one();
    }

    /// Requests a page of older runs. Without a webserver there are none.
    pub(super) async fn older(&self, statuses: Vec<RunStatus>, before: Option<String>) -> Reply {
        let (reply, answer) = oneshot::channel();
        let older = OlderRunsRequest {
            statuses,
            before,
            reply,
        };
        // Fails, as the answer does, if no webserver is polled.
        let _ = self.older.send(older).await;
        answer.await.unwrap_or_else(|_| counted(0, true))
    }
}

pub(super) fn counted(count: usize, last: bool) -> Reply {
    Reply::Answer(Box::new(Answer::OlderRuns { count, last }))
}

/// Starts polling. It ends when the receiver is dropped.
pub(super) fn start(
    client: Result<Client, DagsterError>,
    updates: mpsc::Sender<WebserverUpdate>,
) -> WebserverHandle {
    let (older, requests) = mpsc::channel(MAX_PENDING_PAGES);
    let handle = WebserverHandle {
        now: Arc::default(),
        jobs: Arc::default(),
        older,
    };
    match client {
        Ok(client) => {
            let poller = WebserverPoller {
                counts: Counts::new(client.clone()),
                client,
                list: RunList::default(),
                jobs_polled_at: None,
                well: false,
                updates: updates.clone(),
            };
            let (now, jobs) = (Arc::clone(&handle.now), Arc::clone(&handle.jobs));
            tokio::spawn(async move {
                tokio::select! {
                    () = poller.run(&now, &jobs, requests) => {}
                    () = updates.closed() => {}
                }
            });
        }
        Err(error) => {
            // The queue is new and has room.
            let _ = updates.try_send(WebserverUpdate::Problem(problem(&error), None));
        }
    }
    handle
}

/// Health of a webserver that failed to answer a query.
fn problem(error: &DagsterError) -> SourceHealth {
    let reason = error.to_string();
    match error {
        DagsterError::GraphQl { .. }
        | DagsterError::Refused { .. }
        | DagsterError::NotDagster { .. } => SourceHealth::Failing { reason },
        DagsterError::Url { .. }
        | DagsterError::Unreachable { .. }
        | DagsterError::Timeout { .. } => SourceHealth::Down { reason },
    }
}

fn broken(location: &Location) -> Option<BrokenLocation> {
    let cause = location.cause.as_deref()?.lines().next()?.trim();
    Some(BrokenLocation {
        name: location.name.clone(),
        cause: cause.to_owned(),
    })
}

struct WebserverPoller {
    client: Client,
    list: RunList,
    counts: Counts,
    jobs_polled_at: Option<Instant>,
    /// Whether the last query succeeded.
    well: bool,
    updates: mpsc::Sender<WebserverUpdate>,
}

impl WebserverPoller {
    async fn run(
        mut self,
        now: &Notify,
        jobs: &AtomicBool,
        mut requests: mpsc::Receiver<OlderRunsRequest>,
    ) {
        loop {
            let mut wait = QUIET;
            let mut answer = self.poll(jobs).await;
            if answer.is_err() && self.well {
                // One failure after a success means little: the webserver may be loading a code
                // location, or may have closed the connection while the query was on its way.
                sleep(RETRY_DELAY).await;
                answer = self.poll(jobs).await;
            }
            self.well = answer.is_ok();
            let update = match answer {
                Ok(busy) => {
                    if busy {
                        wait = BUSY;
                    }
                    WebserverUpdate::Up
                }
                Err(error) => {
                    WebserverUpdate::Problem(problem(&error), Some(Timestamp::now() + wait))
                }
            };
            if self.updates.send(update).await.is_err() {
                return;
            }
            let next = sleep(wait);
            tokio::pin!(next);
            loop {
                tokio::select! {
                    () = &mut next => break,
                    () = now.notified() => break,
                    Some(older) = requests.recv() => self.older(older).await,
                }
            }
        }
    }

    /// Runs one round of queries; returns whether any run is unfinished.
    async fn poll(&mut self, jobs: &AtomicBool) -> Result<bool, DagsterError> {
        self.runs().await?;
        let runs = self.list.all();
        let busy = runs.iter().any(|run| !run.status.is_finished());
        // The list comes first, the step counts when Dagster has read the logs.
        self.publish_runs().await;
        self.counts.keep(&runs);
        if self.counts.renew(&runs).await? {
            self.publish_runs().await;
        }
        let due = self.jobs_polled_at.is_none_or(|at| at.elapsed() >= JOBS);
        if jobs.swap(false, Ordering::Relaxed) || due {
            // The request stays pending if it fails.
            let locations = self.client.locations().await;
            let locations = locations.inspect_err(|_| jobs.store(true, Ordering::Relaxed))?;
            let broken = locations.iter().filter_map(broken).collect();
            let broken = WebserverUpdate::BrokenLocations(broken);
            let _ = self.updates.send(broken).await;
            let jobs = locations.into_iter().flat_map(|location| location.jobs);
            let jobs = jobs.map(|job| job.reference).collect();
            let _ = self.updates.send(WebserverUpdate::Jobs(jobs)).await;
            self.jobs_polled_at = Some(Instant::now());
            // Another version of Dagster may not answer this; its view reports that.
            if let Ok(mut daemons) = self.client.daemons().await {
                daemons.retain(|daemon| daemon.health == Health::Bad);
                let _ = self
                    .updates
                    .send(WebserverUpdate::LostDaemons(daemons))
                    .await;
            }
        }
        Ok(busy)
    }

    async fn publish_runs(&self) {
        let runs = self.counts.shown(self.list.all());
        let _ = self.updates.send(WebserverUpdate::Runs(runs)).await;
    }

    /// Reads the newest runs down to the known ones, the unfinished ones, and some of the older.
    async fn runs(&mut self) -> Result<(), DagsterError> {
        let all = RunFilter::default();
        let mut newest = Vec::new();
        let mut next: Option<String> = None;
        for _ in 0..NEW_PAGES {
            let page = self.client.runs(&all, PAGE, next.as_deref()).await?;
            let gap = self.list.has_gap_after(&page.runs);
            newest.extend(page.runs);
            next = page.next;
            if next.is_none() || !gap {
                break;
            }
        }
        let mut unfinished = Vec::new();
        if next.is_some() {
            let filter = RunFilter {
                statuses: Some(RunStatus::UNFINISHED.to_vec()),
                ..RunFilter::default()
            };
            let page = self.client.runs(&filter, MAX_UNFINISHED, None).await?;
            unfinished = page.runs;
        }
        self.list.renew(newest, next, unfinished);
        let turn = self.list.take_turn(CHECKED_AT_ONCE);
        if !turn.is_empty() {
            let by_id = RunFilter {
                run_ids: Some(turn.clone()),
                ..RunFilter::default()
            };
            let limit = u32::try_from(turn.len()).unwrap_or(PAGE);
            let found = self.client.runs(&by_id, limit, None).await?.runs;
            self.list.checked(&turn, found);
        }
        Ok(())
    }

    /// Loads a page of older runs, with their step counts, and answers.
    async fn older(&mut self, older: OlderRunsRequest) {
        let reply = match self.load(older.statuses, older.before).await {
            Ok((count, last)) => counted(count, last),
            Err(error) => Reply::Failed(format!("older runs were not loaded: {error}")),
        };
        // The caller may have gone.
        let _ = older.reply.send(reply);
    }

    async fn load(
        &mut self,
        statuses: Vec<RunStatus>,
        before: Option<String>,
    ) -> Result<(usize, bool), DagsterError> {
        let follows = before.is_none();
        let Some(before) = before.or_else(|| self.list.next().map(str::to_owned)) else {
            return Ok((0, true));
        };
        let filter = RunFilter {
            statuses: Some(statuses).filter(|statuses| !statuses.is_empty()),
            ..RunFilter::default()
        };
        // A page of one status begins after the last shown run; it is not part of the stretch.
        let page = self.client.runs(&filter, PAGE, Some(&before)).await?;
        let (count, last) = (page.runs.len(), page.next.is_none());
        self.counts.add(&page.runs).await?;
        self.list
            .take_page(page.runs, page.next, follows && filter.statuses.is_none());
        self.publish_runs().await;
        Ok((count, last))
    }
}
