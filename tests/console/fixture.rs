//! A snapshot as an operator might find it at night: two workers, four queues, a failed step.

mod dagster;

use std::sync::Arc;

use dagster_taskiq_tui::domain::{
    Answer, AuditEntry, DagsterParts, Envelope, FleetWorker, ForkServerPhase, ForkServerView,
    Isolation, JobRef, LogLevel, LogLine, MessageStage, Peek, PeekedMessage, Phase, PriorityCount,
    Query, QueueCounts, QueueDetail, QueueRole, QueueView, RedrivePolicy, RunStatus, RunView,
    Slots, Snapshot, Source, SourceHealth, SourceKind, TaskKind, TaskOutcome, TaskView, Timestamp,
    Trend, Usage, WorkerState, WorkerView,
};
use jiff::SignedDuration;

pub use dagster::{failed_run, parts};
use dagster::{failed_runs, failures};

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

fn task(number: u32, step: &str, run: usize, phase: Phase) -> TaskView {
    let started = match &phase {
        Phase::Running { since, .. } => *since,
        Phase::Done { started, at, .. } => started.unwrap_or(*at),
        Phase::Held => ago(9),
    };
    let sent = started - SignedDuration::from_millis(i64::from(number % 7) * 900 + 400);
    let usage = matches!(phase, Phase::Running { .. }).then(|| Usage {
        cpu_percent: number * 37 % 130,
        memory_mib: u64::from(number) * 61 + 24,
    });
    TaskView {
        task_id: format!("9d1e{number:04x}c07a4c31b0f2a85d6e{number:06x}"),
        message_id: format!("5b0a91c2-77d4-4c0e-9a11-0000000{number:05}"),
        queue: QUEUES[number as usize % 3].to_owned(),
        kind: TaskKind::ExecutePlan,
        run_id: RUNS[run].0.to_owned(),
        job: Some(RUNS[run].1.to_owned()),
        step_key: Some(step.to_owned()),
        priority: [9, 5, 1][number as usize % 3],
        attempt: 1,
        receive_count: 1,
        sent_at: Some(sent),
        received_at: sent + SignedDuration::from_millis(120),
        phase,
        worker: WORKERS[number as usize % 2].to_owned(),
        usage,
        beyond_usual: None,
    }
}

fn running(number: u32, step: &str, run: usize, seconds: i64) -> TaskView {
    let phase = Phase::Running {
        since: ago(seconds),
        pid: Some(18_200 + number * 13),
    };
    task(number, step, run, phase)
}

fn done(
    number: u32,
    step: &str,
    run: usize,
    ended: i64,
    took: i64,
    outcome: TaskOutcome,
) -> TaskView {
    let phase = Phase::Done {
        at: ago(ended),
        started: Some(ago(ended + took)),
        outcome,
    };
    task(number, step, run, phase)
}

fn tasks() -> Vec<TaskView> {
    let mut run_worker = running(7, "", 0, 1394);
    run_worker.kind = TaskKind::ExecuteJob;
    run_worker.step_key = None;
    QUEUES[3].clone_into(&mut run_worker.queue);
    let mut retried = running(4, "fetch_exchange_rates", 3, 12);
    retried.attempt = 3;
    let mut redelivered = running(6, "load_warehouse[partition_2026_03_13]", 0, 187);
    redelivered.receive_count = 2;
    vec![
        run_worker,
        running(3, "train_gradient_boosting", 1, 3921),
        redelivered,
        running(1, "transform_orders", 0, 46),
        retried,
        running(2, "größenklassen_berechnen", 2, 3),
        task(9, "score_customers", 1, Phase::Held),
        task(10, "render_report", 2, Phase::Held),
        task(13, "score_suppliers", 1, Phase::Held),
    ]
}

fn recent() -> Vec<TaskView> {
    let steps = [
        "extract_orders",
        "extract_customers",
        "validate_schema",
        "build_index",
        "publish_metrics",
    ];
    let mut recent = vec![
        done(
            40,
            "fetch_exchange_rates",
            3,
            14,
            2,
            TaskOutcome::UpForRetry {
                reason: String::from("PartnerUnavailableError: HTTP 503 at attempt 1"),
            },
        ),
        done(
            41,
            "load_suppliers",
            4,
            61,
            8,
            TaskOutcome::Failure {
                reason: String::from(
                    "psycopg2.OperationalError: server closed the connection unexpectedly",
                ),
            },
        ),
        done(
            42,
            "compress_archive",
            0,
            95,
            204,
            TaskOutcome::Failure {
                reason: String::from(
                    "killed by SIGKILL on etl-2.internal, pid 20117: out of memory?",
                ),
            },
        ),
        done(
            43,
            "notify",
            4,
            60,
            0,
            TaskOutcome::Skipped {
                reason: String::from("an upstream step failed"),
            },
        ),
    ];
    for number in 0..60_u32 {
        let ended = i64::from(number * number) / 7 + i64::from(number) * 2 + 3;
        let step = steps[number as usize % steps.len()];
        recent.push(done(
            100 + number,
            step,
            number as usize % 5,
            ended,
            i64::from(number % 9),
            TaskOutcome::Success,
        ));
    }
    recent.sort_by_key(|task| match task.phase {
        Phase::Done { at, .. } => std::cmp::Reverse(at),
        _ => std::cmp::Reverse(now()),
    });
    recent
}

