//! The glyphs of the console: one set for UTF-8 terminals, one of plain ASCII.

use ratatui::symbols::border;

/// A set of glyphs. Every state has one of its own, so that nothing depends on colour alone.
#[derive(Debug)]
pub struct Glyphs {
    /// Answers; running pool.
    pub up: &'static str,
    /// Does not answer; failure.
    pub down: &'static str,
    /// No answer yet; starting.
    pub pending: &'static str,
    /// Needs attention.
    pub warn: &'static str,
    /// Ended well.
    pub done: &'static str,
    /// Runs now.
    pub running: &'static str,
    /// Received, waits for a slot.
    pub held: &'static str,
    /// Paused.
    pub paused: &'static str,
    /// Will be tried again.
    pub retry: &'static str,
    /// Skipped, given back or cancelled.
    pub skipped: &'static str,
    /// An unknown figure.
    pub unknown: &'static str,
    /// End of truncated text.
    pub ellipsis: &'static str,
    /// Left of the row under the cursor.
    pub cursor: &'static str,
    /// Left of a marked row.
    pub mark: &'static str,
    /// Between parts of a line.
    pub separator: &'static str,
    /// A taken slot.
    pub slot_busy: &'static str,
    /// A free slot.
    pub slot_free: &'static str,
    /// A full cell of a bar.
    pub bar_full: &'static str,
    /// Cells of a bar filled by one to seven eighths.
    pub bar_parts: [&'static str; 7],
    /// Levels of a sparkline, lowest first.
    pub spark: [&'static str; 8],
    /// The rest of a bar that has an end.
    pub bar_rest: &'static str,
    /// A horizontal rule.
    pub rule: &'static str,
    /// A panel's frame.
    pub border: border::Set<'static>,
    /// The text cursor in an input line.
    pub caret: &'static str,
    /// Between two places, from the first to the second.
    pub arrow: &'static str,
}

/// For terminals that show UTF-8.
pub static UNICODE: Glyphs = Glyphs {
    up: "●",
    down: "✖",
    pending: "◌",
    warn: "▲",
    done: "✔",
    running: "▶",
    held: "◷",
    paused: "‖",
    retry: "↻",
    skipped: "○",
    unknown: "·",
    ellipsis: "…",
    cursor: "▌",
    mark: "◆",
    separator: "·",
    slot_busy: "■",
    slot_free: "□",
    bar_full: "█",
    bar_parts: ["▏", "▎", "▍", "▌", "▋", "▊", "▉"],
    spark: ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"],
    bar_rest: "░",
    rule: "─",
    border: border::ROUNDED,
    caret: "█",
    arrow: "→",
};

/// For everything else.
pub static ASCII: Glyphs = Glyphs {
    up: "*",
    down: "x",
    pending: "?",
    warn: "!",
    done: "+",
    running: ">",
    held: "h",
    paused: "=",
    retry: "r",
    skipped: "o",
    unknown: ".",
    ellipsis: "~",
    cursor: ">",
    mark: "@",
    separator: "|",
    slot_busy: "#",
    slot_free: "-",
    bar_full: "#",
    bar_parts: [" ", " ", " ", "=", "=", "=", "="],
    spark: [".", ".", ":", ":", "-", "=", "+", "#"],
    bar_rest: ".",
    rule: "-",
    border: border::Set {
        top_left: "+",
        top_right: "+",
        bottom_left: "+",
        bottom_right: "+",
        vertical_left: "|",
        vertical_right: "|",
        horizontal_top: "-",
        horizontal_bottom: "-",
    },
    caret: "_",
    arrow: "->",
};

impl Glyphs {
    /// The set for a locale: UTF-8 or not.
    #[must_use]
    pub fn for_locale(ascii: Option<bool>) -> &'static Self {
        if ascii.unwrap_or_else(|| !locale_is_utf8() || !terminal_has_signs()) {
            &ASCII
        } else {
            &UNICODE
        }
    }

    /// Whether it needs more than ASCII.
    #[must_use]
    pub fn is_unicode(&self) -> bool {
        !self.ellipsis.is_ascii()
    }
}

/// Whether the terminal is likely to have the glyphs: the console of Linux has 512 of its own, and
/// the terminals of DEC have none.
fn terminal_has_signs() -> bool {
    let term = std::env::var("TERM").unwrap_or_default();
    let without = ["linux", "vt", "ansi", "cons25", "sun", "wy"];
    !without.iter().any(|name| term.starts_with(name))
}

/// Whether the locale is UTF-8. By POSIX the first of these variables that is set and not empty
/// decides.
fn locale_is_utf8() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|value| !value.is_empty())
        .unwrap_or_default()
        .to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_own_sign_so_that_none_depends_on_colour_alone() {
        for set in [&UNICODE, &ASCII] {
            let signs = [
                set.up,
                set.down,
                set.pending,
                set.warn,
                set.done,
                set.running,
                set.held,
                set.paused,
                set.retry,
                set.skipped,
                set.unknown,
                set.mark,
            ];
            for (at, sign) in signs.iter().enumerate() {
                assert!(!signs[..at].contains(sign), "{sign} is two states");
                assert!(*sign != " " && !sign.is_empty());
            }
        }
    }
}
