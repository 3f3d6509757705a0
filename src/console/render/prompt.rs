//! Input lines in place of the hint bar, and the palette's completions above it.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;
use ratatui::text::{Line, Span};

use super::paint::{self, Align, span};
use super::{Ctx, Screen};
use crate::console::app::Find;
use crate::console::overlay::Input;
use crate::console::{rows, text};

/// Maximum number of completions shown at once.
const COMPLETIONS: u16 = 10;

/// Draws an input line: a sign, the text, the caret, and a note at the right.
fn input_line(
    ctx: Ctx,
    buf: &mut Buffer,
    screen: Screen,
    sign: &str,
    input: &Input,
    note: impl Into<Line<'static>>,
) {
    let note = note.into();
    // On a screen without a hint bar the input has the body's last line.
    let area = if screen.hints.height > 0 {
        screen.hints
    } else {
        paint::row(screen.body, screen.body.height.saturating_sub(1))
    };
    paint::clear(ctx, buf, area);
    let line = typed(ctx, sign, input, area.width);
    let used = paint::line(ctx, buf, area, &line, Align::Left);
    if used + paint::line_width(&note) + 2 <= area.width {
        let at = Rect {
            width: area.width.saturating_sub(1),
            ..area
        };
        paint::line(ctx, buf, at, &note, Align::Right);
    }
}

/// A sign, the text and the caret; of a text that is too long, the part around the caret.
pub(super) fn typed(ctx: Ctx, sign: &str, input: &Input, width: u16) -> Line<'static> {
    let room = width.saturating_sub(text::width(sign) + 2);
    let (before, after) = input.parts();
    let before = text::suffix(before, room);
    let mut spans = vec![
        span(format!("{sign} "), ctx.roles.key),
        span(before.to_owned(), ctx.roles.input),
    ];
    match text::first(after) {
        None => spans.push(span(
            ctx.glyphs.caret,
            ctx.roles.key.add_modifier(paint::CARET),
        )),
        Some(here) => {
            let style = ctx.roles.input.add_modifier(Modifier::REVERSED);
            let rest = (room + 1).saturating_sub(text::width(before) + text::width(here));
            let rest = text::prefix(&after[here.len()..], rest);
            spans.push(span(here.to_owned(), style.add_modifier(paint::CARET)));
            spans.push(span(rest.to_owned(), ctx.roles.input));
        }
    }
    Line::from(spans)
}

pub(super) fn filter(ctx: Ctx, input: &Input, screen: Screen, buf: &mut Buffer) {
    let filter = &ctx.app.list().filter;
    let foreign = filter.foreign_field(&rows::fields(ctx.app.view()));
    let note = match (filter.error(), foreign) {
        (Some(error), _) => span(error.to_owned(), ctx.roles.error),
        (None, Some(field)) => span(format!("no row has a {field}"), ctx.roles.error),
        (None, None) => span(matching(ctx), ctx.roles.dim),
    };
    input_line(ctx, buf, screen, " /", input, Line::from(note));
}

pub(super) fn log_find(ctx: Ctx, input: &Input, screen: Screen, buf: &mut Buffer) {
    let note = Line::from(span("Enter goes to it, n and N to others", ctx.roles.dim));
    input_line(ctx, buf, screen, " find:", input, note);
}

/// The search in a page: its input line, or which match is shown.
pub(super) fn page_find(ctx: Ctx, find: &Find, lines: &[u16], screen: Screen, buf: &mut Buffer) {
    let count = match lines.len() {
        0 if find.input.text().is_empty() => String::new(),
        0 => String::from("not found"),
        all => format!("line {} of {all}", find.current.min(all - 1) + 1),
    };
    if find.is_typed {
        let note = Line::from(span(count, ctx.roles.dim));
        return input_line(ctx, buf, screen, " /", &find.input, note);
    }
    let area = screen.hints;
    paint::clear(ctx, buf, area);
    let keys = [("n", "next"), ("N", "previous"), ("Esc", "ends")];
    let mut line = vec![
        span(
            format!(" /{}", text::clean(find.input.text())),
            ctx.roles.key,
        ),
        span(format!("  {count}  "), ctx.roles.hint),
    ];
    for (key, word) in keys {
        line.push(span(key, ctx.roles.key));
        line.push(span(format!(" {word}  "), ctx.roles.hint));
    }
    paint::line(ctx, buf, area, &Line::from(line), Align::Left);
}

