//! Dagster's side: Python, dagster, `DAGSTER_HOME`, storage, claims, the other workers, webserver.

use std::time::Duration;

use tokio::sync::mpsc;

use super::Report;
use crate::cli::worker::{WorkerError, host_settings, identity};
use crate::config::Settings;
use crate::dagster;
use crate::domain::{FleetWorker, Timestamp};
use crate::fork_server::{Diagnostics, ForkServers, SenderView};

const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(super) async fn examine(report: &mut Report, settings: &Settings, queues: &[String]) {
    match host_settings(settings, &identity(settings)) {
        Ok(options) => {
            let python = options.python.display().to_string();
            let (notices, _unheard) = mpsc::channel(1);
            match ForkServers::start(options, notices).await {
                Ok(hosts) => {
                    instance(report, settings, &hosts, &python, queues).await;
                    fleet(report, &hosts, queues).await;
                    hosts.shutdown(Duration::ZERO).await;
                }
                Err(problem) => report.failed("dagster", problem.to_string()),
            }
        }
        Err(problem @ WorkerError::NoPython) => report.failed("python", problem.to_string()),
        Err(problem) => report.failed("dagster", problem.to_string()),
    }
    webserver(report, settings).await;
}

async fn instance(
    report: &mut Report,
    settings: &Settings,
    hosts: &ForkServers,
    python: &str,
    queues: &[String],
) {
    let about = match hosts.about().await {
        Ok(about) => about,
        Err(problem) => return report.failed("storage", problem.to_string()),
    };
    report.ok("python", format!("{python}, version {}", about.python));
    versions(report, &about);
    let home = settings.dagster_home.value.as_ref().map_or_else(
        || std::env::var("DAGSTER_HOME").unwrap_or_default(),
        |home| home.display().to_string(),
    );
    let storage = &about.storage;
    match storage.as_str() {
        "sqlite" => report.warning(
            "storage",
            format!("sqlite, DAGSTER_HOME {home}: for workers on this host alone"),
        ),
        "other" => report.warning(
            "storage",
            format!(
                "of a kind unknown here, DAGSTER_HOME {home}: claims are files, which protect \
                 workers on this host alone"
            ),
        ),
        _ => report.ok(
            "storage",
            format!(
                "{storage}, DAGSTER_HOME {home}: every worker host needs this folder, unless an IO \
                 manager keeps the steps' results elsewhere"
            ),
        ),
    }
    if about.claims {
        report.ok("claims", "one was taken and given back");
    } else {
        report.failed(
            "claims",
            "one that no other process can hold was refused: steps cannot be kept from running twice",
        );
    }
    let launcher = &about.run_launcher;
    if about.senders.iter().all(|sender| sender.name != *launcher) {
        report.ok(
            "run launcher",
            format!("{launcher}: only steps travel on the queue"),
        );
    }
    for sender in &about.senders {
        add_sender(report, sender, queues);
    }
}

/// Adds the executor or the run launcher, made with the environment of `doctor`.
fn add_sender(report: &mut Report, sender: &SenderView, served: &[String]) {
    let name = &sender.name;
    let (check, sends) = if name == "taskiq_executor" {
        (
            "executor",
            "a job that names no queue sends its steps to the queue",
        )
    } else {
        ("run launcher", "runs travel too, through the queue")
    };
    match &sender.queue {
        Err(problem) => report.failed(check, format!("{name} cannot be made: {problem}")),
        Ok(queue) if served.contains(queue) => {
            report.ok(check, format!("{name}: {sends} {queue}"));
        }
        Ok(queue) => report.warning(
            check,
            format!(
                "{name}: {sends} {queue}, which this worker does not serve: set `queue_url` in its \
                 configuration, or DAGSTER_TASKIQ_SQS_QUEUE_URL on every host"
            ),
        ),
    }
}

fn versions(report: &mut Report, about: &Diagnostics) {
    match &about.dagster_warning {
        None => report.ok("dagster", about.dagster.as_str()),
        Some(warning) => report.warning("dagster", warning.as_str()),
    }
    match &about.dagster_taskiq {
        Some(installed) if installed == VERSION => {
            report.ok("dagster_taskiq", format!("{installed}, as this binary"));
        }
        Some(installed) => report.warning(
            "dagster_taskiq",
            format!("{installed}, and this binary is {VERSION}: install them together"),
        ),
        None => report.warning(
            "dagster_taskiq",
            "not installed in this Python: the copy in this binary is used, and `dagster` commands \
             of this environment do not find it",
        ),
    }
}

async fn fleet(report: &mut Report, hosts: &ForkServers, queues: &[String]) {
    let workers = match hosts.fleet(true).await {
        Ok(workers) => workers,
        Err(problem) => return report.failed("workers", problem.to_string()),
    };
    let now = Timestamp::now();
    let alive: Vec<&FleetWorker> = workers.iter().filter(|w| !w.is_silent(now)).collect();
    let serving = alive
        .iter()
        .filter(|worker| worker.queues.iter().any(|name| queues.contains(name)))
        .count();
    let silent = workers.len() - alive.len();
    let text = format!(
        "{} alive, {serving} on these queues, {silent} silent",
        alive.len()
    );
    if serving == 0 {
        let text = format!("{text}: start one with `dagster-taskiq-tui worker start`");
        report.warning("workers", text);
    } else {
        report.ok("workers", text);
    }
    let others: Vec<String> = alive
        .iter()
        .filter(|worker| worker.version != VERSION)
        .map(|worker| format!("{} has {}", worker.id, worker.version))
        .collect();
    if !others.is_empty() {
        let text = format!("this binary is {VERSION}, {}", others.join(", "));
        report.warning("worker versions", text);
    }
}

async fn webserver(report: &mut Report, settings: &Settings) {
    let Some(url) = &settings.webserver_url.value else {
        return;
    };
    let client = match dagster::Client::new(url) {
        Ok(client) => client,
        Err(problem) => return report.failed("webserver", problem.to_string()),
    };
    match client.server_info().await {
        Ok(info) => report.ok(
            "webserver",
            format!("{}, Dagster {}", client.address(), info.dagster_version),
        ),
        Err(problem) => report.failed("webserver", problem.to_string()),
    }
}
