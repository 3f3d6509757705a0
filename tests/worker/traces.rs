//! Traces: spans that a collector gets, and collectors that give no answer.

mod collector;

use std::collections::BTreeSet;
use std::net::TcpListener;

use crate::support::scene::Scene;
use crate::support::{PATIENCE, Worker, wait_until};

use collector::{Arrived, Collector};

/// A worker that sends its spans soon.
fn traced(scene: &Scene, endpoint: &str, more: &[(&str, &str)]) -> Worker {
    let often = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
    ];
    let variables = [&often[..], more].concat();
    Worker::start_with(&scene.project, 1, &["-y", &scene.settings], &variables)
}

/// Step, attempt and outcome of each.
fn summary(spans: &[Arrived]) -> BTreeSet<[&str; 3]> {
    let names = [
        "dagster.step.key",
        "dagster.step.attempt",
        "dagster_taskiq.outcome",
    ];
    spans
        .iter()
        .map(|one| names.map(|name| one.get(name)))
        .collect()
}

#[test]
fn each_attempt_of_a_step_is_one_span_in_the_trace_of_its_run_whatever_the_worker() {
    let mut scene = Scene::new("traced");
    let collector = Collector::start();
    let variables = [
        ("OTEL_SERVICE_NAME", "etl"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=an%20example"),
        ("OTEL_TRACES_SAMPLER", "traceidratio"),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "deployment.environment.name=test,team=data%2C%20etl",
        ),
    ];
    let mut workers = [0, 1].map(|_| traced(&scene, &collector.endpoint(), &variables));
    let crashing = scene.side.launch("crashing");
    let good = scene.side.launch("three");
    scene.side.wait_status(&crashing, "SUCCESS");
    scene.side.wait_status(&good, "SUCCESS");
    // What was not sent yet is sent at the end.
    for worker in &mut workers {
        assert_eq!(worker.finish(), 0);
        let output = worker.process.output();
        assert_eq!(output.matches("OTEL_TRACES_SAMPLER").count(), 1, "{output}");
    }

    let spans = collector.spans_of(&crashing);
    let (runs, steps): (Vec<Arrived>, Vec<Arrived>) = spans
        .into_iter()
        .partition(|one| one.get("dagster_taskiq.task.kind") == "run");
    let ways = ["by_exit", "by_segfault", "by_signal"];
    let attempts = [("1", "retry"), ("2", "success")];
    let expected = ways
        .iter()
        .flat_map(|way| attempts.map(|(attempt, outcome)| [*way, attempt, outcome]));
    assert_eq!(summary(&steps), expected.collect());
    assert_eq!(steps.len(), 6, "one each: {steps:#?}");
    let [run] = runs.as_slice() else {
        panic!("not one span of the run: {runs:#?}")
    };
    assert_eq!(run.get("dagster_taskiq.outcome"), "success");
    assert_eq!(run.span.name, "crashing");
    assert!(run.span.parent_span_id.is_empty());
    let trace = uuid::Uuid::parse_str(&crashing).unwrap();
    for one in &steps {
        let span = &one.span;
        assert_eq!(span.trace_id, trace.as_bytes(), "{span:?}");
        assert_eq!(span.parent_span_id, run.span.span_id, "{span:?}");
        assert_eq!(span.name, one.get("dagster.step.key"));
        assert_eq!(one.get("dagster.job.name"), "crashing");
        assert_eq!(one.get("messaging.system"), "aws_sqs");
        assert_eq!(one.get("messaging.destination.name"), "traced");
        assert_eq!(one.resource["service.name"], "etl");
        assert_eq!(one.resource["deployment.environment.name"], "test");
        assert_eq!(one.resource["team"], "data, etl");
        let worker = one.get("dagster_taskiq.worker");
        assert_eq!(one.resource["service.instance.id"], worker);
        assert!(workers.iter().any(|known| known.name == worker), "{worker}");
        assert_eq!(one.headers["api-key"], "an example");
        let is_error = one.get("dagster_taskiq.outcome") == "retry";
        let code = span.status.as_ref().map_or(0, |status| status.code);
        assert_eq!(code == 2, is_error, "{span:?}");
        assert_eq!(one.get("error.type"), if is_error { "retry" } else { "" });
    }
    let ids: BTreeSet<&[u8]> = steps.iter().map(|one| &*one.span.span_id).collect();
    assert_eq!(ids.len(), 6, "each has an id of its own");

    let spans = collector.spans_of(&good);
    let steps: Vec<&Arrived> = spans
        .iter()
        .filter(|one| one.get("dagster_taskiq.task.kind") == "step")
        .collect();
    assert_eq!((steps.len(), spans.len()), (3, 4), "{spans:#?}");
    for one in steps {
        let span = &one.span;
        let names: Vec<&str> = span.events.iter().map(|event| &*event.name).collect();
        let phases = ["received", "started", "running"];
        assert_eq!(names, phases.map(|name| format!("dagster_taskiq.{name}")));
        let events = span.events.iter().map(|event| event.time_unix_nano);
        let begin = std::iter::once(span.start_time_unix_nano);
        let times: Vec<u64> = begin
            .chain(events)
            .chain([span.end_time_unix_nano])
            .collect();
        assert!(times.is_sorted() && times[0] < times[4], "{times:?}");
    }
}

#[test]
fn a_collector_that_is_down_or_silent_delays_neither_steps_nor_the_exit() {
    let mut scene = Scene::new("untraced");
    // Longer than anything here may take.
    let patient = [("OTEL_EXPORTER_OTLP_TIMEOUT", "3600000")];
    let silent = Collector::silent();
    let mut waiting = traced(&scene, &silent.endpoint(), &patient);
    let first = scene.side.launch("three");
    scene.side.wait_status(&first, "SUCCESS");
    wait_until("a request waits for its answer", PATIENCE, || {
        (silent.held() > 0).then_some(())
    });
    let second = scene.side.launch("three");
    scene.side.wait_status(&second, "SUCCESS");
    assert_eq!(waiting.finish(), 0);

    // A port that refuses connections.
    let refusing = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut refused = traced(&scene, &format!("http://{refusing}"), &patient);
    let third = scene.side.launch("three");
    scene.side.wait_status(&third, "SUCCESS");
    refused.process.wait_for_line("traces cannot be sent: ");
    assert_eq!(refused.finish(), 0);
    let output = refused.process.output();
    assert_eq!(
        output.matches("traces cannot be sent").count(),
        1,
        "{output}"
    );
    for run in [&first, &second, &third] {
        let steps: Vec<String> = (0..3).map(|n| format!("good_{n}")).collect();
        scene.assert_lives(run, &steps, &["STEP_START", "STEP_SUCCESS"]);
    }
}