fn queue(name: &str, role: QueueRole, counts: (u64, u64, u64)) -> QueueView {
    let (visible, in_flight, delayed) = counts;
    QueueView {
        name: name.to_owned(),
        url: format!("https://sqs.eu-central-1.amazonaws.com/123456789012/{name}"),
        role,
        counts: Some(QueueCounts {
            visible,
            in_flight,
            delayed,
        }),
        counted_at: Some(ago(2)),
        oldest: (visible > 0).then(|| ago(i64::try_from(visible).unwrap() * 7)),
        error: None,
        trend: Trend::default(),
    }
}

fn queues() -> Vec<QueueView> {
    vec![
        queue(QUEUES[0], QueueRole::Band(String::from("high")), (3, 4, 0)),
        queue(QUEUES[1], QueueRole::Base, (128, 5, 2)),
        queue(QUEUES[2], QueueRole::Band(String::from("low")), (41, 2, 0)),
        queue(QUEUES[3], QueueRole::Runs, (2, 1, 0)),
        queue(DEAD, QueueRole::DeadLetter, (3, 0, 0)),
    ]
}

fn priorities() -> Vec<PriorityCount> {
    let count = |queue: usize, priority, waiting, held, running| PriorityCount {
        queue: QUEUES[queue].to_owned(),
        priority,
        waiting,
        held,
        running,
    };
    vec![
        count(0, 9, None, 1, 2),
        count(1, 7, None, 0, 1),
        count(1, 5, None, 2, 1),
        count(2, 1, None, 0, 1),
        count(3, 0, None, 0, 1),
    ]
}

fn worker(
    index: usize,
    state: WorkerState,
    steps: Slots,
    runs: Slots,
    hosts: Vec<ForkServerView>,
) -> WorkerView {
    let (hostname, pid) = WORKERS[index].rsplit_once('-').unwrap();
    WorkerView {
        id: WORKERS[index].to_owned(),
        hostname: hostname.to_owned(),
        pid: pid.parse().unwrap(),
        version: String::from("0.1.0"),
        state,
        steps,
        runs,
        started_at: ago(93_000),
        heartbeat_at: ago(2),
        clock_behind: 0,
        hosts,
        queues: Vec::new(),
        shared_name: None,
        finished: 18_243,
        failed: 17,
        deadline: None,
        dropped_events: 0,
    }
}

fn host(pid: u32, location: &str, phase: ForkServerPhase, children: u32) -> ForkServerView {
    ForkServerView {
        pid,
        location: location.to_owned(),
        load_ms: (phase == ForkServerPhase::Ready).then_some(2740),
        phase,
        children,
        pss_bytes: Some(27_500_000 + u64::from(pid) * 4096),
        isolation: match location {
            "instance agent" => None,
            _ if location.contains("/ml/") => Some(Isolation::Reuse),
            _ => Some(Isolation::Fork),
        },
        isolation_reason: location.contains("/ml/").then(|| {
            String::from(
                "loading the code left the connection to 10.0.4.17:5432 (features.ENGINE): made in \
                 a resource or in the step instead, it would let steps be forked, which is faster",
            )
        }),
    }
}

fn workers() -> Vec<WorkerView> {
    let hosts = vec![
        host(4140, "instance agent", ForkServerPhase::Ready, 0),
        host(
            4152,
            "/srv/dagster/warehouse/definitions.py",
            ForkServerPhase::Ready,
            3,
        ),
        host(
            4188,
            "/srv/dagster/ml/definitions.py",
            ForkServerPhase::Ready,
            1,
        ),
    ];
    let slots = |target, busy| Slots {
        busy,
        ..Slots::free(target)
    };
    vec![
        worker(0, WorkerState::Running, slots(4, 3), slots(2, 1), hosts),
        worker(
            1,
            WorkerState::Paused,
            slots(4, 2),
            slots(2, 0),
            vec![host(9070, "instance agent", ForkServerPhase::Ready, 0)],
        ),
    ]
}

