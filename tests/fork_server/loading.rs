//! Loading of code: whether it may be forked, what is loaded again, and code that does not load.

use crate::hosts::{
    Run, Worker, ask, assert_success, execute, home, host_pid, host_pids, kill, runtime, settings,
    shared, start, until,
};
use crate::support::{PATIENCE, side::alive};

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use dagster_taskiq_tui::domain::Isolation;
use dagster_taskiq_tui::fork_server::{
    Execution, ForkServerError, ForkServerNotice, Outcome, StepStatus,
};
use serde_json::json;
use tokio::sync::mpsc;

#[test]
fn a_location_whose_import_starts_a_thread_is_not_forked_and_the_thread_is_named() {
    runtime().block_on(async {
        let mut settings = settings("threaded");
        settings.isolation.mode = Isolation::Auto;
        let mut worker = Worker::start(settings).await;
        let run = Run::of(
            &json!({"job": "steps", "status": "STARTED", "file": "threaded.py", "load": false}),
        );
        let (outcome, _) = execute(&worker.hosts, run.step("good", 1)).await;
        assert_success(&outcome);
        let mut said = false;
        while let Ok(notice) = worker.notices.try_recv() {
            said |= matches!(notice, ForkServerNotice::Isolation { mode, reason, .. }
                if mode == Isolation::Reuse && reason.contains("the thread 'poller'"));
        }
        assert!(said, "nothing was said about the thread");
        worker.hosts.shutdown(Duration::ZERO).await;
    });
}

#[test]
fn code_that_lacks_a_runs_job_is_loaded_again_once_for_that_run() {
    runtime().block_on(async {
        fs::write(home().join("listed.txt"), "first").unwrap();
        let worker = Worker::start(settings("listed")).await;
        let run = |job: &str| {
            Run::made(
                "make_run_of",
                &json!({"job": job, "like": "first", "file": "listed.py"}),
            )
        };
        let first = run("first");
        let (outcome, _) = execute(&worker.hosts, first.step("listed", 1)).await;
        assert_success(&outcome);
        let pid = host_pid(&worker.hosts);

        fs::write(home().join("listed.txt"), "first second").unwrap();
        let second = run("second");
        let (outcome, _) = execute(&worker.hosts, second.step("listed", 1)).await;
        assert_success(&outcome);
        assert_eq!(second.count("listed", "STEP_START"), 1);
        let live = || host_pids(&worker.hosts);
        until("the former host is gone", || !live().contains(&pid)).await;

        let third = run("third");
        let pid = host_pid(&worker.hosts);
        let (outcome, _) = execute(&worker.hosts, third.step("listed", 1)).await;
        assert!(!matches!(
            outcome,
            Outcome::Finished {
                status: StepStatus::Success,
                ..
            }
        ));
        until("the host was replaced", || !live().contains(&pid)).await;
        let pid = host_pid(&worker.hosts);
        execute(&worker.hosts, third.step("listed", 2)).await;
        assert_eq!(host_pid(&worker.hosts), pid, "it is loaded again only once");
        worker.hosts.shutdown(Duration::ZERO).await;
    });
}

#[test]
fn a_location_that_does_not_load_names_the_exception() {
    runtime().block_on(async {
        let hosts = shared().await;
        let run = Run::of(
            &json!({"job": "steps", "status": "STARTED", "file": "broken.py", "load": false}),
        );
        let (outcome, _) = execute(&hosts, run.step("good", 1)).await;
        let Outcome::Unrunnable { reason } = outcome else {
            panic!("{outcome:?}")
        };
        assert!(reason.contains("the warehouse is closed"), "{reason}");
    });
}

/// A step of a location that takes as long to import as the test wants, and who imports it.
fn slow_to_import() -> (Execution, impl Fn() -> Vec<u32>) {
    let run =
        Run::of(&json!({"job": "steps", "status": "STARTED", "file": "slow.py", "load": false}));
    let importing = || {
        let entries = fs::read_dir(home().join("importing")).into_iter().flatten();
        let names = entries.flatten().map(|entry| entry.file_name());
        let pids = names.filter_map(|name| name.to_str()?.parse().ok());
        pids.filter(|pid| alive(*pid)).collect()
    };
    (run.step("good", 1), importing)
}

#[test]
fn a_host_that_ends_while_it_loads_is_started_again_and_given_back_when_its_worker_ends() {
    runtime().block_on(async {
        let (message, importing) = slow_to_import();
        let ending = Worker::start(settings("ends-loading")).await;
        let (hosts, interrupted) = (ending.hosts.clone(), message.clone());
        let task =
            tokio::spawn(async move { hosts.execute(interrupted, mpsc::channel(16).0).await });
        until("it is being imported", || importing().len() == 1).await;
        ending.hosts.shutdown(PATIENCE).await;
        let given_back = task.await.unwrap();
        assert!(
            matches!(given_back, Err(ForkServerError::ShuttingDown)),
            "{given_back:?}"
        );
        assert!(importing().is_empty());

        let worker = Worker::start(settings("dies-loading")).await;
        let task = start(&worker.hosts, message);
        until("it is being imported", || importing().len() == 1).await;
        let killed = importing()[0];
        kill(killed);
        until("it is being imported again", || {
            importing().iter().any(|pid| *pid != killed)
        })
        .await;
        fs::write(home().join("importing/go"), "").unwrap();
        let outcome = task.await.unwrap();
        assert_success(&outcome);
        worker.hosts.shutdown(Duration::ZERO).await;
    });
}

