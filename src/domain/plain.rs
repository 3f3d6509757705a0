//! Text of others as a terminal may print it.

use std::borrow::Cow;

use anstream::adapter::strip_str;

/// The text without what a terminal would obey: escape sequences and control characters other than
/// tabs and line ends. Names, messages and log lines are somebody else's words.
#[must_use]
pub fn plain(text: &str) -> Cow<'_, str> {
    let obeyed = |c: char| c.is_control() && c != '\t' && c != '\n';
    if !text.contains(obeyed) {
        return Cow::Borrowed(text);
    }
    let mut kept = strip_str(text).to_string();
    kept.retain(|c| !obeyed(c));
    Cow::Owned(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
