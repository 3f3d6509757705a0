//! Agreement with the other workers of the deployment on who delivers an alarm, and deliveries while
//! there can be none.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::warn;

use super::{Done, Standing, Watcher};
use crate::alarms::hooks::{Job, Outcomes, Runner};
use crate::domain::{Acknowledgement, Alarm, Timestamp};

/// Interval of the agreement with the other workers while there are alarms, and without any: then
/// only alarms of workers that died are left to end.
const SYNC: Duration = Duration::from_secs(10);
const SYNC_CALM: Duration = Duration::from_mins(1);

/// Time for which the agreement must have failed before a worker delivers by itself.
const ALONE: Duration = Duration::from_secs(30);

/// Answer of the other side; see `alarm_board`.
#[derive(Debug, Deserialize)]
pub(super) struct Agreed {
    grants: Vec<Grant>,
    acknowledged: BTreeMap<String, Noted>,
    alarms: Vec<Listed>,
    is_ending: bool,
}

#[derive(Debug, Deserialize)]
struct Grant {
    key: String,
    #[serde(flatten)]
    alarm: Listed,
}

/// An alarm on the board.
#[derive(Debug, Deserialize)]
pub(super) struct Listed {
    pub id: String,
    /// Identity of its present period, and the time of its begin.
    pub since: String,
    /// Unix seconds.
    pub ended: Option<f64>,
    pub alarm: Alarm,
}

#[derive(Debug, Deserialize)]
pub(super) struct Noted {
    until: f64,
    by: String,
}

impl Watcher {
    /// The alarms that have stood for long enough.
    fn open(&self) -> impl Iterator<Item = (&String, &Standing)> {
        let hold = Duration::from_secs(self.options.settings.hold);
        let now = Instant::now();
        self.standing
            .iter()
            .filter(move |(_, known)| now - known.begun >= hold)
    }

    pub(super) fn sync(&mut self) {
        if self.is_syncing {
            return;
        }
        let reported: Vec<String> = self.open().map(|(id, _)| id.clone()).collect();
        let is_calm = reported.is_empty() && !self.is_ending;
        let every = if is_calm { SYNC_CALM } else { SYNC };
        let has_news = self.runners.iter().any(Runner::has_news) || reported != self.reported;
        if self.failing.is_some_and(|since| since.elapsed() >= ALONE) {
            self.deliver_alone();
        }
        let rested = self.synced.is_none_or(|at| at.elapsed() >= every);
        // After a failure the pause is kept, whatever there is to report.
        if !rested && (!has_news || self.failing.is_some()) {
            return;
        }
        let (request, ended) = self.request();
        self.reported = reported;
        self.is_syncing = true;
        let hosts = self.options.hosts.clone();
        self.work.spawn(async move {
            let agreed = hosts.alarm_sync(&request).await;
            let agreed = agreed.map_err(|problem| problem.to_string());
            let agreed = agreed
                .and_then(|value| serde_json::from_value(value).map_err(|error| error.to_string()));
            Done::Synced(Box::new(agreed), ended)
        });
    }

    /// The request to the board, and the ended deliveries in it by their runner's position.
    fn request(&self) -> (Value, Vec<(usize, Outcomes)>) {
        let mut ended = Vec::new();
        let (mut done, mut lost, mut working) = (Vec::<Value>::new(), Vec::new(), Vec::new());
        for (position, runner) in self.runners.iter().enumerate() {
            let (over, open) = runner.progress();
            done.extend(over.arrived.iter().cloned());
            lost.extend(over.lost.iter().cloned());
            working.extend(open);
            ended.push((position, over));
        }
        for (id, known) in self.open() {
            let alone = known.alone.iter();
            let names = alone.map(|key| job(id, key.clone(), &known.alarm, None).name());
            // Once one is reported as lost, the board keeps that.
            done.extend(names.filter(|name| !lost.contains(name) && !working.contains(name)));
        }
        let open: Vec<Value> = self
            .open()
            .map(|(id, known)| {
                let runners = self.runners.iter();
                let takes = runners.filter(|runner| runner.takes(&known.alarm));
                let due: Vec<&String> = takes.map(|runner| &runner.key).collect();
                json!({"id": id, "since": since(&known.alarm), "alarm": known.alarm, "due": due})
            })
            .collect();
        let hooks: Vec<&String> = self.runners.iter().map(|runner| &runner.key).collect();
        let worker = &self.options.sender.worker;
        let request = json!({
            "worker": worker, "open": open, "hooks": hooks, "done": done, "lost": lost,
            "working": working,
        });
        (request, ended)
    }

