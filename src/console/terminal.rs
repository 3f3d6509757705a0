//! The terminal: entering, leaving, drawing and, when the console's thread panics, restoring.

mod output;

use std::io::{self, BufWriter, IsTerminal, Write};
use std::mem::ManuallyDrop;
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{
    DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture,
};
use crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen,
    LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use crossterm::{execute, queue};
use jiff::Timestamp;
use ratatui::backend::{Backend, CrosstermBackend};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{
    OptionalActions, QueueSelector, Termios, tcflush, tcgetattr, tcgetwinsize, tcsetattr,
};
use tokio::sync::mpsc;

use super::app::{App, Caret};
use super::options::ConsoleError;
use crate::domain::secrets::redact_text;
use output::Output;
pub(super) use output::request_end;

/// Whether the console has the terminal at the moment; there is one terminal per process.
static ENTERED: AtomicBool = AtomicBool::new(false);

/// Maximum number of other threads' panics that wait to be shown; further ones add no information.
const PANICS: usize = 8;

/// Size of a terminal that reports none, such as a serial line.
const USUAL: (u16, u16) = (80, 24);

/// Requires a terminal on both ends that can move its cursor.
///
/// # Errors
/// [`ConsoleError::NotATerminal`], [`ConsoleError::NoCursor`]
pub fn check() -> Result<(), ConsoleError> {
    let stream = if !io::stdin().is_terminal() {
        "standard input"
    } else if !io::stdout().is_terminal() {
        "standard output"
    } else {
        let term = std::env::var("TERM").unwrap_or_default();
        return match term.as_str() {
            "" | "dumb" | "unknown" => Err(ConsoleError::NoCursor { term }),
            _ => Ok(()),
        };
    };
    Err(ConsoleError::NotATerminal { stream })
}

/// Columns and rows. A terminal that reports none has those of the environment, or the usual ones.
fn size() -> io::Result<(u16, u16)> {
    let reported = tcgetwinsize(io::stdout())?;
    if reported.ws_col > 0 && reported.ws_row > 0 {
        return Ok((reported.ws_col, reported.ws_row));
    }
    let named = |name, usual| {
        let value = std::env::var(name).ok();
        let value = value.and_then(|value| value.parse().ok());
        value.filter(|number| *number > 0).unwrap_or(usual)
    };
    Ok((named("COLUMNS", USUAL.0), named("LINES", USUAL.1)))
}

/// Whether the other end of the terminal is gone. SIGHUP reports that, unless the session's leader
/// ignores it.
fn is_hung_up() -> bool {
    let stdin = io::stdin();
    let mut terminal = [PollFd::new(&stdin, PollFlags::empty())];
    let now = Timespec::default();
    poll(&mut terminal, Some(&now)).is_ok() && terminal[0].revents().contains(PollFlags::HUP)
}

/// Restores the terminal. Does nothing if the console does not have it; errors are ignored, because
/// the terminal may be gone.
pub(super) fn restore() {
    if ENTERED.swap(false, Ordering::SeqCst) {
        let _ = execute!(
            Output,
            EndSynchronizedUpdate,
            DisableMouseCapture,
            DisableBracketedPaste,
            LeaveAlternateScreen,
            Show
        );
        let _ = disable_raw_mode();
    }
}

/// The modes of a terminal that is lent to another program, for the case that it ends without
/// restoring them.
pub(super) struct TerminalGuard(Option<Termios>);

impl TerminalGuard {
    /// Gives the terminal to another program.
    pub(super) fn lend() -> Self {
        restore();
        Self(tcgetattr(io::stdin()).ok())
    }

    /// Restores the modes after any changes by the other program: the terminal keeps these in the
    /// end.
    pub(super) fn restore_modes(&self) {
        if let Some(modes) = &self.0 {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, modes);
        }
    }

    /// Restores the terminal after a program that could not do so.
    pub(super) fn take_back(&self) {
        let _ = execute!(
            Output,
            DisableMouseCapture,
            DisableBracketedPaste,
            LeaveAlternateScreen,
            Show
        );
        self.restore_modes();
    }
}

