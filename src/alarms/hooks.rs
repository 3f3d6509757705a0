//! Sends alarms to hooks: commands and URLs. One task a hook sends one delivery after the other, and
//! tries again until it arrives, unless the answer says that it never will. Everything is bounded:
//! the deliveries that wait, the rate of begins, each try's time, and the output of a command.

mod body;
mod send;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};
use url::Url;

use super::judge::Found;
use crate::config::{AlarmHook, region_of_queue_url};
use crate::domain::secrets::redact_text;
use crate::domain::{Alarm, AlarmKind, BackOff, Timestamp};

pub use send::HookError;

/// Maximum number of deliveries that wait for one hook.
const WAITING: usize = 64;

/// Pause before the second try, and the longest.
const BACK_OFF: BackOff = BackOff {
    first: Duration::from_secs(1),
    longest: Duration::from_mins(1),
};

/// Time after which a delivery is given up, and for which a refused one is shown.
const GIVE_UP: Duration = Duration::from_hours(1);

/// Number of begins that did not arrive which a hook remembers, to leave out their ends.
const UNDELIVERED: usize = 512;

/// Maximum number of begins of one hook within [`RATE_WINDOW`]. Ends are not counted: there is at
/// most one for each begin that arrived, and one that is missing leaves an incident open.
const RATE: usize = 60;
const RATE_WINDOW: Duration = Duration::from_hours(1);

/// One delivery.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Job {
    /// The alarm's id.
    pub id: String,
    /// Identity of the alarm's present period on the board.
    pub since: String,
    /// `HOOK/started` or `HOOK/ended`, with the hook's key.
    pub key: String,
    /// The alarm.
    pub alarm: Alarm,
    /// Its end.
    pub ended: Option<Timestamp>,
}

impl Job {
    /// Its name on the board.
    pub fn name(&self) -> Value {
        Value::from(vec![
            self.id.as_str(),
            self.since.as_str(),
            self.key.as_str(),
        ])
    }
}

/// The worker that delivers: part of every message.
#[derive(Clone, Debug)]
pub struct Sender {
    /// The worker's id.
    pub worker: String,
    /// Its host.
    pub host: String,
    /// Region, account and name of the base queue, which all workers of a deployment share. The rest
    /// of its URL may differ between hosts.
    pub deployment: String,
}

impl Sender {
    /// A worker of the deployment that has this base queue.
    #[must_use]
    pub fn new(worker: String, host: String, base_queue: &str) -> Self {
        let path = Url::parse(base_queue).map(|url| url.path().trim_matches('/').to_owned());
        let path = path.unwrap_or_default();
        let deployment = match region_of_queue_url(base_queue) {
            Some(region) => format!("{region}/{path}"),
            None => path,
        };
        Self {
            worker,
            host,
            deployment,
        }
    }
}

/// Names of deliveries that have ended.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    /// Those that arrived.
    pub arrived: Vec<Value>,
    /// Those that were given up or dropped.
    pub lost: Vec<Value>,
}

/// A delivery that the hook does not want.
#[derive(Debug)]
struct Refused {
    id: String,
    reason: String,
    at: Instant,
}

#[derive(Debug, Default)]
struct Status {
    /// Deliveries that were taken and have not ended.
    open: Vec<Job>,
    /// Those that have ended since the last report.
    outcomes: Outcomes,
    /// Ids and periods of the last alarms whose begin did not arrive.
    undelivered: VecDeque<(String, String)>,
    /// The reason of the last failure, until a delivery arrives.
    failing: Option<String>,
    /// The last delivery that was refused.
    refused: Option<Refused>,
    /// Times of the last begins.
    sent: VecDeque<Instant>,
}

impl Status {
    /// Notes that a delivery will not be made.
    fn lose(&mut self, job: &Job) {
        self.outcomes.lost.push(job.name());
        if job.ended.is_none() {
            self.undelivered
                .push_back((job.id.clone(), job.since.clone()));
            if self.undelivered.len() > UNDELIVERED {
                self.undelivered.pop_front();
            }
        }
    }

    /// Whether a delivery is the end of an alarm whose begin did not arrive.
    fn is_undelivered(&self, job: &Job) -> bool {
        let mut undelivered = self.undelivered.iter();
        job.ended.is_some() && undelivered.any(|(id, since)| *id == job.id && *since == job.since)
    }
}

/// A hook with its task.
#[derive(Debug)]
pub(super) struct Runner {
    pub hook: Arc<AlarmHook>,
    /// Identity of the hook in the deployment: workers with the same settings share it.
    pub key: String,
    jobs: mpsc::Sender<Job>,
    status: Arc<Mutex<Status>>,
    _task: AbortOnDropHandle<()>,
}

impl Runner {
    /// Starts a hook.
    pub fn start(hook: AlarmHook, sender: Sender) -> Self {
        let (jobs, taken) = mpsc::channel(WAITING);
        let (hook, status) = (Arc::new(hook), Arc::<Mutex<Status>>::default());
        let key = key_of(&hook);
        let work = run(Arc::clone(&hook), sender, taken, Arc::clone(&status));
        Self {
            hook,
            key,
            jobs,
            status,
            _task: AbortOnDropHandle::new(tokio::spawn(work)),
        }
    }

    /// Whether the hook sends an alarm. It does not report its own failure.
    pub fn takes(&self, alarm: &Alarm) -> bool {
        let own = alarm.kind == AlarmKind::Hook && alarm.about == self.hook.name;
        !own && self.hook.takes(alarm.kind, alarm.severity)
    }

