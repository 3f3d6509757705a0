//! Steps and runs on warm Python hosts with a real dagster: what is in its log afterwards.

use crate::hosts;

use dagster_taskiq_tui::fork_server::{ExitKind, Outcome, Progress, StepStatus};
use hosts::{Run, ask, execute, runtime, shared};
use serde_json::json;

fn finished(outcome: &Outcome) -> Option<StepStatus> {
    match outcome {
        Outcome::Finished { status, .. } => Some(*status),
        _ => None,
    }
}

/// Why it failed or is to be retried.
fn reason(outcome: &Outcome) -> Option<&str> {
    match outcome {
        Outcome::Finished { reason, .. } => reason.as_deref(),
        _ => None,
    }
}

#[test]
fn a_step_succeeds_and_its_output_is_in_the_compute_log() {
    runtime().block_on(async {
        let hosts = shared().await;
        let run = Run::new("steps", "STARTED");
        let (outcome, progress) = execute(&hosts, run.step("good", 1)).await;
        assert_eq!(finished(&outcome), Some(StepStatus::Success), "{outcome:?}");
        let logs = ask("compute_logs", &json!({"run_id": run.id}));
        assert_eq!(logs["stdout"], "hello from stdout\n");
        assert!(
            logs["stderr"]
                .as_str()
                .unwrap()
                .contains("hello from stderr\n"),
            "{logs}"
        );
        assert_eq!(logs["complete"], true);
        let told = |wanted: &str| {
            progress.iter().any(
                |item| matches!(item, Progress::Event { event_type, .. } if event_type == wanted),
            )
        };
        assert!(told("STEP_START") && told("STEP_SUCCESS"), "{progress:?}");
        let line = |wanted: &str| {
            progress
                .iter()
                .any(|item| matches!(item, Progress::Log { line, .. } if line == wanted))
        };
        assert!(
            line("hello from stdout") && line("hello from stderr"),
            "{progress:?}"
        );
    });
}

#[test]
fn the_first_event_names_the_worker_its_host_and_the_process() {
    runtime().block_on(async {
        let hosts = shared().await;
        let run = Run::new("steps", "STARTED");
        let (_, progress) = execute(&hosts, run.step("good", 1)).await;
        let Some(Progress::Forked { pid }) = progress.first() else {
            panic!("{progress:?}")
        };
        let first = run.events("good").remove(0);
        assert_eq!(first["type"], "ENGINE_EVENT");
        assert_eq!(
            first["message"],
            format!("Worker shared on test-host runs step \"good\" in process {pid}.")
        );
        assert_eq!(first["metadata"]["queue"], "dagster-tasks");
    });
}

#[test]
fn a_step_that_raises_fails_with_its_exception_as_the_reason() {
    runtime().block_on(async {
        let hosts = shared().await;
        let run = Run::new("steps", "STARTED");
        execute(&hosts, run.step("good", 1)).await;
        let (outcome, _) = execute(&hosts, run.step("bad", 1)).await;
        assert_eq!(finished(&outcome), Some(StepStatus::Failure), "{outcome:?}");
        assert_eq!(reason(&outcome), Some("ValueError: as intended"));
        assert_eq!(run.count("bad", "STEP_FAILURE"), 1);
    });
}

#[test]
fn a_step_that_requests_a_retry_is_up_for_retry() {
    runtime().block_on(async {
        let hosts = shared().await;
        let run = Run::new("steps", "STARTED");
        let (outcome, _) = execute(&hosts, run.step("retrying", 1)).await;
        assert_eq!(
            finished(&outcome),
            Some(StepStatus::UpForRetry),
            "{outcome:?}"
        );
        let (outcome, _) = execute(&hosts, run.step("retrying", 2)).await;
        assert_eq!(
            finished(&outcome),
            Some(StepStatus::UpForRetry),
            "{outcome:?}"
        );
        assert_eq!(run.count("retrying", "STEP_RESTARTED"), 1);
    });
}

#[test]
fn a_step_that_leaves_with_an_exit_code_fails_by_that_code() {
    runtime().block_on(async {
        let hosts = shared().await;
        let run = Run::new("steps", "STARTED");
        let (outcome, _) = execute(&hosts, run.step("exits", 1)).await;
        let reported = "STEP_FAILURE".to_owned();
        assert_eq!(
            outcome,
            Outcome::Crashed {
                exit: ExitKind::Code(3),
                reported
            }
        );
        let event = run.last("exits", "STEP_FAILURE");
        let message = event["message"].as_str().unwrap();
        assert!(
            message.contains("exit code 3") && message.contains("test-host"),
            "{message}"
        );
    });
}

