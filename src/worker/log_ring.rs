//! The worker's last log lines, for many readers at their own pace.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::domain::LogLine;

/// Number of lines that a worker keeps: several screens of history for a console that attaches
/// later, at most some 40 MiB with every line at its bound.
pub const MAX_LINES: usize = 5_000;

/// Maximum length of a message, in bytes. A step may print a megabyte without a line end.
pub const MAX_MESSAGE: usize = 8 * 1024;

/// Lines after a position, and the next position.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The lines, oldest first.
    pub lines: Vec<LogLine>,
    /// The position after the last of them.
    pub next: u64,
    /// Number of lines that were overwritten before this reader came.
    pub missed: u64,
}

/// A bounded ring of log lines. One writer, any number of readers; a slow reader misses lines and
/// gets their number. Cloning shares the ring.
#[derive(Clone, Debug)]
pub struct LogRing {
    lines: Arc<Mutex<Lines>>,
    written: watch::Sender<u64>,
}

#[derive(Debug)]
struct Lines {
    kept: VecDeque<LogLine>,
    capacity: usize,
    /// Position after the newest line, which is the number of lines ever written.
    end: u64,
}

impl LogRing {
    /// An empty ring of `capacity` lines.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let lines = Lines {
            kept: VecDeque::new(),
            capacity: capacity.max(1),
            end: 0,
        };
        Self {
            lines: Arc::new(Mutex::new(lines)),
            written: watch::Sender::new(0),
        }
    }

    /// Adds a line; a full ring drops its oldest one.
    pub fn push(&self, mut line: LogLine) {
        cut(&mut line.message, MAX_MESSAGE);
        let end = {
            let mut lines = self.lock();
            if lines.kept.len() == lines.capacity {
                lines.kept.pop_front();
            }
            lines.kept.push_back(line);
            lines.end += 1;
            lines.end
        };
        self.written.send_replace(end);
    }

    /// The lines after position `after`: at most `max_lines`, and none after the messages reach
    /// `max_bytes`.
    #[must_use]
    pub fn read(&self, after: u64, max_lines: usize, max_bytes: usize) -> Batch {
        let lines = self.lock();
        let first = lines.end - lines.kept.len() as u64;
        // A position beyond the end belongs to another ring: start over.
        let from = if after > lines.end {
            first
        } else {
            after.max(first)
        };
        let skip = usize::try_from(from - first).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let batch: Vec<LogLine> = lines
            .kept
            .iter()
            .skip(skip)
            .take(max_lines)
            .take_while(|line| {
                let room = bytes < max_bytes;
                bytes += line.message.len();
                room
            })
            .cloned()
            .collect();
        Batch {
            next: from + batch.len() as u64,
            lines: batch,
            missed: from.saturating_sub(after),
        }
    }

    /// The position `count` lines before the end, or the oldest one there is.
    #[must_use]
    pub fn tail(&self, count: usize) -> u64 {
        let lines = self.lock();
        lines.end - lines.kept.len().min(count) as u64
    }

    /// A receiver that wakes at each new line; its value is the position after the newest one.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.written.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        // Nothing here panics while it holds the lock, and lines are always complete.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Cuts a text to at most `max` bytes at a character boundary, marking the cut.
pub(crate) fn cut(text: &mut String, max: usize) {
    if text.len() <= max {
        return;
    }
    text.truncate(text.floor_char_boundary(max.saturating_sub('…'.len_utf8())));
    text.push('…');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{LogLevel, Timestamp};

    fn line(message: &str) -> LogLine {
        LogLine {
            at: Timestamp::UNIX_EPOCH,
            level: LogLevel::Info,
            target: "step".to_owned(),
            run_id: None,
            step_key: None,
            worker: None,
            message: message.to_owned(),
        }
    }

    fn messages(batch: &Batch) -> Vec<&str> {
        batch
            .lines
            .iter()
            .map(|line| line.message.as_str())
            .collect()
    }

    #[test]
    fn a_reader_goes_on_where_it_stopped() {
        let ring = LogRing::new(10);
        ring.push(line("a"));
        ring.push(line("b"));
        let first = ring.read(0, 1, 1_000);
        assert_eq!(messages(&first), ["a"]);
        let second = ring.read(first.next, 10, 1_000);
        assert_eq!(messages(&second), ["b"]);
        assert_eq!(ring.read(second.next, 10, 1_000).lines, []);
    }

    #[test]
    fn a_slow_reader_gets_the_number_of_lines_it_missed() {
        let ring = LogRing::new(3);
        for number in 0..10 {
            ring.push(line(&number.to_string()));
        }
        let batch = ring.read(2, 10, 1_000);
        assert_eq!(messages(&batch), ["7", "8", "9"]);
        assert_eq!((batch.missed, batch.next), (5, 10));
    }

    #[test]
    fn a_batch_ends_once_its_bytes_are_reached() {
        let ring = LogRing::new(10);
        for _ in 0..5 {
            ring.push(line("four"));
        }
        assert_eq!(ring.read(0, 10, 8).lines.len(), 2);
    }

    #[test]
    fn a_long_line_is_cut_at_a_character() {
        let ring = LogRing::new(1);
        ring.push(line(&"ä".repeat(MAX_MESSAGE)));
        let batch = ring.read(0, 1, usize::MAX);
        let message = batch.lines.first().map_or("", |line| line.message.as_str());
        assert!(message.len() <= MAX_MESSAGE && message.ends_with("ä…"));
    }

    #[test]
    fn a_position_of_another_ring_starts_over() {
        let ring = LogRing::new(10);
        ring.push(line("a"));
        assert_eq!(messages(&ring.read(99, 10, 1_000)), ["a"]);
        assert_eq!(ring.tail(5), 0);
    }
}
