//! The event loop: terminal events, snapshots, replies, signals and time become messages; effects
//! are carried out; frames are drawn when something changed, never faster than the limit.

mod signals;
mod suspend;

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle as AbortOnDrop;

use super::app::{App, Effect, Message, Setup};
use super::browser;
use super::frame_rate::{FrameLimiter, PendingSnapshot, frame_time};
use super::glyphs::Glyphs;
use super::input::{self, InputEvent};
use super::keymap::Keymap;
use super::options::{ConsoleError, ConsoleOptions, Exit, Startup};
use super::plugins;
use super::saved_state::SavedState;
use super::terminal::{self, PanicHook, Panics, Screen};
use super::theme::{Depth, Theme};
use crate::domain::{Reply, Snapshot};
use crate::fleet::Handle;
use crate::protocol::audit::AuditLog;
use signals::{Ends, Signals};

/// Time limit for writing a file before the console ends without it: home folders may be on
/// networks.
const FILES_TAKE: Duration = Duration::from_secs(2);

/// Opens the console and gives the terminal back when the operator leaves.
///
/// It runs on a thread of its own: a terminal that does not take bytes stalls nothing else.
///
/// # Errors
/// Standard input or output is not a terminal, the theme is invalid, the terminal refuses a mode,
/// or the console's thread panicked (the terminal is restored then too).
pub async fn run(handle: Handle, options: ConsoleOptions) -> Result<Exit, ConsoleError> {
    terminal::check()?;
    let depth = options.depth.unwrap_or_else(Depth::from_environment);
    let theme = Theme::load(&options.theme, depth)?;
    let setup = Setup {
        read_only: options.read_only,
        context: options.context.clone(),
        contexts: options.contexts.clone(),
        quit: options.quit,
        glyphs: Glyphs::for_locale(options.ascii),
        depth,
        has_desktop: browser::has_desktop(),
        zone: TimeZone::system(),
        reduced_motion: options.reduced_motion,
        ring: options.ring.clone(),
    };
    let mut app = App::new(setup, theme);
    if let Some(path) = &options.keys {
        app = app.with_keys(Keymap::load(path)?);
    }
    if let Some(path) = &options.plugins {
        app = app.with_plugins(path)?;
    }
    if let Some(path) = &options.memory {
        match SavedState::load(path) {
            Ok(memory) => app = app.with_memory(memory),
            // The problem does not prevent work.
            Err(error) => tracing::warn!("cannot read {}: {error}", path.display()),
        }
    }
    let files = Files {
        memory: options.memory.clone(),
        startup: options.startup.clone(),
        audit: options.audit.clone().map(AuditLog::new),
    };
    let frame = frame_time(options.max_fps);
    let panic = Arc::new(Mutex::new(None));
    let (sender, ended) = oneshot::channel();
    let own = Arc::clone(&panic);
    let console = move || {
        // An error means that the caller was dropped: the terminal is restored all the same.
        let _ = sender.send(console_thread(app, &handle, files, frame, own));
    };
    let spawned = thread::Builder::new()
        .name(String::from("console"))
        .spawn(console);
    spawned.map_err(|source| ConsoleError::Terminal {
        action: "start the console's thread",
        source,
    })?;
    let _watch = watch_for_the_end()?;
    if let Ok(result) = ended.await {
        result
    } else {
        let message = panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        Err(ConsoleError::Panicked {
            message: message.unwrap_or_default(),
        })
    }
}

fn console_thread(
    app: App,
    handle: &Handle,
    files: Files,
    frame: Duration,
    own: Arc<Mutex<Option<String>>>,
) -> Result<Exit, ConsoleError> {
    let failed = |action| move |source| ConsoleError::Terminal { action, source };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed("start the console's event loop"))?;
    let (_hook, panics) = PanicHook::install(own);
    let _entered = runtime.enter();
    let signals = Signals::listen().map_err(failed("listen for signals"))?;
    let screen = Screen::enter()?;
    let console = Console {
        app,
        files,
        handle,
        screen,
        outcomes: FuturesUnordered::new(),
        frame,
        programs: JoinSet::new(),
        leaving: CancellationToken::new(),
        pending_edit: None,
        needs_resize: false,
    };
    let exit = runtime.block_on(console.run(signals, panics));
    // A write to a file system that hangs is not waited for.
    runtime.shutdown_timeout(FILES_TAKE);
    Ok(exit)
}

