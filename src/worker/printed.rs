//! What Dagster's console logger prints, taken apart: its time, run and process are known already, and
//! its level is the one that counts.

use std::borrow::Cow;

use crate::domain::LogLevel;

/// Level and message of a line as Dagster's logger prints it for this run and step; `None` for a line
/// that something else printed.
///
/// ```text
/// 2026-03-14 02:17:30 +0000 - dagster - DEBUG - job - run - 4242 - step - STEP_START - Started ...
/// ```
pub(super) fn dagster_line(
    line: &str,
    run_id: &str,
    step: Option<&str>,
) -> Option<(LogLevel, String)> {
    let plain = without_colours(line);
    let mut parts = plain.splitn(4, SEPARATOR);
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

/// `2026-03-14 02:17:30`, and what follows it.
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

/// The line without `ESC [ ... m`.
fn without_colours(line: &str) -> Cow<'_, str> {
    if !line.contains('\x1b') {
        return Cow::Borrowed(line);
    }
    let mut parts = line.split("\x1b[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.split_once('m').map_or(part, |(_, after)| after));
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "e5997a13-a53f-423d-b702-d739023b3e58";

    #[test]
    fn an_event_of_the_step_is_its_level_and_its_words() {
        let line = format!(
            "2026-11-25 23:32:15 +0000 - dagster - DEBUG - scores - {RUN} - 20105 - rank - LOADED_INPUT - Loaded - it"
        );
        let told = dagster_line(&line, RUN, Some("rank"));
        let words = "LOADED_INPUT - Loaded - it".to_owned();
        assert_eq!(told, Some((LogLevel::Debug, words)));
    }

    #[test]
    fn a_message_of_user_code_in_colours_is_taken_apart_too() {
        let line = format!(
            "\x1b[32m2026-11-25 23:32:15 +0000\x1b[0m - dagster - \x1b[31mERROR\x1b[0m - scores - {RUN} - rank - no rows"
        );
        let told = dagster_line(&line, RUN, Some("rank"));
        assert_eq!(told, Some((LogLevel::Error, "no rows".to_owned())));
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
