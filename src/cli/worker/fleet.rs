//! `worker list`: every worker of the deployment. Those of this host answer on their sockets; the
//! others are known from their heartbeats in Dagster's storage. The heartbeats are read by an
//! instance agent of our own if `DAGSTER_HOME` is known, and otherwise by the workers of this host.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tokio::sync::mpsc;

use super::WorkerError;
use super::start::{host_settings, identity};
use super::verbs::sockets_in;
use crate::cli::connection::ConnectionArgs;
use crate::cli::output::{note, out};
use crate::cli::table::{self, Align};
use crate::config::{Partial, Settings};
use crate::domain::{FleetWorker, QueueRole, Timestamp, WorkerSnapshot, WorkerView};
use crate::fleet::client;
use crate::fork_server::ForkServers;

/// Flags of `worker list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Settings file (YAML)
    #[arg(short = 'y', long, value_name = "FILE")]
    config_yaml: Option<PathBuf>,
    /// Folder of dagster.yaml, whose storage has the heartbeats [env: `DAGSTER_HOME`]
    #[arg(long, value_name = "DIR")]
    dagster_home: Option<PathBuf>,
    /// Python that reads that storage; it must have dagster [default: `$VIRTUAL_ENV`, then PATH]
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// Folder of the control sockets [default: the user's runtime folder]
    #[arg(long, value_name = "DIR")]
    runtime_dir: Option<PathBuf>,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// A row of the list.
#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    worker: FleetWorker,
    /// Whole seconds since its last heartbeat in Dagster's storage; `None` without a heartbeat.
    heartbeat_age_s: Option<u64>,
    /// Whether it does not answer here, and its next heartbeat is overdue.
    silent: bool,
    /// Its control socket, if it runs on this host as this user.
    #[serde(skip_serializing_if = "Option::is_none")]
    socket: Option<PathBuf>,
}

pub(super) async fn list(args: &ListArgs) -> Result<ExitCode, WorkerError> {
    let settings = args.settings()?;
    let local = local(args).await;
    let known = settings.dagster_home.value.is_some() || std::env::var_os("DAGSTER_HOME").is_some();
    let (fleet, failure) = if known {
        match registry(&settings).await {
            Ok(fleet) => (fleet, None),
            // This host's workers are printed all the same: the storage may be the problem.
            Err(problem) => (Vec::new(), Some(problem)),
        }
    } else {
        let read = local.iter().flat_map(|(_, snapshot)| &snapshot.fleet);
        (read.cloned().collect(), None)
    };
    let rows = rows(fleet, local, Timestamp::now());
    if rows.is_empty() && failure.is_none() {
        let more = if known {
            "and none has written a heartbeat into Dagster's storage"
        } else {
            "set DAGSTER_HOME to see those of other hosts"
        };
        note!("no worker runs on this host; {more}");
    }
    print(&rows, args.json);
    failure.map_or(Ok(ExitCode::SUCCESS), Err)
}

impl ListArgs {
    fn settings(&self) -> Result<Settings, WorkerError> {
        let connection = ConnectionArgs {
            config_yaml: self.config_yaml.clone(),
            ..ConnectionArgs::default()
        };
        let flags = Partial {
            dagster_home: self.dagster_home.clone(),
            python: self.python.clone(),
            ..Partial::default()
        };
        Ok(connection.settings(flags, true)?)
    }
}

/// The workers that answer on this host, with their snapshots.
async fn local(args: &ListArgs) -> Vec<(PathBuf, Arc<WorkerSnapshot>)> {
    let sockets = sockets_in(args.runtime_dir.as_ref()).await;
    let queries = sockets.into_iter().map(|socket| async move {
        let snapshot = client::status(&socket.path).await.ok()?;
        Some((socket.path, snapshot))
    });
    let answers = futures::future::join_all(queries).await;
    answers.into_iter().flatten().collect()
}

/// Heartbeats in Dagster's storage, read by an instance agent that ends with this call.
async fn registry(settings: &Settings) -> Result<Vec<FleetWorker>, WorkerError> {
    let (notices, _unheard) = mpsc::channel(1);
    let hosts = ForkServers::start(host_settings(settings, &identity(settings))?, notices).await?;
    let fleet = hosts.fleet(true).await;
    hosts.shutdown(Duration::ZERO).await;
    Ok(fleet?)
}

/// One row a worker, by id: a worker's own snapshot takes precedence over its heartbeat.
fn rows(
    fleet: Vec<FleetWorker>,
    local: Vec<(PathBuf, Arc<WorkerSnapshot>)>,
    now: Timestamp,
) -> Vec<Row> {
    let mut found: BTreeMap<String, Row> = BTreeMap::new();
    for worker in fleet {
        let row = Row {
            heartbeat_age_s: Some(worker.age(now).as_secs()),
            silent: worker.is_silent(now),
            worker,
            socket: None,
        };
        match found.get(&row.worker.id) {
            Some(known) if known.worker.heartbeat_at >= row.worker.heartbeat_at => {}
            _ => drop(found.insert(row.worker.id.clone(), row)),
        }
    }
    for (socket, snapshot) in local {
        let written = found.get(&snapshot.worker.id);
        let heartbeat_age_s = written.and_then(|row| row.heartbeat_age_s);
        let heartbeat_at = written.map_or(now, |row| row.worker.heartbeat_at);
        let row = Row {
            worker: of_this_host(&snapshot, heartbeat_at),
            heartbeat_age_s,
            silent: false,
            socket: Some(socket),
        };
        found.insert(row.worker.id.clone(), row);
    }
    found.into_values().collect()
}

fn of_this_host(snapshot: &WorkerSnapshot, heartbeat_at: Timestamp) -> FleetWorker {
    let WorkerView {
        id,
        hostname,
        pid,
        version,
        state,
        steps,
        runs,
        ..
    } = snapshot.worker.clone();
    FleetWorker {
        id,
        hostname,
        pid: Some(pid),
        version,
        state: Some(state),
        steps,
        runs,
        // Dead-letter queues are counted, not received from.
        queues: snapshot
            .queues
            .iter()
            .filter(|queue| queue.role != QueueRole::DeadLetter)
            .map(|queue| queue.name.clone())
            .collect(),
        heartbeat_at,
    }
}

const TITLES: [&str; 9] = [
    "WORKER",
    "HOST",
    "PID",
    "STATE",
    "STEPS",
    "RUNS",
    "VERSION",
    "HEARTBEAT",
    "QUEUES",
];

fn print(rows: &[Row], json: bool) {
    if json {
        for row in rows {
            // Plain data always serialize.
            out!("{}", serde_json::to_string(row).unwrap_or_default());
        }
    } else if !rows.is_empty() {
        let titles = std::iter::once(TITLES.map(str::to_owned));
        let lines: Vec<_> = titles.chain(rows.iter().map(cells)).collect();
        table::print([Align::Left; 9], &lines);
    }
}

fn cells(row: &Row) -> [String; 9] {
    let worker = &row.worker;
    let state = match (row.silent, worker.state) {
        (true, _) => "silent",
        (false, Some(state)) => state.word(),
        (false, None) => "?",
    };
    [
        worker.id.clone(),
        worker.hostname.clone(),
        worker
            .pid
            .map_or_else(|| "?".to_owned(), |pid| pid.to_string()),
        state.to_owned(),
        worker.steps.to_string(),
        worker.runs.to_string(),
        worker.version.clone(),
        row.heartbeat_age_s
            .map_or_else(|| "none".to_owned(), |age| format!("{age} s ago")),
        worker.queues.join(","),
    ]
}
