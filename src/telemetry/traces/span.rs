//! The span of a task that has ended. Names follow OpenTelemetry's conventions for messaging where
//! they have one; the rest begin with `dagster.` and `dagster_taskiq.`.

use std::time::{Duration, SystemTime};

use opentelemetry::trace::{
    Event, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use uuid::Uuid;

use crate::domain::{TaskKind, TaskOutcome, Timestamp};

/// An attempt of a step, or a run, that has ended.
#[derive(Clone, Debug)]
pub struct TaskSpan<'a> {
    /// Run id.
    pub run_id: &'a str,
    /// Name of the run's job, if the message has it.
    pub job: Option<&'a str>,
    /// Key of the step; `None` for a run.
    pub step_key: Option<&'a str>,
    /// Attempt of the step, from 1.
    pub attempt: u32,
    /// Kind of task.
    pub kind: TaskKind,
    /// Taskiq's task id.
    pub task_id: &'a str,
    /// SQS's message id.
    pub message_id: &'a str,
    /// Name of the queue.
    pub queue: &'a str,
    /// Priority.
    pub priority: i64,
    /// Number of receives of the message.
    pub receive_count: u32,
    /// How it ended.
    pub outcome: &'a TaskOutcome,
    /// When its message was sent, by the clock of the broker.
    pub sent: Option<Timestamp>,
    /// When its message was received.
    pub received: Timestamp,
    /// When it was given to a step host.
    pub started: Timestamp,
    /// When its process reported its first event.
    pub reported: Option<Timestamp>,
    /// When its process had ended.
    pub ended: Timestamp,
}

impl TaskSpan<'_> {
    /// The span, in the form of the SDK; `None` if the run's id is not a UUID.
    pub(super) fn data(&self, worker: &str) -> Option<SpanData> {
        let run = Uuid::parse_str(self.run_id).ok()?;
        let run_span = SpanId::from(run.as_u64_pair().0);
        let (span, parent) = if self.kind.is_run() {
            (run_span, SpanId::INVALID)
        } else {
            (SpanId::from(Uuid::new_v4().as_u64_pair().0), run_span)
        };
        // The clocks of broker and worker may differ.
        let start = self.sent.unwrap_or(self.received).min(self.received);
        let mut outcome = self.outcome.clone();
        outcome.redact();
        let mut events = SpanEvents::default();
        events.events = self.events();
        Some(SpanData {
            span_context: SpanContext::new(
                TraceId::from(run.as_u128()),
                span,
                TraceFlags::SAMPLED,
                false,
                TraceState::NONE,
            ),
            parent_span_id: parent,
            parent_span_is_remote: parent != SpanId::INVALID,
            span_kind: SpanKind::Consumer,
            name: self.name().into(),
            start_time: system_time(start),
            end_time: system_time(self.ended.max(start)),
            attributes: self.attributes(worker),
            dropped_attributes_count: 0,
            events,
            links: SpanLinks::default(),
            status: status(&outcome),
            instrumentation_scope: InstrumentationScope::builder(env!("CARGO_PKG_NAME"))
                .with_version(env!("CARGO_PKG_VERSION"))
                .build(),
        })
    }

    /// The step's key without the part that differs between mapped steps, or the job: there are
    /// few different names.
    fn name(&self) -> String {
        let step = self
            .step_key
            .map(|key| key.split('[').next().unwrap_or(key));
        step.or(self.job).unwrap_or("run").to_owned()
    }

    /// The ends of the phases: waiting in the queue, waiting for a slot, starting up.
    fn events(&self) -> Vec<Event> {
        let event =
            |name: &'static str, at: Timestamp| Event::new(name, system_time(at), Vec::new(), 0);
        let received = event("dagster_taskiq.received", self.received);
        let started = event("dagster_taskiq.started", self.started);
        let running = self.reported.map(|at| event("dagster_taskiq.running", at));
        [received, started].into_iter().chain(running).collect()
    }

    fn attributes(&self, worker: &str) -> Vec<KeyValue> {
        let text = |key: &'static str, value: &str| KeyValue::new(key, value.to_owned());
        let number = |key: &'static str, value: i64| KeyValue::new(key, value);
        let outcome = word(self.outcome);
        let kind = if self.kind.is_run() { "run" } else { "step" };
        let mut attributes = vec![
            text("messaging.system", "aws_sqs"),
            text("messaging.operation.name", "process"),
            text("messaging.operation.type", "process"),
            text("messaging.destination.name", self.queue),
            text("messaging.message.id", self.message_id),
            text("messaging.client.id", worker),
            text("dagster.run.id", self.run_id),
            text("dagster_taskiq.task.id", self.task_id),
            text("dagster_taskiq.task.kind", kind),
            text("dagster_taskiq.worker", worker),
            text("dagster_taskiq.outcome", &outcome),
            number("dagster_taskiq.priority", self.priority),
            number("dagster_taskiq.receive_count", self.receive_count.into()),
        ];
        attributes.extend(self.job.map(|job| text("dagster.job.name", job)));
        if let Some(step_key) = self.step_key {
            attributes.push(text("dagster.step.key", step_key));
            attributes.push(number("dagster.step.attempt", self.attempt.into()));
        }
        if is_error(self.outcome) {
            attributes.push(text("error.type", &outcome));
        }
        attributes
    }
}

