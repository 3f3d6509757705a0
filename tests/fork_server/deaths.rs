//! Deaths and cancellations: of a step's process, its host, the worker, a run. What must hold
//! afterwards: the log has exactly one end per attempt, and no process is left.

use crate::hosts;
use crate::support::side::alive;

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use dagster_taskiq_tui::domain::TaskKind;
use dagster_taskiq_tui::fork_server::{
    ExitKind, ForkServerError, ForkServers, LostPolicy, Outcome, Report, StepStatus,
};
use hosts::{
    Run, Worker, ask, assert_success, execute, home, host_pid, kill, runtime, settings, shared,
    start, until,
};
use serde_json::json;
use tokio::sync::mpsc;

#[test]
fn a_step_whose_process_is_killed_fails_by_that_signal() {
    runtime().block_on(async {
        let hosts = shared().await;
        let run = Run::new("steps", "STARTED");
        let task = start(&hosts, run.step("hangs", 1));
        kill(run.traced_pid("hangs").await);
        let reported = "STEP_FAILURE".to_owned();
        assert_eq!(
            task.await.unwrap(),
            Outcome::Crashed {
                exit: ExitKind::Signal(9),
                reported
            }
        );
        let message = run.last("hangs", "STEP_FAILURE")["message"].to_string();
        assert!(
            message.contains("signal 9") && message.contains("test-host"),
            "{message}"
        );
    });
}

#[test]
fn a_killed_step_leaves_no_grandchild_not_even_one_in_a_session_of_its_own() {
    runtime().block_on(async {
        let hosts = shared().await;
        let run = Run::new("steps", "STARTED");
        let task = start(&hosts, run.step("ignores_interrupts", 1));
        let child = run.traced_pid("ignores_interrupts").await;
        let grandchild = run.traced_pid("grandchild").await;
        kill(child);
        assert!(matches!(task.await.unwrap(), Outcome::Crashed { .. }));
        until("the grandchild is gone", || !alive(grandchild)).await;
    });
}

#[test]
fn an_attempt_that_two_workers_receive_at_once_runs_once() {
    runtime().block_on(async {
        let one = shared().await;
        let two = Worker::start(settings("second")).await;
        let run = Run::new("steps", "STARTED");
        let first = start(&one, run.step("slow", 1));
        let second = start(&two.hosts, run.step("slow", 1));
        run.traced_pid("slow").await;
        until("one of them gives way", || {
            first.is_finished() || second.is_finished()
        })
        .await;
        fs::write(run.trace("go"), "").unwrap();
        let mut outcomes = [first.await.unwrap(), second.await.unwrap()];
        outcomes.sort_by_key(|outcome| *outcome != Outcome::ClaimHeld);
        assert_eq!(outcomes[0], Outcome::ClaimHeld);
        assert_success(&outcomes[1]);
        assert_eq!(run.count("slow", "STEP_START"), 1);
        two.hosts.shutdown(Duration::ZERO).await;
    });
}

#[test]
fn a_step_host_that_dies_takes_its_children_along_and_the_step_is_retried() {
    runtime().block_on(async {
        let worker = Worker::start(settings("host-dies")).await;
        let run = Run::new("steps", "STARTED");
        let task = start(&worker.hosts, run.step("has_grandchild", 1));
        let child = run.traced_pid("has_grandchild").await;
        let grandchild = run.traced_pid("grandchild").await;
        kill(host_pid(&worker.hosts));
        assert_eq!(
            task.await.unwrap(),
            Outcome::Lost {
                reported: "STEP_UP_FOR_RETRY".to_owned()
            }
        );
        until("the child and the grandchild are gone", || {
            !alive(child) && !alive(grandchild)
        })
        .await;
        let event = run.last("has_grandchild", "STEP_UP_FOR_RETRY");
        assert_eq!(event["error"], "dagster_taskiq.WorkerLost");
        let (outcome, _) = execute(&worker.hosts, run.step("good", 1)).await;
        assert!(
            matches!(outcome, Outcome::Finished { .. }),
            "a new host serves: {outcome:?}"
        );
        worker.hosts.shutdown(Duration::ZERO).await;
    });
}

