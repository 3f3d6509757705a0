//! The log as text: one line for each event, whatever is in it.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};

use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

/// The beginning of a line: the time, and the name of the worker if each line is to have it.
#[derive(Clone, Debug)]
pub(super) struct Beginning(pub Option<String>);

impl FormatTime for Beginning {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        SystemTime.format_time(writer)?;
        match &self.0 {
            Some(worker) => write!(writer, " {worker}"),
            None => Ok(()),
        }
    }
}

/// Escapes the line breaks and other control characters within each line before the writers of
/// `writer` get it. The layers of tracing write a whole line at once.
#[derive(Clone, Debug)]
pub(super) struct OneLine<W> {
    pub writer: W,
    /// Whether the line has colours: then ESC is left, which tracing escapes in messages and fields.
    pub ansi: bool,
}

impl<W> OneLine<W> {
    fn one_line<V>(&self, writer: V) -> OneLine<V> {
        let ansi = self.ansi;
        OneLine { writer, ansi }
    }

    fn breaks(&self, character: char) -> bool {
        match character {
            '\t' => false,
            '\x1b' => !self.ansi,
            '\u{2028}' | '\u{2029}' => true,
            other => other.is_control(),
        }
    }

    /// The line as it is written, without the line break at its end.
    fn escaped<'text>(&self, line: &'text str) -> Cow<'text, str> {
        if !line.contains(|character| self.breaks(character)) {
            return Cow::Borrowed(line);
        }
        let mut text = String::with_capacity(line.len() + 16);
        for character in line.chars() {
            if self.breaks(character) {
                text.extend(character.escape_default());
            } else {
                text.push(character);
            }
        }
        Cow::Owned(text)
    }
}

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for OneLine<W> {
    type Writer = OneLine<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        self.one_line(self.writer.make_writer())
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Self::Writer {
        self.one_line(self.writer.make_writer_for(meta))
    }
}

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        match self.escaped(line) {
            Cow::Borrowed(_) => self.writer.write_all(bytes)?,
            Cow::Owned(mut escaped) => {
                escaped.push_str(&text[line.len()..]);
                self.writer.write_all(escaped.as_bytes())?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
