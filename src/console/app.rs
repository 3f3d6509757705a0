//! The console's model: what is looked at, how, and what lies on top.
//!
//! [`App::update`] takes a message and answers with effects, without I/O; [`App::render`] draws the
//! model as it stands. The terminal, the clock and the control layer are [`super::runtime`]'s.

mod alarming;
mod dispatch;
mod explaining;
mod following;
mod hearing;
mod launching;
mod list;
mod marks;
mod messages;
mod mouse;
mod operations;
mod overlays;
mod palette;
mod questions;
mod removals;
mod runs;
mod trail;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::domain::{Command, LogLevel, Reply, Snapshot};

use super::days::Days;
use super::follow::Follow;
use super::glyphs::Glyphs;
use super::key::Key;
use super::keymap::Keymap;
use super::options::{Exit, QuitPolicy, Startup};
use super::overlay::Overlay;
use super::ringing::{RingSettings, Ringing};
use super::theme::{Depth, Theme};
use super::toast::{Toast, Tone};
use super::view::View;

pub use super::render::Caret;
pub(super) use alarming::Standing;
pub use alarming::{AlarmKey, AlarmPlace};
pub use explaining::{Explained, Subject};
pub use list::List;
pub use messages::Messages;
pub use mouse::Mouse;
pub use trail::Place;

/// What the model is told.
#[derive(Clone, Debug)]
pub enum Message {
    /// A key was pressed.
    Key(Key),
    /// Text was pasted.
    Paste(String),
    /// The mouse did something.
    Mouse(Mouse),
    /// The terminal has this many columns and rows.
    Resize(u16, u16),
    /// How things stand now.
    Snapshot(Arc<Snapshot>),
    /// What came of a command.
    Reply {
        /// The request's number, from its effect.
        request: u64,
        /// The outcome.
        reply: Reply,
    },
    /// How the start of the pool goes.
    Startup(Startup),
    /// What came of writing a file: one sentence either way.
    Written(Result<String, String>),
    /// What came of `$EDITOR`: the text, or one sentence.
    Edited(Result<String, String>),
    /// Nothing will be heard any more: what gathers it has ended.
    CutOff,
    /// Time has passed.
    Tick,
    /// A thread other than the console's panicked.
    BackgroundPanic(String),
}

/// What the model wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send a command.
    Request {
        /// Number for the reply.
        request: u64,
        /// The worker it is for; `None` is all of them, or Dagster.
        worker: Option<String>,
        /// The command.
        command: Command,
    },
    /// Put text on the clipboard of the operator's terminal.
    Copy(String),
    /// Write a new file.
    Write {
        /// Its path; a file that exists is not overwritten.
        path: PathBuf,
        /// What it is to hold.
        text: String,
    },
    /// Have text edited in `$EDITOR`; the terminal is its own meanwhile.
    Edit(String),
    /// Have the terminal tell of the mouse, or no longer.
    Mouse(bool),
    /// Call an operator who looks elsewhere: BEL, a notification with this text (OSC 9), or both.
    Ring {
        /// Whether BEL is sent.
        bell: bool,
        /// What the notification says.
        notification: Option<String>,
    },
    /// Draw every cell again.
    Redraw,
    /// Stop this process group until `fg`.
    Suspend,
    /// Leave.
    Exit(Exit),
}

/// What does not change while the console runs.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Refuse what changes something.
    pub read_only: bool,
    /// Shown beside the product's name.
    pub context: String,
    /// What `q` does.
    pub quit: QuitPolicy,
    /// The signs to draw with.
    pub glyphs: &'static Glyphs,
    /// Colours of the terminal.
    pub depth: Depth,
    /// Zone of the times shown.
    pub zone: TimeZone,
    /// Time moves on in steps of ten seconds: no figure ticks by itself.
    pub reduced_motion: bool,
    /// How and for which alarms the terminal rings.
    pub ring: RingSettings,
}

/// How the log view shows lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// Lowest level shown.
    pub level: LogLevel,
    /// Stay at the newest line.
    pub follow: bool,
    /// Break long lines.
    pub wrap: bool,
    /// How they tell their time.
    pub times: LogTimes,
}

