//! The console's model: the view, its presentation, and the overlay.
//!
//! [`App::update`] takes a message and returns effects, without I/O; [`App::render`] draws the
//! current model. [`super::runtime`] owns the terminal, the clock and the control layer.

mod acknowledging;
mod alarm_list;
mod batch;
mod confirm;
mod confirm_removal;
mod contexts;
mod details;
mod dispatch;
mod explanation;
mod failures;
mod find;
mod launch_form;
mod links;
mod list;
mod marks;
mod messages;
mod mouse;
mod navigation;
mod operations;
mod overlays;
mod palette;
mod parts;
mod pausing;
mod plugins;
mod rolling;
mod runs;
mod updates;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::depth_history::DepthHistory;
use super::follow::Follow;
use super::glyphs::Glyphs;
use super::key::Key;
use super::keymap::Keymap;
use super::notify::{Notifier, RingSettings};
use super::options::{ContextChoice, Exit, QuitPolicy, Startup};
use super::overlay::Overlay;
use super::plugins::{Call, Plugin};
use super::shown::Shown;
use super::theme::{Depth, Theme};
use super::toast::{Toast, Tone};
use super::view::View;
use crate::domain::{Command, LogLevel, Reply, Snapshot};

pub use super::render::Caret;
pub use acknowledging::AlarmHistory;
pub(super) use alarm_list::Standing;
pub use alarm_list::{AlarmKey, AlarmPlace};
pub(super) use batch::MAX_RATE;
pub use batch::{Batch, Plan};
pub use explanation::{Explained, Subject};
pub use failures::Failures;
pub use find::Find;
pub use list::List;
pub use messages::Messages;
pub use mouse::Mouse;
pub use navigation::Place;
pub use parts::Parts;
use plugins::Running;
pub use rolling::Rolling;

/// Input of the model.
#[derive(Clone, Debug)]
pub enum Message {
    /// A key was pressed.
    Key(Key),
    /// Text was pasted.
    Paste(String),
    /// A mouse event.
    Mouse(Mouse),
    /// The terminal's size in columns and rows.
    Resize(u16, u16),
    /// The current state.
    Snapshot(Arc<Snapshot>),
    /// The outcome of a command.
    Reply {
        /// The request's number, from its effect.
        request: u64,
        /// The outcome.
        reply: Reply,
    },
    /// The state of the pool's start.
    Startup(Startup),
    /// The outcome of writing a file: one sentence in both cases.
    Written(Result<String, String>),
    /// The outcome of `$EDITOR`: the text, or one sentence.
    Edited(Result<String, String>),
    /// No more data will arrive, because their collector has ended.
    CutOff,
    /// Time has passed.
    Tick,
    /// A thread other than the console's panicked.
    BackgroundPanic(String),
}

/// Action requested by the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send a command.
    Request {
        /// Number for the reply.
        request: u64,
        /// The addressed worker; `None` is all of them, or Dagster.
        worker: Option<String>,
        /// The command.
        command: Command,
        /// The operator's reason, for the audit log.
        reason: Option<String>,
    },
    /// Copy text to the clipboard of the operator's terminal.
    Copy(String),
    /// Open an address in this desktop's browser.
    Browse(String),
    /// Write a new file.
    Write {
        /// Its path; a file that exists is not overwritten.
        path: PathBuf,
        /// Its content.
        text: String,
    },
    /// Run a program of the operator's own.
    Run(Box<Call>),
    /// Edit text in `$EDITOR`, which has the terminal meanwhile.
    Edit(String),
    /// Turn the terminal's mouse reports on or off.
    Mouse(bool),
    /// Call an operator who looks elsewhere: BEL, a notification with this text (OSC 9), or both.
    Ring {
        /// Whether BEL is sent.
        bell: bool,
        /// Text of the notification, if one is sent.
        notification: Option<String>,
    },
    /// Draw every cell again.
    Redraw,
    /// Stop this process group until `fg`.
    Suspend,
    /// End the console.
    Exit(Exit),
}

