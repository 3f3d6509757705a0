//! Files with the console's content: the screen as text, a table as CSV or JSON.

use std::borrow::Cow;

use jiff::Timestamp;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::app::App;
use super::render;
use super::text;

/// Content and format of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The current screen.
    Screen,
    /// The view's rows after filter and order, their shown columns.
    Csv,
    /// The same rows with all known data.
    Json,
}

impl Form {
    /// The form for a word, which is also its file's extension.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        match word {
            "screen" => Some(Self::Screen),
            "csv" => Some(Self::Csv),
            "json" => Some(Self::Json),
            _ => None,
        }
    }

    /// The extension of its file's name.
    #[must_use]
    pub fn ending(self) -> &'static str {
        match self {
            Self::Screen => "txt",
            Self::Csv => "csv",
            Self::Json => "json",
        }
    }
}

/// The lines of a buffer, without spaces at their ends.
#[must_use]
pub fn lines(buffer: &Buffer) -> String {
    let mut all = String::new();
    for y in 0..buffer.area.height {
        let mut line = String::new();
        let mut x = 0;
        while x < buffer.area.width {
            let symbol = buffer[(x, y)].symbol();
            line.push_str(symbol);
            x += text::width(symbol).max(1);
        }
        all.push_str(line.trim_end());
        all.push('\n');
    }
    all
}

impl App {
    /// The console's content in a form; `None` if the view has no rows to write.
    #[must_use]
    pub fn dump(&self, form: Form, now: Timestamp) -> Option<String> {
        match form {
            Form::Screen => {
                let mut buffer = Buffer::empty(Rect::new(0, 0, self.size.0, self.size.1));
                self.render_to(&mut buffer, now);
                Some(lines(&buffer))
            }
            Form::Csv => {
                let rows = render::cells_of_all(self, now)?;
                let line = |row: Vec<String>| {
                    let cells: Vec<Cow<str>> = row.iter().map(|cell| quoted(cell)).collect();
                    cells.join(",") + "\r\n"
                };
                Some(rows.into_iter().map(line).collect())
            }
            Form::Json => {
                let rows: Vec<serde_json::Value> = (0..self.list().rows.len())
                    .filter_map(|row| self.value_at(self.list().rows.get(row)?))
                    .collect();
                serde_json::to_string_pretty(&rows).ok()
            }
        }
    }

    /// All known data of the row at a position of the view's list.
    pub(super) fn value_at(&self, at: usize) -> Option<serde_json::Value> {
        self.view().spec().value_at(&self.snapshot, at)
    }
}

/// A cell quoted according to RFC 4180.
fn quoted(cell: &str) -> Cow<'_, str> {
    if cell.contains(['"', ',', '\r', '\n']) {
        Cow::Owned(format!("\"{}\"", cell.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(cell)
    }
}