/// What stands before a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogTimes {
    /// The time of day, to the second.
    #[default]
    Clock,
    /// Date and time of day, to the millisecond.
    Full,
    /// Nothing.
    None,
}

impl LogTimes {
    pub(super) fn next(self) -> Self {
        match self {
            Self::Clock => Self::Full,
            Self::Full => Self::None,
            Self::None => Self::Clock,
        }
    }
}

/// The model.
#[derive(Clone, Debug)]
pub struct App {
    pub(super) setup: Setup,
    /// The zone of the times before it was switched.
    own_zone: TimeZone,
    pub(super) theme: Theme,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) view: View,
    /// The views that Esc leads back to.
    trail: Vec<Place>,
    pub(super) lists: [List; View::ALL.len()],
    pub(super) overlay: Option<Overlay>,
    pub(super) logs: LogSettings,
    pub(super) toasts: Vec<Toast>,
    /// Names typed after `:`, oldest first.
    pub(super) history: Vec<String>,
    /// Filters that were set, oldest first.
    pub(super) filters: Vec<String>,
    pub(super) keymap: Keymap,
    /// Keys of a sequence that is not complete yet.
    pub(super) pending: Vec<Key>,
    pub(super) startup: Startup,
    /// The alarms that stand.
    pub(super) standing: Standing,
    /// What waited over the last day.
    pub(super) waiting: Days,
    pub(super) size: (u16, u16),
    /// Whether the mouse is used.
    pub(super) mouse: bool,
    /// Slot targets asked for and not yet seen in a snapshot, by worker: quick presses of `+` add up.
    wanted_slots: BTreeMap<String, u32>,
    /// What is followed while a task's details are open.
    pub(super) followed: Option<Follow>,
    /// What is explained while its page or its details are open.
    pub(super) explained: Option<Explained>,
    /// What is shown is the last that is ever heard.
    pub(super) is_cut_off: bool,
    /// How many of the snapshot's runs are not over: counted once, and not in every frame.
    pub(super) unfinished_runs: usize,
    /// The request that loads older runs, while it is under way.
    loading_runs: Option<u64>,
    next_request: u64,
    /// What was told of queues and messages beyond the snapshot.
    pub(super) messages: Messages,
    /// The alarms that the terminal rings for.
    ringing: Ringing,
    /// The moment of the last message.
    told_at: Timestamp,
}

/// With nothing moving on the screen, ages and heartbeats are looked at this often.
const STALE_CHECK: Duration = Duration::from_secs(5);
/// With something moving, once a second.
const MOVING: Duration = Duration::from_secs(1);

impl App {
    /// A console that has seen nothing yet.
    #[must_use]
    pub fn new(setup: Setup, theme: Theme) -> Self {
        Self {
            own_zone: setup.zone.clone(),
            setup,
            theme,
            snapshot: Arc::default(),
            view: View::Overview,
            trail: Vec::new(),
            lists: Default::default(),
            overlay: None,
            logs: LogSettings {
                level: LogLevel::Info,
                follow: true,
                wrap: false,
                times: LogTimes::default(),
            },
            toasts: Vec::new(),
            history: Vec::new(),
            filters: Vec::new(),
            keymap: Keymap::default(),
            pending: Vec::new(),
            startup: Startup::None,
            standing: Standing::new(),
            waiting: Days::default(),
            size: (80, 24),
            mouse: false,
            wanted_slots: BTreeMap::new(),
            followed: None,
            explained: None,
            is_cut_off: false,
            unfinished_runs: 0,
            loading_runs: None,
            next_request: 0,
            messages: Messages::default(),
            ringing: Ringing::default(),
            told_at: Timestamp::MIN,
        }
    }

