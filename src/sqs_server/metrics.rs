//! Counters for Prometheus.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::account;
use super::actions::ACTIONS;
use super::error::SqsError;
use super::faults::Effect;
use super::state::queue::Counts;
use crate::telemetry::exposition::render;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    action: &'static str,
    outcome: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Queue {
    account: String,
    queue: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Stage {
    account: String,
    queue: String,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

/// Counters since the start of the process.
#[derive(Debug, Default)]
pub struct Metrics {
    requests: Family<Request, Counter>,
    sent: Family<Queue, Counter>,
    received: Family<Queue, Counter>,
    deleted: Family<Queue, Counter>,
    faults: Family<Kind, Counter>,
    /// Times the journal was flushed to the disk.
    pub fsyncs: Counter,
    /// Groups of requests that shared a commit.
    pub commits: Counter,
    /// Bytes of message bodies written.
    pub bytes: Counter,
}

impl Metrics {
    /// Counts an answered request.
    pub fn count_request(&self, action: &str, error: Option<&SqsError>) {
        let known = ACTIONS.iter().copied().find(|known| *known == action);
        let labels = Request {
            action: known.unwrap_or("unknown"),
            outcome: error.map_or_else(|| "ok".to_owned(), |error| error.query_code().to_owned()),
        };
        self.requests.get_or_create(&labels).inc();
    }

    /// Counts messages that were sent to a queue.
    pub fn count_sent(&self, queue: &str, messages: usize) {
        count(&self.sent, queue, messages);
    }

    /// Counts messages that were delivered to clients.
    pub fn count_received(&self, queue: &str, messages: usize) {
        count(&self.received, queue, messages);
    }

    /// Counts messages that were deleted by their receivers.
    pub fn count_deleted(&self, queue: &str, messages: usize) {
        count(&self.deleted, queue, messages);
    }

    /// Counts an injected fault.
    pub fn count_fault(&self, effect: Effect) {
        let kind = effect.name();
        self.faults.get_or_create(&Kind { kind }).inc();
    }

    /// All metrics as text, with the counts of the queues and the size of the data folder in bytes.
    ///
    /// # Errors
    /// None in practice: it writes to a string.
    pub fn text(&self, queues: &[(String, Counts)], disk: u64) -> Result<String, std::fmt::Error> {
        let mut registry = Registry::with_prefix("dtq_broker");
        let registry_of = &mut registry;
        registry_of.register(
            "requests",
            "Requests by action and outcome: ok, or the error's code",
            self.requests.clone(),
        );
        for (name, help, family) in [
            ("messages_sent", "Messages taken in", &self.sent),
            ("messages_received", "Messages handed out", &self.received),
            (
                "messages_deleted",
                "Messages deleted by their receivers",
                &self.deleted,
            ),
        ] {
            registry_of.register(name, help, family.clone());
        }
        registry_of.register("queue_messages", "Messages by state", depths(queues));
        registry_of.register(
            "journal_fsyncs",
            "Times the journal was flushed to the disk",
            self.fsyncs.clone(),
        );
        registry_of.register(
            "journal_commits",
            "Groups of requests that shared a commit",
            self.commits.clone(),
        );
        registry_of.register_with_unit(
            "journal_written_body",
            "Message bodies written to the journal",
            Unit::Bytes,
            self.bytes.clone(),
        );
        let size: Gauge = Gauge::default();
        size.set(i64::try_from(disk).unwrap_or(i64::MAX));
        let help = "What the data folder takes on disk";
        registry_of.register_with_unit("disk", help, Unit::Bytes, size);
        registry_of.register(
            "faults_injected",
            "Faults that befell requests",
            self.faults.clone(),
        );
        render(&registry)
    }
}

fn count(family: &Family<Queue, Counter>, key: &str, messages: usize) {
    if messages == 0 {
        return;
    }
    let (account, queue) = account::split(key);
    let labels = Queue {
        account: account.to_owned(),
        queue: queue.to_owned(),
    };
    family.get_or_create(&labels).inc_by(messages as u64);
}

fn depths(queues: &[(String, Counts)]) -> Family<Stage, Gauge> {
    let depths = Family::<Stage, Gauge>::default();
    for (key, counts) in queues {
        let (account, queue) = account::split(key);
        for (state, messages) in [
            ("waiting", counts.waiting),
            ("in_flight", counts.in_flight),
            ("delayed", counts.delayed),
        ] {
            let labels = Stage {
                account: account.to_owned(),
                queue: queue.to_owned(),
                state,
            };
            let messages = i64::try_from(messages).unwrap_or(i64::MAX);
            depths.get_or_create(&labels).set(messages);
        }
    }
    depths
}