#[test]
fn a_step_that_loses_its_worker_too_often_fails() {
    runtime().block_on(async {
        let mut settings = settings("lossy");
        settings.on_worker_lost = LostPolicy::Retry { max: 1 };
        let worker = Worker::start(settings).await;
        let run = Run::new("steps", "STARTED");
        for (attempt, reported) in [(1, "STEP_UP_FOR_RETRY"), (2, "STEP_FAILURE")] {
            let _ = fs::remove_file(run.trace("hangs"));
            let task = start(&worker.hosts, run.step("hangs", attempt));
            run.traced_pid("hangs").await;
            kill(host_pid(&worker.hosts));
            assert_eq!(
                task.await.unwrap(),
                Outcome::Lost {
                    reported: reported.to_owned()
                }
            );
        }
        worker.hosts.shutdown(Duration::ZERO).await;
    });
}

#[test]
fn terminating_a_run_interrupts_its_steps_and_what_they_started() {
    runtime().block_on(async {
        let hosts = shared().await;
        let run = Run::new("steps", "STARTED");
        let task = start(&hosts, run.step("has_grandchild", 1));
        let child = run.traced_pid("has_grandchild").await;
        let grandchild = run.traced_pid("grandchild").await;
        run.set_status("CANCELING");
        let outcome = task.await.unwrap();
        assert!(
            matches!(
                outcome,
                Outcome::Finished {
                    status: StepStatus::Failure,
                    ..
                }
            ),
            "{outcome:?}"
        );
        until("the child and the grandchild are gone", || {
            !alive(child) && !alive(grandchild)
        })
        .await;
        assert_eq!(run.count("has_grandchild", "STEP_UP_FOR_RETRY"), 0);
    });
}

#[test]
fn a_step_that_ignores_interrupts_is_killed_with_a_grandchild_in_a_session_of_its_own() {
    runtime().block_on(async {
        let hosts = shared().await;
        let run = Run::new("steps", "STARTED");
        let execution = run.step("ignores_interrupts", 1);
        let id = execution.task_id.clone();
        let task = start(&hosts, execution);
        run.traced_pid("ignores_interrupts").await;
        let grandchild = run.traced_pid("grandchild").await;
        hosts.cancel(&id).await.unwrap();
        let outcome = task.await.unwrap();
        assert!(
            matches!(&outcome, Outcome::Crashed { exit: ExitKind::Signal(9), reported } if reported == "STEP_FAILURE"),
            "{outcome:?}"
        );
        until("the grandchild is gone", || !alive(grandchild)).await;
    });
}

#[test]
fn a_process_that_does_not_die_is_given_up_and_its_neighbours_live_on() {
    runtime().block_on(async {
        let Worker { hosts, .. } = Worker::start(settings("undying")).await;
        let run = Run::of(&json!({
            "job": "steps", "status": "STARTED", "file": "undying.py", "load": false,
        }));
        let execution = run.step("ignores_interrupts", 1);
        let id = execution.task_id.clone();
        let undying = tokio::spawn({
            let hosts = hosts.clone();
            async move { hosts.execute(execution, mpsc::channel(1000).0).await }
        });
        let pid = run.traced_pid("ignores_interrupts").await;
        let neighbour = start(&hosts, run.step("has_grandchild", 1));
        let other = run.traced_pid("has_grandchild").await;
        hosts.cancel(&id).await.unwrap();
        let given_up = undying.await.unwrap().unwrap_err();
        assert!(matches!(given_up, ForkServerError::Undying { pid: found, .. } if found == pid));
        assert!(alive(pid) && alive(other), "{given_up}");
        // Whoever receives its message now finds that its claim is held.
        let (outcome, _) = execute(&hosts, run.step("ignores_interrupts", 1)).await;
        assert!(matches!(outcome, Outcome::ClaimHeld), "{outcome:?}");
        kill(pid);
        kill(other);
        let outcome = neighbour.await.unwrap();
        assert!(matches!(outcome, Outcome::Crashed { .. }), "{outcome:?}");
        hosts.shutdown(Duration::from_secs(1)).await;
    });
}

