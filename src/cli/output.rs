//! What commands print. `println!` panics where nobody reads any more.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::domain::plain;

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

/// A terminal obeys what it prints, and the words are often somebody else's.
fn write(mut output: impl Write + IsTerminal, text: Arguments<'_>) -> io::Result<()> {
    if output.is_terminal() {
        writeln!(output, "{}", plain(&text.to_string()))
    } else {
        writeln!(output, "{text}")
    }
}

/// Whether output was lost for another reason than that nobody reads it.
pub(super) fn has_failed() -> bool {
    FAILED.load(Ordering::Relaxed)
}
