//! A rolling restart: workers drain and start again one after the other, the next only when the
//! former is back. It stops at the first that does not come back.
//!
//! The console alone keeps the list. If it ends, the worker under way restarts all the same, and the
//! others go on as they are.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};

use super::confirm::{name_of, names};
use super::{App, Effect};
use crate::console::labels::plural;
use crate::console::overlay::Action;
use crate::console::toast::Tone;
use crate::domain::{Command, Reply, WorkerState, WorkerView, parse_seconds};

/// Time for a worker to be back once its process has ended.
const BACK: SignedDuration = SignedDuration::from_mins(3);

/// Restarts under way.
#[derive(Clone, Debug)]
pub struct Rolling {
    within: Option<u64>,
    reason: Option<String>,
    left: VecDeque<String>,
    total: usize,
    done: usize,
    current: Option<Current>,
    /// Whether the operator was warned on leaving.
    is_leaving: bool,
}

/// The worker under way.
#[derive(Clone, Debug)]
struct Current {
    worker: String,
    request: u64,
    /// Start of the process that is to end.
    began: Timestamp,
    gone_since: Option<Timestamp>,
}

/// State of the worker under way.
enum Progress {
    Going,
    Back,
    NotBack,
}

impl Rolling {
    /// Progress, for the head line.
    pub(in crate::console) fn note(&self) -> String {
        let worker = self.current.as_ref().map(|current| current.worker.as_str());
        let worker = worker.unwrap_or_default();
        format!("restarting {}/{} {worker}", self.done + 1, self.total)
    }

    pub(super) fn move_deadlines(&mut self, moved: impl Fn(Timestamp) -> Timestamp) {
        if let Some(current) = &mut self.current {
            current.gone_since = current.gone_since.map(moved);
        }
    }
}

impl Current {
    fn look(&mut self, worker: Option<&WorkerView>, now: Timestamp) -> Progress {
        match worker.map(|worker| (worker.state, worker.started_at)) {
            Some((WorkerState::Running | WorkerState::Paused, at)) if at != self.began => {
                return Progress::Back;
            }
            Some((state, _)) if !state.is_over() => {
                self.gone_since = None;
                return Progress::Going;
            }
            _ => {}
        }
        let since = *self.gone_since.get_or_insert(now);
        if now.duration_since(since) >= BACK {
            Progress::NotBack
        } else {
            Progress::Going
        }
    }
}

impl App {
    /// The restarts under way.
    #[must_use]
    pub fn rolling(&self) -> Option<&Rolling> {
        self.rolling.as_ref()
    }

    /// Opens the confirmation of a restart of the workers a command applies to. `argument` is the
    /// time after which their running tasks are interrupted.
    pub(in crate::console) fn confirm_restart(&mut self, argument: &str, now: Timestamp) {
        let within = match argument {
            "" => None,
            span => match parse_seconds(span) {
                Ok(seconds) => Some(seconds),
                Err(problem) => return self.toast(Tone::Failed, problem, now),
            },
        };
        if let Some(rolling) = &self.rolling {
            let text = format!("{} is under way: x stops it", rolling.note());
            return self.toast(Tone::Failed, text, now);
        }
        let mut targets = self.targets_or_toast(now);
        targets.retain(|worker| !worker.state.is_over());
        if targets.is_empty() {
            return;
        }
        let (running, held) = self.load_of(&targets);
        let mut body = vec![
            match within {
                None => format!("{running} running will finish; {held} held go back."),
                Some(seconds) => format!(
                    "{running} running may finish for {seconds} s, then they are interrupted; \
                     {held} held go back."
                ),
            },
            String::from("Then it starts again in its place, with its flags."),
        ];
        if targets.len() > 1 {
            body.insert(0, names(targets.iter().map(|worker| worker.id.as_str())));
            body[2] = format!(
                "One after the other, the next only when the former is back; it stops at the first \
                 that is not within {} minutes. x stops it.",
                BACK.as_mins()
            );
        }
        let requests = targets
            .iter()
            .map(|worker| (Some(worker.id.clone()), Command::Restart { within }))
            .collect();
        let title = format!("Restart {}?", name_of(&targets));
        self.confirm_action(title, body, None, Action::Roll(requests));
    }

