//! All alarms, each with its kind, its age and its whole text.
//!
//! ```text
//! ╭─ 2 alarms ───────────────────────────────────────────╮
//! │ ▸✖ unreachable    2m   webserver … does not answer   │
//! │                        for 2m: connection refused    │
//! │  ! dead-letters   10s  ~3 dead letters in …          │
//! │ Enter goes there  y copies  Esc closes               │
//! ╰──────────────────────────────────────────────────────╯
//! ```

use jiff::Timestamp;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::Ctx;
use super::dialog::{box_area, box_inner, boxed};
use super::paint::{self, span};
use crate::console::alarms::{Alarm, Severity};
use crate::console::app::AlarmPlace;
use crate::console::format::{coarse_age, seconds_between};
use crate::console::labels::plural;
use crate::console::text;

/// Columns of cursor and sign, kind, and age.
const SIGNS: u16 = 4;
const KIND: u16 = 15;
const AGE: u16 = 5;

/// Minimum height in rows for a last row with the keys.
const FOOTED: u16 = 8;

/// Minimum width for the text beside the other columns; below it, the text has lines of its own.
const WIDE: u16 = 56;

/// The box, and the part of it with the alarms.
fn regions(body: Rect) -> (Rect, Rect) {
    let inner = box_inner(box_area(body, size(body)));
    let list = Rect {
        height: inner.height - u16::from(inner.height >= FOOTED),
        ..inner
    };
    (inner, list)
}

fn size(body: Rect) -> (u16, u16) {
    (body.width.min(150), body.height)
}

/// Number of lines of an alarm that do not fit.
pub(super) fn overflow(alarm: &Alarm, body: Rect) -> u16 {
    let list = regions(body).1;
    let shown = text_of(alarm, Timestamp::MIN);
    let lines = text::wrap(&text::clean(&shown), room(list.width)).len();
    let head = usize::from(list.width < WIDE);
    let lines = u16::try_from(lines + head).unwrap_or(u16::MAX);
    lines.saturating_sub(list.height)
}

fn indent(width: u16) -> u16 {
    if width >= WIDE { SIGNS + KIND + AGE } else { 2 }
}

fn room(width: u16) -> u16 {
    width.saturating_sub(indent(width)).max(8)
}

pub(super) fn render(ctx: Ctx, place: &AlarmPlace, body: Rect, buf: &mut Buffer) {
    let alarms = ctx.app.alarms(ctx.now);
    let here = place.row_in(&alarms);
    let title = if alarms.is_empty() {
        String::from("No alarm")
    } else {
        plural(alarms.len(), "alarm")
    };
    boxed(ctx, buf, body, &title, size(body));
    let (inner, list) = regions(body);
    if list.height < inner.height {
        let below = paint::row(inner, list.height);
        paint::lines(ctx, buf, below, &[foot(ctx)]);
    }
    if alarms.is_empty() {
        let well = format!("{} No alarms", ctx.glyphs.done);
        paint::lines(ctx, buf, list, &[Line::from(span(well, ctx.roles.ok))]);
        return;
    }
    let mut lines: Vec<Line> = Vec::new();
    let (mut begin, mut end) = (0, 0);
    for (index, alarm) in alarms.iter().enumerate() {
        if index == here {
            begin = lines.len();
        }
        lines.extend(lines_of(ctx, alarm, index == here, list.width));
        if index == here {
            end = lines.len();
        }
    }
    let height = usize::from(list.height);
    // The whole alarm under the cursor, or as much of it as fits.
    let scroll = place.scroll.min(overflow(&alarms[here], body));
    let skip = end.saturating_sub(height).min(begin) + usize::from(scroll);
    paint::lines(ctx, buf, list, &lines[skip..]);
    for line in (0..list.height).filter(|line| (begin..end).contains(&(skip + usize::from(*line))))
    {
        paint::cursor_row(ctx, buf, paint::row(list, line));
    }
}

/// Its text, and who has acknowledged it.
fn text_of(alarm: &Alarm, now: Timestamp) -> String {
    match &alarm.acknowledged {
        Some(ack) if ack.until > now => {
            let until = Timestamp::from_second(ack.until.as_second()).unwrap_or(ack.until);
            format!("{} (acknowledged by {} until {until})", alarm.text, ack.by)
        }
        _ => alarm.text.clone(),
    }
}

fn lines_of(ctx: Ctx, alarm: &Alarm, here: bool, width: u16) -> Vec<Line<'static>> {
    let (sign, style) = match alarm.severity {
        _ if alarm.is_acknowledged(ctx.now) => (ctx.glyphs.done, ctx.roles.dim),
        Severity::Critical => (ctx.glyphs.down, ctx.roles.error),
        Severity::Warning => (ctx.glyphs.warn, ctx.roles.warn),
    };
    let cursor = if here { ctx.glyphs.cursor } else { " " };
    let since = ctx.app.stands_since(alarm);
    let age = since.map_or_else(String::new, |at| coarse_age(seconds_between(at, ctx.now)));
    let mut head: Vec<Span> = vec![
        span(cursor, ctx.roles.title),
        span(format!("{sign} "), style),
        span(" ", style),
        span(
            format!("{:<1$}", alarm.kind.name(), usize::from(KIND)),
            ctx.roles.header,
        ),
        span(format!("{age:<0$} ", usize::from(AGE) - 1), ctx.roles.dim),
    ];
    let wide = width >= WIDE;
    let mut lines = Vec::new();
    let shown = text_of(alarm, ctx.now);
    let cleaned = text::clean(&shown);
    let mut parts = text::wrap(&cleaned, room(width))
        .into_iter()
        .map(str::to_owned);
    if wide {
        let first = parts.next().unwrap_or_default();
        head.push(span(first, ctx.roles.strong));
    }
    lines.push(Line::from(head));
    lines.extend(parts.map(|part| {
        let indent = " ".repeat(usize::from(indent(width)));
        Line::from(vec![
            span(indent, ctx.roles.text),
            span(part, ctx.roles.strong),
        ])
    }));
    lines
}

fn foot(ctx: Ctx) -> Line<'static> {
    let (key, hint) = (ctx.roles.key, ctx.roles.hint);
    Line::from(vec![
        span("Enter", key),
        span(" goes there   ", hint),
        span("u", key),
        span(" acknowledges   ", hint),
        span("H", key),
        span(" history   ", hint),
        span("y", key),
        span(" copies   ", hint),
        span("Esc", key),
        span(" closes", hint),
    ])
}