fn system_time(at: Timestamp) -> SystemTime {
    let since = at.duration_since(Timestamp::UNIX_EPOCH);
    // No task is older than the epoch.
    SystemTime::UNIX_EPOCH + Duration::try_from(since).unwrap_or_default()
}

/// The outcome as the metrics have it.
fn word(outcome: &TaskOutcome) -> String {
    outcome.word().replace(' ', "_")
}

fn is_error(outcome: &TaskOutcome) -> bool {
    matches!(
        outcome,
        TaskOutcome::Failure { .. }
            | TaskOutcome::UpForRetry { .. }
            | TaskOutcome::DeadLettered { .. }
            | TaskOutcome::Lost { .. }
    )
}

fn status(outcome: &TaskOutcome) -> Status {
    if is_error(outcome) {
        Status::error(outcome.reason().unwrap_or_default().to_owned())
    } else {
        Status::Unset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "0d5e8a1c-7f3b-4c1e-9a44-1f2e3d4c5b6a";

    fn span(outcome: &TaskOutcome) -> TaskSpan<'_> {
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap_or_default();
        TaskSpan {
            run_id: RUN,
            job: Some("etl"),
            step_key: Some("load[eu]"),
            attempt: 2,
            kind: TaskKind::ExecutePlan,
            task_id: "t",
            message_id: "m",
            queue: "tasks",
            priority: 5,
            receive_count: 1,
            outcome,
            sent: Some(at(0)),
            received: at(3),
            started: at(4),
            reported: Some(at(5)),
            ended: at(9),
        }
    }

    fn attribute(data: &SpanData, key: &str) -> Option<String> {
        let mut all = data.attributes.iter();
        all.find(|one| one.key.as_str() == key)
            .map(|one| one.value.to_string())
    }

    #[test]
    fn the_trace_is_the_run_and_the_runs_span_is_the_parent_of_its_steps() {
        let step = span(&TaskOutcome::Success).data("w-1");
        let run = TaskSpan {
            kind: TaskKind::ResumeJob,
            step_key: None,
            ..span(&TaskOutcome::Success)
        };
        let run = run.data("w-2");
        let (Some(step), Some(run)) = (step, run) else {
            panic!("no spans")
        };
        assert_eq!(
            step.span_context.trace_id().to_string(),
            RUN.replace('-', "")
        );
        assert_eq!(run.span_context.trace_id(), step.span_context.trace_id());
        assert_eq!(run.span_context.span_id(), step.parent_span_id);
        assert_eq!(run.parent_span_id, SpanId::INVALID);
        assert_eq!((&*step.name, &*run.name), ("load", "etl"));
        assert_eq!(
            attribute(&step, "dagster.step.key").as_deref(),
            Some("load[eu]")
        );
        assert_eq!(
            attribute(&step, "dagster.step.attempt").as_deref(),
            Some("2")
        );
        assert_eq!(attribute(&run, "dagster.step.attempt"), None);
        assert_eq!(step.status, Status::Unset);
    }

    #[test]
    fn a_failure_is_an_error_without_the_secrets_of_its_reason() {
        let failure = TaskOutcome::Failure {
            reason: String::from("cannot reach postgresql://ada:hunter2@db/x"),
        };
        let Some(data) = span(&failure).data("w-1") else {
            panic!("no span")
        };
        assert_eq!(attribute(&data, "error.type").as_deref(), Some("failure"));
        let Status::Error { description } = &data.status else {
            panic!("{:?}", data.status)
        };
        assert!(
            description.contains("cannot reach") && !description.contains("hunter2"),
            "{description}"
        );
    }

    #[test]
    fn a_brokers_clock_that_is_ahead_makes_no_span_that_ends_before_it_begins() {
        let mut ahead = span(&TaskOutcome::Success);
        ahead.sent = ahead
            .ended
            .checked_add(jiff::SignedDuration::from_mins(1))
            .ok();
        let Some(data) = ahead.data("w-1") else {
            panic!("no span")
        };
        assert_eq!(data.start_time, system_time(ahead.received));
        assert!(data.end_time > data.start_time);
        let other = TaskSpan {
            run_id: "not a uuid",
            ..ahead
        };
        assert_eq!(other.data("w-1"), None);
    }
}