/// The terminal, entered; leaves it when dropped.
pub(super) struct Screen {
    /// Never dropped: that would write to the terminal once more, which may be gone.
    backend: ManuallyDrop<CrosstermBackend<BufWriter<Output>>>,
    /// Content of the terminal; `None` if unknown.
    shown: Option<Buffer>,
    /// Position of its cursor, if known.
    caret: Option<Caret>,
}

impl Screen {
    /// Enters the alternate screen and raw mode.
    pub(super) fn enter() -> Result<Self, ConsoleError> {
        let failed = |action| move |source| ConsoleError::Terminal { action, source };
        output::open().map_err(failed("open the terminal"))?;
        enter_modes().map_err(failed("set up the terminal"))?;
        size()
            .map_err(failed("ask the terminal for its size"))
            .inspect_err(|_| restore())?;
        // A frame of 200 x 50 is some 40 KB at worst; usually it is a few hundred bytes.
        let backend = CrosstermBackend::new(BufWriter::with_capacity(1 << 16, Output));
        Ok(Self {
            backend: ManuallyDrop::new(backend),
            shown: None,
            caret: None,
        })
    }

    /// Columns and rows.
    #[expect(clippy::unused_self, reason = "it is the terminal's that was entered")]
    pub(super) fn size(&self) -> io::Result<(u16, u16)> {
        size()
    }

    /// Draws the model. Writes nothing, not one byte, if the screen would not change; fails if the
    /// terminal is gone.
    pub(super) fn draw(&mut self, app: &App, now: Timestamp) -> io::Result<()> {
        if is_hung_up() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let (width, height) = self.size()?;
        let mut next = Buffer::empty(Rect::new(0, 0, width, height));
        let caret = app.render_to(&mut next, now);
        if self.shown.as_ref() == Some(&next) && self.caret == caret {
            return Ok(());
        }
        let backend = &mut *self.backend;
        queue!(backend, BeginSynchronizedUpdate)?;
        let shown = self.shown.take().filter(|shown| shown.area == next.area);
        let shown = if let Some(shown) = shown {
            shown
        } else {
            queue!(backend, Clear(ClearType::All))?;
            Buffer::empty(next.area)
        };
        backend.draw(shown.diff(&next).into_iter())?;
        // Input methods, screen readers and braille follow the cursor, hidden or not.
        let is_shown = caret.is_some_and(|caret| caret.is_shown);
        if let Some(caret) = caret {
            queue!(backend, MoveTo(caret.x, caret.y))?;
        }
        if is_shown != self.caret.is_some_and(|caret| caret.is_shown) {
            if is_shown {
                queue!(backend, Show)?;
            } else {
                queue!(backend, Hide)?;
            }
        }
        execute!(backend, EndSynchronizedUpdate)?;
        self.shown = Some(next);
        self.caret = caret;
        Ok(())
    }

    /// Discards the known content: the next frame writes every cell.
    pub(super) fn forget(&mut self) {
        self.shown = None;
    }

    /// Enters the terminal again after [`restore`], or after an unexpected stop: then a shell has
    /// changed the modes, and raw mode, believed to be on, would not be set again.
    pub(super) fn enter_again(&mut self) -> io::Result<()> {
        disable_raw_mode()?;
        enter_modes()?;
        // Input received meanwhile was for another program.
        let _ = tcflush(io::stdin(), QueueSelector::IFlush);
        self.caret = None;
        self.forget();
        Ok(())
    }

    /// Turns the terminal's mouse reports on or off.
    pub(super) fn mouse(&mut self, used: bool) -> io::Result<()> {
        if used {
            execute!(&mut *self.backend, EnableMouseCapture)
        } else {
            execute!(&mut *self.backend, DisableMouseCapture)
        }
    }

    /// Puts text on the clipboard of the operator's terminal (OSC 52), also through tmux.
    pub(super) fn copy(&mut self, text: &str) -> io::Result<()> {
        self.command(&format!("52;c;{}", STANDARD.encode(text)))
    }

