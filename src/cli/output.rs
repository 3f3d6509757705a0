//! Output of commands. `println!` panics if the reader is gone.

use std::borrow::Cow;
use std::fmt::Arguments;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::domain::plain;
use crate::domain::secrets::{redact, redact_text};

/// Whether something could not be written to standard output.
static FAILED: AtomicBool = AtomicBool::new(false);

/// Prints a line, as `println!` does. The command continues after a failure: a reader that has left
/// (`... | head`) needs no more, and any other failure is reported once and recorded for
/// [`has_failed`].
macro_rules! out {
    ($($text:tt)*) => { $crate::cli::output::line(format_args!($($text)*)) };
}

/// Prints a line for the user to standard error, as `eprintln!` does; failures are ignored.
macro_rules! note {
    ($($text:tt)*) => { $crate::cli::output::aside(format_args!($($text)*)) };
}

pub(super) use {note, out};

/// Redacts secrets in the messages of panics, which are printed as usual otherwise.
pub(super) fn hide_secrets_of_panics() {
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| match redact_text(&info.to_string()) {
        Cow::Borrowed(_) => previous(info),
        Cow::Owned(hidden) => note!("dagster-taskiq-tui: {hidden}"),
    }));
}

pub(super) fn line(text: Arguments<'_>) {
    let Err(error) = write(io::stdout(), text) else {
        return;
    };
    if error.kind() != ErrorKind::BrokenPipe && !FAILED.swap(true, Ordering::Relaxed) {
        note!("dagster-taskiq-tui: cannot write to standard output: {error}");
    }
}

pub(super) fn aside(text: Arguments<'_>) {
    let _ = write(io::stderr(), text);
}

/// Writes text that often comes from elsewhere: it may contain secrets, and a terminal obeys
/// control characters.
fn write(mut output: impl Write + IsTerminal, text: Arguments<'_>) -> io::Result<()> {
    let text = text.to_string();
    let text = redact(&text);
    if output.is_terminal() {
        writeln!(output, "{}", plain(&text))
    } else {
        writeln!(output, "{text}")
    }
}

/// Whether output was lost for another reason than a reader that has left.
pub(super) fn has_failed() -> bool {
    FAILED.load(Ordering::Relaxed)
}
