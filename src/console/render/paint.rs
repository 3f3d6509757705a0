//! Painting of text that never leaves its area, at any size.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::{Caret, Ctx};
use crate::console::text;

/// Marks the span in which text is typed. It is not drawn: the terminal's cursor stands there.
pub(in crate::console) const CARET: Modifier = Modifier::RAPID_BLINK;

/// Alignment of a line in its area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::console) enum Align {
    Left,
    Right,
}

/// The first line of an area; empty if it has none.
pub(in crate::console) fn row(area: Rect, index: u16) -> Rect {
    let height = u16::from(index < area.height);
    Rect {
        y: area.y + index.min(area.height),
        height,
        ..area
    }
}

/// Columns a line takes.
pub(in crate::console) fn line_width(line: &Line) -> u16 {
    let width = |span: &Span| text::width(&span.content);
    line.spans.iter().map(width).fold(0, u16::saturating_add)
}

/// Paints a line on the first row of an area; a line that does not fit ends in an ellipsis. Returns
/// the columns used.
pub(in crate::console) fn line(
    ctx: Ctx,
    buf: &mut Buffer,
    area: Rect,
    line: &Line,
    align: Align,
) -> u16 {
    let area = area.intersection(buf.area);
    if area.is_empty() {
        return 0;
    }
    let full = line_width(line);
    let mut x = match align {
        Align::Left => area.x,
        Align::Right => area.right() - full.min(area.width),
    };
    let start = x;
    for (index, span) in line.spans.iter().enumerate() {
        let room = area.right() - x;
        let rest = line.spans[index + 1..]
            .iter()
            .any(|span| !span.content.is_empty());
        let fits =
            text::width(&span.content) < room || (!rest && text::width(&span.content) == room);
        let mut style = line.style.patch(span.style);
        if style.add_modifier.contains(CARET) {
            style = style.remove_modifier(CARET);
            ctx.caret.set(Some(Caret {
                x,
                y: area.y,
                is_shown: true,
            }));
        }
        if fits {
            x = buf
                .set_stringn(x, area.y, &span.content, usize::from(room), style)
                .0;
            continue;
        }
        // The ellipsis belongs to the truncated span, whether within it or right behind it.
        let whole = format!("{}{}", span.content, if rest { "  " } else { "" });
        let cut = text::fit(&whole, room, ctx.glyphs.ellipsis);
        x = buf.set_stringn(x, area.y, cut, usize::from(room), style).0;
        break;
    }
    x - start
}

/// Paints lines from the top of an area, as many as fit.
pub(in crate::console) fn lines(ctx: Ctx, buf: &mut Buffer, area: Rect, lines: &[Line]) {
    for (index, each) in (0..area.height).zip(lines) {
        line(ctx, buf, row(area, index), each, Align::Left);
    }
}

/// Marks a row as the one under the cursor. If the theme reverses it, single colours would leave
/// patches of background, so they are removed.
pub(in crate::console) fn cursor_row(ctx: Ctx, buf: &mut Buffer, area: Rect) {
    let style = ctx.roles.cursor;
    // An input line takes precedence over a chosen row.
    if !area.is_empty() && ctx.caret.get().is_none_or(|caret| !caret.is_shown) {
        ctx.caret.set(Some(Caret {
            x: area.x,
            y: area.y,
            is_shown: false,
        }));
    }
    if style.add_modifier.contains(Modifier::REVERSED) {
        let plain = Style::reset().fg(Color::Reset).bg(Color::Reset);
        buf.set_style(area.intersection(buf.area), plain);
    }
    buf.set_style(area.intersection(buf.area), style);
}

/// Marks a text, given in lower case, wherever it stands in an area.
pub(in crate::console) fn highlight(buf: &mut Buffer, area: Rect, needle: &str) {
    if needle.is_empty() {
        return;
    }
    let area = area.intersection(buf.area);
    for y in area.top()..area.bottom() {
        // The text of the row, and the column of each of its bytes.
        let (mut row, mut columns) = (String::new(), Vec::new());
        for x in area.left()..area.right() {
            row.push_str(&buf[(x, y)].symbol().to_lowercase());
            columns.resize(row.len(), x);
        }
        for (begin, found) in row.match_indices(needle) {
            let end = begin + found.len();
            let last = columns[end - 1];
            for x in columns[begin]..=last {
                let cell = &mut buf[(x, y)];
                cell.modifier.insert(Modifier::REVERSED);
            }
        }
    }
}

/// Clears an area to the screen's background.
pub(in crate::console) fn clear(ctx: Ctx, buf: &mut Buffer, area: Rect) {
    let area = area.intersection(buf.area);
    for position in area.positions() {
        // A wide character whose right half lies in the area would spill over its edge.
        if position.x == area.x && area.x > buf.area.x {
            let left = &mut buf[(position.x - 1, position.y)];
            if text::width(left.symbol()) > 1 {
                left.set_symbol(" ");
            }
        }
        buf[position].reset();
    }
    buf.set_style(area, ctx.roles.text);
}

/// Replaces characters that an ASCII terminal cannot show: names and messages come from elsewhere.
pub(in crate::console) fn to_ascii(buf: &mut Buffer) {
    for cell in &mut buf.content {
        if !cell.symbol().is_ascii() {
            cell.set_symbol("?");
        }
    }
}

/// A span.
pub(in crate::console) fn span<'a>(
    text: impl Into<std::borrow::Cow<'a, str>>,
    style: Style,
) -> Span<'a> {
    Span::styled(text, style)
}