    /// Begins with the confirmed restarts.
    pub(super) fn start_rolling(
        &mut self,
        requests: Vec<(Option<String>, Command)>,
        reason: Option<String>,
    ) {
        let within = requests.iter().find_map(|(_, command)| match command {
            Command::Restart { within } => *within,
            _ => None,
        });
        let left: VecDeque<String> = requests.into_iter().filter_map(|(id, _)| id).collect();
        self.rolling = Some(Rolling {
            within,
            reason,
            total: left.len(),
            left,
            done: 0,
            current: None,
            is_leaving: false,
        });
    }

    /// Looks at the worker under way, and goes on with the next one.
    pub(super) fn keep_rolling(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(rolling) = &mut self.rolling else {
            return;
        };
        let workers = &self.snapshot.workers;
        let view = |id: &str| workers.iter().find(|worker| worker.id == id);
        if let Some(current) = &mut rolling.current {
            let worker = current.worker.clone();
            match current.look(view(&worker), now) {
                Progress::Going => return,
                Progress::Back => {
                    rolling.done += 1;
                    rolling.current = None;
                }
                Progress::NotBack => {
                    let why = format!(
                        "{worker} did not come back within {} minutes; its log says why",
                        BACK.as_mins()
                    );
                    return self.stop_rolling(&why, now);
                }
            }
        }
        let Some(id) = rolling.left.pop_front() else {
            return self.stop_rolling("", now);
        };
        let Some(worker) = view(&id).filter(|worker| !worker.state.is_over()) else {
            rolling.left.push_front(id.clone());
            return self.stop_rolling(&format!("{id} is gone"), now);
        };
        self.next_request += 1;
        rolling.current = Some(Current {
            worker: id.clone(),
            request: self.next_request,
            began: worker.started_at,
            gone_since: None,
        });
        effects.push(Effect::Request {
            request: self.next_request,
            worker: Some(id),
            command: Command::Restart {
                within: rolling.within,
            },
            reason: rolling.reason.clone(),
        });
    }

    /// Takes an answer to a restart; `false` if it belongs to something else.
    pub(super) fn rolling_reply(&mut self, request: u64, reply: &Reply, now: Timestamp) -> bool {
        let rolling = self.rolling.as_ref();
        let current = rolling.and_then(|rolling| rolling.current.as_ref());
        let Some(current) = current.filter(|current| current.request == request) else {
            return false;
        };
        if let Some(reason) = reply.problem() {
            let why = format!("{}: {reason}", current.worker);
            self.stop_rolling(&why, now);
        }
        true
    }

    /// Ends the restarts: the worker under way restarts, the others go on as they are. Without
    /// `why` they are done.
    pub(super) fn stop_rolling(&mut self, why: &str, now: Timestamp) {
        let Some(rolling) = self.rolling.take() else {
            return;
        };
        let Rolling {
            done, total, left, ..
        } = rolling;
        let text = format!("Restarted {done} of {}", plural(total, "worker"));
        if why.is_empty() {
            return self.toast(Tone::Done, text, now);
        }
        let rest = if left.is_empty() {
            String::new()
        } else {
            let left = names(left.iter().map(String::as_str));
            format!("; not restarted: {left}")
        };
        self.toast(Tone::Failed, format!("{text}: {why}{rest}"), now);
    }

    /// Warns once before the console is left while workers are to be restarted; `true` if it did.
    pub(super) fn warns_of_restarts(&mut self, now: Timestamp) -> bool {
        let rolling = self.rolling.as_mut();
        let Some(rolling) = rolling.filter(|rolling| !rolling.is_leaving) else {
            return false;
        };
        if rolling.left.is_empty() {
            return false;
        }
        rolling.is_leaving = true;
        let left = plural(rolling.left.len(), "worker");
        let text = format!("{left} not restarted yet: q again leaves them as they are");
        self.toast(Tone::Failed, text, now);
        true
    }
}
