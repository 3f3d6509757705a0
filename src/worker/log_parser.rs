//! A task's log lines: the events that its host passes on, and the output of its process.
//!
//! Lines of Dagster's console logger are parsed: their time, run and process are known already, and
//! their level is used. That logger prints the events too; each event is logged once, whichever
//! copy arrives first.

use std::borrow::Cow;
use std::collections::VecDeque;

use crate::domain::{LogLevel, plain};

/// Number of events kept until their second copy arrives. A copy that arrives after this many
/// others is logged again.
const REMEMBERED: usize = 64;

/// Reads one task's notes, in order.
pub(super) struct LogParser<'a> {
    run_id: &'a str,
    step: Option<&'a str>,
    /// Events of which only one copy has arrived: whether it was printed, and its text.
    unpaired: VecDeque<(bool, String)>,
    trace: Trace,
}

/// Position within the lines of an error: Dagster's logger prints them after the line they belong
/// to, in one record.
#[derive(Clone, Copy)]
enum Trace {
    /// The last line was Dagster's, of this level.
    Head(LogLevel),
    /// Inside an error; whether the last line was empty or "... the following exception:", after
    /// which an exception's own message comes.
    Inside(LogLevel, bool),
    Outside,
}

impl<'a> LogParser<'a> {
    pub fn new(run_id: &'a str, step: Option<&'a str>) -> Self {
        Self {
            run_id,
            step,
            unpaired: VecDeque::new(),
            trace: Trace::Outside,
        }
    }

    /// Returns the log line of an event that the host passed on; `None` if it was printed before.
    pub fn event(&mut self, event_type: &str, message: &str) -> Option<(LogLevel, String)> {
        let words = format!("{event_type} {message}");
        self.is_new(false, &words)
            .then(|| (level_of(event_type, LogLevel::Debug), words))
    }

    /// Returns the log line of a printed line; `None` for an event that was logged before.
    pub fn line(&mut self, line: &str) -> Option<(LogLevel, String)> {
        let Some((level, message)) = dagster_line(line, self.run_id, self.step) else {
            return Some((self.level_of_other(line), shown(line).into_owned()));
        };
        let Some((event_type, rest)) = event_of(&message) else {
            self.trace = Trace::Head(level);
            return Some((level, message));
        };
        let level = level_of(event_type, level);
        self.trace = Trace::Head(level);
        let words = format!("{event_type} {rest}");
        self.is_new(true, &words).then_some((level, words))
    }

    /// Level of a line that is not Dagster's own: that of the record it continues.
    fn level_of_other(&mut self, line: &str) -> LogLevel {
        let blank = line.trim().is_empty();
        let indented = line.starts_with(' ');
        self.trace = match self.trace {
            Trace::Head(level) if blank => Trace::Inside(level, true),
            Trace::Inside(level, opens) if blank || indented || opens => {
                Trace::Inside(level, blank || line.ends_with("exception:"))
            }
            _ => Trace::Outside,
        };
        match self.trace {
            Trace::Inside(level, _) => level,
            Trace::Head(_) | Trace::Outside => LogLevel::Info,
        }
    }

    fn is_new(&mut self, printed: bool, words: &str) -> bool {
        // The host truncates an event's text; the logger prints it line by line.
        let words: String = words
            .lines()
            .next()
            .unwrap_or_default()
            .chars()
            .take(500)
            .collect();
        let other = |known: &(bool, String)| known.0 != printed && known.1 == words;
        if let Some(at) = self.unpaired.iter().position(other) {
            self.unpaired.remove(at);
            return false;
        }
        if self.unpaired.len() == REMEMBERED {
            self.unpaired.pop_front();
        }
        self.unpaired.push_back((printed, words));
        true
    }
}

/// Splits a line about an event into type and message.
fn event_of(message: &str) -> Option<(&str, &str)> {
    let (event_type, rest) = match message.split_once(SEPARATOR) {
        Some(parts) => parts,
        // An event without text of its own.
        None => (message.trim_end_matches(" -"), ""),
    };
    let is_type = event_type.contains('_')
        && event_type
            .bytes()
            .all(|byte| byte == b'_' || byte.is_ascii_uppercase());
    is_type.then_some((event_type, rest))
}

/// Level of an event. Dagster logs a retry at DEBUG, but troubleshooters look for it at WARN.
fn level_of(event_type: &str, level: LogLevel) -> LogLevel {
    match event_type {
        "STEP_FAILURE" | "PIPELINE_FAILURE" | "RUN_FAILURE" => LogLevel::Error,
        "STEP_UP_FOR_RETRY" => LogLevel::Warn,
        _ => level,
    }
}

/// Parses a line as Dagster's logger prints it for this run and step into level and message; `None`
/// for a line from another source.
///
/// ```text
/// 2026-03-14 02:17:30 +0000 - dagster - DEBUG - job - run - 4242 - step - STEP_START - Started ...
/// ```
fn dagster_line(line: &str, run_id: &str, step: Option<&str>) -> Option<(LogLevel, String)> {
    let shown = shown(line);
    let mut parts = shown.splitn(4, SEPARATOR);
    let (time, _logger, level, rest) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if !is_time(time) {
        return None;
    }
    let level = match level {
        "DEBUG" => LogLevel::Debug,
        "INFO" => LogLevel::Info,
        "WARNING" => LogLevel::Warn,
        "ERROR" | "CRITICAL" => LogLevel::Error,
        _ => return None,
    };
    let of_run = format!("{run_id}{SEPARATOR}");
    let mut message = rest
        .split_once(&of_run)
        .map_or(rest, |(_, message)| message);
    if let Some((pid, after)) = message.split_once(SEPARATOR)
        && pid.parse::<u32>().is_ok()
    {
        message = after;
    }
    if let Some(step) = step
        && let Some((named, after)) = message.split_once(SEPARATOR)
        && named == step
    {
        message = after;
    }
    Some((level, message.to_owned()))
}

