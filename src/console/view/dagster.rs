//! Whether Dagster itself works: daemons, code locations, schedules, sensors, backfills.

use std::borrow::Cow;
use std::sync::Arc;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::queues;
use super::table::{Table, TableColumn};
use crate::console::format::{self, coarse_age, seconds_between};
use crate::console::render::badges::signed;
use crate::console::render::detail::Page;
use crate::console::render::paint::{self, span};
use crate::console::render::panel::{self, panel};
use crate::console::render::{Ctx, is_roomy};
use crate::console::rows::{RowId, Sort};
use crate::console::shown::Shown;
use crate::console::text;
use crate::domain::{DagsterPart, Health};

/// The view of Dagster's parts.
pub(super) struct Dagster;

type Column = TableColumn<Dagster>;

impl Table for Dagster {
    type Row<'a> = &'a DagsterPart;

    const TITLE: &'static str = "Dagster";

    // What is broken is on top: its error is in the panel below without another key.
    const DEFAULT_SORT: Option<Sort> = Some(Sort::MAIN);

    const COLUMNS: &'static [Column] = &[
        Column::new("KIND", 8, 0, |ctx, part| {
            Line::from(span(part.kind.word(), ctx.roles.dim))
        })
        .sort(|_, a, b| a.kind.cmp(&b.kind))
        .filter("kind", |_, part| Some(Cow::Borrowed(part.kind.word()))),
        Column::new("NAME", 16, 0, |ctx, part| {
            Line::from(span(text::clean(&part.name), ctx.roles.strong))
        })
        .grow(40)
        .sort(|_, a, b| a.name.cmp(&b.name)),
        Column::new("STATE", 15, 0, |ctx, part| {
            let (sign, style) = sign(ctx, part.health);
            signed(sign, &part.state, style)
        })
        .sort_first(|_, a, b| a.health.cmp(&b.health))
        .filter("status", |_, part| Some(Cow::Borrowed(&part.state))),
        Column::new("LAST", 5, 1, |ctx, part| {
            let age = part.at.map_or_else(
                || ctx.glyphs.unknown.to_owned(),
                |at| coarse_age(seconds_between(at, ctx.now)),
            );
            Line::from(span(age, ctx.roles.text))
        })
        .right()
        .sort(|_, a, b| a.at.cmp(&b.at)),
        Column::new("RESULT", 12, 2, |ctx, part| {
            Line::from(span(text::clean(&part.result), ctx.roles.text))
        })
        .grow(40),
        Column::new("DETAIL", 14, 4, |ctx, part| {
            Line::from(span(text::clean(&part.detail), ctx.roles.dim))
        })
        .grow(40),
        Column::new("LOCATION", 12, 5, |ctx, part| {
            Line::from(span(text::clean(&part.location), ctx.roles.dim))
        })
        .grow(24),
        Column::new("ERROR", 16, 3, |ctx, part| {
            let error = part.error.as_deref().unwrap_or_default();
            let error = error.lines().next().unwrap_or_default();
            Line::from(span(text::clean(error), ctx.roles.error))
        })
        .grow(90),
    ];

    fn total(shown: &Shown) -> usize {
        shown.dagster.len()
    }

    fn row(shown: &Shown, index: usize) -> Option<&DagsterPart> {
        shown.dagster.get(index)
    }

    fn is_same(one: &Shown, other: &Shown) -> bool {
        Arc::ptr_eq(&one.dagster, &other.dagster)
    }

    fn id(part: Self::Row<'_>) -> RowId<'_> {
        RowId::Id(&part.id)
    }

    fn haystack(part: &DagsterPart) -> String {
        [
            part.kind.word(),
            &part.name,
            &part.location,
            &part.state,
            &part.result,
            &part.detail,
            part.error.as_deref().unwrap_or_default(),
        ]
        .join(" ")
    }

    fn about(part: &DagsterPart) -> String {
        part.id.clone()
    }

    fn empty(ctx: Ctx) -> &'static str {
        if ctx.app.parts.problems.is_empty() {
            "Dagster's webserver has not answered yet."
        } else {
            "Dagster's state cannot be read."
        }
    }

    fn tab_count(ctx: Ctx) -> Option<Span<'static>> {
        let bad = |part: &&DagsterPart| part.health == Health::Bad;
        let known = ctx.snapshot.dagster.iter().filter(bad).count();
        let bad = known.max(ctx.snapshot.lost_daemons.len());
        (bad > 0).then(|| span(bad.to_string(), ctx.roles.error))
    }

    fn detail(page: &mut Page, part: &DagsterPart) -> String {
        page.field("kind", part.kind.word());
        page.field("name", &part.name);
        let (sign, style) = sign(page.ctx, part.health);
        page.state("state", signed(sign, &part.state, style));
        page.time("last", part.at);
        for (label, value) in [
            ("result", &part.result),
            ("detail", &part.detail),
            ("location", &part.location),
        ] {
            if !value.is_empty() {
                page.field(label, value);
            }
        }
        if let Some(error) = &part.error {
            page.heading(String::from("error"));
            page.wrapped_text(Vec::new(), error);
        }
        text::clean(&part.name).into_owned()
    }

    fn region(body: Rect) -> Rect {
        queues::regions(body).0
    }

    fn render(ctx: Ctx, body: Rect, buf: &mut Buffer) {
        let framed = is_roomy(body);
        let (upper, lower) = queues::regions(body);
        let has_rows = Self::draw(ctx, upper, framed, buf);
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
        for problem in &ctx.app.parts.problems {
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
}

fn sign(ctx: Ctx, health: Health) -> (&'static str, Style) {
    let (glyphs, roles) = (ctx.glyphs, ctx.roles);
    match health {
        Health::Bad => (glyphs.down, roles.error),
        Health::Pending => (glyphs.pending, roles.info),
        Health::Good => (glyphs.up, roles.ok),
        Health::Off => (glyphs.skipped, roles.dim),
    }
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
