//! A worker seen from outside: its metrics, health and readiness over HTTP, and its log in JSON.

pub mod scraping;

use std::net::TcpStream;
use std::time::Instant;

use dagster_taskiq_tui::domain::Command;

use crate::http::send_raw;
use crate::support;

use scraping::{
    LISTEN, address, get, is, refused, scrape, sum, verdict, wait_for_sum, wait_for_verdict,
};
use support::proxy::Proxy;
use support::scene::Scene;
use support::{PATIENCE, Project, Worker, wait_until};

/// Families, labels and exact values once all has ended that the test below does.
const EXACT: &[(&str, &[&str], f64)] = &[
    (
        "tasks_ended_total",
        &["job_name=\"three\"", "kind=\"step\"", "outcome=\"success\""],
        3.0,
    ),
    (
        "tasks_ended_total",
        &[
            "job_name=\"crashing\"",
            "kind=\"step\"",
            "outcome=\"retry\"",
        ],
        3.0,
    ),
    (
        "tasks_ended_total",
        &[
            "job_name=\"crashing\"",
            "kind=\"step\"",
            "outcome=\"success\"",
        ],
        3.0,
    ),
    (
        "tasks_ended_total",
        &["kind=\"run\"", "outcome=\"success\""],
        2.0,
    ),
    (
        "tasks_lost_total",
        &["job_name=\"crashing\"", "cause=\"process\""],
        3.0,
    ),
    (
        "tasks_cancelled_total",
        &["job_name=\"interrupted\"", "kind=\"step\""],
        1.0,
    ),
    (
        "task_run_seconds_count",
        &["job_name=\"three\"", "kind=\"step\""],
        3.0,
    ),
    (
        "tasks_redelivered_total",
        &["job_name=\"four\"", "priority=\"4\""],
        1.0,
    ),
    (
        "queue_depth",
        &["queue=\"counted\"", "band=\"normal\""],
        0.0,
    ),
    (
        "queue_up",
        &["queue=\"counted-runs\"", "band=\"runs\""],
        1.0,
    ),
    ("worker_state", &["state=\"running\""], 1.0),
    ("broker_up", &[], 1.0),
    (
        "hosts",
        &["location=\"instance agent\"", "phase=\"ready\""],
        1.0,
    ),
];

/// What is greater than 0 by then.
const SOME: &[(&str, &[&str])] = &[
    ("tasks_started_total", &["kind=\"step\"", "priority=\"5\""]),
    ("tasks_received_total", &["kind=\"run\""]),
    ("task_wait_seconds_count", &["queue=\"counted\""]),
    ("task_startup_seconds_count", &["kind=\"step\""]),
    ("heartbeats_total", &[]),
    ("host_loads_total", &["location=\"jobs.py"]),
    ("host_tasks_total", &["location=\"jobs.py"]),
    ("host_memory_bytes", &["location=\"jobs.py"]),
    ("build_info", &["version="]),
    ("start_time_seconds", &[]),
    ("queue_counted_timestamp_seconds", &["queue=\"counted\""]),
];

