//! The terminal: entered, left, drawn to and, when the console's thread panics, restored.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::mem::ManuallyDrop;
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crossterm::cursor::{Hide, Show};
use crossterm::event::{
    DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture,
};
use crossterm::terminal::{
    BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
    disable_raw_mode, enable_raw_mode,
};
use crossterm::{execute, queue};
use jiff::Timestamp;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::sync::mpsc;

use super::app::App;
use super::options::ConsoleError;
use crate::domain::secrets::redact_text;

/// Whether the terminal is ours at the moment; there is one terminal per process.
static ENTERED: AtomicBool = AtomicBool::new(false);

/// Panics of other threads that wait to be shown; more than these say nothing new.
const PANICS: usize = 8;

/// Refuses anything but a terminal on both ends.
///
/// # Errors
/// [`ConsoleError::NotATerminal`]
pub fn check() -> Result<(), ConsoleError> {
    let stream = if !io::stdin().is_terminal() {
        "standard input"
    } else if !io::stdout().is_terminal() {
        "standard output"
    } else {
        return Ok(());
    };
    Err(ConsoleError::NotATerminal { stream })
}

/// Whether nobody is at the other end of the terminal any more. SIGHUP tells of that, but not where
/// the session's leader ignores it.
fn is_hung_up() -> bool {
    let stdin = io::stdin();
    let mut terminal = [PollFd::new(&stdin, PollFlags::empty())];
    let now = Timespec::default();
    poll(&mut terminal, Some(&now)).is_ok() && terminal[0].revents().contains(PollFlags::HUP)
}

/// Gives the terminal back as it was. Does nothing if it is not ours; errors are of no use to
/// anybody any more (the terminal may be gone).
pub(super) fn restore() {
    if ENTERED.swap(false, Ordering::SeqCst) {
        let _ = execute!(
            io::stdout(),
            EndSynchronizedUpdate,
            DisableMouseCapture,
            DisableBracketedPaste,
            LeaveAlternateScreen,
            Show
        );
        let _ = disable_raw_mode();
    }
}

/// The modes of a terminal that is lent to another program, for when that ends without giving it back.
pub(super) struct Lent(Option<Termios>);

impl Lent {
    /// Gives the terminal to whoever comes next.
    pub(super) fn out() -> Self {
        restore();
        Self(tcgetattr(io::stdin()).ok())
    }

    /// Puts the terminal as it was, whatever the other program made of it.
    pub(super) fn take_back(&self) {
        let _ = execute!(
            io::stdout(),
            DisableMouseCapture,
            DisableBracketedPaste,
            LeaveAlternateScreen,
            Show
        );
        if let Some(modes) = &self.0 {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, modes);
        }
    }
}

/// The terminal, entered; leaves it when dropped.
pub(super) struct Screen {
    /// Never dropped: it would write to the terminal once more, and panic where that is gone.
    terminal: ManuallyDrop<Terminal<CrosstermBackend<BufWriter<Stdout>>>>,
    /// What the terminal shows; `None` if that is not known.
    shown: Option<Buffer>,
}

impl Screen {
    /// Enters the alternate screen and raw mode.
    pub(super) fn enter() -> Result<Self, ConsoleError> {
        let failed = |action| move |source| ConsoleError::Terminal { action, source };
        enter_modes().map_err(failed("set up the terminal"))?;
        // A frame of 200 x 50 is some 40 KB at worst; usually it is a few hundred bytes.
        let backend = CrosstermBackend::new(BufWriter::with_capacity(1 << 16, io::stdout()));
        let terminal = Terminal::new(backend)
            .map_err(failed("ask the terminal for its size"))
            .inspect_err(|_| restore())?;
        Ok(Self {
            terminal: ManuallyDrop::new(terminal),
            shown: None,
        })
    }

    /// Columns and rows.
    pub(super) fn size(&self) -> io::Result<(u16, u16)> {
        self.terminal.size().map(|size| (size.width, size.height))
    }

    /// Draws the model. Writes nothing, not one byte, if the screen would not change; fails where
    /// the terminal is gone.
    pub(super) fn draw(&mut self, app: &App, now: Timestamp) -> io::Result<()> {
        if is_hung_up() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let (width, height) = self.size()?;
        let mut wanted = Buffer::empty(Rect::new(0, 0, width, height));
        app.render_to(&mut wanted, now);
        if self.shown.as_ref() == Some(&wanted) {
            return Ok(());
        }
        queue!(self.terminal.backend_mut(), BeginSynchronizedUpdate)?;
        self.terminal.draw(|frame| {
            let buffer = frame.buffer_mut();
            if buffer.area == wanted.area {
                buffer.clone_from(&wanted);
            } else {
                // Resized a moment ago; the next frame has the new size.
                app.render_to(buffer, now);
            }
        })?;
        execute!(self.terminal.backend_mut(), EndSynchronizedUpdate)?;
        self.shown = Some(wanted);
        Ok(())
    }

