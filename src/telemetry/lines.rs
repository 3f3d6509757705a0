//! Converts tracing events to log lines.

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::domain::{self, EventSink, LogLevel, LogLine, Timestamp};

/// Sends each event as a [`LogLine`]. `run_id` and `step_key` come from the event's own fields or
/// from the innermost span that has them; other fields follow the message.
#[derive(Debug)]
pub(super) struct LineLayer {
    sink: EventSink,
}

impl LineLayer {
    pub(super) fn new(sink: EventSink) -> Self {
        Self { sink }
    }
}

/// Fields of an event or a span.
#[derive(Clone, Debug, Default)]
struct Fields {
    run_id: Option<String>,
    step_key: Option<String>,
    message: String,
    others: String,
}

impl Fields {
    fn set(&mut self, field: &Field, value: &dyn fmt::Display) {
        match field.name() {
            "run_id" => self.run_id = Some(value.to_string()),
            "step_key" => self.step_key = Some(value.to_string()),
            "message" => self.message = value.to_string(),
            // Metadata fields of `log` records.
            name if name.starts_with("log.") => {}
            name => {
                // Writing to a String cannot fail.
                let _ = write!(self.others, " {name}={value}");
            }
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, &value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.set(field, &value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, &format_args!("{value:?}"));
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for LineLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
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
        event.record(&mut fields);
        for span in context.event_scope(event).into_iter().flatten() {
            let extensions = span.extensions();
            if let Some(outer) = extensions.get::<Fields>() {
                fields.run_id = fields.run_id.or_else(|| outer.run_id.clone());
                fields.step_key = fields.step_key.or_else(|| outer.step_key.clone());
            }
        }
        let text = format!("{}{}", fields.message, fields.others);
        self.sink.send(domain::Event::Log {
            line: LogLine {
                at: Timestamp::now(),
                level: level(*event.metadata().level()),
                target: event.metadata().target().to_owned(),
                run_id: fields.run_id,
                step_key: fields.step_key,
                worker: None,
                message: text.trim().to_owned(),
            },
        });
    }
}

fn level(level: Level) -> LogLevel {
    match level {
        Level::ERROR => LogLevel::Error,
        Level::WARN => LogLevel::Warn,
        Level::INFO => LogLevel::Info,
        Level::DEBUG => LogLevel::Debug,
        Level::TRACE => LogLevel::Trace,
    }
}