#[test]
fn what_a_worker_does_is_counted_and_its_log_names_the_task_in_every_line() {
    let mut scene = Scene::new("counted");
    let seen_before = scene.side.make_run("four");
    scene.side.open_gate(&seen_before, None);
    let body = scene.side.step(&seen_before, "gated_1", 4);
    scene.side.send(&[body]);
    let url = scene.project.queue_url();
    let arguments = serde_json::json!({"endpoint": scene.broker.endpoint, "url": url});
    scene.side.ask("receive", &arguments);
    let mut worker = scene.worker(2, &["--log-format", "json", LISTEN[0], LISTEN[1]]);
    let address = address(&worker);
    let good = scene.side.launch("three");
    let crashing = scene.side.launch("crashing");
    scene.side.wait_status(&good, "SUCCESS");
    scene.side.wait_status(&crashing, "SUCCESS");
    let cancelled = scene.side.launch("interrupted");
    scene.side.wait_traced(&cancelled, "has_grandchild");
    let running = wait_for_sum(&address, "slots_busy", &["kind=\"step\""], 1.0);
    assert!(is(sum(&running, "slots", &["kind=\"step\""]), 2.0));
    scene
        .side
        .ask("terminate", &serde_json::json!({"run_id": cancelled}));
    scene.side.wait_status(&cancelled, "CANCELED");
    let again = scene.side.step(&good, "good_0", 7);
    scene.side.send(&[
        again,
        String::from("{\"password\": \"hunter2\", no message"),
    ]);

    let labels = [
        "queue=\"counted\"",
        "kind=\"unknown\"",
        "outcome=\"dead_letter\"",
    ];
    wait_for_sum(&address, "tasks_ended_total", &labels, 1.0);
    let skipped = ["priority=\"7\"", "outcome=\"skipped\""];
    wait_for_sum(&address, "tasks_ended_total", &skipped, 1.0);
    wait_for_sum(
        &address,
        "queue_dead_letters",
        &["queue=\"counted-dead\""],
        1.0,
    );
    let found = wait_for_sum(&address, "tasks_ended_total", &["kind=\"run\""], 3.0);
    for (name, labels, expected) in EXACT {
        let value = sum(&found, name, labels);
        assert!(
            is(value, *expected),
            "{name} {labels:?}: {value}: {found:#?}"
        );
    }
    for (name, labels) in SOME {
        assert!(
            sum(&found, name, labels) > 0.0,
            "{name} {labels:?}: {found:#?}"
        );
    }
    let text = get(&address, "/metrics").body;
    let folder = scene.project.folder().to_str().unwrap();
    for hidden in ["hunter2", folder, "tests/worker", &scene.broker.endpoint] {
        assert!(!text.contains(hidden), "{hidden} is in {text}");
    }
    assert_eq!(worker.finish(), 0);
    assert_lines_name_their_task(&scene.project, &worker, &crashing);
}