#[test]
fn code_that_changed_on_disk_is_loaded_afresh_for_the_next_step() {
    runtime().block_on(async {
        let worker = Worker::start(settings("changing")).await;
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fork_server/jobs.py");
        let copy = home().join("changing.py");
        fs::copy(source, &copy).unwrap();
        let run =
            Run::of(&json!({"job": "steps", "status": "STARTED", "file": copy, "load": false}));
        execute(&worker.hosts, run.step("good", 1)).await;
        let before = host_pid(&worker.hosts);
        let text = fs::read_to_string(&copy).unwrap();
        fs::write(&copy, text.replace("hello from stdout", "hello again")).unwrap();
        // The host looks at most once a second; what comes earlier still runs on the old code.
        let deadline = Instant::now() + PATIENCE;
        let mut attempt = 1;
        while host_pids(&worker.hosts) == [before] {
            assert!(Instant::now() < deadline, "the old host still serves");
            attempt += 1;
            execute(&worker.hosts, run.step("good", attempt)).await;
        }
        let logs = ask("compute_logs", &json!({"run_id": run.id}));
        assert_eq!(logs["stdout"], "hello from stdout\n", "the first attempt's");
        worker.hosts.shutdown(Duration::ZERO).await;
    });
}

#[test]
fn code_that_is_broken_in_place_is_served_by_its_old_host_and_else_given_back_for_a_while() {
    runtime().block_on(async {
        let mut settings = settings("deploying");
        settings.load_grace = Duration::from_secs(10);
        let worker = Worker::start(settings).await;
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fork_server/jobs.py");
        let copy = home().join("deploying.py");
        fs::copy(&source, &copy).unwrap();
        let run =
            Run::of(&json!({"job": "steps", "status": "STARTED", "file": copy, "load": false}));
        execute(&worker.hosts, run.step("good", 1)).await;
        let old = host_pid(&worker.hosts);
        fs::write(&copy, "raise SyntaxError('half of a file')").unwrap();
        let failed = || {
            let states = worker.hosts.states();
            states.iter().any(|state| state.pid == 0)
        };
        let deadline = Instant::now() + PATIENCE;
        let mut attempt = 1;
        while !failed() {
            assert!(Instant::now() < deadline, "the new code was never tried");
            attempt += 1;
            let (outcome, _) = execute(&worker.hosts, run.step("good", attempt)).await;
            assert_success(&outcome);
        }
        let (outcome, _) = execute(&worker.hosts, run.step("good", attempt + 1)).await;
        assert_success(&outcome);
        assert_eq!(host_pid(&worker.hosts), old);

        // Without that host there is nothing to run it on.
        kill(old);
        until("the host is gone", || !alive(old)).await;
        let step = || run.step("good", attempt + 2);
        let mut before = false;
        let reason = loop {
            assert!(Instant::now() < deadline, "it is given back for ever");
            match execute(&worker.hosts, step()).await.0 {
                Outcome::NotStarted { by_code: true, .. } => before = true,
                Outcome::Unrunnable { reason } => break reason,
                outcome => panic!("{outcome:?}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        assert!(before && reason.contains("half of a file"), "{reason}");
        worker.hosts.shutdown(Duration::ZERO).await;
    });
}

#[test]
fn a_task_whose_code_only_this_worker_lacks_is_left_to_the_others_until_it_came_too_often() {
    runtime().block_on(async {
        let mut settings = settings("lacks-the-code");
        settings.load_grace = Duration::from_millis(1);
        let worker = Worker::start(settings).await;
        let code = home().join("lacking.py");
        fs::write(&code, "raise ImportError('no module named orders_etl')").unwrap();
        let run =
            Run::of(&json!({"job": "steps", "status": "STARTED", "file": code, "load": false}));
        let receive = async |receive_count: u32| {
            let mut step = run.step("good", 1);
            step.queue = "shared-by-two".to_owned();
            step.receive_count = receive_count;
            execute(&worker.hosts, step).await.0
        };
        // The first failure begins the grace.
        receive(1).await;
        let alone = receive(2).await;
        assert!(matches!(alone, Outcome::Unrunnable { .. }), "{alone:?}");

        let peer = Worker::start(self::settings("has-the-code")).await;
        let report = json!({"state": "running", "queues": ["shared-by-two"]});
        peer.hosts.heartbeat(report).await.unwrap();
        // Of who is alive a digest of some seconds is kept.
        let deadline = Instant::now() + PATIENCE;
        while !matches!(receive(3).await, Outcome::NotStarted { by_code: true, .. }) {
            assert!(
                Instant::now() < deadline,
                "it is not left to the other worker"
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let Outcome::Unrunnable { reason } = receive(10).await else {
            panic!("it is given back for ever");
        };
        assert!(reason.contains("orders_etl"), "{reason}");
        peer.hosts.shutdown(Duration::ZERO).await;
        worker.hosts.shutdown(Duration::ZERO).await;
    });
}

#[test]
fn a_reload_gives_new_work_to_a_new_host_while_the_old_one_finishes() {
    runtime().block_on(async {
        let worker = Worker::start(settings("reloading")).await;
        let run = Run::new("steps", "STARTED");
        let slow = start(&worker.hosts, run.step("slow", 1));
        run.traced_pid("slow").await;
        let old = host_pid(&worker.hosts);
        worker.hosts.reload().await;
        let (outcome, _) = execute(&worker.hosts, run.step("good", 1)).await;
        assert!(matches!(outcome, Outcome::Finished { .. }), "{outcome:?}");
        assert_eq!(
            host_pids(&worker.hosts).len(),
            2,
            "the old host drains beside the new one"
        );
        fs::write(run.trace("go"), "").unwrap();
        let outcome = slow.await.unwrap();
        assert_success(&outcome);
        until("the old host is gone", || !alive(old)).await;
        worker.hosts.shutdown(Duration::ZERO).await;
    });
}
