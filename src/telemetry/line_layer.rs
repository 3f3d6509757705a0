//! Turns tracing records into [`LogLine`]s for consoles.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use crate::domain::{Event, EventSink, LogLevel, LogLine, Timestamp};

/// A layer that reports every record to an event sink, which never blocks.
pub(super) struct LineLayer {
    events: EventSink,
}

impl LineLayer {
    pub fn new(events: EventSink) -> Self {
        Self { events }
    }
}

impl<S: Subscriber> Layer<S> for LineLayer {
    fn on_event(&self, event: &tracing::Event<'_>, _context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        let line = LogLine {
            at: Timestamp::now(),
            level: level(*metadata.level()),
            target: metadata.target().replace("dagster_taskiq_tui::", ""),
            run_id: fields.run_id,
            step_key: fields.step_key,
            message: fields.text,
        };
        self.events.send(Event::Log { line });
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

/// The message, with all other fields behind it; run and step apart.
#[derive(Default)]
struct Fields {
    text: String,
    run_id: Option<String>,
    step_key: Option<String>,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => {
                self.text.insert_str(0, &format!("{value:?}"));
                Ok(())
            }
            "run_id" => {
                self.run_id = Some(format!("{value:?}"));
                Ok(())
            }
            "step_key" => {
                self.step_key = Some(format!("{value:?}"));
                Ok(())
            }
            name => write!(self.text, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn a_record_becomes_a_line_with_its_run_and_step_apart() {
        let (events, mut received) = EventSink::channel();
        let subscriber = tracing_subscriber::registry().with(LineLayer::new(events));
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(run_id = %"r1", step_key = "s1", pid = 7, "lost {}", "it");
        });
        let Event::Log { line } = received.try_recv().unwrap() else {
            panic!("not a line")
        };
        assert_eq!(line.level, LogLevel::Warn);
        assert_eq!(line.run_id.as_deref(), Some("r1"));
        assert_eq!(line.step_key.as_deref(), Some("s1"));
        assert_eq!(line.message, "lost it pid=7");
    }
}