    /// Forgets what is shown: the next frame writes every cell.
    pub(super) fn forget(&mut self) -> io::Result<()> {
        self.shown = None;
        // Not `Terminal::clear`: it asks the terminal where the cursor is, and the answer would be taken
        // by the event stream.
        let (width, height) = self.size()?;
        self.terminal.resize(Rect::new(0, 0, width, height))
    }

    /// Enters the terminal again after [`restore`], or after a stop that came without asking: then a
    /// shell has changed the modes, and raw mode, believed to be on, would not be set again.
    pub(super) fn enter_again(&mut self) -> io::Result<()> {
        disable_raw_mode()?;
        enter_modes()?;
        self.forget()
    }

    /// Has the terminal tell of the mouse, or no longer.
    pub(super) fn mouse(&mut self, used: bool) -> io::Result<()> {
        if used {
            execute!(self.terminal.backend_mut(), EnableMouseCapture)
        } else {
            execute!(self.terminal.backend_mut(), DisableMouseCapture)
        }
    }

    /// Puts text on the clipboard of the terminal the operator sits at (OSC 52), through tmux too.
    pub(super) fn copy(&mut self, text: &str) -> io::Result<()> {
        self.command(&format!("52;c;{}", STANDARD.encode(text)))
    }

    /// Calls an operator who looks elsewhere: BEL, and a notification of the terminal's desktop
    /// (OSC 9). tmux passes BEL on by itself.
    pub(super) fn ring(&mut self, bell: bool, notification: Option<&str>) -> io::Result<()> {
        if let Some(text) = notification {
            // A control character would end the sequence, and what follows would be obeyed.
            let text: String = text.chars().filter(|c| !c.is_control()).collect();
            self.command(&format!("9;dagster-taskiq: {text}"))?;
        }
        let backend = self.terminal.backend_mut();
        if bell {
            write!(backend, "\x07")?;
        }
        io::Write::flush(backend)
    }

    /// An operating system command for the terminal the operator sits at, through tmux too.
    fn command(&mut self, words: &str) -> io::Result<()> {
        let osc = format!("\x1b]{words}\x07");
        let backend = self.terminal.backend_mut();
        if std::env::var_os("TMUX").is_some() {
            write!(backend, "\x1bPtmux;\x1b{osc}\x1b\\")?;
        } else {
            write!(backend, "{osc}")?;
        }
        io::Write::flush(backend)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

fn enter_modes() -> io::Result<()> {
    enable_raw_mode()?;
    ENTERED.store(true, Ordering::SeqCst);
    // Without bracketed paste, pasted text would be obeyed as commands.
    execute!(
        io::stdout(),
        EnterAlternateScreen,
        EnableBracketedPaste,
        Hide
    )
    .inspect_err(|_| restore())
}

/// The process's panic hook while the console is open; the one before it is put back when dropped.
pub(super) struct PanicHook {
    previous: Arc<dyn Fn(&panic::PanicHookInfo<'_>) + Send + Sync>,
}

/// What the hook leaves behind.
pub(super) struct Panics {
    /// Those of other threads.
    pub(super) others: mpsc::Receiver<String>,
}

impl PanicHook {
    /// Installs the hook; to be called on the console's thread. A panic there restores the terminal
    /// and is reported as before. A panic elsewhere leaves the screen alone: it is logged and sent.
    pub(super) fn install(own: Arc<Mutex<Option<String>>>) -> (Self, Panics) {
        let (sender, others) = mpsc::channel(PANICS);
        let previous: Arc<dyn Fn(&panic::PanicHookInfo<'_>) + Send + Sync> =
            panic::take_hook().into();
        let console: ThreadId = thread::current().id();
        let before = Arc::clone(&previous);
        panic::set_hook(Box::new(move |info| {
            if thread::current().id() == console {
                restore();
                if let Ok(mut message) = own.lock() {
                    *message = Some(info.to_string());
                }
                before(info);
            } else {
                tracing::error!("a thread panicked: {info}");
                let text = info.to_string().replace('\n', ": ");
                let _ = sender.try_send(redact_text(&text).into_owned());
            }
        }));
        (Self { previous }, Panics { others })
    }
}

impl Drop for PanicHook {
    fn drop(&mut self) {
        // A panicking thread may not change the hook; the process then keeps this one, which calls the
        // one before it.
        if !thread::panicking() {
            let previous = Arc::clone(&self.previous);
            panic::set_hook(Box::new(move |info| previous(info)));
        }
    }
}