fn run(
    index: usize,
    status: RunStatus,
    since: i64,
    took: Option<i64>,
    steps: (u32, u32, u32),
) -> RunView {
    RunView {
        run_id: RUNS[index].0.to_owned(),
        job: RUNS[index].1.to_owned(),
        status,
        created_at: Some(ago(since + 3)),
        started_at: (status != RunStatus::Queued).then(|| ago(since)),
        ended_at: took.map(|took| ago(since - took)),
        steps_succeeded: steps.0,
        steps_failed: steps.1,
        steps_total: Some(steps.2),
        priority: (index == 0).then_some(3),
        tags: tags_of(index),
        assets: if index == 4 {
            vec![
                String::from("sales/orders"),
                String::from("sales/customers"),
            ]
        } else {
            Vec::new()
        },
    }
}

fn tags_of(index: usize) -> Vec<(String, String)> {
    let tags: &[(&str, &str)] = match index {
        0 => &[
            ("dagster/partition", "2026-03-13"),
            ("dagster/schedule_name", "nightly"),
            ("team", "data"),
        ],
        3 => &[("team", "database")],
        _ => &[],
    };
    let owned = tags.iter();
    let owned = owned.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    owned.collect()
}

fn runs() -> Vec<RunView> {
    vec![
        run(3, RunStatus::Queued, 20, None, (0, 0, 24)),
        run(2, RunStatus::Started, 65, None, (4, 0, 11)),
        run(4, RunStatus::Failure, 480, Some(419), (5, 1, 8)),
        run(0, RunStatus::Started, 1394, None, (17, 1, 24)),
        run(1, RunStatus::Started, 4100, None, (2, 0, 5)),
    ]
}

fn logs() -> Vec<LogLine> {
    let line = |seconds, level, target: &str, step: Option<(&str, usize)>, message: &str| LogLine {
        at: ago(seconds),
        level,
        target: target.to_owned(),
        run_id: step.map(|(_, run)| RUNS[run].0.to_owned()),
        step_key: step.map(|(step, _)| step.to_owned()),
        worker: Some(WORKERS[0].to_owned()),
        message: message.to_owned(),
    };
    let mut logs = vec![
        line(
            188,
            LogLevel::Warn,
            "worker",
            None,
            "load_warehouse[partition_2026_03_13] was received for the second time; its former worker is gone",
        ),
        line(
            187,
            LogLevel::Debug,
            "worker",
            None,
            "claim taken for run 4f0c81aa, step load_warehouse[partition_2026_03_13], attempt 1",
        ),
        line(
            120,
            LogLevel::Info,
            "step",
            Some(("load_warehouse[partition_2026_03_13]", 0)),
            "\u{1b}[32mcopied 1,200,000 rows\u{1b}[0m into warehouse.orders",
        ),
        line(
            95,
            LogLevel::Error,
            "host",
            Some(("compress_archive", 0)),
            "killed by SIGKILL on etl-2.internal, pid 20117: out of memory?",
        ),
        line(
            61,
            LogLevel::Error,
            "step",
            Some(("load_suppliers", 4)),
            "psycopg2.OperationalError: server closed the connection unexpectedly. This probably means the server terminated abnormally before or while processing the request.",
        ),
    ];
    for number in 0..40 {
        let message = format!(
            "epoch {number}: loss 0.{:03}, 1 of 4 folds",
            812 - number * 9
        );
        logs.push(line(
            50 - number,
            LogLevel::Info,
            "step",
            Some(("train_gradient_boosting", 1)),
            &message,
        ));
    }
    logs.push(line(
        4,
        LogLevel::Info,
        "worker",
        None,
        "paused by admin@bastion: 2 running go on, 1 held went back",
    ));
    logs
}

fn audit() -> Vec<AuditEntry> {
    let entry =
        |seconds, user: &str, verb: &str, target: &str, done: bool, text: &str| AuditEntry {
            time: ago(seconds),
            user: user.to_owned(),
            from: format!("{user}@bastion"),
            host: String::from("etl-1.internal"),
            verb: verb.to_owned(),
            target: target.to_owned(),
            done,
            text: text.to_owned(),
            archive: None,
            reason: (verb == "pause").then(|| String::from("the warehouse is down until 03:00")),
        };
    vec![
        entry(
            4,
            "admin",
            "pause",
            WORKERS[1],
            true,
            "paused: 2 running go on, 1 held went back",
        ),
        entry(
            610,
            "mara",
            "scale",
            "etl-1.internal-4127 to 4 step slots",
            true,
            "4 step slots",
        ),
        entry(
            7240,
            "mara",
            "terminate runs",
            "runs 4f0c81aa-51b2-4c58-9a3b-8a7be0f1d201",
            false,
            "refused: the console is read-only",
        ),
    ]
}

