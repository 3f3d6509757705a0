//! What commands print. `println!` panics where nobody reads any more.

use std::borrow::Cow;
use std::fmt::Arguments;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::domain::plain;
use crate::domain::secrets::{redact, redact_text};

/// Something could not be written to standard output.
static FAILED: AtomicBool = AtomicBool::new(false);

/// Prints a line, as `println!` does. The command goes on whatever becomes of it: a reader that has
/// left (`... | head`) wants no more, and any other failure is said once and ends in [`has_failed`].
macro_rules! out {
    ($($text:tt)*) => { $crate::cli::output::line(format_args!($($text)*)) };
}

/// Prints a line for people to standard error, as `eprintln!` does, if it can be.
macro_rules! note {
    ($($text:tt)*) => { $crate::cli::output::aside(format_args!($($text)*)) };
}

pub(super) use {note, out};

/// A panic is printed as ever, unless what it says holds a secret.
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

/// The words are often somebody else's: they may hold secrets, and a terminal obeys what it prints.
fn write(mut output: impl Write + IsTerminal, text: Arguments<'_>) -> io::Result<()> {
    let text = text.to_string();
    let text = redact(&text);
    if output.is_terminal() {
        writeln!(output, "{}", plain(&text))
    } else {
        writeln!(output, "{text}")
    }
}

/// Whether output was lost for another reason than that nobody reads it.
pub(super) fn has_failed() -> bool {
    FAILED.load(Ordering::Relaxed)
}