    pub(super) fn agreed(&mut self, agreed: Result<Agreed, String>, ended: Vec<(usize, Outcomes)>) {
        self.is_syncing = false;
        self.synced = Some(Instant::now());
        let Agreed {
            grants,
            acknowledged,
            alarms,
            is_ending,
        } = match agreed {
            Ok(agreed) => agreed,
            Err(problem) => {
                let hosts = &self.options.hosts;
                if self.failing.is_none() && !hosts.storage().is_away() && !hosts.is_ending() {
                    warn!("{problem}; alarms cannot be agreed on with other workers");
                }
                self.failing.get_or_insert_with(Instant::now);
                for (position, outcomes) in ended {
                    self.runners[position].regress(outcomes);
                }
                return;
            }
        };
        self.failing = None;
        self.is_ending = is_ending;
        self.acknowledged = noted(acknowledged);
        for alarm in alarms {
            self.record_agreed(alarm);
        }
        for Grant { key, alarm } in grants {
            let ended = alarm.ended.and_then(from_seconds);
            self.carry_out(Job {
                id: alarm.id,
                since: alarm.since,
                key,
                alarm: alarm.alarm,
                ended,
            });
        }
        self.publish();
    }

    /// Gives a delivery to its hook.
    fn carry_out(&self, job: Job) {
        let key = job.key.rsplit_once('/').map_or("", |(key, _)| key);
        if let Some(runner) = self.runners.iter().find(|runner| runner.key == key) {
            runner.deliver(job);
        }
    }

    /// Delivers what stands, once, without an agreement.
    fn deliver_alone(&mut self) {
        let acknowledged = |alarm: &Alarm| {
            let ack = self.acknowledged.get(&alarm.id());
            ack.is_some_and(|ack| ack.until > Timestamp::now())
        };
        let (mut jobs, mut begun) = (Vec::new(), Vec::new());
        for (id, known) in self.open().filter(|(_, known)| !acknowledged(&known.alarm)) {
            begun.push(known.alarm.clone());
            let takes = self.runners.iter().filter(|it| it.takes(&known.alarm));
            for runner in takes {
                let key = format!("{}/started", runner.key);
                if !known.alone.contains(&key) {
                    jobs.push(job(id, key, &known.alarm, None));
                }
            }
        }
        for alarm in begun {
            self.record_alone(&alarm);
        }
        for job in jobs {
            if let Some(known) = self.standing.get_mut(&job.id) {
                known.alone.push(job.key.clone());
            }
            self.carry_out(job);
        }
    }

    /// Delivers the end of alarms whose begin was delivered without an agreement, while there is
    /// still none; otherwise the board grants it.
    pub(super) fn end_alone(&mut self, gone: &[Standing], now: Timestamp) {
        for known in gone {
            self.record_end_alone(&known.alarm, now);
        }
        if self.failing.is_none() {
            return;
        }
        for known in gone {
            let id = known.alarm.id();
            for key in &known.alone {
                let key = key.replace("/started", "/ended");
                self.carry_out(job(&id, key, &known.alarm, Some(now)));
            }
        }
    }
}

fn since(alarm: &Alarm) -> String {
    alarm.since.unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

fn job(id: &str, key: String, alarm: &Alarm, ended: Option<Timestamp>) -> Job {
    Job {
        id: id.to_owned(),
        since: since(alarm),
        key,
        alarm: alarm.clone(),
        ended,
    }
}

/// Acknowledgements as they are on the board.
pub(super) fn noted(known: BTreeMap<String, Noted>) -> BTreeMap<String, Acknowledgement> {
    let valid = known.into_iter().filter_map(|(id, Noted { until, by })| {
        let until = from_seconds(until)?;
        Some((id, Acknowledgement { until, by }))
    });
    valid.collect()
}

pub(super) fn from_seconds(seconds: f64) -> Option<Timestamp> {
    let duration = jiff::SignedDuration::try_from_secs_f64(seconds).ok()?;
    Timestamp::from_duration(duration).ok()
}
