//! An input line, edited at its caret in units of user-perceived characters.

use crossterm::event::KeyCode;
use unicode_segmentation::UnicodeSegmentation;

use super::key::Key;

/// Result of a key in an input line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Typed {
    /// It changed the text.
    Edited,
    /// Enter: the text is submitted.
    Given,
    /// Esc, or Backspace in an empty line.
    Left,
    /// Another key, or one that moved the caret only.
    Other,
}

/// An input line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    text: String,
    /// Position of the caret, in bytes.
    caret: usize,
}

impl Input {
    /// Creates a line with the caret at its end.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        let caret = text.len();
        Self { text, caret }
    }

    /// The typed text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text before the caret, and the rest.
    #[must_use]
    pub fn parts(&self) -> (&str, &str) {
        self.text.split_at(self.caret)
    }

    /// Inserts pasted text at the caret. It is one line: line breaks become blanks.
    pub fn paste(&mut self, text: &str) {
        let lines = text.split(['\n', '\r', '\t']).map(str::trim);
        let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
        let mut line = lines.join(" ");
        line.retain(|c| !c.is_control());
        self.insert(&line);
    }

    fn insert(&mut self, text: &str) {
        self.text.insert_str(self.caret, text);
        self.caret += text.len();
    }

    /// Handles a key of the line editor, as in a shell.
    pub fn key(&mut self, key: Key) -> Typed {
        let (before, after) = self.parts();
        let back = before.graphemes(true).next_back().map_or(0, str::len);
        let on = after.graphemes(true).next().map_or(0, str::len);
        let (end, caret) = (self.text.len(), self.caret);
        let (word_back, word_on) = (caret - word_begin(before), word_end(after));
        match (key.code, key.ctrl, key.alt) {
            (KeyCode::Esc, ..) | (KeyCode::Char('c'), true, _) => Typed::Left,
            (KeyCode::Enter, ..) => Typed::Given,
            (KeyCode::Backspace, false, true)
            | (KeyCode::Backspace | KeyCode::Char('w'), true, _) => {
                self.cut(caret - word_back, caret)
            }
            (KeyCode::Backspace, ..) | (KeyCode::Char('h'), true, _) if self.text.is_empty() => {
                Typed::Left
            }
            (KeyCode::Backspace, ..) | (KeyCode::Char('h'), true, _) => {
                self.cut(caret - back, caret)
            }
            (KeyCode::Char('d'), false, true) => self.cut(caret, caret + word_on),
            (KeyCode::Delete, ..) | (KeyCode::Char('d'), true, _) => self.cut(caret, caret + on),
            (KeyCode::Char('u'), true, _) => self.cut(0, caret),
            (KeyCode::Char('k'), true, _) => self.cut(caret, end),
            (KeyCode::Left, true, _) | (KeyCode::Left | KeyCode::Char('b'), _, true) => {
                self.move_to(caret - word_back)
            }
            (KeyCode::Right, true, _) | (KeyCode::Right | KeyCode::Char('f'), _, true) => {
                self.move_to(caret + word_on)
            }
            (KeyCode::Left, ..) | (KeyCode::Char('b'), true, _) => self.move_to(caret - back),
            (KeyCode::Right, ..) | (KeyCode::Char('f'), true, _) => self.move_to(caret + on),
            (KeyCode::Home, ..) | (KeyCode::Char('a'), true, _) => self.move_to(0),
            (KeyCode::End, ..) | (KeyCode::Char('e'), true, _) => self.move_to(end),
            _ => match key.typed() {
                Some(c) => {
                    self.insert(c.encode_utf8(&mut [0; 4]));
                    Typed::Edited
                }
                None => Typed::Other,
            },
        }
    }

    /// Whether a chord with Alt has a meaning here.
    #[must_use]
    pub fn takes_chord(key: Key) -> bool {
        let words = [
            KeyCode::Backspace,
            KeyCode::Left,
            KeyCode::Right,
            KeyCode::Char('b'),
            KeyCode::Char('d'),
            KeyCode::Char('f'),
        ];
        words.contains(&key.code)
    }

    fn cut(&mut self, from: usize, to: usize) -> Typed {
        if from == to {
            return Typed::Other;
        }
        self.text.replace_range(from..to, "");
        self.caret = from;
        Typed::Edited
    }

    fn move_to(&mut self, caret: usize) -> Typed {
        self.caret = caret;
        Typed::Other
    }
}

/// Position at which the last word of a text begins.
fn word_begin(text: &str) -> usize {
    text.trim_end().rfind(' ').map_or(0, |at| at + 1)
}

/// Position at which the first word of a text ends.
fn word_end(text: &str) -> usize {
    let begin = text.len() - text.trim_start().len();
    text[begin..].find(' ').map_or(text.len(), |at| begin + at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::key;

    /// A line after these keys, its caret as `|`.
    fn typed(text: &str, keys: &str) -> String {
        let mut input = Input::new(text);
        for key in key::parse(keys) {
            let _ = input.key(key);
        }
        let (before, after) = input.parts();
        format!("{before}|{after}")
    }

    #[test]
    fn a_line_is_edited_where_its_caret_stands() {
        for (text, keys, expected) in [
            ("abc", "<left><left>x", "ax|bc"),
            ("abc", "<home>x<end>y", "xabcy|"),
            ("abc", "<left><bs>", "a|c"),
            ("abc", "<home><del>", "|bc"),
            ("abc", "<c-a><c-f><c-d>", "a|c"),
            ("one two three", "<a-b><a-b>x", "one x|two three"),
            ("one two three", "<home><a-f><c-k>", "one|"),
            ("one two three", "<c-w>", "one two |"),
            ("one two three", "<a-b><c-w>", "one |three"),
            ("one two three", "<home><a-d>", "| two three"),
            ("one two", "<a-b><c-u>", "|two"),
            ("", "<left><right><del><c-w><c-k>", "|"),
        ] {
            assert_eq!(typed(text, keys), expected, "{keys}");
        }
    }

    #[test]
    fn what_people_see_as_one_character_is_one() {
        // A flag, a family of joined people, a letter with a combining accent.
        for one in ["🇩🇪", "👩‍👩‍👧", "e\u{301}", "日", "⚠️"] {
            assert_eq!(typed(&format!("a{one}"), "<bs>"), "a|");
            assert_eq!(
                typed(&format!("a{one}"), "<left><left>"),
                format!("|a{one}")
            );
            assert_eq!(typed(one, "<home><del>"), "|");
        }
    }

    #[test]
    fn several_pasted_lines_are_words_of_one() {
        let mut input = Input::new("a  b");
        let _ = input.key(key::parse("<a-b>")[0]);
        input.paste("id1\r\nid2\n\n\tid3\x07\n");
        assert_eq!(input.text(), "a  id1 id2 id3b");
    }

    #[test]
    fn backspace_leaves_an_empty_line_only() {
        let mut input = Input::new("a");
        let (home, back) = (key::parse("<home>")[0], key::parse("<bs>")[0]);
        assert_eq!(input.key(home), Typed::Other);
        assert_eq!(input.key(back), Typed::Other);
        assert_eq!(input.text(), "a");
        assert_eq!(Input::default().key(back), Typed::Left);
    }
}
