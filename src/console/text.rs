//! Text that fits: display width, truncation with an ellipsis, and removal of control sequences
//! that a terminal would interpret (in log lines).

use std::borrow::Cow;

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use crate::domain::plain;

/// Columns a text takes; more than a screen can hold is `u16::MAX`. Counted by user-perceived
/// characters, as drawn: an emoji of several code points is one cell or two.
#[must_use]
pub fn width(text: &str) -> u16 {
    let columns = if is_plain(text) {
        text.len()
    } else {
        text.graphemes(true).map(UnicodeWidthStr::width).sum()
    };
    u16::try_from(columns).unwrap_or(u16::MAX)
}

/// Whether every byte of it takes one column.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
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
    let max = usize::from(max);
    if is_plain(text) {
        return &text[..max.min(text.len())];
    }
    let mut used = 0;
    for (at, one) in text.grapheme_indices(true) {
        used += one.width();
        if used > max {
            return &text[..at];
        }
    }
    text
}

/// The longest end that takes at most `max` columns.
#[must_use]
pub fn suffix(text: &str, max: u16) -> &str {
    let mut used = 0;
    for (at, one) in text.grapheme_indices(true).rev() {
        used += one.width();
        if used > usize::from(max) {
            return &text[at + one.len()..];
        }
    }
    text
}

/// The first user-perceived character; `None` if the text is empty.
#[must_use]
pub fn first(text: &str) -> Option<&str> {
    text.graphemes(true).next()
}

/// The text without escape sequences and control characters, on one line: a tab becomes two spaces,
/// and a line break a blank. Of a line that was overwritten, the last state is left.
#[must_use]
pub fn clean(text: &str) -> Cow<'_, str> {
    let text = last_states(text);
    let text = match text {
        Cow::Borrowed(text) => plain(text),
        Cow::Owned(text) => Cow::Owned(plain(&text).into_owned()),
    };
    if !text.contains(['\t', '\n']) {
        return text;
    }
    let text = text.trim_end_matches('\n');
    Cow::Owned(text.replace('\t', "  ").replace('\n', " "))
}

/// Every line as a terminal shows it after its carriage returns: overwritten text is gone.
fn last_states(text: &str) -> Cow<'_, str> {
    if !text.contains('\r') {
        return Cow::Borrowed(text);
    }
    let lines = text.split('\n').map(|line| {
        let states = line.trim_end_matches('\r');
        states.rsplit('\r').next().unwrap_or(states)
    });
    Cow::Owned(lines.collect::<Vec<_>>().join("\n"))
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

/// JSON over several lines for reading and editing; other text unchanged.
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
    fn what_breaks_a_line_keeps_words_apart_and_what_was_written_over_is_gone() {
        assert_eq!(clean("first\nsecond\n"), "first second");
        assert_eq!(clean("first\r\nsecond\r\n"), "first second");
        assert_eq!(clean("0%\r50%\r\u{1b}[32m100%\u{1b}[0m"), "100%");
        assert_eq!(clean("0%\r50%\r"), "50%");
        assert_eq!(clean("a\rb\nc\rd"), "b d");
    }

    #[test]
    fn text_of_many_code_points_is_cut_between_characters_and_none_of_it_is_lost() {
        for one in [
            "\u{26a0}\u{fe0f}",
            "1\u{fe0f}\u{20e3}",
            "👩\u{200d}👩\u{200d}👧",
            "e\u{301}",
            "🇩🇪",
            "日",
        ] {
            let text = format!("{}END", one.repeat(40));
            for max in [2, 3, 7, 80] {
                let lines = wrap(&text, max);
                assert!(
                    lines.iter().all(|line| width(line) <= max),
                    "{one} in {max}"
                );
                assert_eq!(lines.concat(), text, "{one} in {max}");
            }
            assert!(fit(&text, 9, "…").ends_with('…'), "{one}");
            assert!(width(&fit(&text, 9, "…")) <= 9, "{one}");
            assert_eq!(suffix(&text, 3), "END");
            assert_eq!(first(&text), Some(one));
        }
    }

    #[test]
    fn wrapped_lines_break_at_spaces_and_lose_nothing() {
        assert_eq!(wrap("one two three", 8), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrap("  abcdefg", 6), ["  abcd", "efg"]);
        assert_eq!(wrap("日本", 1), Vec::<&str>::new());
    }
}
