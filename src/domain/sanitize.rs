//! Foreign text, made safe for a terminal.

use std::borrow::Cow;

use anstream::adapter::strip_str;

/// The text without anything a terminal would interpret: escape sequences and control characters
/// other than tabs and line ends. Names, messages and log lines come from outside.
#[must_use]
pub fn plain(text: &str) -> Cow<'_, str> {
    let is_control = |c: char| c.is_control() && c != '\t' && c != '\n';
    if !text.contains(is_control) {
        return Cow::Borrowed(text);
    }
    let mut kept = strip_str(text).to_string();
    kept.retain(|c| !is_control(c));
    Cow::Owned(kept)
}

/// The text in one line, with its control characters as escapes: it is still to be recognised.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() {
            line.extend(letter.escape_default());
        } else {
            line.push(letter);
        }
    }
    Cow::Owned(line)
}

/// Maximum size of a [`reason`], in bytes.
const REASON: usize = 1024;

/// Foreign text as a reason: one line of plain text, at most 1 KiB. SQS refuses attributes with
/// control characters, and exceptions of dbt, rich and click are coloured.
#[must_use]
pub fn reason(text: &str) -> String {
    let text = strip_str(text).to_string();
    // U+FFFE and U+FFFF are not XML characters, and SQS only takes XML characters.
    let is_bad = |c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}');
    let words = text.split(|c: char| c.is_whitespace() || is_bad(c));
    let mut line = words.filter(|word| !word.is_empty()).collect::<Vec<_>>();
    if line.is_empty() {
        line.push("no reason was given");
    }
    let mut line = line.join(" ");
    if line.len() > REASON {
        line.truncate(line.floor_char_boundary(REASON - "…".len()));
        line.push('…');
    }
    line
}

/// The last lines of a failed program's output that are not empty, as one line.
#[must_use]
pub fn last_lines(output: &str, count: usize) -> String {
    let lines = output.lines().map(str::trim);
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    match lines.len() {
        0 => "it said nothing".to_owned(),
        all => lines[all.saturating_sub(count)..].join(" | "),
    }
}

/// Similarity from which on names are near, by Jaro and Winkler: most letters are the same.
const NEAR: f64 = 0.8;

/// The name that is most similar to the typed one, if one is near.
pub fn nearest<'a>(typed: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // One slip in a short name makes it less similar than it looks; and a part may be typed for all.
    let is_near = |name: &&str| {
        let letters = typed.chars().count();
        strsim::jaro_winkler(typed, name) >= NEAR
            || (letters > 2 && strsim::osa_distance(typed, name) <= 1.max(letters / 4))
            || (letters > 2 && name.contains(typed))
    };
    names.filter(is_near).max_by(|one, other| {
        let like = |name| strsim::jaro_winkler(typed, name);
        like(one).total_cmp(&like(other))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visible_text_is_one_line_and_says_what_was_in_it() {
        assert_eq!(visible("größe"), "größe");
        assert_eq!(
            visible("a\x1b[31mred\nb\t\u{9b}"),
            r"a\u{1b}[31mred\nb\t\u{9b}"
        );
    }

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        assert_eq!(plain("a\tb\n"), "a\tb\n");
        assert_eq!(plain("\x1b[1;31mred\x1b[0m \x1b[2Kkept"), "red kept");
        assert_eq!(plain("\x1b]52;c;ZXZpbA==\x07after"), "after");
        assert_eq!(plain("\x1b]0;title\x1b\\after\x1b("), "after");
        assert_eq!(
            plain("bell\x07 back\x08 c1\u{9b}31m del\x7f"),
            "bell back c131m del"
        );
        assert_eq!(plain("çé\x1b[0m漢"), "çé漢");
    }

    #[test]
    fn only_a_name_that_is_near_is_suggested() {
        let names = ["slots_cpu_limit", "max_deliveries", "min", "prefetch"];
        let near = |typed| nearest(typed, names.into_iter());
        for (typed, name) in [
            ("mni", "min"),
            ("slot_cpu_limit", "slots_cpu_limit"),
            ("deliveries", "max_deliveries"),
            ("prefech", "prefetch"),
        ] {
            assert_eq!(near(typed), Some(name));
        }
        for typed in ["", "x", "ops", "<<", "broker"] {
            assert_eq!(near(typed), None, "{typed}");
        }
    }

    #[test]
    fn a_failed_program_is_quoted_by_its_last_lines() {
        assert_eq!(last_lines("a\n\nb\nc\nd\ne\n", 4), "b | c | d | e");
        assert_eq!(last_lines("", 4), "it said nothing");
    }

    #[test]
    fn a_reason_is_one_short_line_that_sqs_takes() {
        assert_eq!(
            reason("\x1b[31mError:\x1b[0m no\n  such\tfile\x00\x08"),
            "Error: no such file"
        );
        assert_eq!(reason(" \x07\n"), "no reason was given");
        assert_eq!(reason("a\u{ffff}b"), "a b");
        let long = reason(&"é".repeat(5000));
        assert!(
            long.len() <= REASON && long.ends_with('…'),
            "{}",
            long.len()
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_a_reason_that_sqs_refuses(text in ".{0,3000}") {
            let reason = reason(&text);
            let is_taken = |c: char| {
                matches!(c, '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
            };
            proptest::prop_assert!(reason.chars().all(is_taken), "{reason:?}");
            proptest::prop_assert!(!reason.is_empty() && reason.len() <= REASON);
        }
    }
}
