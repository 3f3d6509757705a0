//! Tracebacks among the log lines: each is one row, its last line, which opens to all of it.
//!
//! The lines of one error come one after the other for its step, but lines of other steps may be
//! between them. Python's own form ends with the exception; Dagster's begins with it, and names its
//! causes below it.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::domain::{LogLevel, LogLine};

const PYTHON: &str = "Traceback (most recent call last):";
const DAGSTER: &str = "Stack Trace:";

/// Lines between an exception and the one that caused it, or that it occurred in.
const LINKS: [&str; 4] = [
    "During handling of the above exception",
    "The above exception was the direct cause",
    "The above exception was caused by the following exception",
    "The above exception occurred during handling of the following exception",
];

/// Maximum number of lines of one traceback: what is longer is more than one.
const MAX_LINES: usize = 1_000;

/// The tracebacks in a list of lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tracebacks {
    /// The positions of the lines of each, by the position of the line that stands for it.
    folded: BTreeMap<usize, Vec<usize>>,
    /// Positions that are not shown, sorted.
    hidden: Vec<usize>,
}

/// Source of a line.
type Source<'a> = (Option<&'a str>, Option<&'a str>, Option<&'a str>);

/// A traceback under way.
#[derive(Default)]
struct Open {
    lines: Vec<usize>,
    /// Blank lines that belong to it if it goes on.
    blank: Vec<usize>,
    /// The line that stands for it: of the last exception.
    exception: Option<usize>,
    is_dagster: bool,
    /// Whether the next line that is not indented is an exception.
    awaits: bool,
    /// Whether a frame was seen since the last exception.
    has_frames: bool,
}

impl Tracebacks {
    /// Finds them.
    #[must_use]
    pub fn find(lines: &VecDeque<LogLine>) -> Self {
        let mut found = Self::default();
        let mut open: HashMap<Source<'_>, Open> = HashMap::new();
        // The last line of a source that is neither blank nor indented.
        let mut plain: HashMap<Source<'_>, usize> = HashMap::new();
        for (at, line) in lines.iter().enumerate() {
            let source = (
                line.worker.as_deref(),
                line.run_id.as_deref(),
                line.step_key.as_deref(),
            );
            let text = line.message.as_str();
            if let Some(trace) = open.get_mut(&source) {
                if trace.take(at, text) {
                    continue;
                }
                if let Some(trace) = open.remove(&source) {
                    found.close(trace);
                }
            }
            if let Some(trace) = Open::begin(at, text, plain.get(&source).copied()) {
                open.insert(source, trace);
            } else if is_plain(text) {
                plain.insert(source, at);
            }
        }
        for trace in open.into_values() {
            found.close(trace);
        }
        found.hidden.sort_unstable();
        found
    }

    fn close(&mut self, trace: Open) {
        let Some(exception) = trace.exception.filter(|_| trace.lines.len() > 1) else {
            return;
        };
        let hidden = trace.lines.iter().filter(|at| **at != exception);
        self.hidden.extend(hidden);
        self.folded.insert(exception, trace.lines);
    }

    /// Whether a line is part of a traceback that another line stands for.
    #[must_use]
    pub fn hides(&self, at: usize) -> bool {
        self.hidden.binary_search(&at).is_ok()
    }

    /// The positions of all lines of the traceback that a line stands for.
    #[must_use]
    pub fn of(&self, at: usize) -> Option<&[usize]> {
        self.folded.get(&at).map(Vec::as_slice)
    }

    /// The lines that a row stands for: one, or those of a traceback.
    pub fn lines_of<'a>(
        &'a self,
        at: usize,
        lines: &'a VecDeque<LogLine>,
    ) -> impl Iterator<Item = &'a LogLine> {
        let own = std::iter::once(at).filter(move |at| self.of(*at).is_none());
        let all = self.of(at).unwrap_or_default().iter().copied();
        own.chain(all).filter_map(move |at| lines.get(at))
    }

    /// Level of a row: the highest of its lines.
    #[must_use]
    pub fn level(&self, at: usize, lines: &VecDeque<LogLine>) -> Option<LogLevel> {
        self.lines_of(at, lines).map(|line| line.level).max()
    }
}

