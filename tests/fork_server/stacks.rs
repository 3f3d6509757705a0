//! Stacks of running steps: in every isolation, in C code, and of processes that must get no
//! signal.

use crate::hosts;

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use dagster_taskiq_tui::domain::Isolation;
use dagster_taskiq_tui::fork_server::{Execution, ForkServers, Outcome, Progress, StepStatus};
use hosts::{Run, execute, runtime, shared, until};
use tokio::task::JoinHandle;

const MODES: [Isolation; 3] = [Isolation::Fork, Isolation::Reuse, Isolation::Fresh];

type Running = JoinHandle<(Outcome, Vec<Progress>)>;

/// Starts a step, and waits until it has left its trace.
async fn started(
    hosts: &ForkServers,
    run: &Run,
    step: &str,
    isolation: Isolation,
) -> (String, Running) {
    let execution = Execution {
        isolation: Some(isolation),
        ..run.step(step, 1)
    };
    let task_id = execution.task_id.clone();
    let hosts = hosts.clone();
    let running = tokio::spawn(async move { execute(&hosts, execution).await });
    run.traced_pid(step).await;
    (task_id, running)
}

/// Reads the stack until the step is where it is to be.
async fn stack_with(hosts: &ForkServers, task_id: &str, words: &str) -> String {
    for _ in 0..100 {
        let report = hosts.stack(task_id).await.unwrap();
        assert_eq!(Some(report.pid), hosts.process_of(task_id));
        if report.text.contains(words) {
            return report.text;
        }
    }
    panic!("no stack of {task_id} contains {words}");
}

async fn killed(hosts: &ForkServers, task_id: &str, running: Running) {
    hosts::kill(hosts.process_of(task_id).unwrap());
    running.await.unwrap();
}

#[test]
fn a_step_that_hangs_in_a_lock_shows_where_in_every_isolation() {
    runtime().block_on(async {
        let hosts = shared().await;
        for mode in MODES {
            let run = Run::new("stuck", "STARTED");
            let (task_id, running) = started(&hosts, &run, "stuck_in_a_lock", mode).await;
            let text = stack_with(&hosts, &task_id, "in stuck_in_a_lock").await;
            assert!(text.contains("jobs.py"), "{mode:?}: {text}");
            killed(&hosts, &task_id, running).await;
            let ended = hosts.stack(&task_id).await.unwrap_err();
            assert!(ended.contains("has just ended"), "{ended}");
        }
    });
}

#[test]
fn a_step_that_hangs_in_c_code_with_the_interpreters_lock_shows_where() {
    runtime().block_on(async {
        let hosts = shared().await;
        for mode in [Isolation::Fork, Isolation::Fresh] {
            let run = Run::new("stuck", "STARTED");
            let (task_id, running) = started(&hosts, &run, "stuck_in_c", mode).await;
            for _ in 0..3 {
                stack_with(&hosts, &task_id, "in stuck_in_c").await;
            }
            killed(&hosts, &task_id, running).await;
        }
    });
}

#[test]
fn system_calls_of_c_code_go_on_after_a_stack_was_taken() {
    runtime().block_on(async {
        let hosts = shared().await;
        let run = Run::new("stuck", "STARTED");
        let step = "waits_in_system_calls";
        let (task_id, running) = started(&hosts, &run, step, Isolation::Fork).await;
        let words = "in waits_in_system_calls";
        for _ in 0..5 {
            stack_with(&hosts, &task_id, words).await;
        }
        let fifo = run.trace("fifo");
        let writer = tokio::task::spawn_blocking(|| opened(fifo));
        let mut writer = writer.await.unwrap();
        until("the fifo is open", || run.trace("opened").exists()).await;
        for _ in 0..5 {
            stack_with(&hosts, &task_id, words).await;
        }
        writer.write_all(b"go on").unwrap();
        drop(writer);
        let (outcome, progress) = running.await.unwrap();
        let Outcome::Finished { status, .. } = &outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(*status, StepStatus::Success, "{outcome:?}");
        let is_stack = |item: &Progress| matches!(item, Progress::Log { line, .. } if line.contains("most recent call first"));
        assert!(!progress.iter().any(is_stack), "{progress:?}");
    });
}

/// Opens a fifo for writing, which waits for its reader.
fn opened(fifo: PathBuf) -> File {
    File::options().write(true).open(fifo).unwrap()
}

#[test]
fn a_task_without_a_process_has_no_stack() {
    runtime().block_on(async {
        let hosts = shared().await;
        let problem = hosts.stack("no-such-task").await.unwrap_err();
        assert!(problem.starts_with("it has no process"), "{problem}");
    });
}