/// Settings that are constant while the console runs.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Whether commands that change something are refused.
    pub read_only: bool,
    /// Shown beside the product's name.
    pub context: String,
    /// The deployments to choose from.
    pub contexts: Vec<ContextChoice>,
    /// Behaviour of `q`.
    pub quit: QuitPolicy,
    /// The glyphs to draw with.
    pub glyphs: &'static Glyphs,
    /// Colour depth of the terminal.
    pub depth: Depth,
    /// Whether the operator sits at this host's desktop, where a browser can be opened.
    pub has_desktop: bool,
    /// Time zone of the times shown.
    pub zone: TimeZone,
    /// Whether times move on in steps of ten seconds, so that no figure ticks by itself.
    pub reduced_motion: bool,
    /// Ways of ringing the terminal, and the alarms that ring.
    pub ring: RingSettings,
}

/// Display settings of the log view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// Lowest level shown.
    pub level: LogLevel,
    /// Whether it stays at the newest line.
    pub follow: bool,
    /// Whether long lines are broken.
    pub wrap: bool,
    /// Form of the times.
    pub times: LogTimes,
}

/// Text before a log line.
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
    /// The time zone before it was switched.
    own_zone: TimeZone,
    pub(super) theme: Theme,
    pub(super) snapshot: Shown,
    pub(super) view: View,
    /// The views that Esc leads back to.
    trail: Vec<Place>,
    pub(super) lists: [List; View::ALL.len()],
    pub(super) overlay: Option<Overlay>,
    pub(super) logs: LogSettings,
    pub(super) toasts: Vec<Toast>,
    /// Command lines entered after `:`, oldest first.
    pub(super) history: Vec<String>,
    /// Filters that were set, oldest first.
    pub(super) filters: Vec<String>,
    /// Filters that were saved, by name.
    pub(super) saved_filters: BTreeMap<String, String>,
    pub(super) keymap: Keymap,
    /// The operator's own commands.
    plugins: Vec<Plugin>,
    /// Their programs under way.
    running: Running,
    /// The reason given with the command that is carried out, or whose dialog is open.
    given_reason: Option<String>,
    /// The search in the open page.
    page_find: Option<Find>,
    /// Text searched among the log lines.
    log_find: String,
    /// Keys of a sequence that is not complete yet.
    pub(super) pending: Vec<Key>,
    pub(super) startup: Startup,
    /// The current alarms.
    pub(super) standing: Standing,
    /// Waiting messages over the last day.
    pub(super) waiting: DepthHistory,
    pub(super) size: (u16, u16),
    /// Whether the mouse is used.
    pub(super) mouse: bool,
    /// Requested slot targets that have not appeared in a snapshot yet, by worker: quick presses of
    /// `+` add up.
    requested_slots: BTreeMap<String, u32>,
    /// The followed item, while the details of a task or run are open.
    pub(super) followed: Option<Follow>,
    /// Whether the stack of the followed task is to be read.
    wants_stack: bool,
    /// The explained item, while its page or its details are open.
    pub(super) explained: Option<Explained>,
    /// The last place of the cursor in the list of alarms.
    pub(super) alarm_place: Option<AlarmPlace>,
    /// The history of alarms that was read last.
    pub(super) alarm_history: AlarmHistory,
    /// Whether the data shown are final, because no more will arrive.
    pub(super) is_cut_off: bool,
    /// Number of the snapshot's unfinished runs: counted once, and not in every frame.
    pub(super) unfinished_runs: usize,
    /// The request that loads older runs, while it is under way.
    loading_runs: Option<u64>,
    next_request: u64,
    /// Data about queues and messages beyond the snapshot.
    pub(super) messages: Messages,
    /// The failures known so far.
    failures: Failures,
    /// Queries for the parts of Dagster.
    pub(super) parts: Parts,
    /// Re-executions or redrives under way.
    batch: Option<Batch>,
    /// Restarts under way.
    rolling: Option<Rolling>,
    /// The alarms that the terminal rings for.
    ringing: Notifier,
    /// Time of the last message.
    last_message_at: Timestamp,
}