pub(super) fn scale(ctx: Ctx, input: &Input, screen: Screen, buf: &mut Buffer) {
    let note = Line::from(span("Enter sets them, Esc leaves them", ctx.roles.dim));
    input_line(ctx, buf, screen, " Step slots per worker:", input, note);
}

pub(super) fn palette(ctx: Ctx, input: &Input, choice: usize, screen: Screen, buf: &mut Buffer) {
    let note = Line::from(span("Tab completes, Enter runs", ctx.roles.dim));
    input_line(ctx, buf, screen, " :", input, note);
    let offered = ctx.app.offers(input.text());
    let height = COMPLETIONS.min(screen.body.height);
    let count = u16::try_from(offered.len()).unwrap_or(u16::MAX).min(height);
    let area = Rect {
        y: screen.body.bottom() - count,
        height: count,
        ..screen.body
    };
    paint::clear(ctx, buf, area);
    let first = (choice + 1).saturating_sub(usize::from(count));
    for (row, offer) in (0..count).zip(offered.iter().skip(first)) {
        let here = first + usize::from(row) == choice;
        let place = paint::row(area, row);
        let sign = if here { ctx.glyphs.cursor } else { " " };
        let command = offer.row;
        let after = offer.value.as_deref().unwrap_or(command.argument);
        let name = format!("{} {}", command.name, text::clean(after));
        let line = Line::from(vec![
            span(sign, ctx.roles.title),
            span(format!(" {name:<24} "), ctx.roles.strong),
            span(
                format!("{:<8} ", ctx.app.keymap.first_key_of(command)),
                ctx.roles.key,
            ),
            span(command.help, ctx.roles.hint),
        ]);
        paint::line(ctx, buf, place, &line, Align::Left);
        if here {
            paint::cursor_row(ctx, buf, place);
        }
    }
}

/// The title of a view, after the path that led into it.
pub(in crate::console) fn place(ctx: Ctx, title: &str) -> String {
    let arrow = ctx.glyphs.arrow;
    let places = ctx.app.trail().iter();
    let mut way: Vec<String> = places
        .map(|place| {
            format!(
                "{} {arrow} {}",
                place.view.title(),
                text::clean(&place.name)
            )
        })
        .collect();
    way.push(title.to_owned());
    way.join(&format!(" {arrow} "))
}

fn matching(ctx: Ctx) -> String {
    let (shown, total) = (
        ctx.app.list().rows.len(),
        ctx.app.view().spec().total(ctx.snapshot),
    );
    format!("{shown} of {total}")
}

/// The filter and the number of matches, for the right of a title; without a filter, the count.
pub(in crate::console) fn filter_note(ctx: Ctx) -> Line<'static> {
    let list = ctx.app.list();
    if list.filter.text().is_empty() {
        let total = ctx.app.view().spec().total(ctx.snapshot);
        return Line::from(span(format!("{total}"), ctx.roles.dim));
    }
    Line::from(vec![
        span(format!("/{} ", list.filter.text()), ctx.roles.key),
        Span::styled(matching(ctx), ctx.roles.warn),
    ])
}

/// Text of an empty list: that the filter hides everything and its available fields, or the next
/// action.
pub(in crate::console) fn nothing(ctx: Ctx, text: &'static str) -> Line<'static> {
    let filter = &ctx.app.list().filter;
    if filter.text().is_empty() {
        return Line::from(span(text, ctx.roles.dim));
    }
    let fields = rows::fields(ctx.app.view());
    let what = match filter.foreign_field(&fields) {
        Some(field) => format!("No row has a {field}"),
        None => String::from("Nothing matches"),
    };
    let text = format!("{what}; Esc clears it. Fields: {}", fields.join(" "));
    Line::from(span(text, ctx.roles.dim))
}
