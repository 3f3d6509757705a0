//! Boxes over the view: a confirmation, the job picker, the choice on leaving.

use std::borrow::Cow;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::{Block, Widget};

use super::Ctx;
use super::paint::{self, span};
use super::prompt::typed;
use crate::console::app::MAX_RATE;
use crate::console::labels::{self, plural};
use crate::console::overlay::{Confirm, Input, Reason, Stagger};
use crate::console::{text, view};

/// Draws an empty box in the middle of the body; returns the area inside.
pub(super) fn boxed(ctx: Ctx, buf: &mut Buffer, body: Rect, title: &str, size: (u16, u16)) -> Rect {
    let area = box_area(body, size);
    if area.is_empty() {
        return area;
    }
    paint::clear(ctx, buf, area);
    let framed = is_framed(area);
    if framed {
        let block = Block::bordered()
            .border_set(ctx.glyphs.border)
            .border_style(ctx.roles.overlay_border);
        block.render(area, buf);
    }
    let top = Rect {
        x: area.x + if framed { 2 } else { 0 },
        width: area.width.saturating_sub(if framed { 4 } else { 0 }),
        ..paint::row(area, 0)
    };
    let title = Line::from(span(format!(" {title} "), ctx.roles.title));
    paint::line(ctx, buf, top, &title, paint::Align::Left);
    box_inner(area)
}

/// Area of a box of this size.
pub(super) fn box_area(body: Rect, (width, height): (u16, u16)) -> Rect {
    let (width, height) = (width.min(body.width), height.min(body.height));
    Rect {
        x: body.x + (body.width - width) / 2,
        y: body.y + (body.height - height) / 3,
        width,
        height,
    }
}

fn is_framed(area: Rect) -> bool {
    area.height >= 4 && area.width >= 12
}

/// The area inside a box.
pub(super) fn box_inner(area: Rect) -> Rect {
    let (x, y) = if is_framed(area) {
        (2, 1)
    } else {
        (0, 1.min(area.height))
    };
    let bottom = u16::from(is_framed(area));
    Rect {
        x: area.x + x,
        y: area.y + y,
        width: area.width.saturating_sub(2 * x),
        height: area.height.saturating_sub(y + bottom),
    }
}

/// The width of a dialog's text.
fn text_width(body: Rect) -> u16 {
    body.width.saturating_sub(8).clamp(1, 72)
}

pub(super) fn confirm(ctx: Ctx, confirm: &Confirm, body: Rect, buf: &mut Buffer) {
    let width = text_width(body);
    let parts = |twins: bool| {
        let sentences = confirm.body.iter();
        let sentences = sentences.filter(move |sentence| twins || !sentence.starts_with("$ "));
        sentences.flat_map(|sentence| text::wrap(sentence, width))
    };
    let hint = hint(ctx, confirm, width);
    // The frame, and the key or text to enter.
    let rest = 2 + hint.len();
    // The effect is shown before the command line.
    let twins = parts(true).count() + rest <= usize::from(body.height);
    // The counts come first, and stay if there is little room.
    let room = usize::from(body.height).saturating_sub(rest);
    let more = ctx.glyphs.ellipsis;
    let is_cut = parts(twins).count() > room;
    let mut lines: Vec<Line> = parts(twins)
        .take(room)
        .enumerate()
        .map(|(row, part)| {
            let part = if is_cut && row + 1 == room {
                let part = text::prefix(part, width.saturating_sub(text::width(more)));
                format!("{part}{more}").into()
            } else {
                Cow::Borrowed(part)
            };
            Line::from(span(part, ctx.roles.text))
        })
        .collect();
    lines.extend(hint);
    let height = u16::try_from(lines.len()).unwrap_or(u16::MAX);
    let inner = boxed(ctx, buf, body, &confirm.title, (width + 4, height + 2));
    // In a box that is too low the end matters: the text to type.
    let skip = usize::from(height.saturating_sub(inner.height));
    paint::lines(ctx, buf, inner, &lines[skip.min(lines.len())..]);
}