/// Watches, outside the console's thread, for signals that end the process: a terminal that takes
/// no bytes keeps that thread in a write, where it receives nothing.
fn watch_for_the_end() -> Result<AbortOnDrop<()>, ConsoleError> {
    let mut signals = Ends::listen().map_err(|source| ConsoleError::Terminal {
        action: "listen for signals",
        source,
    })?;
    Ok(AbortOnDrop::new(tokio::spawn(async move {
        signals.next().await;
        terminal::request_end();
    })))
}

/// Event that woke the loop.
enum Wake {
    Inputs(io::Result<Vec<InputEvent>>),
    Resized,
    Snapshot,
    /// The outcome of an effect.
    Outcome(Message),
    Panic(String),
    Startup(Startup),
    /// Another process requests this one to stop.
    Stop,
    Resumed,
    Leave(Exit),
    Time,
}

/// The console's files, and the state of the start.
struct Files {
    memory: Option<PathBuf>,
    startup: Option<watch::Receiver<Startup>>,
    audit: Option<AuditLog>,
}

impl Files {
    /// Waits for the next state of the start; pending without one.
    async fn next_startup(&mut self) -> Startup {
        if let Some(startup) = &mut self.startup {
            if startup.changed().await.is_ok() {
                return startup.borrow_and_update().clone();
            }
            self.startup = None;
        }
        std::future::pending().await
    }
}

/// Interval of saving the state for the next console: a lost host loses this much of it.
const REMEMBER_EVERY: Duration = Duration::from_mins(5);

struct Console<'a> {
    app: App,
    files: Files,
    handle: &'a Handle,
    screen: Screen,
    /// Pending outcomes of effects; the handle's own queue bounds the answers among them.
    outcomes: FuturesUnordered<BoxFuture<'static, Message>>,
    /// Programs of the operator's own; the model bounds their number.
    programs: JoinSet<Message>,
    /// Cancelled when the console ends: they end with it.
    leaving: CancellationToken,
    frame: Duration,
    /// Text to be edited: the loop must release the terminal's events first.
    pending_edit: Option<String>,
    /// Whether another program had the terminal for a while, so that it may have another size.
    needs_resize: bool,
}

