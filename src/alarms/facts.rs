//! The facts a worker looks up for its alarms besides its own state: disks, the broker's clock,
//! what Dagster's storage knows.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use super::judge::Found;
use crate::config::AlarmSettings;
use crate::domain::{AlarmKind, Timestamp, coarse_age, seconds_between};
use crate::fork_server::ForkServers;
use crate::sqs::Broker;

/// Interval of the looks at disks and at Dagster's storage.
const EVERY: Duration = Duration::from_secs(30);

/// Seconds by which the heartbeats of one process differ at most: each daemon sends one every 30 s.
const HEARTBEATS_APART: u64 = 45;

/// Time after an outage of Dagster's storage for which what was known of the daemons stays: they write
/// every 30 s, and another worker may have looked before they did.
const DAEMONS_RETURN: Duration = Duration::from_secs(90);

/// Subject of the alarm that all daemons are silent.
const ALL_DAEMONS: &str = "dagster-daemon";

/// Interval of the looks at the broker's clock, which cost it a request.
const CLOCK_EVERY: Duration = Duration::from_mins(5);

/// The facts of the last look.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    disks: Vec<Disk>,
    /// Seconds by which this host's clock is ahead of the broker's.
    ahead: Option<i64>,
    dagster: Dagster,
}

#[derive(Clone, Debug)]
struct Disk {
    folder: PathBuf,
    /// MiB that this user may still use.
    free: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Dagster {
    daemons: Vec<Daemon>,
    failed_runs: Vec<FailedRun>,
}

#[derive(Clone, Debug, Deserialize)]
struct Daemon {
    kind: String,
    /// Seconds since its last report.
    silent: u64,
}

#[derive(Clone, Debug, Deserialize)]
struct FailedRun {
    job: String,
    run_id: String,
    /// Unix seconds.
    ended: i64,
}

/// Starts the looks; they end when the handle is dropped.
pub(super) fn start(
    settings: AlarmSettings,
    folders: Vec<PathBuf>,
    hosts: ForkServers,
    broker: Broker,
) -> (watch::Receiver<Facts>, AbortOnDropHandle<()>) {
    let (publish, facts) = watch::channel(Facts::default());
    let looks = tokio::spawn(async move {
        let mut clock_at: Option<Instant> = None;
        loop {
            let disks = disks(&folders);
            publish.send_modify(|facts| facts.disks = disks);
            if settings.judges(AlarmKind::Clock)
                && clock_at.is_none_or(|at| at.elapsed() >= CLOCK_EVERY)
            {
                clock_at = Some(Instant::now());
                let ahead = broker.clock_difference().await;
                publish.send_modify(|facts| facts.ahead = ahead);
            }
            let wanted = [AlarmKind::Daemon, AlarmKind::FailedRun];
            if wanted.into_iter().any(|kind| settings.judges(kind)) {
                match dagster(&hosts, settings.failed_run).await {
                    Ok(mut dagster) => {
                        let back_at = hosts.storage().state().back_at;
                        publish.send_modify(|facts| {
                            if back_at.is_some_and(|at| at.elapsed() < DAEMONS_RETURN) {
                                dagster.daemons = std::mem::take(&mut facts.dagster.daemons);
                            }
                            facts.dagster = dagster;
                        });
                    }
                    // A storage that is away is reported with every heartbeat.
                    Err(problem) => debug!("{problem}"),
                }
            }
            tokio::time::sleep(EVERY).await;
        }
    });
    (facts, AbortOnDropHandle::new(looks))
}

async fn dagster(hosts: &ForkServers, window: u64) -> Result<Dagster, String> {
    let value = hosts.alarm_facts(window).await;
    let value = value.map_err(|problem| problem.to_string())?;
    serde_json::from_value(value).map_err(|error| error.to_string())
}

/// The disks of folders, each disk once; a folder that does not exist yet is on its parent's.
fn disks(folders: &[PathBuf]) -> Vec<Disk> {
    let mut devices = Vec::new();
    let mut disks = Vec::new();
    for folder in folders {
        let there = folder.ancestors().find(|folder| folder.exists());
        let Some(there) = there.filter(|there| *there != Path::new("")) else {
            continue;
        };
        let (Ok(stat), Ok(space)) = (rustix::fs::stat(there), rustix::fs::statvfs(there)) else {
            continue;
        };
        if devices.contains(&stat.st_dev) {
            continue;
        }
        devices.push(stat.st_dev);
        disks.push(Disk {
            folder: there.to_owned(),
            free: space.f_bavail.saturating_mul(space.f_frsize) / (1024 * 1024),
        });
    }
    disks
}

impl Facts {
    /// Adds the alarms that they raise.
    pub fn judge(&self, settings: &AlarmSettings, host: &str, now: Timestamp, found: &mut Found) {
        for Disk { folder, free } in &self.disks {
            if *free < settings.disk_free {
                let folder = folder.display();
                let text =
                    format!("The disk of {folder} on {host} is nearly full: {free} MiB free");
                found.critical(AlarmKind::Disk, format!("{host}:{folder}"), text);
            }
        }
        if let Some(ahead) = self.ahead {
            let seconds = ahead.unsigned_abs();
            if seconds >= settings.clock {
                let way = if ahead > 0 { "ahead of" } else { "behind" };
                let text = format!("The clock of {host} is {seconds} s {way} the broker's");
                found.warning(AlarmKind::Clock, host, text);
            }
        }
        daemons(&self.dagster.daemons, settings.daemon, found);
        for FailedRun { job, run_id, ended } in &self.dagster.failed_runs {
            let ended = Timestamp::from_second(*ended).unwrap_or(now);
            let age = seconds_between(ended, now);
            if age < settings.failed_run {
                let (short, age) = (run_id.get(..8).unwrap_or(run_id), coarse_age(age));
                let text = format!("Run {short} of {job} failed {age} ago");
                found.warning(AlarmKind::FailedRun, job, text);
            }
        }
    }
}

/// Adds one alarm if all daemons are silent, because their process has ended: otherwise one for
/// each of them. `limit` is in seconds.
fn daemons(daemons: &[Daemon], limit: u64, found: &mut Found) {
    let longest = daemons.iter().map(|daemon| daemon.silent).max();
    let shortest = daemons.iter().map(|daemon| daemon.silent).min();
    let (Some(longest), Some(shortest)) = (longest, shortest) else {
        return;
    };
    let all_silent = limit.saturating_sub(HEARTBEATS_APART).max(HEARTBEATS_APART);
    if daemons.len() > 1 && longest >= limit && shortest >= all_silent {
        let age = coarse_age(longest);
        let text = format!("No daemon of Dagster reports for {age}: is dagster-daemon running?");
        return found.critical(AlarmKind::Daemon, ALL_DAEMONS, text);
    }
    for Daemon { kind, silent } in daemons.iter().filter(|daemon| daemon.silent >= limit) {
        let age = coarse_age(*silent);
        let text =
            format!("Dagster's daemon {kind} is silent for {age}, others report: see its log");
        found.critical(AlarmKind::Daemon, kind, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alarms(silent: &[(&str, u64)], limit: u64) -> Vec<String> {
        let daemons: Vec<Daemon> = silent
            .iter()
            .map(|(kind, silent)| Daemon {
                kind: (*kind).to_owned(),
                silent: *silent,
            })
            .collect();
        let mut found = Found::default();
        self::daemons(&daemons, limit, &mut found);
        found.0.iter().map(crate::domain::Alarm::id).collect()
    }

    #[test]
    fn a_daemon_process_that_has_ended_is_one_alarm() {
        let two = |first, second| [("SCHEDULER", first), ("SENSOR", second)];
        assert_eq!(alarms(&two(300, 271), 300), ["daemon/dagster-daemon"]);
        assert_eq!(alarms(&two(300, 29), 300), ["daemon/SCHEDULER"]);
        assert_eq!(alarms(&two(299, 299), 300), [""; 0]);
        // A short limit does not take the usual distance of two heartbeats for silence.
        assert_eq!(alarms(&two(30, 29), 30), ["daemon/SCHEDULER"]);
        assert_eq!(alarms(&[("SENSOR", 400)], 300), ["daemon/SENSOR"]);
    }
}
