//! Alarms: from the snapshot and the console itself, ringing, and the list of all alarms with their
//! times, the cursor in it, and the view of each alarm's subject.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{App, Effect};
use crate::console::alarms::{self, Alarm, Severity};
use crate::console::command::{Motion, Verb};
use crate::console::key::Key;
use crate::console::keymap::Meaning;
use crate::console::options::Startup;
use crate::console::overlay::Overlay;
use crate::console::shown::Shown;
use crate::console::view::View;
use crate::console::{labels, render, rows};
use crate::domain::{
    AlarmKind, ForkServerPhase, ForkServerView, Ring, RunStatus, SourceKind, WorkerView,
};

/// Identity of an alarm: its kind and subject.
pub type AlarmKey = (AlarmKind, String);

/// Time at which this console first saw each current alarm.
pub(in crate::console) type Standing = BTreeMap<AlarmKey, Timestamp>;

/// Position of the cursor in the list of alarms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlarmPlace {
    /// The alarm under the cursor; `None` before it was moved.
    chosen: Option<AlarmKey>,
    /// Its row, for when the alarm is gone.
    row: usize,
    /// Number of its lines that are scrolled off the top, if it has more than fit.
    pub(in crate::console) scroll: u16,
}

impl AlarmPlace {
    /// The row of the alarm under the cursor; if it is gone, of the one in its place.
    pub(in crate::console) fn row_in(&self, alarms: &[Alarm]) -> usize {
        let is_chosen = |alarm: &Alarm| Some(&key_of(alarm)) == self.chosen.as_ref();
        let known = alarms.iter().position(is_chosen);
        known.unwrap_or(self.row.min(alarms.len().saturating_sub(1)))
    }
}

fn key_of(alarm: &Alarm) -> AlarmKey {
    (alarm.kind, alarm.about.clone())
}

impl App {
    /// Conditions that need an operator, worst first.
    #[must_use]
    pub fn alarms(&self, now: Timestamp) -> Vec<Alarm> {
        let mut alarms = alarms::alarms(&self.snapshot, now);
        let own = match &self.startup {
            Startup::Working(text) => Some((Severity::Warning, text)),
            Startup::Failed(text) => Some((Severity::Critical, text)),
            Startup::None | Startup::Ready => None,
        };
        if let Some((severity, text)) = own {
            // A missing worker is expected then.
            alarms.retain(|alarm| !alarm.text.starts_with(alarms::NO_WORKER));
            let alarm = Alarm::new(severity, AlarmKind::Start, "pool", text.clone());
            alarms.insert(0, alarm);
        }
        if self.is_cut_off {
            let text = "This console hears of nothing any more, what it shows is old: leave it and \
                        start it again";
            let alarm = Alarm::new(Severity::Critical, AlarmKind::Unreachable, "console", text);
            alarms.insert(0, alarm);
        }
        alarms
    }

    /// Rings for current alarms.
    pub(super) fn ring(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.setup.ring.how.is_empty() {
            return;
        }
        let mut alarms = self.alarms(now);
        alarms.retain(|alarm| !alarm.is_acknowledged(now));
        if let Some(text) = self.ringing.note(&self.setup.ring, &alarms, now) {
            let how = &self.setup.ring.how;
            effects.push(Effect::Ring {
                bell: how.contains(&Ring::Bell),
                notification: how.contains(&Ring::Desktop).then_some(text),
            });
        }
    }

    /// Records the current alarms.
    pub(super) fn note_alarms(&mut self, now: Timestamp) {
        let known = std::mem::take(&mut self.standing);
        let alarms = self.alarms(now).into_iter();
        self.standing = alarms
            .map(|alarm| {
                let key = key_of(&alarm);
                let since = alarm.since.or_else(|| known.get(&key).copied());
                (key, since.unwrap_or(now))
            })
            .collect();
    }

    /// Time at which a worker, or this console, first saw an alarm.
    pub(in crate::console) fn stands_since(&self, alarm: &Alarm) -> Option<Timestamp> {
        self.standing.get(&key_of(alarm)).copied()
    }

    pub(super) fn list_alarms(&mut self) {
        self.alarm_place = Some(AlarmPlace::default());
        self.overlay = Some(Overlay::Alarms(AlarmPlace::default()));
    }