impl Open {
    /// Begins a traceback at its first own line. `before` is the line of an exception that Dagster
    /// prints before its stack.
    fn begin(at: usize, text: &str, before: Option<usize>) -> Option<Self> {
        let text = text.trim_end();
        if text.ends_with(PYTHON) {
            return Some(Self {
                lines: vec![at],
                awaits: true,
                ..Self::default()
            });
        }
        let exception = before.filter(|_| text == DAGSTER)?;
        Some(Self {
            lines: vec![exception, at],
            exception: Some(exception),
            is_dagster: true,
            ..Self::default()
        })
    }

    /// Takes the next line of its source, if it belongs to it.
    fn take(&mut self, at: usize, text: &str) -> bool {
        if self.lines.len() >= MAX_LINES {
            return false;
        }
        let text = text.trim_end();
        if text.is_empty() {
            self.blank.push(at);
            return true;
        }
        let is_link = LINKS.iter().any(|link| text.starts_with(link));
        let is_head = text.ends_with(PYTHON) || text == DAGSTER;
        let is_indented = text.starts_with([' ', '\t']);
        let is_exception = !is_link && !is_head && !is_indented && self.awaits;
        // Python's exception follows its frames.
        let is_complete = self.is_dagster || self.has_frames;
        if !(is_link || is_head || is_indented || (is_exception && is_complete)) {
            return false;
        }
        self.lines.append(&mut self.blank);
        self.lines.push(at);
        if is_exception {
            self.exception = Some(at);
            self.awaits = false;
            self.has_frames = false;
        } else if is_head {
            self.awaits = !self.is_dagster;
        } else if is_link {
            self.awaits = self.is_dagster;
        } else {
            self.has_frames = true;
        }
        true
    }
}

fn is_plain(text: &str) -> bool {
    !text.trim().is_empty() && !text.starts_with([' ', '\t'])
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn lines(texts: &[(&str, &str)]) -> VecDeque<LogLine> {
        let line = |(step, message): &(&str, &str)| LogLine {
            at: Timestamp::UNIX_EPOCH,
            level: LogLevel::Info,
            target: String::from("step"),
            run_id: Some(String::from("run")),
            step_key: Some((*step).to_owned()),
            worker: None,
            message: (*message).to_owned(),
        };
        texts.iter().map(line).collect()
    }

    fn shown(texts: &[(&str, &str)]) -> Vec<usize> {
        let found = Tracebacks::find(&lines(texts));
        (0..texts.len()).filter(|at| !found.hides(*at)).collect()
    }

    #[test]
    fn a_python_traceback_is_its_last_line_with_lines_of_others_between() {
        let texts = [
            ("a", "begins"),
            ("a", PYTHON),
            ("a", "  File \"x.py\", line 1, in <module>"),
            ("b", "meanwhile"),
            ("a", "    load()"),
            ("a", "ValueError: first"),
            ("a", ""),
            (
                "a",
                "During handling of the above exception, another exception occurred:",
            ),
            ("a", ""),
            ("a", PYTHON),
            ("a", "  File \"x.py\", line 2, in <module>"),
            ("a", "KeyError: 'second'"),
            ("a", "goes on"),
        ];
        assert_eq!(shown(&texts), [0, 3, 11, 12]);
        let found = Tracebacks::find(&lines(&texts));
        assert_eq!(found.of(11), Some(&[1, 2, 4, 5, 6, 7, 8, 9, 10, 11][..]));
    }

    #[test]
    fn an_error_of_dagster_is_its_innermost_exception() {
        let texts = [
            ("a", "STEP_FAILURE It failed."),
            ("a", ""),
            ("a", "DagsterExecutionStepExecutionError: Error occurred"),
            ("a", ""),
            ("a", DAGSTER),
            ("a", "  File \"utils.py\", line 57, in boundary"),
            ("a", "    yield"),
            ("a", ""),
            (
                "a",
                "The above exception was caused by the following exception:",
            ),
            ("a", "Unavailable: HTTP 503"),
            ("a", ""),
            ("a", DAGSTER),
            ("a", "  File \"invoices.py\", line 27, in fetch"),
            ("a", ""),
            ("a", "printed by the op"),
        ];
        assert_eq!(shown(&texts), [0, 1, 3, 9, 13, 14]);
    }

    #[test]
    fn what_only_begins_like_one_is_left_alone() {
        let texts = [
            ("a", PYTHON),
            ("a", "no frame follows"),
            ("a", "  indented"),
            ("b", PYTHON),
            ("b", "  File \"x.py\""),
        ];
        assert_eq!(
            shown(&texts),
            [0, 1, 2, 3, 4],
            "its exception has not come yet"
        );
    }
}
