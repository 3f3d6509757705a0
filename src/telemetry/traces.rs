//! Traces for OpenTelemetry: a span for each attempt of a step and for each run, sent to a collector
//! over OTLP/HTTP. Off unless the environment names a collector.
//!
//! The id of a run's trace is the run's id, so that the spans of all workers, and those that a
//! step's own code may make, form one trace without any context in the messages. A span is made when
//! its task has ended, and put into a bounded queue; a thread of the SDK sends what is there. A
//! collector that is slow or down costs spans, never steps.

mod client;
mod environment;
mod span;

use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanProcessor};
use tracing::{info, warn};

use client::CollectorClient;
use environment::Configured;
pub use span::TaskSpan;

/// Service name if the environment has none.
const SERVICE: &str = "dagster-taskiq-worker";

/// Time in which the last spans are sent at the end of the process.
const FLUSH_WITHIN: Duration = Duration::from_secs(3);

static TRACES: OnceLock<Traces> = OnceLock::new();

/// The traces of this process; `None` if no collector is configured.
#[must_use]
pub fn traces() -> Option<&'static Traces> {
    TRACES.get()
}

/// A worker, as its spans name it.
#[derive(Clone, Debug)]
pub struct TracedWorker {
    /// Its id.
    pub id: String,
    /// Its host's name.
    pub hostname: String,
    /// Version of the binary.
    pub version: String,
}

/// Sends spans.
#[derive(Debug)]
pub struct Traces {
    processor: BatchSpanProcessor,
    worker: TracedWorker,
}

/// Starts sending spans if the environment names a collector. A configuration that cannot be used is
/// a warning: a worker does its work without traces.
///
/// Must be called in the runtime that is to carry the requests.
pub fn start(worker: TracedWorker) {
    let configured = match environment::configured(|name| std::env::var(name).ok()) {
        Ok(Some(configured)) => configured,
        Ok(None) => return,
        Err(problem) => {
            warn!("no traces are sent: {problem}");
            return;
        }
    };
    for sentence in &configured.ignored {
        warn!("{sentence}");
    }
    match Traces::new(worker, &configured) {
        Ok(traces) => {
            if TRACES.set(traces).is_ok() {
                info!("traces are sent to {}", configured.endpoint);
            }
        }
        Err(problem) => warn!("no traces are sent: {problem}"),
    }
}

impl Traces {
    fn new(worker: TracedWorker, configured: &Configured) -> Result<Self, String> {
        let client = CollectorClient::new(configured).map_err(|error| error.to_string())?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(configured.timeout)
            .with_http_client(client)
            .build()
            .map_err(|error| error.to_string())?;
        let mut processor = BatchSpanProcessor::builder(exporter).build();
        processor.set_resource(&resource(&worker));
        Ok(Self { processor, worker })
    }

    /// Hands a span over to be sent. Never waits: a full queue drops it.
    pub fn record(&self, span: &TaskSpan) {
        // Dagster's run ids are UUIDs. A run of another id has no trace.
        if let Some(data) = span.data(&self.worker.id) {
            self.processor.on_end(data);
        }
    }

    /// Sends what is left, for a few seconds at most, and ends.
    pub async fn shutdown(&'static self) {
        let ended =
            tokio::task::spawn_blocking(move || self.processor.shutdown_with_timeout(FLUSH_WITHIN));
        match ended.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!("the last spans were not sent: {error}"),
            Err(error) => warn!("the last spans were not sent: {error}"),
        }
    }
}

/// The attributes of the process: those of the environment, and the worker's own.
fn resource(worker: &TracedWorker) -> Resource {
    let own = [
        ("service.instance.id", &worker.id),
        ("service.version", &worker.version),
        ("host.name", &worker.hostname),
    ];
    let encoded = std::env::var("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let decoded = environment::attributes(&encoded);
    let decoded = decoded.map(|(key, value)| KeyValue::new(key, value));
    let given = Resource::builder().with_attributes(decoded).build();
    let name = given.get(&"service.name".into());
    let is_given = name.is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    let own = own.map(|(key, value)| KeyValue::new(key, value.clone()));
    let own = own.into_iter().filter(|own| given.get(&own.key).is_none());
    let all = given
        .iter()
        .map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
    let builder = Resource::builder_empty().with_attributes(all.chain(own));
    if is_given {
        builder.build()
    } else {
        builder.with_service_name(SERVICE).build()
    }
}