    pub(super) fn alarms_key(
        &mut self,
        key: Key,
        place: &AlarmPlace,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let alarms = self.alarms(now);
        let row = place.row_in(&alarms);
        let overflow = alarms.get(row);
        let overflow = overflow.map_or(0, |alarm| render::alarm_overflow(self, alarm));
        let mut scroll = 0;
        let page = usize::from(self.size.1 / 4).max(1);
        let command = match self.keymap.meaning(&[key], self.view) {
            Meaning::Command(command) => Some(command),
            Meaning::Begun | Meaning::Nothing => None,
        };
        let moved = match command.map(|command| command.verb) {
            // First scroll through the lines of the alarm under the cursor, if it has more than
            // fit.
            Some(Verb::Move(Motion::Down)) if place.scroll < overflow => {
                scroll = place.scroll + 1;
                row
            }
            Some(Verb::Move(Motion::Up)) if place.scroll > 0 => {
                scroll = place.scroll.min(overflow).saturating_sub(1);
                row
            }
            Some(Verb::Move(Motion::Down)) => row + 1,
            Some(Verb::Move(Motion::Up)) => row.saturating_sub(1),
            Some(Verb::Move(Motion::PageDown)) => row + page,
            Some(Verb::Move(Motion::PageUp)) => row.saturating_sub(page),
            Some(Verb::Move(Motion::Top)) => 0,
            Some(Verb::Move(Motion::Bottom)) => usize::MAX,
            Some(Verb::Back | Verb::Quit | Verb::Alarms) => return,
            Some(Verb::Open) => {
                if let Some(alarm) = alarms.get(row) {
                    self.go_to_alarm(alarm, effects);
                }
                return;
            }
            Some(Verb::Copy) => {
                if let Some(alarm) = alarms.get(row) {
                    self.put_on_clipboard(alarm.text.clone(), now, effects);
                }
                row
            }
            Some(Verb::Acknowledge) if !self.setup.read_only => {
                self.acknowledge(Some(place), "", now, effects);
                row
            }
            _ => match command {
                // Another command closes the list and is carried out.
                Some(command) => return self.perform(command, "", now, effects),
                None => row,
            },
        };
        let row = moved.min(alarms.len().saturating_sub(1));
        let chosen = alarms.get(row).map(key_of);
        let place = AlarmPlace {
            chosen,
            row,
            scroll,
        };
        self.alarm_place = Some(place.clone());
        self.overlay = Some(Overlay::Alarms(place));
    }

    /// Shows the view of an alarm's subject, with the cursor on it. Esc returns.
    fn go_to_alarm(&mut self, alarm: &Alarm, effects: &mut Vec<Effect>) {
        let view = view_of(alarm, &self.snapshot);
        if view != self.view {
            self.enter(view, alarm.kind.name().to_owned(), "", effects);
        }
        let (snapshot, level) = (self.snapshot.clone(), self.logs.level);
        let list = self.list_mut();
        list.refresh(view, &snapshot, level);
        let is_it = |row: &usize| {
            let position = list.rows.get(*row);
            let id = position.and_then(|at| rows::id_at(view, &snapshot, at));
            id == Some(&alarm.about) || position.is_some_and(|at| is_place_of(alarm, &snapshot, at))
        };
        if let Some(row) = (0..list.rows.len()).find(is_it) {
            list.move_to(row);
            list.remember(view, &snapshot);
        }
    }
}

/// Whether a row of an alarm's view is where it was seen: its subject is no row itself.
fn is_place_of(alarm: &Alarm, snapshot: &Shown, position: usize) -> bool {
    match alarm.kind {
        AlarmKind::CodeLocation if view_of(alarm, snapshot) == View::Workers => {
            let worker = snapshot.workers.get(position);
            worker.is_some_and(|worker| cannot_load(worker, &alarm.about))
        }
        AlarmKind::CodeLocation | AlarmKind::Daemon => {
            let part = snapshot.dagster.get(position);
            part.is_some_and(|part| part.name == alarm.about)
        }
        AlarmKind::Clock => rows::worker_at(snapshot, position)
            .is_some_and(|worker| worker.hostname() == alarm.about),
        AlarmKind::FailureRate => rows::task_at(snapshot, position)
            .is_some_and(|task| task.job.as_deref() == Some(&alarm.about)),
        AlarmKind::FailedRun => snapshot
            .runs
            .get(position)
            .is_some_and(|run| run.job == alarm.about && run.status == RunStatus::Failure),
        _ => false,
    }
}

fn cannot_load(worker: &WorkerView, location: &str) -> bool {
    let failed = |host: &ForkServerView| {
        host.location == location && matches!(host.phase, ForkServerPhase::Failed(_))
    };
    worker.hosts.iter().any(failed)
}

/// The view in which an alarm can be investigated.
fn view_of(alarm: &Alarm, snapshot: &Shown) -> View {
    let of = |kind| alarm.about.starts_with(labels::source(kind));
    match alarm.kind {
        AlarmKind::Unreachable if of(SourceKind::Webserver) => View::Runs,
        AlarmKind::Unreachable if of(SourceKind::Broker) => View::Queues,
        AlarmKind::NoConsumer | AlarmKind::Backlog | AlarmKind::Queue | AlarmKind::OldMessage => {
            View::Queues
        }
        AlarmKind::DeadLetters => View::DeadLetters,
        AlarmKind::Held | AlarmKind::FailureRate => View::Steps,
        AlarmKind::FailedRun => View::Runs,
        AlarmKind::Start | AlarmKind::Hook => View::Logs,
        AlarmKind::Daemon => View::Dagster,
        AlarmKind::CodeLocation => {
            let mut workers = snapshot.workers.iter();
            if workers.any(|worker| cannot_load(worker, &alarm.about)) {
                View::Workers
            } else {
                View::Dagster
            }
        }
        AlarmKind::Unreachable
        | AlarmKind::SilentWorker
        | AlarmKind::Disk
        | AlarmKind::Clock
        | AlarmKind::Fleet => View::Workers,
    }
}
