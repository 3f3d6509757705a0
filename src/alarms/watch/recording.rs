//! The history of this host: every worker writes what the board says of the alarms that it sees, and
//! what another worker of the host has written before is left out.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;

use tracing::{error, info, warn};

use super::board::{Listed, from_seconds};
use super::{Done, Watcher};
use crate::alarms::history;
use crate::domain::{Alarm, AlarmChange, AlarmEntry, Timestamp};

/// The alarms whose begin is in the history and whose end is not.
pub(super) fn open(path: &Path) -> BTreeMap<String, Option<Timestamp>> {
    match history::open(path) {
        Ok(open) => open.into_iter().map(|(id, at)| (id, Some(at))).collect(),
        Err(problem) => {
            let at = path.display();
            warn!("cannot read the history of alarms {at}: {problem}");
            BTreeMap::new()
        }
    }
}

impl Watcher {
    /// Records an alarm of the board that this worker sees, or that has ended.
    pub(super) fn record_agreed(&mut self, listed: Listed) {
        let Listed {
            id,
            since,
            ended,
            alarm,
        } = listed;
        let Ok(since) = since.parse::<Timestamp>() else {
            return;
        };
        let known = self.recorded.get(&id).copied();
        if let Some(at) = ended.and_then(from_seconds) {
            if known == Some(Some(since)) {
                self.recorded.remove(&id);
                self.record(&alarm, AlarmChange::Ended, at);
            }
        } else if known != Some(Some(since)) {
            self.recorded.insert(id, Some(since));
            // What was recorded without an agreement is not recorded again.
            if known != Some(None) {
                self.record(&alarm, AlarmChange::Started, since);
            }
        }
    }

    /// Records the begin of an alarm while there is no agreement.
    pub(super) fn record_alone(&mut self, alarm: &Alarm) {
        if let Entry::Vacant(unknown) = self.recorded.entry(alarm.id()) {
            unknown.insert(None);
            let since = alarm.since.unwrap_or_else(Timestamp::now);
            self.record(alarm, AlarmChange::Started, since);
        }
    }

    /// Records the end of an alarm on whose begin there was no agreement.
    pub(super) fn record_end_alone(&mut self, alarm: &Alarm, now: Timestamp) {
        let id = alarm.id();
        if self.recorded.get(&id) == Some(&None) {
            self.recorded.remove(&id);
            self.record(alarm, AlarmChange::Ended, now);
        }
    }

    /// Writes a line of the history; a failure is logged.
    fn record(&mut self, alarm: &Alarm, change: AlarmChange, at: Timestamp) {
        let entry = AlarmEntry {
            at,
            change,
            id: alarm.id(),
            severity: Some(alarm.severity),
            text: alarm.text.clone(),
            by: None,
        };
        let path = self.options.history.clone();
        self.work.spawn(async move {
            let (place, AlarmEntry { id, text, .. }) = (path.display().to_string(), entry.clone());
            let write = move || history::append_once(&path, &entry);
            match tokio::task::spawn_blocking(write).await {
                Ok(Ok(true)) => info!("alarm {id} {}: {text}", change.word()),
                Ok(Err(problem)) => {
                    error!("cannot write the history of alarms {place}: {problem}");
                }
                Ok(Ok(false)) | Err(_) => {}
            }
            Done::Answered
        });
    }
}
