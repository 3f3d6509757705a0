#![expect(clippy::unwrap_used, reason = "tests")]

use prometheus_client::registry::Registry;

use super::*;
use crate::telemetry::exposition::render;

fn text(metrics: &Metrics) -> String {
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    render(&registry).unwrap()
}

#[test]
fn a_task_is_counted_at_each_turn_of_its_life() {
    let metrics = Metrics::default();
    let task = metrics.labels("q", Some("etl"), 9, TaskKind::ExecutePlan);
    metrics.task_received(&task, true);
    metrics.task_started("t1", &task, Some(Duration::from_secs(2)));
    metrics.task_reported("t1", || Duration::from_millis(20));
    metrics.task_reported("t1", || panic!("only the first event counts"));
    metrics.task_cancelled("t1");
    metrics.task_cancelled("t1");
    let run = metrics.run_time("t1");
    let failure = TaskOutcome::Failure {
        reason: String::from("password=hunter2"),
    };
    assert_eq!(metrics.counted("t1", &failure), TaskOutcome::Canceled);
    metrics.task_ended("t1", &task, &failure, run);
    metrics.task_started("t2", &task, None);
    metrics.task_ended("t2", &task, &failure, metrics.run_time("t2"));
    assert_eq!(metrics.run_time("t1"), None);
    metrics.unreadable_ended(
        "q",
        &TaskOutcome::DeadLettered {
            reason: String::new(),
        },
    );
    let text = text(&metrics);
    let labels = r#"queue="q",job_name="etl",priority="9",kind="step""#;
    for line in [
        format!("dagster_taskiq_tasks_received_total{{{labels}}} 1"),
        format!("dagster_taskiq_tasks_redelivered_total{{{labels}}} 1"),
        format!("dagster_taskiq_tasks_started_total{{{labels}}} 2"),
        format!("dagster_taskiq_tasks_cancelled_total{{{labels}}} 1"),
        format!("dagster_taskiq_tasks_ended_total{{{labels},outcome=\"canceled\"}} 1"),
        format!("dagster_taskiq_tasks_ended_total{{{labels},outcome=\"failure\"}} 1"),
        format!("dagster_taskiq_tasks_lost_total{{{labels},cause=\"worker\"}} 0"),
        String::from(
            "dagster_taskiq_tasks_ended_total{queue=\"q\",job_name=\"unknown\",\
             priority=\"unknown\",kind=\"unknown\",outcome=\"dead_letter\"} 1",
        ),
        String::from(r#"dagster_taskiq_task_wait_seconds_sum{queue="q",priority="9"} 2.0"#),
        String::from(r#"dagster_taskiq_task_startup_seconds_count{queue="q",kind="step"} 1"#),
        String::from(r#"dagster_taskiq_task_run_seconds_count{job_name="etl",kind="step"} 1"#),
    ] {
        assert!(text.lines().any(|known| known == line), "{line}\n{text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn what_may_become_of_tasks_is_counted_from_zero_before_the_first_task() {
    let metrics = Metrics::default();
    metrics.queue_served("q");
    let task = metrics.labels("q", Some("etl"), 5, TaskKind::ExecutePlan);
    metrics.task_received(&task, false);
    // A redelivery that needed no process: it neither waited nor ran.
    metrics.task_started("t1", &task, Some(Duration::from_hours(3)));
    let skipped = TaskOutcome::Skipped {
        reason: String::new(),
    };
    metrics.task_ended("t1", &task, &skipped, metrics.run_time("t1"));
    assert_eq!(metrics.location("etl.defs"), "etl.defs");
    let text = text(&metrics);
    for labels in [
        r#"queue="q",job_name="unknown",priority="unknown",kind="unknown""#,
        r#"queue="q",job_name="etl",priority="5",kind="step""#,
    ] {
        for line in [
            format!("tasks_lost_total{{{labels},cause=\"process\"}} 0"),
            format!("tasks_ended_total{{{labels},outcome=\"failure\"}} 0"),
            format!("tasks_cancelled_total{{{labels}}} 0"),
            format!("tasks_redelivered_total{{{labels}}} 0"),
        ] {
            assert!(text.contains(&line), "{line}\n{text}");
        }
    }
    for line in [
        r#"leases_lost_total{queue="q"} 0"#,
        r#"host_loads_total{location="etl.defs"} 0"#,
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!text.contains("seconds_count"), "{text}");
}

#[test]
fn a_task_that_is_cancelled_before_it_starts_counts_as_cancelled_and_has_no_run_time() {
    let metrics = Metrics::default();
    let task = metrics.labels("q", None, 5, TaskKind::ExecuteJob);
    metrics.task_ended("t1", &task, &TaskOutcome::Canceled, None);
    let text = text(&metrics);
    let labels = r#"{queue="q",job_name="unknown",priority="5",kind="run"}"#;
    let line = format!("dagster_taskiq_tasks_cancelled_total{labels} 1");
    assert!(text.contains(&line), "{text}");
    assert!(!text.contains("task_run_seconds_count"), "{text}");
}
