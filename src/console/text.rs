//! Text that fits: display width, truncation with an ellipsis, and removal of what a terminal would
//! obey (escape sequences in log lines).

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::domain::plain;

/// Columns a text takes; more than a screen can hold is `u16::MAX`.
#[must_use]
pub fn width(text: &str) -> u16 {
    u16::try_from(text.width()).unwrap_or(u16::MAX)
}

/// The text, or its beginning and `ellipsis`, in at most `max` columns.
#[must_use]
pub fn fit<'a>(text: &'a str, max: u16, ellipsis: &str) -> Cow<'a, str> {
    if width(text) <= max {
        return Cow::Borrowed(text);
    }
    match max.checked_sub(width(ellipsis)) {
        Some(room) => Cow::Owned(format!("{}{ellipsis}", prefix(text, room))),
        None => Cow::Borrowed(prefix(text, max)),
    }
}

/// The longest beginning that takes at most `max` columns.
#[must_use]
pub fn prefix(text: &str, max: u16) -> &str {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += c.width().unwrap_or(0);
        if used > usize::from(max) {
            return &text[..at];
        }
    }
    text
}

/// The text without escape sequences and control characters; a tab becomes two spaces.
#[must_use]
pub fn clean(text: &str) -> Cow<'_, str> {
    let mut text = plain(text);
    if text.contains(['\t', '\n']) {
        text = Cow::Owned(text.replace('\t', "  ").replace('\n', ""));
    }
    text
}

/// Cuts a text into lines of at most `max` columns.
#[must_use]
pub fn wrap(text: &str, max: u16) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let line = prefix(rest, max);
        if line.is_empty() {
            break;
        }
        // Break at the last space, unless the word itself is longer than the line. Spaces at the
        // beginning are its indentation.
        let end = if line.len() < rest.len() {
            line.rfind(' ')
                .filter(|at| !line[..*at].trim_start().is_empty())
                .map_or(line.len(), |at| at + 1)
        } else {
            line.len()
        };
        lines.push(rest[..end].trim_end());
        rest = &rest[end..];
    }
    lines
}

/// JSON over several lines, as people read and edit it; anything else as it is.
#[must_use]
pub fn pretty(text: &str) -> String {
    serde_json::from_str::<serde_json::Value>(text)
        .and_then(|value| serde_json::to_string_pretty(&value))
        .unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_too_wide_ends_in_an_ellipsis_within_its_columns() {
        assert_eq!(fit("process_chunk", 8, "…"), "process…");
        assert_eq!(fit("short", 8, "…"), "short");
        assert_eq!(fit("日本語のステップ", 7, "…"), "日本語…");
        assert_eq!(fit("abc", 1, ".."), "a");
        assert_eq!(fit("abc", 0, "…"), "");
    }

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        assert_eq!(clean("\u{1b}[31mred\u{1b}[0m\tx\u{7}"), "red  x");
    }

    #[test]
    fn wrapped_lines_break_at_spaces_and_lose_nothing() {
        assert_eq!(wrap("one two three", 8), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrap("  abcdefg", 6), ["  abcd", "efg"]);
        assert_eq!(wrap("日本", 1), Vec::<&str>::new());
    }
}
