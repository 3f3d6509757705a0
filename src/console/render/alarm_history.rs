//! The history of alarms: a line for each change, newest first.

use std::cell::Cell;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::Ctx;
use super::dialog::{box_area, box_inner, boxed};
use super::paint::{self, span};
use crate::console::app::App;
use crate::console::format::{coarse_age, seconds_between};
use crate::console::text;
use crate::domain::{AlarmChange, AlarmEntry};

/// Columns of age and change.
const AGE: usize = 5;
const CHANGE: usize = 15;

fn size(body: Rect) -> (u16, u16) {
    (body.width.min(150), body.height)
}

/// The area of the text, and its lines.
pub(super) fn page(app: &App, body: Rect) -> (Rect, Vec<Line<'static>>) {
    let caret = Cell::new(None);
    let inner = box_inner(box_area(body, size(body)));
    (inner, content(Ctx::timeless(app, &caret), inner.width))
}

pub(super) fn render(ctx: Ctx, scroll: u16, body: Rect, buf: &mut Buffer) {
    let inner = boxed(ctx, buf, body, "History of alarms", size(body));
    let lines = content(ctx, inner.width);
    let skip = usize::from(scroll).min(lines.len());
    paint::lines(ctx, buf, inner, &lines[skip..]);
}

fn content(ctx: Ctx, width: u16) -> Vec<Line<'static>> {
    match &ctx.app.alarm_history.answer {
        None => vec![Line::from(span("Reading the history ...", ctx.roles.dim))],
        Some(Err(reason)) => vec![Line::from(span(
            text::clean(reason).into_owned(),
            ctx.roles.error,
        ))],
        Some(Ok(entries)) if entries.is_empty() => {
            vec![Line::from(span(
                "No alarm was recorded on this host",
                ctx.roles.dim,
            ))]
        }
        Some(Ok(entries)) => entries
            .iter()
            .flat_map(|entry| lines_of(ctx, entry, width))
            .collect(),
    }
}

fn lines_of(ctx: Ctx, entry: &AlarmEntry, width: u16) -> Vec<Line<'static>> {
    let style = match entry.change {
        AlarmChange::Started => ctx.roles.warn,
        AlarmChange::Ended => ctx.roles.ok,
        AlarmChange::Acknowledged | AlarmChange::Unacknowledged => ctx.roles.info,
    };
    let age = coarse_age(seconds_between(entry.at, ctx.now));
    let by = entry.by.as_ref().map(|by| format!(" by {by}"));
    let by = by.unwrap_or_default();
    let words = format!("{}{by}: {}", entry.id, entry.text);
    let words = text::clean(&words);
    let indent = AGE + CHANGE;
    let room = width
        .saturating_sub(u16::try_from(indent).unwrap_or(0))
        .max(8);
    let parts = text::wrap(&words, room);
    let lines = parts.iter().enumerate().map(|(index, part)| {
        let part = span((*part).to_owned(), ctx.roles.text);
        if index > 0 {
            return Line::from(vec![span(" ".repeat(indent), ctx.roles.text), part]);
        }
        Line::from(vec![
            span(format!("{age:<AGE$}"), ctx.roles.dim),
            span(format!("{:<CHANGE$}", entry.change.word()), style),
            part,
        ])
    });
    lines.collect()
}
