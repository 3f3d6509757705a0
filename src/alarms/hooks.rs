//! Sends alarms to hooks: commands and URLs. One task a hook sends one delivery after the other, and
//! tries again until it arrives. Everything is bounded: the deliveries that wait, their rate, each
//! try's time, and the output of a command.

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

/// Time after which a delivery is given up.
const GIVE_UP: Duration = Duration::from_hours(1);

/// Maximum number of deliveries of one hook within [`RATE_WINDOW`].
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
    /// What all workers of the deployment share: the base queue's region, account and name. The
    /// rest of its URL may differ between hosts.
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

#[derive(Debug, Default)]
struct Status {
    /// Deliveries that were taken and have not ended.
    open: Vec<Job>,
    /// Names of those that have ended since the last report.
    ended: Vec<Value>,
    /// The reason of the last failure, until a delivery arrives.
    failing: Option<String>,
    /// Times of the last deliveries.
    sent: VecDeque<Instant>,
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

    /// Takes a delivery. One that does not fit, or comes too often, is dropped and logged.
    pub fn deliver(&self, job: Job) {
        let mut status = lock(&self.status);
        if status.open.contains(&job) {
            return;
        }
        let name = &self.hook.name;
        let now = Instant::now();
        status.sent.retain(|at| now - *at < RATE_WINDOW);
        if status.sent.len() >= RATE {
            warn!(
                "alarm hook {name}: {} was not sent, after {RATE} within an hour",
                job.id
            );
            status.ended.push(job.name());
            return;
        }
        if self.jobs.try_send(job.clone()).is_ok() {
            status.sent.push_back(now);
            status.open.push(job);
        } else {
            warn!(
                "alarm hook {name}: {} was not sent, {WAITING} deliveries wait",
                job.id
            );
            status.ended.push(job.name());
        }
    }

    /// The deliveries that have ended since the last call, and those that have not.
    pub fn progress(&self) -> (Vec<Value>, Vec<Value>) {
        let mut status = lock(&self.status);
        let open = status.open.iter().map(Job::name).collect();
        (std::mem::take(&mut status.ended), open)
    }

    /// Takes back what [`Runner::progress`] returned and could not be reported.
    pub fn regress(&self, ended: Vec<Value>) {
        lock(&self.status).ended.extend(ended);
    }

    /// Whether something has ended that was not reported yet.
    pub fn has_news(&self) -> bool {
        !lock(&self.status).ended.is_empty()
    }

    /// Adds the alarm of a hook that fails.
    pub fn judge(&self, found: &mut Found) {
        let status = lock(&self.status);
        if let Some(reason) = &status.failing {
            let name = &self.hook.name;
            let text = match status.open.len() {
                1 => format!("Alarm hook {name} fails, 1 delivery waits: {reason}"),
                waiting => format!("Alarm hook {name} fails, {waiting} deliveries wait: {reason}"),
            };
            found.warning(AlarmKind::Hook, name, text);
        }
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
    let name = &hook.name;
    while let Some(job) = jobs.recv().await {
        let begun = Instant::now();
        for failures in 0.. {
            let problem = match send::send(&hook, &sender, &job).await {
                Ok(()) => {
                    info!("alarm hook {name}: sent {}", job.id);
                    lock(&status).failing = None;
                    break;
                }
                Err(problem) => redact_text(&problem.to_string()).into_owned(),
            };
            lock(&status).failing = Some(problem.clone());
            if begun.elapsed() >= GIVE_UP {
                warn!("alarm hook {name}: {} is given up: {problem}", job.id);
                break;
            }
            let pause = BACK_OFF.after(failures);
            let seconds = pause.as_secs();
            warn!(
                "alarm hook {name}: {} is sent again in {seconds} s: {problem}",
                job.id
            );
            sleep(pause).await;
        }
        let mut status = lock(&status);
        status.open.retain(|open| *open != job);
        status.ended.push(job.name());
    }
}

fn lock(status: &Mutex<Status>) -> MutexGuard<'_, Status> {
    status.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
