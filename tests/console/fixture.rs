//! A snapshot as an operator might find it at night: two workers, four queues, a failed step.

mod dagster;
mod logs;
mod queues;
mod work;
mod workers;

use std::sync::Arc;

use dagster_taskiq_tui::domain::{
    FleetWorker, ForkServerPhase, JobRef, QueueCounts, Slots, Snapshot, Source, SourceHealth,
    SourceKind, Timestamp, WorkerState,
};
use jiff::SignedDuration;

pub use dagster::{failed_run, parts};
use logs::{audit, logs};
pub use queues::answer;
use queues::{priorities, queues};
use work::{recent, runs, tasks};
use workers::workers;

/// The moment the fixture is seen at.
pub fn now() -> Timestamp {
    Timestamp::from_second(1_773_454_650).unwrap()
}

fn ago(seconds: i64) -> Timestamp {
    now() - SignedDuration::from_secs(seconds)
}

const RUNS: [(&str, &str); 5] = [
    ("4f0c81aa-51b2-4c58-9a3b-8a7be0f1d201", "nightly_etl"),
    ("b7d2e6f4-0a91-4be0-8d35-6a1f2b9c7e02", "train_model"),
    ("0e9a4c17-93d6-4f7b-a1c4-5d8e3f60ab03", "refresh_dashboards"),
    ("c31f5b88-7e24-4d0a-b6f9-2a47d1e89c04", "nightly_etl"),
    ("95ab07d3-2c6e-4a13-8f50-e4b6c7d91f05", "ingest_orders"),
];

const QUEUES: [&str; 4] = [
    "dagster-tasks-high",
    "dagster-tasks",
    "dagster-tasks-low",
    "dagster-tasks-runs",
];

const DEAD: &str = "dagster-tasks-dlq";

const WORKERS: [&str; 2] = ["etl-1.internal-4127", "etl-2.internal-9051"];

fn source(kind: SourceKind, address: &str, health: SourceHealth, seen: i64) -> Source {
    Source {
        kind,
        address: address.to_owned(),
        health,
        seen_at: Some(ago(seen)),
        retry_at: None,
    }
}

/// The night's snapshot.
pub fn snapshot() -> Arc<Snapshot> {
    let mut jobs: Vec<JobRef> = [
        "nightly_etl",
        "train_model",
        "refresh_dashboards",
        "ingest_orders",
        "fan_out_demo",
    ]
    .into_iter()
    .map(|job| JobRef {
        location: String::from("warehouse"),
        repository: String::from("__repository__"),
        job: job.to_owned(),
    })
    .collect();
    jobs.sort();
    Arc::new(Snapshot {
        revision: 7,
        sources: vec![
            source(SourceKind::Broker, "sqs.eu-central-1", SourceHealth::Up, 2),
            source(SourceKind::Webserver, "127.0.0.1:3000", SourceHealth::Up, 1),
            source(SourceKind::Worker, "etl-1", SourceHealth::Up, 1),
            source(SourceKind::Worker, "etl-2", SourceHealth::Up, 1),
        ],
        queues: Arc::new(queues()),
        workers: Arc::new(workers()),
        tasks: Arc::new(tasks()),
        recent: Arc::new(recent()),
        priorities: Arc::new(priorities()),
        runs: Arc::new(runs()),
        jobs: Arc::new(jobs),
        logs: Arc::new(logs().into()),
        audit: Arc::new(audit()),
        ..Snapshot::default()
    })
}

/// The same with workers on other hosts, as Dagster's storage tells: one up to date, one of another
/// version, one that is silent, and one of those that are linked.
pub fn fleet() -> Arc<Snapshot> {
    let mut snapshot = Arc::unwrap_or_clone(snapshot());
    let other = |id: &str, version: &str, state, busy, seen| {
        let (hostname, pid) = id.rsplit_once('-').unwrap();
        FleetWorker {
            id: id.to_owned(),
            hostname: hostname.to_owned(),
            pid: pid.parse().ok(),
            version: version.to_owned(),
            state: Some(state),
            steps: Slots {
                busy,
                ..Slots::free(8)
            },
            runs: Slots {
                busy: 1,
                ..Slots::free(2)
            },
            queues: vec![
                String::from("dagster-tasks"),
                String::from("dagster-tasks-high"),
            ],
            heartbeat_at: ago(seen),
        }
    };
    snapshot.fleet = Arc::new(vec![
        other(WORKERS[0], "0.1.0", WorkerState::Running, 3, 4),
        other("etl-3.internal-88", "0.1.0", WorkerState::Running, 5, 7),
        other("gpu-1.internal-1207", "0.0.9", WorkerState::Draining, 8, 11),
        other("gpu-2.internal-31", "0.1.0", WorkerState::Running, 2, 400),
        other("old-1.internal-9", "0.1.0", WorkerState::Stopped, 0, 7_300),
    ]);
    Arc::new(snapshot)
}

/// The same with broker and a worker gone, and a host that does not load.
pub fn trouble() -> Arc<Snapshot> {
    let mut snapshot = Arc::unwrap_or_clone(snapshot());
    let down = |reason: &str| SourceHealth::Down {
        reason: reason.to_owned(),
    };
    snapshot.sources[0].health = down("connection refused");
    snapshot.sources[0].seen_at = Some(ago(140));
    snapshot.sources[0].retry_at = Some(ago(-2));
    snapshot.sources[3].health = down("ssh: connect to host etl-2 port 22: no route to host");
    snapshot.sources[3].seen_at = Some(ago(47));
    snapshot.sources[3].retry_at = Some(ago(-14));
    let workers = Arc::make_mut(&mut snapshot.workers);
    workers[0].state = WorkerState::Paused;
    workers[0].hosts[1].phase = ForkServerPhase::Failed(String::from(
        "ModuleNotFoundError: No module named 'sqlalchemy'",
    ));
    workers[1].heartbeat_at = ago(47);
    for queue in Arc::make_mut(&mut snapshot.queues) {
        queue.counted_at = Some(ago(140));
    }
    Arc::new(snapshot)
}

/// A console's view of a machine where everything is up and nothing happens.
pub fn calm() -> Arc<Snapshot> {
    let full = Arc::unwrap_or_clone(snapshot());
    let mut workers = Arc::unwrap_or_clone(full.workers);
    for worker in &mut workers {
        worker.state = WorkerState::Running;
        worker.steps.busy = 0;
        worker.runs.busy = 0;
    }
    let mut queues = Arc::unwrap_or_clone(full.queues);
    for queue in &mut queues {
        queue.counts = Some(QueueCounts::default());
        queue.oldest = None;
    }
    Arc::new(Snapshot {
        revision: 8,
        sources: full.sources,
        queues: Arc::new(queues),
        workers: Arc::new(workers),
        jobs: full.jobs,
        ..Snapshot::default()
    })
}
