//! Whether Dagster itself works: daemons, code locations, schedules, sensors, backfills.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;

use super::queues;
use crate::console::format::{self, coarse_age, seconds_between};
use crate::console::render::badges::signed;
use crate::console::render::paint::{self, span};
use crate::console::render::panel::{self, panel};
use crate::console::render::table::{Column, column};
use crate::console::render::table_view::{self, Sheet};
use crate::console::render::{Ctx, is_roomy};
use crate::console::text;
use crate::domain::{DagsterPart, Health};

const COLUMNS: [Column; 8] = [
    column("KIND", 8, 0),
    column("NAME", 16, 0).grow(40),
    column("STATE", 15, 0),
    column("LAST", 5, 1).right(),
    column("RESULT", 12, 2).grow(40),
    column("DETAIL", 14, 4).grow(40),
    column("LOCATION", 12, 5).grow(24),
    column("ERROR", 16, 3).grow(90),
];

pub(in crate::console) const SHEET: Sheet = Sheet {
    title: "Dagster",
    empty: "Dagster's webserver has not answered yet.",
    columns: &COLUMNS,
    cells: |ctx, index, _| {
        let part = ctx.snapshot.dagster.get(index);
        part.map(|part| cells(ctx, part)).unwrap_or_default()
    },
};

pub(in crate::console) fn render(ctx: Ctx, body: Rect, buf: &mut Buffer) {
    let framed = is_roomy(body);
    let (upper, lower) = queues::regions(body);
    let problems = &ctx.app.parts.problems;
    let sheet = Sheet {
        empty: if problems.is_empty() {
            SHEET.empty
        } else {
            "Dagster's state cannot be read."
        },
        ..SHEET
    };
    let has_rows = table_view::render(ctx, &sheet, upper, framed, buf);
    let (area, skip) = if lower.is_empty() {
        (panel::within(upper, framed), 1)
    } else {
        let part = ctx.app.selected_part();
        let title = part.map_or("Dagster", |part| part.name.as_str());
        let title = text::clean(title).into_owned();
        (panel(ctx, buf, lower, &title, &Line::default(), framed), 0)
    };
    if lower.is_empty() && has_rows {
        return;
    }
    let mut lines: Vec<Line> = Vec::new();
    for problem in problems {
        let clean = text::clean(problem);
        let parts = text::wrap(&clean, area.width.saturating_sub(2).max(8));
        let parts = parts.iter().take(3);
        lines.extend(parts.map(|part| Line::from(span((*part).to_owned(), ctx.roles.error))));
    }
    if let Some(part) = ctx.app.selected_part() {
        lines.extend(about(ctx, part, area.width));
    }
    let below = Rect {
        y: area.y + skip.min(area.height),
        height: area.height.saturating_sub(skip),
        ..area
    };
    paint::lines(ctx, buf, panel::indent(below), &lines);
}

pub(in crate::console) fn sign(ctx: Ctx, health: Health) -> (&'static str, Style) {
    let (glyphs, roles) = (ctx.glyphs, ctx.roles);
    match health {
        Health::Bad => (glyphs.down, roles.error),
        Health::Pending => (glyphs.pending, roles.info),
        Health::Good => (glyphs.up, roles.ok),
        Health::Off => (glyphs.skipped, roles.dim),
    }
}

fn cells<'a>(ctx: Ctx<'a>, part: &'a DagsterPart) -> Vec<Line<'a>> {
    let roles = ctx.roles;
    let (sign, style) = sign(ctx, part.health);
    let age = part.at.map_or_else(
        || ctx.glyphs.unknown.to_owned(),
        |at| coarse_age(seconds_between(at, ctx.now)),
    );
    let error = part.error.as_deref().unwrap_or_default();
    let error = error.lines().next().unwrap_or_default();
    vec![
        Line::from(span(part.kind.word(), roles.dim)),
        Line::from(span(text::clean(&part.name), roles.strong)),
        signed(sign, &part.state, style),
        Line::from(span(age, roles.text)),
        Line::from(span(text::clean(&part.result), roles.text)),
        Line::from(span(text::clean(&part.detail), roles.dim)),
        Line::from(span(text::clean(&part.location), roles.dim)),
        Line::from(span(text::clean(error), roles.error)),
    ]
}

fn about(ctx: Ctx, part: &DagsterPart, width: u16) -> Vec<Line<'static>> {
    let roles = ctx.roles;
    let clean = text::clean(part.error.as_deref().unwrap_or_default()).into_owned();
    let mut lines: Vec<Line> = text::wrap(&clean, width.saturating_sub(2).max(8))
        .iter()
        .take(4)
        .filter(|part| !part.is_empty())
        .map(|part| Line::from(span((*part).to_owned(), roles.error)))
        .collect();
    let mut fact = |label: &str, value: &str| {
        if !value.is_empty() {
            lines.push(Line::from(vec![
                span(format!("{label:<9}"), roles.dim),
                span(text::clean(value).into_owned(), roles.text),
            ]));
        }
    };
    let at = part.at.map(|at| format::date(at, &ctx.app.setup.zone));
    fact("last", &at.unwrap_or_default());
    fact("result", &part.result);
    fact("detail", &part.detail);
    lines
}