/// The confirmation of a batch: its counts, the rate, and how long it takes.
pub(super) fn stagger(ctx: Ctx, stagger: &Stagger, body: Rect, buf: &mut Buffer) {
    let (roles, width) = (ctx.roles, text_width(body));
    let takes = match stagger.rate() {
        Some(rate) => {
            let minutes = stagger.plan.len().div_ceil(rate);
            format!(
                "Up to {}, one after the other; x stops it.",
                plural(minutes, "minute")
            )
        }
        None => format!("Type a number from 1 to {MAX_RATE}."),
    };
    let style = if stagger.is_refused {
        roles.warn
    } else {
        roles.text
    };
    let tail = if stagger.reason.is_typed {
        typed_reason(ctx, &stagger.reason, width)
    } else {
        let mut tail = vec![
            typed(ctx, "How many a minute?", &stagger.input, width),
            Line::from(span(takes, style)),
        ];
        tail.extend(given_reason(ctx, &stagger.reason, width));
        tail.push(Line::from(vec![
            span("Enter", roles.key),
            span(" does it   ", roles.hint),
            span("Tab", roles.key),
            span(" reason   ", roles.hint),
            span("Esc", roles.key),
            span(" leaves it", roles.hint),
        ]));
        tail
    };
    let room = usize::from(body.height).saturating_sub(2 + tail.len());
    let sentences = stagger.body.iter().flat_map(|text| text::wrap(text, width));
    let mut lines: Vec<Line> = sentences
        .take(room)
        .map(|part| Line::from(span(part, roles.text)))
        .collect();
    lines.extend(tail);
    let height = u16::try_from(lines.len()).unwrap_or(u16::MAX);
    let inner = boxed(ctx, buf, body, &stagger.title, (width + 4, height + 2));
    let skip = usize::from(height.saturating_sub(inner.height));
    paint::lines(ctx, buf, inner, &lines[skip.min(lines.len())..]);
}

/// The key or text to enter: all of it, even on a narrow terminal.
fn hint<'a>(ctx: Ctx, confirm: &'a Confirm, width: u16) -> Vec<Line<'a>> {
    let roles = ctx.roles;
    if confirm.reason.is_typed {
        return typed_reason(ctx, &confirm.reason, width);
    }
    let mut lines: Vec<Line> = given_reason(ctx, &confirm.reason, width)
        .into_iter()
        .collect();
    let Some(expected) = &confirm.typed else {
        lines.push(Line::from(vec![
            span("y", roles.key),
            span(" do it   ", roles.hint),
            span("Tab", roles.key),
            span(" reason   ", roles.hint),
            span("Esc", roles.key),
            span(" leave it", roles.hint),
        ]));
        return lines;
    };
    let (before, afters): (_, &[&str]) = if confirm.is_refused {
        ("Nothing is done: that is not ", &[""])
    } else {
        let afters = &[
            " and Enter to do it, Tab for a reason, Esc to leave it.",
            " and Enter to do it, Esc to leave it.",
            " and Enter",
            "",
        ];
        ("Type ", afters)
    };
    let named = text::width(before) + text::width(expected);
    let fits = |after: &&&str| named + text::width(after) <= width;
    if let Some(after) = afters.iter().find(fits) {
        lines.push(Line::from(vec![
            span(before, roles.hint),
            span(expected.as_str(), roles.warn),
            span(*after, roles.hint),
        ]));
    } else {
        let parts = |text, style| {
            let parts = text::wrap(text, width).into_iter();
            parts.map(move |part| Line::from(span(part, style)))
        };
        let expected = parts(expected, roles.warn);
        lines.extend(parts(before, roles.hint).chain(expected));
    }
    lines.push(typed(ctx, ">", &confirm.input, width));
    lines
}

/// The reason while it is typed, and its keys.
fn typed_reason(ctx: Ctx, reason: &Reason, width: u16) -> Vec<Line<'static>> {
    let roles = ctx.roles;
    let keys = vec![
        span("Enter", roles.key),
        span(" goes on   ", roles.hint),
        span("Esc", roles.key),
        span(" without a reason", roles.hint),
    ];
    vec![
        typed(ctx, "Reason >", &reason.input, width),
        Line::from(keys),
    ]
}

/// The reason that was given, if one was.
fn given_reason<'a>(ctx: Ctx, reason: &'a Reason, width: u16) -> Option<Line<'a>> {
    let text = reason.input.text();
    let shown = text::prefix(text, width.saturating_sub(8));
    let line = vec![
        span("Reason: ", ctx.roles.hint),
        span(shown, ctx.roles.text),
    ];
    (!text.is_empty()).then(|| Line::from(line))
}