#[test]
fn a_finished_step_leaves_no_process_of_its_group() {
    runtime().block_on(async {
        let hosts = shared().await;
        let run = Run::new("steps", "STARTED");
        execute(&hosts, run.step("leaves_a_daemon", 1)).await;
        let grandchild = run.traced_pid("grandchild").await;
        until("the daemon is gone", || !alive(grandchild)).await;
    });
}

#[test]
fn terminating_a_run_ends_its_run_worker_as_canceled() {
    runtime().block_on(async {
        let hosts = shared().await;
        let run = Run::new("hanging", "STARTING");
        let task = start(&hosts, run.whole(false));
        run.traced_pid("hangs").await;
        run.set_status("CANCELING");
        let outcome = task.await.unwrap();
        assert!(
            matches!(
                outcome,
                Outcome::Finished {
                    status: StepStatus::RunCanceled,
                    ..
                }
            ),
            "{outcome:?}"
        );
        assert_eq!(run.status(), "CANCELED");
    });
}

#[test]
fn a_run_worker_that_crashes_fails_its_run() {
    runtime().block_on(async {
        let hosts = shared().await;
        let run = Run::new("crashing", "STARTING");
        let outcome = execute(&hosts, run.whole(false)).await.0;
        // The default executor runs steps in processes of their own, so the run fails by itself.
        let Outcome::Finished { status, reason, .. } = &outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(*status, StepStatus::RunFailure);
        let reason = reason.as_deref().unwrap();
        assert!(reason.starts_with("DagsterSubprocessError: "), "{reason}");
        assert_eq!(run.status(), "FAILURE");
    });
}

#[test]
fn a_redelivered_run_of_dagsters_own_executor_is_ended_since_it_would_begin_again() {
    runtime().block_on(async {
        let hosts = shared().await;
        let run = Run::new("whole", "STARTED");
        let (outcome, _) = execute(&hosts, run.whole(false)).await;
        assert!(matches!(outcome, Outcome::Lost { .. }), "{outcome:?}");
        assert_eq!(run.status(), "FAILURE");
        let events = ask("events", &json!({"run_id": run.id}));
        assert!(!events.to_string().contains("STEP_START"), "{events}");
    });
}

#[test]
fn an_instance_agent_that_dies_is_started_again_and_answers() {
    runtime().block_on(async {
        let worker = Worker::start(settings("agent-dies")).await;
        kill(worker.hosts.states()[0].pid);
        worker.hosts.heartbeat(json!({"pid": 1})).await.unwrap();
        worker.hosts.shutdown(Duration::ZERO).await;
    });
}

#[test]
fn the_removal_of_a_message_fails_its_step_unless_it_has_an_end() {
    runtime().block_on(async {
        let hosts = shared().await;
        let run = Run::new("steps", "STARTED");
        for _ in 0..2 {
            let message = run.step("good", 1);
            let report = Report {
                kind: TaskKind::ExecutePlan,
                kwargs: message.kwargs,
                attempt: 1,
                reason: "The queue was purged.".to_owned(),
                report: dagster_taskiq_tui::fork_server::ReportKind::Removed,
            };
            hosts.report_unstarted(report).await.unwrap();
        }
        assert_eq!(run.count("good", "STEP_FAILURE"), 1);
    });
}

#[test]
fn a_heartbeat_is_in_dagsters_key_value_store() {
    runtime().block_on(async {
        let hosts = shared().await;
        hosts.heartbeat(json!({"pid": 17})).await.unwrap();
        let read = |key: &str| {
            ask("cursor", &json!({"key": key}))
                .as_str()
                .unwrap()
                .to_owned()
        };
        let names = ask("worker_names", &json!({}));
        let mut names = names
            .as_array()
            .unwrap()
            .iter()
            .map(|n| n.as_str().unwrap());
        let own = names.find(|name| name.starts_with("shared/")).unwrap();
        assert!(read(&format!("dagster-taskiq/worker/{own}")).contains("\"pid\": 17"));
    });
}