    /// Takes a delivery. A begin that does not fit, or comes too often, is dropped and logged. An end
    /// that does not fit is left to the board, which gives it out again.
    pub fn deliver(&self, job: Job) {
        let mut status = lock(&self.status);
        if status.open.contains(&job) {
            return;
        }
        let name = &self.hook.name;
        let now = Instant::now();
        let is_begin = job.ended.is_none();
        status.sent.retain(|at| now - *at < RATE_WINDOW);
        if is_begin && status.sent.len() >= RATE {
            warn!(
                "alarm hook {name}: {} was not sent, after {RATE} within an hour",
                job.id
            );
            status.lose(&job);
        } else if self.jobs.try_send(job.clone()).is_ok() {
            if is_begin {
                status.sent.push_back(now);
            }
            status.open.push(job);
        } else {
            let then = if is_begin {
                ""
            } else {
                ", its end has to wait"
            };
            warn!(
                "alarm hook {name}: {} was not sent, {WAITING} deliveries wait{then}",
                job.id
            );
            if is_begin {
                status.lose(&job);
            }
        }
    }

    /// The deliveries that have ended since the last call, and those that have not.
    pub fn progress(&self) -> (Outcomes, Vec<Value>) {
        let mut status = lock(&self.status);
        let open = status.open.iter().map(Job::name).collect();
        (std::mem::take(&mut status.outcomes), open)
    }

    /// Takes back what [`Runner::progress`] returned and could not be reported.
    pub fn regress(&self, outcomes: Outcomes) {
        let mut status = lock(&self.status);
        status.outcomes.arrived.extend(outcomes.arrived);
        status.outcomes.lost.extend(outcomes.lost);
    }

    /// Whether something has ended that was not reported yet.
    pub fn has_news(&self) -> bool {
        let outcomes = &lock(&self.status).outcomes;
        !outcomes.arrived.is_empty() || !outcomes.lost.is_empty()
    }

    /// Adds the alarm of a hook that fails, or that refused a delivery within the last hour.
    pub fn judge(&self, found: &mut Found) {
        let status = lock(&self.status);
        let name = &self.hook.name;
        let text = if let Some(reason) = &status.failing {
            match status.open.len() {
                0 => format!("Alarm hook {name} fails: {reason}"),
                1 => format!("Alarm hook {name} fails, 1 delivery waits: {reason}"),
                waiting => format!("Alarm hook {name} fails, {waiting} deliveries wait: {reason}"),
            }
        } else if let Some(refused) = &status.refused
            && refused.at.elapsed() < GIVE_UP
        {
            let Refused { id, reason, .. } = refused;
            format!("Alarm hook {name} does not take {id}, which was not sent: {reason}")
        } else {
            return;
        };
        found.warning(AlarmKind::Hook, name, text);
    }
}

/// Sends a made-up alarm and its end to a hook, one try each.
///
/// # Errors
/// The first try that fails.
pub async fn test(hook: &AlarmHook, sender: &Sender) -> Result<(), HookError> {
    let text = format!(
        "Test of the alarm hook {} from {}: nothing is wrong",
        hook.name, sender.host
    );
    let now = Timestamp::now();
    let alarm = Alarm {
        since: Some(now),
        ..Alarm::new(hook.min_severity, AlarmKind::Hook, &hook.name, text)
    };
    for ended in [None, Some(now)] {
        let job = Job {
            id: alarm.id(),
            since: now.to_string(),
            key: key_of(hook),
            alarm: alarm.clone(),
            ended,
        };
        send::send(hook, sender, &job).await?;
    }
    Ok(())
}

fn key_of(hook: &AlarmHook) -> String {
    let target = format!("{:?} {:?} {:?}", hook.command, hook.url, hook.routing_key);
    let digest = Sha256::digest(target.as_bytes());
    format!("{}-{}", hook.name, hex::encode(&digest[..4]))
}

async fn run(
    hook: Arc<AlarmHook>,
    sender: Sender,
    mut jobs: mpsc::Receiver<Job>,
    status: Arc<Mutex<Status>>,
) {
    while let Some(job) = jobs.recv().await {
        let is_undelivered = lock(&status).is_undelivered(&job);
        let has_arrived = !is_undelivered && attempt(&hook, &sender, &job, &status).await;
        let mut status = lock(&status);
        status.open.retain(|open| *open != job);
        if has_arrived {
            status.outcomes.arrived.push(job.name());
        } else {
            status.lose(&job);
        }
    }
}

/// Tries until a delivery arrives, is refused, or its time is over; whether it arrived.
async fn attempt(hook: &AlarmHook, sender: &Sender, job: &Job, status: &Mutex<Status>) -> bool {
    let (name, id) = (&hook.name, &job.id);
    let begun = Instant::now();
    for failures in 0.. {
        let problem = match send::send(hook, sender, job).await {
            Ok(()) => {
                info!("alarm hook {name}: sent {id}");
                lock(status).failing = None;
                return true;
            }
            Err(problem) => problem,
        };
        let reason = redact_text(&problem.to_string()).into_owned();
        lock(status).failing = Some(reason.clone());
        if problem.is_final() {
            warn!("alarm hook {name}: {id} is not sent again: {reason}");
            lock(status).refused = Some(Refused {
                id: id.clone(),
                reason,
                at: Instant::now(),
            });
            return false;
        }
        if begun.elapsed() >= GIVE_UP {
            warn!("alarm hook {name}: {id} is given up: {reason}");
            return false;
        }
        let pause = BACK_OFF.after(failures);
        let seconds = pause.as_secs();
        warn!("alarm hook {name}: {id} is sent again in {seconds} s: {reason}");
        sleep(pause).await;
    }
    false
}

fn lock(status: &Mutex<Status>) -> MutexGuard<'_, Status> {
    status.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