/// The columns of the table, shown or not.
pub(super) fn columns(ctx: Ctx, choice: usize, body: Rect, buf: &mut Buffer) {
    let titles = view::optional_columns(ctx.app.view());
    let height = u16::try_from(titles.len()).unwrap_or(u16::MAX);
    let inner = boxed(ctx, buf, body, "Columns", (46, height.saturating_add(3)));
    let room = usize::from(inner.height.saturating_sub(1));
    let first = (choice + 1).saturating_sub(room);
    for (row, (index, title)) in
        (0..inner.height.saturating_sub(1)).zip(titles.iter().enumerate().skip(first))
    {
        let hidden = ctx.app.list().hidden.contains(*title);
        let line = Line::from(vec![
            span(if hidden { " [ ] " } else { " [x] " }, ctx.roles.key),
            span(
                *title,
                if hidden {
                    ctx.roles.dim
                } else {
                    ctx.roles.text
                },
            ),
        ]);
        let place = paint::row(inner, row);
        paint::line(ctx, buf, place, &line, paint::Align::Left);
        if index == choice {
            paint::cursor_row(ctx, buf, place);
        }
    }
    let hint = Line::from(vec![
        span("Space", ctx.roles.key),
        span(" shows or hides   ", ctx.roles.hint),
        span("Esc", ctx.roles.key),
        span(" closes", ctx.roles.hint),
    ]);
    let last = paint::row(inner, inner.height.saturating_sub(1));
    paint::line(ctx, buf, last, &hint, paint::Align::Left);
}

pub(super) fn quit(ctx: Ctx, body: Rect, buf: &mut Buffer) {
    let in_flight = plural(ctx.snapshot.tasks.len(), "task");
    let verb = if ctx.snapshot.tasks.len() == 1 {
        "is"
    } else {
        "are"
    };
    let row = |key: &'static str, text: &'static str| {
        Line::from(vec![
            span(format!("{key:<4}"), ctx.roles.key),
            span(text, ctx.roles.text),
        ])
    };
    let (drain, leave, stop) = if body.width >= 66 {
        (
            "drain: finish what runs, give the rest back, then end",
            "leave it running in the background",
            "stop: kill what has not ended within its grace period",
        )
    } else {
        (
            "drain: finish what runs",
            "leave it running",
            "stop, kill what goes on then",
        )
    };
    let lines = [
        Line::from(span(
            format!("{in_flight} {verb} in flight. The pool was started by this console."),
            ctx.roles.strong,
        )),
        Line::default(),
        row("d", drain),
        row("b", leave),
        row("S", stop),
        row("Esc", "stay here"),
    ];
    let height = if body.height >= 8 { 8 } else { 6 };
    let inner = boxed(ctx, buf, body, "Leave?", (66, height));
    paint::lines(ctx, buf, inner, &lines[usize::from(8 - height)..]);
}

pub(super) fn launch(ctx: Ctx, input: &Input, choice: usize, body: Rect, buf: &mut Buffer) {
    let jobs = ctx.app.matching_jobs(input.text());
    let rows = u16::try_from(jobs.len()).unwrap_or(u16::MAX).clamp(3, 14);
    let inner = boxed(ctx, buf, body, "Launch a run", (72, rows + 4));
    let total = ctx.snapshot.jobs.len();
    let note = Line::from(span(format!("{} of {total}", jobs.len()), ctx.roles.dim));
    paint::line(
        ctx,
        buf,
        paint::row(inner, 0),
        &typed(ctx, ">", input, inner.width),
        paint::Align::Left,
    );
    paint::line(
        ctx,
        buf,
        Rect {
            x: inner.x + inner.width / 2,
            width: inner.width - inner.width / 2,
            ..paint::row(inner, 0)
        },
        &note,
        paint::Align::Right,
    );
    let hint = Line::from(vec![
        span("Enter", ctx.roles.key),
        span(" goes on to configuration and launch   ", ctx.roles.hint),
        span("Esc", ctx.roles.key),
        span(" leaves", ctx.roles.hint),
    ]);
    let list = Rect {
        y: inner.y + 1.min(inner.height),
        height: inner.height.saturating_sub(2),
        ..inner
    };
    if jobs.is_empty() {
        paint::lines(
            ctx,
            buf,
            list,
            &[Line::from(span("No job of that name.", ctx.roles.dim))],
        );
    }
    let first = (choice + 1).saturating_sub(usize::from(list.height));
    for (row, (index, job)) in (0..list.height).zip(jobs.iter().enumerate().skip(first)) {
        let here = index == choice;
        let line = Line::from(vec![
            span(if here { ctx.glyphs.cursor } else { " " }, ctx.roles.title),
            span(format!(" {:<32} ", labels::job(job)), ctx.roles.strong),
            span(job.location.as_str(), ctx.roles.dim),
        ]);
        paint::line(ctx, buf, paint::row(list, row), &line, paint::Align::Left);
        if here {
            paint::cursor_row(ctx, buf, paint::row(list, row));
        }
    }
    if inner.height >= 3 {
        paint::lines(ctx, buf, paint::row(inner, inner.height - 1), &[hint]);
    }
}