impl Console<'_> {
    /// Runs until the operator leaves or the terminal is gone.
    async fn run(mut self, signals: Signals, panics: Panics) -> Exit {
        if let Some(startup) = &mut self.files.startup {
            let present = startup.borrow_and_update().clone();
            let more = self.app.update(Message::Startup(present), Timestamp::now());
            debug_assert!(more.is_empty(), "news of the start asks for nothing");
        }
        if self.app.uses_mouse() && self.screen.mouse(true).is_err() {
            return Exit::HungUp;
        }
        let exit = self.serve(signals, panics).await;
        self.leaving.cancel();
        let ended = async { while self.programs.join_next().await.is_some() {} };
        let _ = timeout(FILES_TAKE, ended).await;
        let _ = timeout(FILES_TAKE, self.remember()).await;
        exit
    }

    /// Saves the state for the next console.
    fn remember(&self) -> impl Future<Output = ()> + use<> {
        let writing = self.files.memory.clone().map(|path| {
            let memory = self.app.memory();
            spawn_blocking(move || {
                if let Err(error) = memory.save(&path) {
                    tracing::warn!("cannot write {}: {error}", path.display());
                }
            })
        });
        async move {
            if let Some(writing) = writing {
                // A panic in it is logged like any other.
                let _ = writing.await;
            }
        }
    }

    /// Runs the event loop.
    async fn serve(&mut self, mut signals: Signals, mut panics: Panics) -> Exit {
        let Ok(mut reader) = input::Reader::open() else {
            return Exit::HungUp;
        };
        let mut snapshots = self.handle.watch();
        let mut linked = true;
        if let ControlFlow::Break(exit) = self.update_size(&mut signals).await {
            return exit;
        }
        let mut limiter = FrameLimiter::new(self.frame);
        let mut remembered = Instant::now();
        let mut changed = false;
        let mut pending = PendingSnapshot::default();
        let first = self.take_snapshot(&mut snapshots, &mut signals).await;
        if let ControlFlow::Break(exit) = first {
            return exit;
        }
        loop {
            let due = if changed {
                limiter.due
            } else {
                Instant::now() + self.app.next_tick(Timestamp::now())
            };
            let wake = tokio::select! {
                inputs = reader.next() => Wake::Inputs(inputs),
                _ = signals.resized.recv() => Wake::Resized,
                _ = signals.stop.recv() => Wake::Stop,
                _ = signals.stop_input.recv() => Wake::Stop,
                _ = signals.resumed.recv() => Wake::Resumed,
                exit = signals.ends.next() => Wake::Leave(exit),
                seen = snapshots.changed(), if linked && !pending.wait() => {
                    linked = seen.is_ok();
                    if linked { Wake::Snapshot } else { Wake::Outcome(Message::CutOff) }
                }
                Some(outcome) = self.outcomes.next() => Wake::Outcome(outcome),
                Some(ended) = self.programs.join_next() => Wake::Outcome(ended.unwrap_or_else(
                    |error| Message::BackgroundPanic(error.to_string()),
                )),
                Some(panic) = panics.others.recv() => Wake::Panic(panic),
                startup = self.files.next_startup() => Wake::Startup(startup),
                () = sleep_until(due) => Wake::Time,
            };
            let now = Timestamp::now();
            let typed = matches!(wake, Wake::Inputs(_));
            let flow = match wake {
                Wake::Inputs(Ok(inputs)) => self.inputs(inputs, &mut signals).await,
                // An error means that the terminal is gone.
                Wake::Inputs(Err(_)) => ControlFlow::Break(Exit::HungUp),
                Wake::Resized => self.update_size(&mut signals).await,
                Wake::Stop => self.stop(&mut signals).await,
                Wake::Snapshot => {
                    pending.arrived(Instant::now());
                    ControlFlow::Continue(())
                }
                Wake::Outcome(message) => self.update(message, &mut signals).await,
                Wake::Panic(text) => {
                    self.update(Message::BackgroundPanic(text), &mut signals)
                        .await
                }
                Wake::Startup(startup) => {
                    self.update(Message::Startup(startup), &mut signals).await
                }
                Wake::Resumed => gone(self.enter_again()),
                Wake::Leave(exit) => ControlFlow::Break(exit),
                Wake::Time if !changed => self.update(Message::Tick, &mut signals).await,
                Wake::Time => ControlFlow::Continue(()),
            };
            if let ControlFlow::Break(exit) = flow {
                return exit;
            }
            if let ControlFlow::Break(exit) = self.follow_up(&mut reader, &mut signals).await {
                return exit;
            }
            changed = true;
            let moment = Instant::now();
            if !limiter.takes(moment, typed) {
                continue;
            }
            // Snapshots are taken once a frame, however many came.
            let drew = if pending.is_due(moment, typed) {
                let drew = self.take_snapshot(&mut snapshots, &mut signals).await;
                pending.cost(moment.elapsed());
                drew
            } else {
                gone(self.screen.draw(&self.app, now))
            };
            if let ControlFlow::Break(exit) = drew {
                return exit;
            }
            changed = pending.wait();
            if remembered.elapsed() > REMEMBER_EVERY {
                drop(self.remember());
                remembered = Instant::now();
            }
        }
    }

    /// Does what an update has left to do before the next frame.
    async fn follow_up(
        &mut self,
        reader: &mut input::Reader,
        signals: &mut Signals,
    ) -> ControlFlow<Exit> {
        if let Some(text) = self.pending_edit.take() {
            // Nothing is read meanwhile: the editor has the terminal.
            self.edit(&text, signals).await?;
        }
        if std::mem::take(&mut self.needs_resize) {
            reader.flush();
            self.update_size(signals).await?;
        }
        ControlFlow::Continue(())
    }

    async fn take_snapshot(
        &mut self,
        snapshots: &mut watch::Receiver<Arc<Snapshot>>,
        signals: &mut Signals,
    ) -> ControlFlow<Exit> {
        let snapshot = Arc::clone(&snapshots.borrow_and_update());
        self.update(Message::Snapshot(snapshot), signals).await?;
        gone(self.screen.draw(&self.app, Timestamp::now()))
    }

    /// Passes the terminal's current size to the model.
    async fn update_size(&mut self, signals: &mut Signals) -> ControlFlow<Exit> {
        match self.screen.size() {
            Ok((columns, rows)) => self.update(Message::Resize(columns, rows), signals).await,
            Err(_) => ControlFlow::Continue(()),
        }
    }

    async fn inputs(
        &mut self,
        inputs: Vec<InputEvent>,
        signals: &mut Signals,
    ) -> ControlFlow<Exit> {
        for input in inputs {
            let message = match input {
                InputEvent::Key(key) => Message::Key(key),
                InputEvent::Paste(text) => Message::Paste(text),
                InputEvent::Mouse(mouse) => Message::Mouse(mouse),
            };
            self.update(message, signals).await?;
            if self.pending_edit.is_some() || self.needs_resize {
                // Keys typed ahead were not meant for the current screen.
                break;
            }
        }
        ControlFlow::Continue(())
    }

    /// Passes a message to the model, and carries out its effects.
    async fn update(&mut self, message: Message, signals: &mut Signals) -> ControlFlow<Exit> {
        for effect in self.app.update(message, Timestamp::now()) {
            match effect {
                Effect::Request {
                    request,
                    worker,
                    command,
                    reason,
                } => {
                    let verb = command.verb();
                    let outcome = self.handle.request_because(worker, command, reason);
                    self.outcomes.push(Box::pin(async move {
                        let lost = || {
                            Reply::Failed(format!(
                                "{verb}: no answer came; look whether it was done"
                            ))
                        };
                        let reply = outcome.await.unwrap_or_else(|_| lost());
                        Message::Reply { request, reply }
                    }));
                }
                Effect::Copy(text) => gone(self.screen.copy(&text))?,
                Effect::Browse(url) => {
                    let opening = browser::open(url);
                    self.outcomes
                        .push(Box::pin(async move { Message::Written(opening.await) }));
                }
                Effect::Write { path, text } => {
                    let broke = format!("Writing {} broke off", path.display());
                    let writing = spawn_blocking(move || write_new(&path, &text));
                    self.outcomes.push(Box::pin(async move {
                        Message::Written(writing.await.unwrap_or(Err(broke)))
                    }));
                }
                Effect::Run(call) => {
                    let (request, log) = (call.request, self.files.audit.clone());
                    let running = plugins::run(*call, log, self.leaving.clone());
                    self.programs.spawn(async move {
                        let reply = running.await;
                        Message::Reply { request, reply }
                    });
                }
                Effect::Edit(text) => self.pending_edit = Some(text),
                Effect::Mouse(used) => gone(self.screen.mouse(used))?,
                Effect::Ring { bell, notification } => {
                    gone(self.screen.ring(bell, notification.as_deref()))?;
                }
                Effect::Redraw => self.screen.forget(),
                Effect::Suspend => self.suspend(signals).await?,
                Effect::Exit(exit) => return ControlFlow::Break(exit),
            }
        }
        ControlFlow::Continue(())
    }
}

/// Writes a new file that only its owner can read: rows contain run ids and error texts.
fn write_new(path: &Path, text: &str) -> Result<String, String> {
    let mut options = OpenOptions::new();
    let opened = options.create_new(true).write(true).mode(0o600).open(path);
    let written = opened.and_then(|mut file| file.write_all(text.as_bytes()));
    match written {
        Ok(()) => Ok(format!("Wrote {}", path.display())),
        Err(error) => Err(format!("Cannot write {}: {error}", path.display())),
    }
}

/// Ends the console if a write failed: a terminal that takes no bytes any more has hung up.
fn gone(result: io::Result<()>) -> ControlFlow<Exit> {
    result.map_or_else(|_| ControlFlow::Break(Exit::HungUp), ControlFlow::Continue)
}
