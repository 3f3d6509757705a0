//! Whether Dagster's storage takes this worker's heartbeats and gives those of the others. An outage
//! is logged when it begins and ends, however many requests fail in it.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::error::ForkServerError;
use super::sync::lock;

/// Interval at which the log repeats that an outage lasts.
const REPEATED: Duration = Duration::from_mins(10);

/// Requests that a worker makes of the storage at intervals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// It writes its own heartbeat.
    Write,
    /// It reads the heartbeats of the others.
    Read,
}

/// The storage as the last exchanges found it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StorageState {
    /// The outage, if there is one.
    pub outage: Option<StorageOutage>,
    /// Time of the last read that was not part of an outage.
    pub sound_at: Option<Instant>,
    /// Time at which the last outage ended.
    pub back_at: Option<Instant>,
}

/// A storage that cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageOutage {
    /// Time of the first failure.
    pub since: Instant,
    /// The reason of the last failure.
    pub reason: String,
}

/// Keeps the state of Dagster's storage.
#[derive(Debug, Default)]
pub struct StorageHealth {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    state: StorageState,
    /// The exchanges whose last try failed: one that works does not say that the other does.
    failing: Vec<Exchange>,
    logged_at: Option<Instant>,
}

impl StorageHealth {
    /// Records the result of an exchange.
    pub fn record<T>(&self, exchange: Exchange, result: &Result<T, ForkServerError>) {
        self.record_at(Instant::now(), exchange, result);
    }

    fn record_at<T>(&self, now: Instant, exchange: Exchange, result: &Result<T, ForkServerError>) {
        let mut known = lock(&self.known);
        known.failing.retain(|failing| *failing != exchange);
        match result {
            Err(problem) => {
                known.failing.push(exchange);
                known.failed(now, reason(problem));
            }
            Ok(_) if known.failing.is_empty() => known.worked(now, exchange),
            Ok(_) => {}
        }
    }

    /// The state now.
    pub fn state(&self) -> StorageState {
        lock(&self.known).state.clone()
    }

    /// Whether there is an outage: then the log need not have every failed request.
    pub fn is_away(&self) -> bool {
        lock(&self.known).state.outage.is_some()
    }
}

impl Known {
    fn failed(&mut self, now: Instant, reason: String) {
        let since = self.state.outage.as_ref().map_or(now, |known| known.since);
        let is_due = self.logged_at.is_none_or(|at| now - at >= REPEATED);
        if is_due {
            self.logged_at = Some(now);
            warn!("Dagster's storage does not answer: {reason}; every heartbeat tries it again");
        } else {
            debug!("Dagster's storage still does not answer: {reason}");
        }
        self.state.outage = Some(StorageOutage { since, reason });
    }

    fn worked(&mut self, now: Instant, exchange: Exchange) {
        if let Some(outage) = self.state.outage.take() {
            let seconds = (now - outage.since).as_secs();
            info!("Dagster's storage answers again, after {seconds} s");
            self.state.back_at = Some(now);
            self.logged_at = None;
        }
        if exchange == Exchange::Read {
            self.state.sound_at = Some(now);
        }
    }
}

/// Why an exchange failed, without the words that say what failed.
fn reason(problem: &ForkServerError) -> String {
    match problem {
        ForkServerError::Request { reason, .. } => reason.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> Result<(), ForkServerError> {
        Err(ForkServerError::Request {
            request: "a heartbeat",
            reason: String::from("OperationalError: unable to open database file"),
        })
    }

    #[test]
    fn an_outage_lasts_until_the_storage_can_be_read_and_written() {
        let health = StorageHealth::default();
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        health.record_at(at(0), Exchange::Write, &Ok(()));
        health.record_at(at(0), Exchange::Read, &Ok(()));
        assert_eq!(health.state().sound_at, Some(begun));
        assert!(!health.is_away());

        health.record_at(at(5), Exchange::Write, &refused());
        health.record_at(at(10), Exchange::Write, &refused());
        // It can be read, but no heartbeat in it is recent.
        health.record_at(at(15), Exchange::Read, &Ok(()));
        let away = StorageState {
            outage: Some(StorageOutage {
                since: at(5),
                reason: String::from("OperationalError: unable to open database file"),
            }),
            sound_at: Some(at(0)),
            back_at: None,
        };
        assert_eq!(health.state(), away);

        health.record_at(at(30), Exchange::Read, &refused());
        health.record_at(at(35), Exchange::Write, &Ok(()));
        assert!(health.is_away());
        health.record_at(at(45), Exchange::Read, &Ok(()));
        let back = StorageState {
            outage: None,
            sound_at: Some(at(45)),
            back_at: Some(at(45)),
        };
        assert_eq!(health.state(), back);
    }
}
