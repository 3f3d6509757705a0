//! Whether leases can be renewed. An outage is logged when it begins and ends, and now and then while
//! it lasts: renewals are tried again every second.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use crate::sqs::error::BrokerError;

/// Interval at which the log repeats that an outage lasts.
const REPEATED: Duration = Duration::from_mins(10);

/// The queues whose last renewal failed, with the time of the last line about it.
#[derive(Debug, Default)]
pub(super) struct Outages {
    logged_at: HashMap<String, Instant>,
}

impl Outages {
    /// Records the result of a renewal on a queue, of leases that last for `visibility`.
    pub fn record<T>(
        &mut self,
        queue: &str,
        result: &Result<T, BrokerError>,
        visibility: Duration,
    ) {
        self.record_at(Instant::now(), queue, result, visibility);
    }

    fn record_at<T>(
        &mut self,
        now: Instant,
        queue: &str,
        result: &Result<T, BrokerError>,
        visibility: Duration,
    ) {
        let Err(problem) = result else {
            if self.logged_at.remove(queue).is_some() {
                info!("leases on {queue} are renewed again");
            }
            return;
        };
        let logged_at = self.logged_at.get(queue);
        if logged_at.is_some_and(|at| now - *at < REPEATED) {
            debug!("{problem}; trying again");
            return;
        }
        self.logged_at.insert(queue.to_owned(), now);
        if matches!(problem, BrokerError::Denied { .. }) {
            let seconds = visibility.as_secs();
            error!("{problem}: steps longer than {seconds} s will be delivered again");
        } else {
            warn!("{problem}; trying again until it works");
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use tracing::subscriber::with_default;

    use super::*;
    use crate::domain::{Event, EventSink};
    use crate::telemetry;

    const VISIBILITY: Duration = Duration::from_secs(10);

    fn away(queue: &str) -> Result<(), BrokerError> {
        Err(BrokerError::Unreachable {
            attempt: format!("renew 1 lease on {queue}"),
            endpoint: "http://127.0.0.1:1".to_owned(),
            reason: "connection refused".to_owned(),
        })
    }

    #[test]
    fn an_outage_is_logged_when_it_begins_every_ten_minutes_and_when_it_ends_for_each_queue() {
        let (sink, mut events) = EventSink::channel();
        let options = telemetry::Options {
            sink: Some(sink),
            ..telemetry::Options::default()
        };
        let (subscriber, _guard) = telemetry::subscriber(options).unwrap();
        let begun = Instant::now();
        with_default(subscriber, || {
            let mut outages = Outages::default();
            let mut record = |seconds, queue, result: Result<(), BrokerError>| {
                let now = begun + Duration::from_secs(seconds);
                outages.record_at(now, queue, &result, VISIBILITY);
            };
            record(0, "etl", Ok(()));
            for second in 1..=900 {
                record(second, "etl", away("etl"));
            }
            record(900, "other", away("other"));
            record(901, "etl", Ok(()));
            record(904, "etl", Ok(()));
            record(907, "etl", away("etl"));
        });
        let lines: Vec<String> = std::iter::from_fn(|| events.try_recv().ok())
            .filter_map(|event| match event {
                Event::Log { line } => Some(line.message),
                _ => None,
            })
            .collect();
        let beginnings = [
            "cannot renew 1 lease on etl: ",
            "cannot renew 1 lease on etl: ",
            "cannot renew 1 lease on other: ",
            "leases on etl are renewed again",
            "cannot renew 1 lease on etl: ",
        ];
        assert_eq!(lines.len(), beginnings.len(), "{lines:#?}");
        for (line, beginning) in lines.iter().zip(beginnings) {
            assert!(line.starts_with(beginning), "{line}");
        }
    }
}
