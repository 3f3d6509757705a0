//! Panels: a titled frame if there is room, else a titled rule.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::{Block, Widget};

use super::paint::{self, Align, span};
use super::{Ctx, is_roomy};
use crate::console::text;

/// Draws a panel with a title, and a note at its right end; returns the area inside. `framed` is
/// the same for all panels of a screen.
pub(in crate::console) fn panel(
    ctx: Ctx,
    buf: &mut Buffer,
    area: Rect,
    title: &str,
    right: &Line,
    framed: bool,
) -> Rect {
    if area.is_empty() {
        return area;
    }
    let roles = ctx.roles;
    if framed {
        let block = Block::bordered()
            .border_set(ctx.glyphs.border)
            .border_style(roles.border);
        block.render(area.intersection(buf.area), buf);
    } else {
        let rule = ctx.glyphs.rule.repeat(usize::from(area.width));
        let rule = Line::from(span(rule, roles.border));
        paint::line(ctx, buf, paint::row(area, 0), &rule, Align::Left);
    }
    let top = top(area, framed);
    let right_width = paint::line_width(right);
    if right_width > 0 && right_width <= room_beside(title, area, framed) {
        let at = Rect {
            x: top.right() - right_width - 2,
            width: right_width + 2,
            ..top
        };
        let mut spans = vec![span(" ", roles.text)];
        spans.extend(right.spans.iter().cloned());
        spans.push(span(" ", roles.text));
        paint::line(ctx, buf, at, &Line::from(spans), Align::Left);
    }
    let title = Line::from(span(format!(" {title} "), roles.title));
    paint::line(ctx, buf, top, &title, Align::Left);
    within(area, framed)
}

/// Area of the title.
fn top(area: Rect, framed: bool) -> Rect {
    let edge = u16::from(framed) + 1;
    Rect {
        x: area.x + edge.min(area.width),
        width: area.width.saturating_sub(2 * edge),
        ..paint::row(area, 0)
    }
}

/// Columns for the note at the right end of a title.
pub(in crate::console) fn room_beside(title: &str, area: Rect, framed: bool) -> u16 {
    // The title and the note each have a blank on either side, and a bit of the rule stays.
    let taken = text::width(title).saturating_add(6);
    top(area, framed).width.saturating_sub(taken)
}

/// The area inside a panel.
pub(in crate::console) fn within(area: Rect, framed: bool) -> Rect {
    if framed {
        Rect {
            x: area.x + 2.min(area.width),
            y: area.y + 1.min(area.height),
            width: area.width.saturating_sub(4),
            height: area.height.saturating_sub(2),
        }
    } else {
        Rect {
            y: area.y + 1.min(area.height),
            height: area.height.saturating_sub(1),
            ..area
        }
    }
}

/// Area of a panel's text, which stands under the title; in tables the column before it is the
/// cursor's.
pub(in crate::console) fn indent(inner: Rect) -> Rect {
    Rect {
        x: inner.x + 1.min(inner.width),
        width: inner.width.saturating_sub(1),
        ..inner
    }
}

/// The area inside a panel that fills the whole body.
pub(in crate::console) fn inner(body: Rect) -> Rect {
    within(body, is_roomy(body))
}
