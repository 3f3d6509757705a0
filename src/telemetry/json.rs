//! The log as JSON: one object a line, in which every key occurs once.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::io::Write as _;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::{LookupSpan, Scope};

/// Keys that every line has of its own.
const OWN: [&str; 4] = ["timestamp", "level", "worker", "target"];

/// The true target of a record of the `log` crate.
const LOG_TARGET: &str = "log.target";

/// Writes each event as an object: its fields, and those of the spans around it (the run, step and
/// attempt of a task). Of fields of one name the innermost counts. A field named like a key of the
/// line's own is written as `field_NAME`.
#[derive(Debug)]
pub(super) struct JsonLayer<W> {
    /// Name of the worker, if each line is to have it.
    worker: Option<String>,
    writer: W,
}

impl<W> JsonLayer<W> {
    pub fn new(worker: Option<String>, writer: W) -> Self {
        Self { worker, writer }
    }
}

/// Fields of an event or a span.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
struct Fields(BTreeMap<Cow<'static, str>, Value>);

impl Fields {
    fn set(&mut self, field: &Field, value: impl Into<Value>) {
        let name = field.name();
        let name = name.strip_prefix("r#").unwrap_or(name);
        let key = if OWN.contains(&name) {
            Cow::Owned(format!("field_{name}"))
        } else {
            Cow::Borrowed(name)
        };
        self.0.insert(key, value.into());
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, format!("{value:?}"));
    }
}

#[derive(Serialize)]
struct Line<'line> {
    timestamp: String,
    level: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<&'line str>,
    target: &'line str,
    #[serde(flatten)]
    fields: Fields,
}

impl<S, W> Layer<S> for JsonLayer<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            // The layer of another writer may have put the same ones there.
            span.extensions_mut().replace(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        let spans = context.event_scope(event).into_iter();
        for span in spans.flat_map(Scope::from_root) {
            if let Some(outer) = span.extensions().get::<Fields>() {
                fields.0.extend(outer.0.clone());
            }
        }
        event.record(&mut fields);
        let metadata = event.metadata();
        let target = fields.0.remove(LOG_TARGET);
        // What else the `log` crate says of a record is its place in the source.
        fields.0.retain(|key, _| !key.starts_with("log."));
        let line = Line {
            timestamp: format!("{:.6}", Timestamp::now()),
            level: metadata.level().as_str(),
            worker: self.worker.as_deref(),
            target: target
                .as_ref()
                .and_then(Value::as_str)
                .unwrap_or(metadata.target()),
            fields,
        };
        if let Ok(mut text) = serde_json::to_string(&line) {
            text.push('\n');
            // A log that cannot be written has no place for that.
            let _ = self
                .writer
                .make_writer_for(metadata)
                .write_all(text.as_bytes());
        }
    }
}
