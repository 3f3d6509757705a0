//! Incoming data of the console: snapshots, and replies to its commands.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{App, Effect};
use crate::console::options::{QuitPolicy, Startup};
use crate::console::shown::Shown;
use crate::console::toast::{MAX_TOASTS, Toast, Tone};
use crate::console::view::View;
use crate::domain::{Answer, Reply, Snapshot};

impl App {
    pub(super) fn take_startup(&mut self, startup: Startup) {
        self.setup.quit = match startup {
            Startup::Working(_) | Startup::Ready => QuitPolicy::Confirm,
            Startup::None | Startup::Failed(_) => self.setup.quit,
        };
        self.startup = startup;
    }

    pub(super) fn take_snapshot(
        &mut self,
        snapshot: Arc<Snapshot>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        self.waiting.note(&snapshot, now);
        let before = self.snapshot.clone();
        self.snapshot.receive(snapshot);
        let same = self.view.spec().is_same(&before, &self.snapshot);
        if !Arc::ptr_eq(&before.runs, &self.snapshot.runs) {
            let runs = self.snapshot.runs.iter();
            self.unfinished_runs = runs.filter(|run| !run.status.is_finished()).count();
        }
        self.refresh_peeks(&before, effects);
        forget(before);
        let workers = &self.snapshot.workers;
        self.requested_slots.retain(|id, requested| {
            workers
                .iter()
                .any(|worker| worker.id == *id && worker.steps.target != *requested)
        });
        self.list_mut().stale |= !same;
        self.show_dead_letters();
    }

    pub(super) fn take_reply(&mut self, request: u64, reply: Reply, now: Timestamp) {
        let (tone, text) = match reply {
            Reply::Done(text) => (Tone::Done, text),
            Reply::Failed(text) => {
                self.requested_slots.clear();
                (Tone::Failed, text)
            }
            Reply::Operation(result) if result.failed => (Tone::Failed, result.text),
            Reply::Operation(result) => (Tone::Done, result.text),
            Reply::Answer(answer) => {
                if let Answer::OlderRuns { count, last } = *answer {
                    self.older_loaded(request, count, last, now);
                }
                return;
            }
        };
        if self.view == View::Dagster {
            // The result of a start or stop is shown at once.
            self.parts.refresh_peeks();
        }
        if self.loading_runs == Some(request) {
            self.loading_runs = None;
        }
        self.toasts.retain(|toast| toast.request != Some(request));
        self.toast(tone, text, now);
    }

    pub(super) fn toast(&mut self, tone: Tone, text: impl Into<String>, now: Timestamp) {
        let until = now + SignedDuration::from_secs(tone.seconds());
        if self.toasts.len() == MAX_TOASTS {
            // Of many answers, the operator must read the failures.
            let mut toasts = self.toasts.iter();
            let least = toasts.position(|toast| toast.tone != Tone::Failed);
            self.toasts.remove(least.unwrap_or(0));
        }
        self.toasts.push(Toast {
            tone,
            text: text.into(),
            until,
            request: None,
        });
    }
}

/// Frees a snapshot on a thread, because freeing the lists of a large one takes longer than a key
/// may wait.
fn forget(snapshot: Shown) {
    const MANY: usize = 10_000;
    let lists = View::ALL.map(|view| view.spec().total(&snapshot));
    if lists.into_iter().any(|rows| rows > MANY) {
        // If no thread can be started, it is freed here.
        drop(std::thread::Builder::new().spawn(move || drop(snapshot)));
    }
}