#[test]
fn a_missing_dagster_home_is_said_in_one_sentence() {
    runtime().block_on(async {
        let mut settings = settings("homeless");
        settings.dagster_home = Some(home().join("nowhere"));
        let error = ForkServers::start(settings, mpsc::channel(16).0)
            .await
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("nowhere, which is not a folder"), "{error}");
    });
}

#[test]
fn a_shutdown_hands_a_running_step_to_the_next_worker_and_leaves_no_process() {
    runtime().block_on(async {
        let worker = Worker::start(settings("stopping")).await;
        let run = Run::new("steps", "STARTED");
        let task = start(&worker.hosts, run.step("has_grandchild", 1));
        let child = run.traced_pid("has_grandchild").await;
        let grandchild = run.traced_pid("grandchild").await;
        let hosts: Vec<u32> = worker
            .hosts
            .states()
            .iter()
            .map(|state| state.pid)
            .collect();
        worker.hosts.shutdown(Duration::from_millis(50)).await;
        assert_eq!(
            task.await.unwrap(),
            Outcome::Lost {
                reported: "STEP_UP_FOR_RETRY".to_owned()
            }
        );
        let all = || {
            hosts
                .iter()
                .chain([&child, &grandchild])
                .any(|pid| alive(*pid))
        };
        until("every process is gone", || !all()).await;
    });
}

/// Not a test by itself: the worker process that the next test kills.
#[test]
fn worker_process() {
    let Some(kwargs) = std::env::var_os("DTQ_TEST_WORKER") else {
        return;
    };
    runtime().block_on(async {
        let mut settings = settings("victim");
        settings.dagster_home = Some(std::env::var_os("DTQ_TEST_HOME").unwrap().into());
        let worker = Worker::start(settings).await;
        let execution = dagster_taskiq_tui::fork_server::Execution {
            task_id: "victim".to_owned(),
            kind: TaskKind::ExecutePlan,
            kwargs: serde_json::from_str(kwargs.to_str().unwrap()).unwrap(),
            attempt: 1,
            receive_count: 1,
            message_id: "message-1".to_owned(),
            queue: "dagster-tasks".to_owned(),
            max_receives: None,
            isolation: None,
        };
        execute(&worker.hosts, execution).await;
    });
}

#[test]
fn a_killed_worker_leaves_no_process_and_the_next_one_reports_the_loss() {
    runtime().block_on(async {
        let run = Run::new("steps", "STARTED");
        let message = run.step("has_grandchild", 1);
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "deaths::worker_process"])
            .env("DTQ_TEST_WORKER", message.kwargs.to_string())
            .env("DTQ_TEST_HOME", home())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let child = run.traced_pid("has_grandchild").await;
        let grandchild = run.traced_pid("grandchild").await;
        let below = descendants(victim.id());
        assert!(
            below.contains(&child) && below.contains(&grandchild),
            "{below:?}"
        );
        victim.kill().unwrap();
        victim.wait().unwrap();
        until("every process of the worker is gone", || {
            !below.iter().any(|pid| alive(*pid))
        })
        .await;
        let (outcome, _) = execute(&shared().await, message).await;
        assert_eq!(
            outcome,
            Outcome::Lost {
                reported: "STEP_UP_FOR_RETRY".to_owned()
            }
        );
    });
}

/// The processes below one, from `/proc`.
fn descendants(root: u32) -> Vec<u32> {
    let parent = |pid: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit(')')
            .next()?
            .split_whitespace()
            .nth(1)?
            .parse()
            .ok()
    };
    let all: Vec<u32> = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    let mut found = vec![root];
    let mut seen = 0;
    while seen < found.len() {
        let above = found[seen];
        found.extend(
            all.iter()
                .copied()
                .filter(|pid| parent(*pid) == Some(above)),
        );
        seen += 1;
    }
    found
}
