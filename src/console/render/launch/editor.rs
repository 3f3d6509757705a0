//! The built-in editor for a run configuration. A line with an error is marked, with Dagster's
//! message beside it; the messages for the cursor's line stand below in full.
//!
//! ```text
//!  3     config:            ✖ Missing required config entry "region" at …
//!  4       limit: ten       ✖ Invalid scalar at path root:ops:score:config:limit. …
//!
//! Invalid scalar at path root:ops:score:config:limit. Value "ten" of type …
//! ```

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::Widget;
use ratatui_textarea::TextArea;

use super::super::paint::{self, Align, span};
use super::super::{Caret, Ctx};
use crate::console::launch::LaunchForm;
use crate::console::text;
use crate::console::yaml_diagnostics::Mark;

/// Rows for the full message about a line.
const MESSAGE_ROWS: u16 = 3;

/// Minimum columns for a message beside a line.
const LEAST: u16 = 12;

pub(super) fn render(
    ctx: Ctx,
    form: &LaunchForm,
    editor: &TextArea<'static>,
    area: Rect,
    buf: &mut Buffer,
) {
    let marks = form.marks(&editor.lines().join("\n"));
    let below = if marks.is_empty() || area.height < 3 * MESSAGE_ROWS {
        0
    } else {
        MESSAGE_ROWS + 1
    };
    let field = Rect {
        height: area.height - below,
        ..area
    };
    // A copy: its viewport starts at the top, so that the scroll depends on the cursor alone.
    let mut drawn = editor.clone();
    drawn.set_style(ctx.roles.text);
    drawn.set_cursor_line_style(Style::default());
    drawn.set_cursor_style(Style::default().add_modifier(Modifier::REVERSED));
    drawn.set_line_number_style(ctx.roles.dim);
    (&drawn).render(field, buf);
    let is_caret = |at: &Position| buf[*at].modifier.contains(Modifier::REVERSED);
    if let Some(at) = field.intersection(buf.area).positions().find(is_caret) {
        ctx.caret.set(Some(Caret {
            x: at.x,
            y: at.y,
            is_shown: true,
        }));
    }
    let first = usize::from(drawn.scroll_offset().0);
    let number = drawn.line_number_width();
    for mark in marks.iter().rev() {
        let row = mark.line.checked_sub(first);
        let row = row.and_then(|row| u16::try_from(row).ok());
        let Some(row) = row.filter(|row| *row < field.height) else {
            continue;
        };
        let line = editor.lines().get(mark.line).map_or("", String::as_str);
        beside(
            ctx,
            mark,
            paint::row(field, row),
            number + text::width(line),
            buf,
        );
    }
    if below > 0 {
        let rest = Rect {
            y: field.bottom() + 1,
            height: MESSAGE_ROWS,
            ..area
        };
        words(ctx, &marks, editor.cursor().0, rest, buf);
    }
}

/// Marks the number of a line, and puts the error behind its text.
fn beside(ctx: Ctx, mark: &Mark, row: Rect, used: u16, buf: &mut Buffer) {
    let sign = Rect { width: 1, ..row };
    buf.set_style(row, Style::default().add_modifier(Modifier::UNDERLINED));
    let line = Line::from(span(ctx.glyphs.down, ctx.roles.error));
    paint::line(ctx, buf, sign, &line, Align::Left);
    // The cursor may stand behind the text.
    let used = used.saturating_add(3);
    if row.width >= used.saturating_add(LEAST) {
        let place = Rect {
            x: row.x + used,
            width: row.width - used,
            ..row
        };
        paint::clear(ctx, buf, place);
        let words = format!("{} {}", ctx.glyphs.down, text::clean(&mark.text));
        let line = Line::from(span(words, ctx.roles.error));
        paint::line(ctx, buf, place, &line, Align::Left);
    }
}

/// The error in the cursor's line, or else in the first line with an error.
fn words(ctx: Ctx, marks: &[Mark], cursor: usize, area: Rect, buf: &mut Buffer) {
    let here = marks.iter().find(|mark| mark.line == cursor);
    let Some(mark) = here.or(marks.first()) else {
        return;
    };
    let label = format!("line {}: {}", mark.line + 1, text::clean(&mark.text));
    let parts = text::wrap(&label, area.width.max(8)).into_iter();
    let lines: Vec<Line> = parts
        .map(|part| Line::from(span(part.to_owned(), ctx.roles.error)))
        .collect();
    paint::lines(ctx, buf, area, &lines);
}
