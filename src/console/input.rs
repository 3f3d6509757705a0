//! Terminal input: bytes become keys, pasted text and mouse events.
//!
//! crossterm's own event stream is not used: a terminal also sends unrequested replies (colours,
//! modes, capabilities, late or through tmux), splits sequences over reads, and pastes without
//! brackets. None of that may run a command or swallow a later key.

mod burst;
mod parser;
mod sequence;
mod tty;

use std::io;
use std::time::{Duration, Instant};

use tokio::time::sleep_until;

use super::app::Mouse;
use super::key::Key;
use burst::Bursts;
pub use parser::Parser;
use tty::Tty;
pub(super) use tty::{Access, open_tty};

/// An input event of the terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InputEvent {
    /// A key was pressed.
    Key(Key),
    /// Text was pasted, with brackets or as a burst of keys.
    Paste(String),
    /// A mouse event.
    Mouse(Mouse),
}

/// Bytes of one read.
const READ: usize = 4096;

/// The terminal's input, read until this value is dropped.
pub(super) struct Reader {
    tty: Tty,
    parser: Parser,
    bursts: Bursts,
    /// Input that may be the first part of a paste.
    part: Vec<InputEvent>,
    /// Time until which the next part of it may come.
    part_until: Option<Instant>,
}

impl Reader {
    /// Opens the terminal at standard input; to be called within the console's runtime.
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self {
            tty: Tty::open()?,
            parser: Parser::default(),
            bursts: Bursts::default(),
            part: Vec::new(),
            part_until: None,
        })
    }

    /// Waits for the next events, at least one. The future may be dropped and called again: nothing
    /// is lost.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) async fn next(&mut self) -> io::Result<Vec<InputEvent>> {
        let mut bytes = [0; READ];
        loop {
            let due = [self.parser.due(), self.part_until];
            let read = match due.into_iter().flatten().min() {
                None => Some(self.tty.read(&mut bytes).await?),
                Some(due) => tokio::select! {
                    // Available input comes before expired deadlines: a busy loop may poll late.
                    biased;
                    read = self.tty.read(&mut bytes) => Some(read?),
                    () = sleep_until(due.into()) => None,
                },
            };
            let now = Instant::now();
            self.part.extend(match read {
                Some(read) => self.parser.feed(&bytes[..read], now),
                None => self.parser.expire(now),
            });
            if read.is_some() && burst::may_go_on(&self.part) {
                self.part_until = Some(now + PART);
            } else if !self.part.is_empty() && self.part_until.is_none_or(|until| until <= now) {
                self.part_until = None;
                return Ok(self.bursts.sift(std::mem::take(&mut self.part), now));
            }
        }
    }

    /// Discards what was typed or sent until now: it was for another program.
    pub(super) fn flush(&mut self) {
        self.tty.flush();
        self.parser = Parser::default();
        self.bursts = Bursts::default();
        self.part.clear();
        self.part_until = None;
    }
}

/// Time after a read of a few keys within which more keys of the same paste may come. It is shorter
/// than any typing, and a single key is never delayed by it.
const PART: Duration = Duration::from_millis(10);

/// Time after a lone Esc within which the rest of its sequence may come. It is longer than any
/// terminal needs, and too short to notice.
pub const ESC_WAITS: Duration = Duration::from_millis(80);