/// Each line of the log file is an object; those of a step that crashed have the fields of the task.
fn assert_lines_name_their_task(project: &Project, worker: &Worker, run: &str) {
    let folder = project.folder().join(&worker.name);
    // Two of them where the day ends meanwhile.
    let files = std::fs::read_dir(folder).unwrap();
    let text: String = files
        .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    let lines = text.lines().map(|line| {
        let read = serde_json::from_str::<serde_json::Value>(line);
        read.unwrap_or_else(|error| panic!("{error}: {line}"))
    });
    let crashed: Vec<serde_json::Value> = lines
        .filter(|line| {
            line["message"]
                .as_str()
                .is_some_and(|text| text.contains("; wrote "))
        })
        .collect();
    assert_eq!(crashed.len(), 3, "{text}");
    for line in crashed {
        assert_eq!(line["run_id"], run, "{line}");
        assert_eq!(line["attempt"], 1, "{line}");
        let step = line["step_key"].as_str().unwrap();
        let message = line["message"].as_str().unwrap();
        assert!(
            message.starts_with(step) && line["task_id"].is_string(),
            "{line}"
        );
    }
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn a_worker_is_ready_while_it_can_take_messages_and_healthy_while_its_loops_turn() {
    let mut scene = Scene::new("probed");
    let mut worker = scene.worker(1, &LISTEN);
    let address = address(&worker);
    let healthy = || assert_eq!(verdict(&address, "/healthz"), (200, "ok".into()));
    wait_for_verdict(&address, "/readyz", 200, "ok");
    worker.call(Command::Pause);
    wait_for_verdict(&address, "/readyz", 503, "the worker is paused");
    healthy();
    worker.call(Command::Resume);
    wait_for_verdict(&address, "/readyz", 200, "ok");

    // Code that is broken when it is first needed.
    let file = scene.project.definitions();
    let source = std::fs::read_to_string(&file).unwrap();
    let arguments = serde_json::json!({"job": "three", "status": "STARTED", "file": file});
    let run = scene.side.ask("make_run", &arguments);
    let run = run["run_id"].as_str().unwrap().to_owned();
    let steps = ["good_0", "good_1"].map(|step| scene.side.step(&run, step, 5));
    std::fs::write(&file, "raise RuntimeError('password=hunter2')\n").unwrap();
    scene.side.send(&steps[..1]);
    let name = file.file_name().unwrap().to_str().unwrap();
    wait_for_verdict(&address, "/readyz", 503, &format!("code location {name}"));
    let (_, text) = verdict(&address, "/readyz");
    assert!(
        text.ends_with("does not load") && !text.contains('/'),
        "{text}"
    );
    let failed = [format!("location=\"{name}")];
    let failed = [failed[0].as_str()];
    wait_for_sum(&address, "host_load_failures_total", &failed, 1.0);
    healthy();
    std::fs::write(&file, source).unwrap();
    worker.call(Command::Reload);
    scene.side.send(&steps[1..]);
    wait_for_sum(&address, "host_loads_total", &failed, 1.0);
    wait_for_verdict(&address, "/readyz", 200, "ok");

    scene.broker = {
        scene.broker.process.signal("KILL");
        wait_for_verdict(&address, "/readyz", 503, "cannot be received from");
        healthy();
        wait_until("the broker is down", PATIENCE, || {
            let samples = scrape(&address);
            let up = sum(&samples, "broker_up", &[]);
            let errors = sum(&samples, "broker_errors_total", &["reason=\"unreachable\""]);
            (is(up, 0.0) && errors > 0.0).then_some(())
        });
        scene.broker.restart()
    };
    wait_for_verdict(&address, "/readyz", 200, "ok");

    let arguments = serde_json::json!({"job": "single", "status": "STARTED", "file": file});
    let run = scene.side.ask("make_run", &arguments);
    let run = run["run_id"].as_str().unwrap().to_owned();
    let step = scene.side.step(&run, "gated", 5);
    scene.side.send(&[step]);
    scene.side.wait_traced(&run, "gated");
    worker.process.signal("TERM");
    wait_for_verdict(&address, "/readyz", 503, "the worker is draining");
    healthy();
    scene.side.open_gate(&run, None);
    assert_eq!(worker.process.wait(PATIENCE), 0);
}

#[test]
fn scrapes_cost_no_more_requests_than_a_console_and_bad_clients_keep_nobody_out() {
    let scene = Scene::new("scraped");
    let proxy = Proxy::start(&scene.broker.endpoint, &[]);
    let queue = format!("{}/000000000000/scraped", proxy.endpoint);
    let through = ["--endpoint-url", &proxy.endpoint, "--queue-url", &queue];
    let mut worker = scene.worker(1, &[&through[..], &LISTEN[..]].concat());
    let address = address(&worker);
    let counts = || proxy.asked("GetQueueAttributes");
    wait_for_verdict(&address, "/readyz", 200, "ok");
    let depth = ["queue=\"scraped\""];
    wait_for_sum(&address, "queue_up", &depth, 1.0);

    let (before, since) = (counts(), Instant::now());
    let hasty: Vec<_> = (0..8)
        .map(|_| {
            let address = address.clone();
            std::thread::spawn(move || {
                for _ in 0..8 {
                    scrape(&address);
                    assert_eq!(verdict(&address, "/healthz").0, 200);
                }
            })
        })
        .collect();
    for scraper in hasty {
        scraper.join().unwrap();
    }
    // Three queues, one request for each a round, two seconds between rounds.
    let most = 3 * (since.elapsed().as_secs() / 2 + 2);
    let asked = counts() - before;
    assert!(asked as u64 <= most, "{asked} requests, not {most}");
    // A look after a quiet time makes the worker count again.
    let before = counts();
    wait_until("the queue is counted for a scrape", PATIENCE, || {
        scrape(&address);
        (counts() > before).then_some(())
    });

    let idle: Vec<TcpStream> = (0..40)
        .map(|_| TcpStream::connect(&address).unwrap())
        .collect();
    scrape(&address);
    drop(idle);
    let head = [format!("X-Long: {}", "x".repeat(64 * 1024))];
    for (line, headers, status) in [
        ("POST /metrics", &[][..], Some(405)),
        ("DELETE /healthz", &[], Some(405)),
        ("GET /", &[], Some(404)),
        ("GET /metrics/../../etc/passwd", &[], Some(404)),
        ("GET /metrics", &head[..], None),
    ] {
        let found = refused(&address, line, headers);
        assert!(
            found.is_none_or(|found| Some(found) == status || status.is_none() && found >= 400)
        );
    }
    let head = send_raw(&address, "HEAD /metrics", &[format!("Host: {address}")], "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    scrape(&address);
    assert_eq!(worker.finish(), 0);
}