    /// Takes a message; says what is to be done.
    #[must_use = "what is not done is waited for without end"]
    pub fn update(&mut self, message: Message, now: Timestamp) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.follow_clock(now);
        let passes = |message: &Message| {
            matches!(
                message,
                Message::Snapshot(_) | Message::Startup(_) | Message::CutOff | Message::Tick
            )
        };
        let may_alarm = passes(&message);
        match message {
            Message::Key(key) => self.key(key, now, &mut effects),
            Message::Paste(text) => self.paste(&text, now),
            Message::Mouse(mouse) => self.take_mouse(mouse, &mut effects),
            Message::Resize(columns, rows) => self.size = (columns, rows),
            Message::Snapshot(snapshot) => self.take_snapshot(snapshot, now, &mut effects),
            Message::Startup(startup) => self.take_startup(startup),
            Message::Written(Ok(text)) => self.toast(Tone::Done, text, now),
            Message::Written(Err(text)) => self.toast(Tone::Failed, text, now),
            Message::Edited(edited) => {
                if let Some(edited) = self.message_edited(edited, now) {
                    self.edited(edited, now);
                }
            }
            Message::Reply { request, reply } => {
                if !self.queue_reply(request, &reply, now, &mut effects)
                    && !self.form_reply(request, &reply, now, &mut effects)
                    && !self.follow_reply(request, &reply, now)
                    && !self.explain_reply(request, &reply, now)
                {
                    self.take_reply(request, reply, now);
                }
            }
            Message::CutOff => self.is_cut_off = true,
            Message::Tick => {}
            Message::BackgroundPanic(text) => {
                self.toast(
                    Tone::Failed,
                    format!("A background task failed: {text}"),
                    now,
                );
            }
        }
        if may_alarm {
            self.note_alarms(now);
            self.ring(now, &mut effects);
        }
        self.toasts.retain(|toast| toast.until > now);
        self.settle();
        self.follow(now, &mut effects);
        self.keep_explaining(now, &mut effects);
        effects
    }

    /// How long nothing on the screen changes by time alone.
    #[must_use]
    pub fn next_tick(&self, now: Timestamp) -> Duration {
        let snapshot = &self.snapshot;
        let just_ended = |at: &Timestamp| now.duration_since(*at) < super::throughput::WINDOW;
        let follows = self.followed.as_ref();
        let moving = follows.is_some_and(|follow| !follow.is_over())
            || self.explained.is_some()
            || !snapshot.tasks.is_empty()
            || !self.toasts.is_empty()
            || self.ringing.is_waiting()
            || self.unfinished_runs > 0
            || super::throughput::last_end(snapshot)
                .as_ref()
                .is_some_and(just_ended)
            || snapshot
                .sources
                .iter()
                .any(|source| source.health.problem().is_some());
        if moving { MOVING } else { STALE_CHECK }
    }

    /// The view on the screen.
    #[must_use]
    pub fn view(&self) -> View {
        self.view
    }

    /// What lies on top of it.
    #[must_use]
    pub fn overlay(&self) -> Option<&Overlay> {
        self.overlay.as_ref()
    }

    /// The toasts, oldest first.
    #[must_use]
    pub fn toasts(&self) -> &[Toast] {
        &self.toasts
    }

    pub(super) fn list(&self) -> &List {
        &self.lists[self.view.index()]
    }

    fn list_mut(&mut self) -> &mut List {
        &mut self.lists[self.view.index()]
    }

    /// Why the worker that this console was to start is not there.
    #[must_use]
    pub fn startup_problem(&self) -> Option<&str> {
        match &self.startup {
            Startup::Failed(text) => Some(text),
            Startup::None | Startup::Working(_) | Startup::Ready => None,
        }
    }

    /// With the operator's own keys.
    #[must_use]
    pub fn with_keys(self, keymap: Keymap) -> Self {
        Self { keymap, ..self }
    }

    /// Brings rows, cursor and offset of the view on the screen in line with everything else.
    fn settle(&mut self) {
        let page = super::render::page_rows(self);
        let (view, logs) = (self.view, self.logs);
        let snapshot = Arc::clone(&self.snapshot);
        let is_open = matches!(self.overlay, Some(Overlay::Detail { .. }));
        if !is_open {
            self.lists.iter_mut().for_each(List::let_go);
        }
        let list = self.list_mut();
        list.refresh(view, &snapshot, logs.level);
        if is_open {
            list.hold(view, &snapshot);
        } else {
            if view == View::Logs && logs.follow {
                list.move_to(usize::MAX);
            }
            list.remember(view, &snapshot);
        }
        list.scroll(page);
    }
}