#[test]
fn a_crash_is_retried_where_the_steps_own_policy_allows_and_no_more() {
    runtime().block_on(async {
        let hosts = shared().await;
        let run = Run::new("steps", "STARTED");
        let (outcome, _) = execute(&hosts, run.step("exits_with_policy", 1)).await;
        let reported = "STEP_UP_FOR_RETRY".to_owned();
        assert_eq!(
            outcome,
            Outcome::Crashed {
                exit: ExitKind::Code(3),
                reported
            }
        );
        assert_eq!(
            run.last("exits_with_policy", "STEP_UP_FOR_RETRY")["wait"],
            2.0
        );
        let (outcome, _) = execute(&hosts, run.step("exits_with_policy", 2)).await;
        let reported = "STEP_FAILURE".to_owned();
        assert_eq!(
            outcome,
            Outcome::Crashed {
                exit: ExitKind::Code(3),
                reported
            }
        );
    });
}

#[test]
fn a_segmentation_fault_is_the_steps_failure() {
    runtime().block_on(async {
        let hosts = shared().await;
        let run = Run::new("steps", "STARTED");
        let (outcome, _) = execute(&hosts, run.step("segfaults", 1)).await;
        let reported = "STEP_FAILURE".to_owned();
        assert_eq!(
            outcome,
            Outcome::Crashed {
                exit: ExitKind::Signal(11),
                reported
            }
        );
    });
}

#[test]
fn a_redelivered_finished_step_is_not_run_again() {
    runtime().block_on(async {
        let hosts = shared().await;
        let run = Run::new("steps", "STARTED");
        execute(&hosts, run.step("good", 1)).await;
        let (outcome, _) = execute(&hosts, run.step("good", 1)).await;
        assert_eq!(
            outcome,
            Outcome::AlreadyFinished {
                event: "STEP_SUCCESS".to_owned()
            }
        );
        assert_eq!(run.count("good", "STEP_START"), 1);
    });
}

#[test]
fn a_step_of_a_run_that_has_ended_is_not_run() {
    runtime().block_on(async {
        let hosts = shared().await;
        for status in ["CANCELED", "CANCELING"] {
            let run = Run::new("steps", "STARTED");
            run.set_status(status);
            let (outcome, _) = execute(&hosts, run.step("good", 1)).await;
            assert_eq!(
                outcome,
                Outcome::RunFinished {
                    status: status.to_owned()
                }
            );
            assert_eq!(run.count("good", "STEP_START"), 0);
        }
    });
}

#[test]
fn five_megabytes_of_output_reach_the_compute_log_whole() {
    runtime().block_on(async {
        let hosts = shared().await;
        let run = Run::new("steps", "STARTED");
        let (outcome, _) = execute(&hosts, run.step("prints_a_lot", 1)).await;
        assert_eq!(finished(&outcome), Some(StepStatus::Success), "{outcome:?}");
        let logs = ask("compute_logs", &json!({"run_id": run.id}));
        assert_eq!(logs["stdout"].as_str().unwrap().len(), 5_000_000);
    });
}

#[test]
fn a_failed_resource_is_left_to_the_executor_to_report() {
    runtime().block_on(async {
        let hosts = shared().await;
        let run = Run::new("steps", "STARTED");
        let (outcome, _) = execute(&hosts, run.step("needs_resource", 1)).await;
        assert_eq!(
            finished(&outcome),
            Some(StepStatus::ResourceFailure),
            "{outcome:?}"
        );
        assert_eq!(reason(&outcome), Some("RuntimeError: no database"));
        assert_eq!(run.count("needs_resource", "STEP_FAILURE"), 0);
    });
}

#[test]
fn a_run_is_executed_to_its_end() {
    runtime().block_on(async {
        let hosts = shared().await;
        let run = Run::new("whole", "STARTING");
        let (outcome, _) = execute(&hosts, run.whole(false)).await;
        assert_eq!(
            finished(&outcome),
            Some(StepStatus::RunSuccess),
            "{outcome:?}"
        );
        assert_eq!(run.status(), "SUCCESS");
        let (outcome, _) = execute(&hosts, run.whole(false)).await;
        assert_eq!(
            outcome,
            Outcome::RunFinished {
                status: "SUCCESS".to_owned()
            }
        );
    });
}

#[test]
fn a_canceling_run_that_nobody_runs_ends_as_canceled() {
    runtime().block_on(async {
        let hosts = shared().await;
        let run = Run::new("whole", "STARTED");
        run.set_status("CANCELING");
        let (outcome, _) = execute(&hosts, run.whole(false)).await;
        assert_eq!(
            outcome,
            Outcome::RunFinished {
                status: "CANCELED".to_owned()
            }
        );
        assert_eq!(run.status(), "CANCELED");
    });
}

#[test]
fn a_message_for_an_unknown_run_is_unrunnable() {
    runtime().block_on(async {
        let hosts = shared().await;
        let run = Run::new("steps", "STARTED");
        let mut execution = run.step("good", 1);
        execution.kwargs["execute_step_args_packed"]["pipeline_run_id"] = json!("no-such-run");
        let (outcome, _) = execute(&hosts, execution).await;
        let Outcome::Unrunnable { reason } = outcome else {
            panic!("{outcome:?}")
        };
        assert!(reason.contains("no-such-run does not exist"), "{reason}");
    });
}