const SEPARATOR: &str = " - ";

/// Whether a text begins with a time such as `2026-03-14 02:17:30`.
fn is_time(text: &str) -> bool {
    text.len() >= 19
        && text
            .bytes()
            .take(19)
            .enumerate()
            .all(|(at, byte)| match at {
                4 | 7 => byte == b'-',
                10 => byte == b' ',
                13 | 16 => byte == b':',
                _ => byte.is_ascii_digit(),
            })
}

/// The line as a terminal would show it, without colours: of a progress bar, which returns to the
/// beginning of its line repeatedly, only the last state.
fn shown(line: &str) -> Cow<'_, str> {
    let line = line.trim_end_matches('\r');
    plain(line.rsplit('\r').next().unwrap_or(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "e5997a13-a53f-423d-b702-d739023b3e58";

    fn printed(message: &str) -> String {
        format!(
            "2026-11-25 23:32:15 +0000 - dagster - DEBUG - scores - {RUN} - 20105 - rank - {message}"
        )
    }

    #[test]
    fn an_event_is_logged_once_whichever_copy_comes_first() {
        let mut reader = LogParser::new(RUN, Some("rank"));
        let words = "LOADED_INPUT Loaded - it".to_owned();
        let logged = reader.line(&printed("LOADED_INPUT - Loaded - it"));
        assert_eq!(logged, Some((LogLevel::Debug, words.clone())));
        assert_eq!(reader.event("LOADED_INPUT", "Loaded - it"), None);

        let logged = reader.event("LOADED_INPUT", "Loaded - it");
        assert_eq!(
            logged,
            Some((LogLevel::Debug, words.clone())),
            "another one"
        );
        assert_eq!(reader.line(&printed("LOADED_INPUT - Loaded - it")), None);

        assert!(reader.event("LOADED_INPUT", "Loaded - it").is_some());
        assert!(reader.event("LOADED_INPUT", "Loaded - it").is_some());
    }

    #[test]
    fn a_progress_bar_is_its_last_state_and_escape_sequences_have_no_effect() {
        let mut reader = LogParser::new(RUN, None);
        let mut logged = |printed| reader.line(printed).map(|(_, message)| message);
        let bar = logged("\r 10%|#   |\r 90%|### |\r\x1b[2K100%|####| 3/3\r");
        assert_eq!(bar.as_deref(), Some("100%|####| 3/3"));
        let link = logged("\x1b]8;;http://example.com\x1b\\read\x1b]8;;\x1b\\ \x1b[1mme\x1b[0m");
        assert_eq!(link.as_deref(), Some("read me"));
    }

    #[test]
    fn the_lines_of_an_error_have_the_level_of_the_record_they_belong_to() {
        let mut reader = LogParser::new(RUN, Some("rank"));
        let level = |logged: Option<(LogLevel, String)>| logged.map(|(level, _)| level);
        reader.event("STEP_UP_FOR_RETRY", "It failed.");
        let head = reader.line(&printed("STEP_UP_FOR_RETRY - It failed."));
        assert_eq!(head, None);
        for line in [
            "",
            "RetryRequestedFromPolicy",
            "",
            "Stack Trace:",
            "  File \"utils.py\", line 57, in op_execution_error_boundary",
            "    yield",
            "",
            "The above exception was caused by the following exception:",
            "Unavailable: HTTP 503",
            "",
            "Stack Trace:",
            "  File \"invoices.py\", line 27, in fetch_invoices",
        ] {
            assert_eq!(level(reader.line(line)), Some(LogLevel::Warn), "{line:?}");
        }
        assert_eq!(
            level(reader.line("printed by the op")),
            Some(LogLevel::Info)
        );
        assert_eq!(level(reader.line("")), Some(LogLevel::Info));
    }

    #[test]
    fn an_event_of_the_step_is_its_level_and_its_words() {
        let line = format!(
            "2026-11-25 23:32:15 +0000 - dagster - DEBUG - scores - {RUN} - 20105 - rank - LOADED_INPUT - Loaded - it"
        );
        let logged = dagster_line(&line, RUN, Some("rank"));
        let words = "LOADED_INPUT - Loaded - it".to_owned();
        assert_eq!(logged, Some((LogLevel::Debug, words)));
    }

    #[test]
    fn a_message_of_user_code_in_colours_is_taken_apart_too() {
        let line = format!(
            "\x1b[32m2026-11-25 23:32:15 +0000\x1b[0m - dagster - \x1b[31mERROR\x1b[0m - scores - {RUN} - rank - no rows"
        );
        let logged = dagster_line(&line, RUN, Some("rank"));
        assert_eq!(logged, Some((LogLevel::Error, "no rows".to_owned())));
    }

    #[test]
    fn what_something_else_printed_is_left_alone() {
        for line in [
            "a - b - c - d",
            "2026-11-25 23:32:15 - x - LOUD - y",
            "",
            "\x1b[",
        ] {
            assert_eq!(dagster_line(line, RUN, None), None, "{line}");
        }
    }
}
