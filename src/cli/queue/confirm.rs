//! Confirmation before messages are removed.

use std::io::{BufRead, IsTerminal, Write};

use super::QueueError;
use crate::domain::QueueCounts;

/// Requires the user to type the queue's name.
///
/// # Errors
/// [`QueueError::Refused`] if anything else was typed.
pub(super) fn typed_name(verb: &str, queue: &str, counts: QueueCounts) -> Result<(), QueueError> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(QueueError::Refused(format!(
            "{verb} of {queue} was not confirmed: give --yes (standard input is no terminal)"
        )));
    }
    let waiting = counts.visible;
    let mut terminal = std::io::stderr();
    // The answer is read even if the question cannot be shown.
    let _ = write!(
        terminal,
        "{verb} {queue}: ~{waiting} waiting messages. Type its name to go on: "
    )
    .and_then(|()| terminal.flush());
    let mut line = String::new();
    stdin.lock().read_line(&mut line)?;
    if line.trim() == queue {
        Ok(())
    } else {
        Err(QueueError::Refused(format!(
            "{verb} of {queue} was not confirmed; nothing was done"
        )))
    }
}