/// Interval at which ages and heartbeats are checked while nothing on the screen moves.
const STALE_CHECK: Duration = Duration::from_secs(5);
/// Interval while something on the screen moves.
const MOVING: Duration = Duration::from_secs(1);

impl App {
    /// Creates a console without data.
    #[must_use]
    pub fn new(setup: Setup, theme: Theme) -> Self {
        Self {
            own_zone: setup.zone.clone(),
            setup,
            theme,
            snapshot: Shown::default(),
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
            saved_filters: BTreeMap::new(),
            keymap: Keymap::default(),
            plugins: Vec::new(),
            running: Running::default(),
            given_reason: None,
            page_find: None,
            log_find: String::new(),
            pending: Vec::new(),
            startup: Startup::None,
            standing: Standing::new(),
            waiting: DepthHistory::default(),
            size: (80, 24),
            mouse: false,
            requested_slots: BTreeMap::new(),
            followed: None,
            wants_stack: false,
            explained: None,
            alarm_place: None,
            alarm_history: AlarmHistory::default(),
            is_cut_off: false,
            unfinished_runs: 0,
            loading_runs: None,
            next_request: 0,
            messages: Messages::default(),
            failures: Failures::default(),
            parts: Parts::default(),
            batch: None,
            rolling: None,
            ringing: Notifier::default(),
            last_message_at: Timestamp::MIN,
        }
    }

    /// Handles a message; returns the effects to carry out.
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
                    && !self.failures_reply(request, &reply, now, &mut effects)
                    && !self.batch_reply(request, &reply, now)
                    && !self.rolling_reply(request, &reply, now)
                    && !self.parts_reply(request, &reply, now)
                    && !self.alarm_history_reply(request, &reply)
                {
                    self.program_ended(request);
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
        self.keep_scanning(now, &mut effects);
        self.keep_sending(now, &mut effects);
        self.keep_rolling(now, &mut effects);
        self.keep_looking(now, &mut effects);
        effects
    }

    /// Time during which nothing on the screen changes by itself.
    #[must_use]
    pub fn next_tick(&self, now: Timestamp) -> Duration {
        let snapshot = &self.snapshot;
        let just_ended = |at: &Timestamp| now.duration_since(*at) < super::throughput::WINDOW;
        let follows = self.followed.as_ref();
        let moving = follows.is_some_and(|follow| !follow.is_over())
            || self.explained.is_some()
            || self.rolling.is_some()
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
        let tick = if moving { MOVING } else { STALE_CHECK };
        let due = self.batch.as_ref().and_then(Batch::due);
        due.map_or(tick, |due| {
            let left = Duration::try_from(due.duration_since(now)).unwrap_or_default();
            left.clamp(Duration::from_millis(50), MOVING)
        })
    }

    /// The view on the screen.
    #[must_use]
    pub fn view(&self) -> View {
        self.view
    }

    /// The overlay on top of the view.
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

    /// The reason why the worker that this console had to start is missing.
    #[must_use]
    pub fn startup_problem(&self) -> Option<&str> {
        match &self.startup {
            Startup::Failed(text) => Some(text),
            Startup::None | Startup::Working(_) | Startup::Ready => None,
        }
    }

    /// Uses the operator's own keys.
    #[must_use]
    pub fn with_keys(self, keymap: Keymap) -> Self {
        Self { keymap, ..self }
    }

    /// Updates rows, cursor and offset of the current view after other changes.
    fn settle(&mut self) {
        let page = super::render::page_rows(self);
        let (view, logs) = (self.view, self.logs);
        let snapshot = self.snapshot.clone();
        let is_open = matches!(self.overlay, Some(Overlay::Detail { .. }));
        if !self.overlay.as_ref().is_some_and(Overlay::is_page) {
            self.page_find = None;
        }
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
