//! Every metric of a worker: its name, kind, labels and meaning. `docs/reference/metrics.md`, the
//! dashboard and the alerts are held against this list.

/// Kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only grows, from 0 at the start of the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts durations by these upper bounds, in seconds.
    Histogram(&'static [f64]),
}

impl Kind {
    /// Prometheus's word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// A metric and its labels.
#[derive(Debug)]
pub struct Family {
    /// Full name, as it is scraped.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// Its meaning, without a full stop.
    pub help: &'static str,
}

/// The labels of a task's metrics. `job` and `instance` are Prometheus's own.
const TASK: &[&str] = &["queue", "job_name", "priority", "kind"];
const QUEUE: &[&str] = &["queue", "band"];
const LOCATION: &[&str] = &["location"];

/// Buckets from a tenth of a second, the delay of an idle worker, to the hours of a backlog.
const WAIT: Kind = Kind::Histogram(&[
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 900.0, 3600.0,
]);
const RUN: Kind = Kind::Histogram(&[
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0,
    21600.0,
]);
/// Buckets from a fork's hundredths of a second to a large project's load of a minute.
const STARTUP: Kind = Kind::Histogram(&[
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
]);

macro_rules! families {
    ($($id:ident = $name:literal, $kind:expr, $labels:expr, $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $id: Family = Family {
                name: concat!("dagster_taskiq_", $name),
                kind: $kind,
                labels: $labels,
                help: $help,
            };
        )*
        /// All families, in the order of the documentation.
        pub const ALL: &[&Family] = &[$(&$id),*];
    };
}

families! {
    QUEUE_DEPTH = "queue_depth", Kind::Gauge, QUEUE,
        "Messages that wait";
    QUEUE_IN_FLIGHT = "queue_in_flight", Kind::Gauge, QUEUE,
        "Messages that were received, and neither deleted nor given back";
    QUEUE_DELAYED = "queue_delayed", Kind::Gauge, QUEUE,
        "Messages that were sent with a delay and do not wait yet";
    QUEUE_OLDEST_AGE = "queue_oldest_age_seconds", Kind::Gauge, QUEUE,
        "Age of the oldest message that waits; only the embedded broker tells";
    QUEUE_DEAD_LETTERS = "queue_dead_letters", Kind::Gauge, &["queue"],
        "Messages in a dead-letter queue";
    QUEUE_UP = "queue_up", Kind::Gauge, QUEUE,
        "Whether the queue could be counted at the last try";
    QUEUE_COUNTED = "queue_counted_timestamp_seconds", Kind::Gauge, QUEUE,
        "When the counts were read, in Unix time";
    TASKS_RECEIVED = "tasks_received_total", Kind::Counter, TASK,
        "Deliveries of tasks";
    TASKS_REDELIVERED = "tasks_redelivered_total", Kind::Counter, TASK,
        "Deliveries of tasks that SQS had delivered before, to whatever worker";
    TASKS_STARTED = "tasks_started_total", Kind::Counter, TASK,
        "Tasks given to a step host";
    TASKS_ENDED = "tasks_ended_total", Kind::Counter,
        &["queue", "job_name", "priority", "kind", "outcome"],
        "Tasks that are over for this worker: `success`, `failure`, `retry` (Dagster sends the next \
         attempt), `skipped` (it had ended before), `canceled` (also a step that failed because it was \
         interrupted), `given_back`, `dead_letter`";
    TASKS_CANCELLED = "tasks_cancelled_total", Kind::Counter, TASK,
        "Tasks that were interrupted, by an operator or because their run is over or being cancelled";
    TASKS_LOST = "tasks_lost_total", Kind::Counter,
        &["queue", "job_name", "priority", "kind", "cause"],
        "Attempts that were found without an end: their worker or step host was lost (`worker`), or their \
         own process died (`process`)";
    TASK_WAIT = "task_wait_seconds", WAIT, &["queue", "priority"],
        "From the time a message was sent to the start of its task, of those that ran";
    TASK_STARTUP = "task_startup_seconds", STARTUP, &["queue", "kind"],
        "From the receipt of a task to the first event of its process";
    TASK_RUN = "task_run_seconds", RUN, &["job_name", "kind"],
        "From the start of a task to the end of its process, of those that ran";
    SLOTS = "slots", Kind::Gauge, &["kind"],
        "Tasks that may run at once";
    SLOTS_BUSY = "slots_busy", Kind::Gauge, &["kind"],
        "Tasks that run";
    SLOTS_MIN = "slots_min", Kind::Gauge, &["kind"],
        "The smallest number of slots; as `slots` where they do not follow the load";
    SLOTS_MAX = "slots_max", Kind::Gauge, &["kind"],
        "The largest number of slots; as `slots` where they do not follow the load";
    LEASES_EXTENDED = "leases_extended_total", Kind::Counter, &["queue"],
        "Renewals of the visibility timeout of a message";
    LEASES_LOST = "leases_lost_total", Kind::Counter, &["queue"],
        "Messages whose visibility timeout could not be renewed any more";
    BROKER_UP = "broker_up", Kind::Gauge, &[],
        "Whether the broker answered at the last count";
    BROKER_ERRORS = "broker_errors_total", Kind::Counter, &["reason"],
        "Failed calls to SQS and S3: `unreachable`, `no_such_queue`, `credentials`, `denied`, \
         `refused`, `store` (S3), `other`";
    STORAGE_ERRORS = "storage_errors_total", Kind::Counter, &["reason"],
        "Requests to Dagster's storage that were `refused` or got `no_answer`";
    HEARTBEATS = "heartbeats_total", Kind::Counter, &[],
        "Heartbeats written into Dagster's storage";
    HEARTBEAT_FAILURES = "heartbeat_failures_total", Kind::Counter, &[],
        "Heartbeats that could not be written";
    HOSTS = "hosts", Kind::Gauge, &["location", "phase", "isolation"],
        "Step hosts by code location, phase (`loading`, `ready`, `draining`, `failed`) and isolation; \
         the process for Dagster's storage is the location `instance agent`";
    HOST_MEMORY = "host_memory_bytes", Kind::Gauge, LOCATION,
        "Memory (proportional set size) of the step hosts themselves, without their steps";
    HOST_LOADS = "host_loads_total", Kind::Counter, LOCATION,
        "Times a code location was loaded; all but the first are reloads";
    HOST_LOAD_FAILURES = "host_load_failures_total", Kind::Counter, LOCATION,
        "Times a code location did not load";
    HOST_TASKS = "host_tasks_total", Kind::Counter, LOCATION,
        "Steps and runs whose process has ended";
    WORKER_STATE = "worker_state", Kind::Gauge, &["state"],
        "1 for the state of the worker, 0 for the others";
    WORKER_INFO = "worker_info", Kind::Gauge, &["worker"],
        "1, with the name of the worker";
    START_TIME = "start_time_seconds", Kind::Gauge, &[],
        "When the worker started, in Unix time";
    EVENTS_DROPPED = "events_dropped_total", Kind::Counter, &[],
        "Events that consoles did not get because the worker was too busy; metrics do not depend on them";
    BUILD_INFO = "build_info", Kind::Gauge, &["version"],
        "1, with the version of the binary";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_follow_the_rules_of_prometheus() {
        let mut names = BTreeSet::new();
        for family in ALL {
            let name = family.name;
            assert!(names.insert(name), "{name} is there twice");
            assert!(name.starts_with("dagster_taskiq_"), "{name}");
            let is_plain = |text: &str| {
                text.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
                    && !text.contains("__")
            };
            assert!(is_plain(name), "{name}");
            let is_counter = family.kind == Kind::Counter;
            assert_eq!(name.ends_with("_total"), is_counter, "{name}");
            for suffix in [
                "_count",
                "_sum",
                "_bucket",
                "_milliseconds",
                "_ms",
                "_mib",
                "_kib",
            ] {
                assert!(!name.ends_with(suffix), "{name}");
            }
            for label in family.labels {
                // `job` and `instance` would be renamed by Prometheus, `le` is a histogram's own.
                assert!(
                    is_plain(label) && !["job", "instance", "le"].contains(label),
                    "{name}"
                );
            }
            if let Kind::Histogram(bounds) = family.kind {
                assert!(name.ends_with("_seconds"), "{name}");
                assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]), "{name}");
            }
            let help = family.help;
            assert!(
                !help.ends_with('.') && !help.contains('|'),
                "{name}: {help}"
            );
        }
    }
}