fn source(kind: SourceKind, address: &str, health: SourceHealth, seen: i64) -> Source {
    Source {
        kind,
        address: address.to_owned(),
        health,
        seen_at: Some(ago(seen)),
        retry_at: None,
    }
}

fn letter(
    number: u32,
    seconds: i64,
    receive_count: u32,
    reason: Option<&str>,
    task: Result<(&str, usize), &str>,
) -> PeekedMessage {
    let body = match task {
        Ok((step, run)) => format!(
            r#"{{"task_id":"9d1e","task_name":"execute_plan","labels":{{"dtq":"1","priority":"9"}},"kwargs":{{"execute_step_args_packed":{{"pipeline_run_id":"{}","step_keys_to_execute":["{step}"],"instance_ref":{{"config_yaml":"postgres_db:\n  password: (redacted)\n"}}}}}}}}"#,
            RUNS[run].0
        ),
        Err(_) => String::from("hello \u{1b}[31m"),
    };
    PeekedMessage {
        queue: DEAD.to_owned(),
        message_id: format!("5b0a91c2-77d4-4c0e-9a11-0000000{number:05}"),
        stage: MessageStage::Waiting,
        body_bytes: body.len(),
        body: Some(body),
        offloaded: false,
        receive_count,
        sent_at: Some(ago(seconds)),
        group: None,
        reason: reason.map(str::to_owned),
        source: Some(QUEUES[number as usize % 3].to_owned()),
        attributes: vec![(String::from("team"), String::from("blue"))],
        envelope: task.ok().map(|(step, run)| Envelope {
            task_id: format!("9d1e{number:04x}c07a4c31b0f2a85d6e{number:06x}"),
            kind: TaskKind::ExecutePlan,
            run_id: RUNS[run].0.to_owned(),
            step_key: Some(step.to_owned()),
            job: Some(RUNS[run].1.to_owned()),
            priority: 9,
            attempt: 1,
        }),
        problem: task.err().map(str::to_owned),
    }
}

/// What a worker answers to a question about queues.
pub fn answer(query: &Query) -> Option<Answer> {
    match query {
        Query::Peek { queue, .. } => {
            let messages = if queue == DEAD {
                vec![
                    letter(
                        1,
                        8_130,
                        11,
                        Some("run c31f5b88 does not exist"),
                        Ok(("extract_customers", 3)),
                    ),
                    letter(
                        2,
                        740,
                        1,
                        Some("the body is not a Taskiq message: expected value at line 1 column 1"),
                        Err("the body is not a Taskiq message: expected value at line 1 column 1"),
                    ),
                    letter(3, 95, 12, None, Ok(("compress_archive", 0))),
                ]
            } else {
                vec![letter(7, 12, 0, None, Ok(("transform_orders", 0)))]
            };
            Some(Answer::Peek(Peek {
                queue: queue.clone(),
                at: ago(1),
                messages,
                received: false,
                more: false,
            }))
        }
        Query::Queue { queue } => {
            let is_dead = queue == DEAD;
            let attribute = |name: &str, value: &str| (name.to_owned(), value.to_owned());
            Some(Answer::Queue(QueueDetail {
                queue: queue.clone(),
                url: format!("https://sqs.eu-central-1.amazonaws.com/123456789012/{queue}"),
                at: ago(1),
                attributes: vec![
                    attribute("CreatedTimestamp", "1772000000"),
                    attribute("DelaySeconds", "0"),
                    attribute("MaximumMessageSize", "1048576"),
                    attribute("MessageRetentionPeriod", "1209600"),
                    attribute("VisibilityTimeout", "60"),
                ],
                tags: vec![attribute("team", "warehouse")],
                redrive: (!is_dead).then(|| RedrivePolicy {
                    queue: DEAD.to_owned(),
                    max_receives: 10,
                }),
                sources: if is_dead {
                    QUEUES.iter().map(|name| (*name).to_owned()).collect()
                } else {
                    Vec::new()
                },
                unknown: Vec::new(),
            }))
        }
        Query::DagsterParts => Some(Answer::DagsterParts(DagsterParts {
            parts: parts(),
            problems: Vec::new(),
        })),
        Query::FailedRuns { before, .. } => Some(Answer::FailedRuns(failed_runs(before.is_some()))),
        Query::RunFailures { run_ids } => Some(Answer::RunFailures(
            run_ids
                .iter()
                .filter_map(|run_id| failures(run_id))
                .collect(),
        )),
        _ => None,
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