    /// Calls an operator who looks elsewhere: BEL, and a notification of the terminal's desktop
    /// (OSC 9). tmux passes BEL on by itself.
    pub(super) fn ring(&mut self, bell: bool, notification: Option<&str>) -> io::Result<()> {
        if let Some(text) = notification {
            // A control character would end the sequence, and the rest would be interpreted.
            let text: String = text.chars().filter(|c| !c.is_control()).collect();
            self.command(&format!("9;dagster-taskiq: {text}"))?;
        }
        let backend = &mut *self.backend;
        if bell {
            write!(backend, "\x07")?;
        }
        io::Write::flush(backend)
    }

    /// Sends an operating system command to the operator's terminal, also through tmux.
    fn command(&mut self, words: &str) -> io::Result<()> {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let around = if is_set("TMUX") {
            Around::Tmux
        } else if is_set("STY") {
            Around::Screen
        } else {
            Around::Nothing
        };
        let backend = &mut *self.backend;
        backend.write_all(around.wrapped(words).as_bytes())?;
        io::Write::flush(backend)
    }
}

/// The multiplexer between the console and the operator's terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Around {
    Nothing,
    Tmux,
    Screen,
}

/// Maximum length of a string that GNU screen passes on at once: 768 bytes, with some room.
const SCREEN_PASSES: usize = 760;

impl Around {
    /// An operating system command in its wrapped form.
    fn wrapped(self, words: &str) -> String {
        let osc = format!("\x1b]{words}\x07");
        match self {
            Self::Nothing => osc,
            // Unwrapped, too: tmux itself handles a clipboard if `set-clipboard` is on, and passes
            // nothing on if `allow-passthrough` is off, which is the default.
            Self::Tmux => format!("{osc}\x1bPtmux;\x1b{osc}\x1b\\"),
            Self::Screen => {
                let mut passed = String::new();
                let mut rest = osc.as_str();
                while !rest.is_empty() {
                    let at = rest.floor_char_boundary(SCREEN_PASSES);
                    let (part, after) = rest.split_at(at);
                    passed.extend(["\x1bP", part, "\x1b\\"]);
                    rest = after;
                }
                passed
            }
        }
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
    // Without bracketed paste, pasted text would be interpreted as commands.
    execute!(Output, EnterAlternateScreen, EnableBracketedPaste, Hide).inspect_err(|_| restore())
}

/// The process's panic hook while the console is open; the previous one is restored on drop.
pub(super) struct PanicHook {
    previous: Arc<dyn Fn(&panic::PanicHookInfo<'_>) + Send + Sync>,
}

/// Panics recorded by the hook.
pub(super) struct Panics {
    /// Panics of other threads.
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
        // A panicking thread may not change the hook; the process then keeps this one, which calls
        // the previous one.
        if !thread::panicking() {
            let previous = Arc::clone(&self.previous);
            panic::set_hook(Box::new(move |info| previous(info)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_for_the_terminal_passes_what_stands_around_the_console() {
        let words = "52;c;QUJD";
        let osc = "\x1b]52;c;QUJD\x07";
        assert_eq!(Around::Nothing.wrapped(words), osc);
        let tmux = format!("{osc}\x1bPtmux;\x1b{osc}\x1b\\");
        assert_eq!(Around::Tmux.wrapped(words), tmux);
        assert_eq!(Around::Screen.wrapped(words), format!("\x1bP{osc}\x1b\\"));
        let long = "A".repeat(2_000);
        let passed = Around::Screen.wrapped(&long);
        let parts: Vec<&str> = passed.split_terminator("\x1b\\").collect();
        assert!(parts.iter().all(|part| part.len() <= 768), "{parts:?}");
        let joined: String = parts
            .iter()
            .filter_map(|part| part.strip_prefix("\x1bP"))
            .collect();
        assert_eq!(joined, format!("\x1b]{long}\x07"));
    }
}
