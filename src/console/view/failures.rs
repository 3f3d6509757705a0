//! The view of failures, grouped by exception class and job, and dead letters.
//!
//! ```text
//! the groups, largest first
//! the one under the cursor: an example of the error, steps, hosts
//! ```

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::queues;
use crate::console::format::{self, coarse_age, seconds_between};
use crate::console::labels::plural;
use crate::console::render::paint::{self, span};
use crate::console::render::panel::{self, panel};
use crate::console::render::table::{Column, column};
use crate::console::render::table_view::{self, Sheet};
use crate::console::render::{Ctx, is_roomy};
use crate::console::text;
use crate::domain::{FailureGroup, FailureKind, Timestamp};

const COLUMNS: [Column; 9] = [
    column("EXCEPTION", 16, 0).grow(44),
    column("JOB", 12, 0).grow(28),
    column("COUNT", 5, 0).right(),
    column("OPEN", 4, 0).right(),
    column("LAST", 5, 1).right(),
    column("FIRST", 5, 2).right(),
    column("HOSTS", 12, 4).grow(30),
    column("STEPS", 14, 5).grow(30),
    column("EXAMPLE", 18, 3).grow(80),
];

pub(in crate::console) const SHEET: Sheet = Sheet {
    title: "Failures",
    empty: "Nothing failed in this time, and no dead letter is known. f looks further back.",
    columns: &COLUMNS,
    cells: |ctx, index, _| {
        let group = ctx.snapshot.failures.get(index);
        group.map(|group| cells(ctx, group)).unwrap_or_default()
    },
};

pub(in crate::console) fn render(ctx: Ctx, body: Rect, buf: &mut Buffer) {
    let framed = is_roomy(body);
    let (upper, lower) = queues::regions(body);
    let sheet = Sheet {
        empty: if ctx.app.failures().problem().is_some() {
            "What failed cannot be read."
        } else {
            SHEET.empty
        },
        ..SHEET
    };
    let has_rows = table_view::render(ctx, &sheet, upper, framed, buf);
    if lower.is_empty() {
        if !has_rows {
            let inner = panel::within(upper, framed);
            let below = Rect {
                y: inner.y + 1.min(inner.height),
                height: inner.height.saturating_sub(1),
                ..inner
            };
            let lines = problems(ctx, inner.width);
            paint::lines(ctx, buf, panel::indent(below), &lines);
        }
        return;
    }
    let group = ctx.app.selected_group();
    let title = group.map_or("Example", |group| group.class.as_str());
    let title = text::clean(title).into_owned();
    let inner = panel(ctx, buf, lower, &title, &Line::default(), framed);
    let mut lines = problems(ctx, inner.width);
    if let Some(group) = group {
        lines.extend(about(ctx, group, inner.width));
    }
    paint::lines(ctx, buf, panel::indent(inner), &lines);
}

fn age(ctx: Ctx, at: Option<Timestamp>) -> String {
    at.map_or_else(
        || ctx.glyphs.unknown.to_owned(),
        |at| coarse_age(seconds_between(at, ctx.now)),
    )
}

fn cells<'a>(ctx: Ctx<'a>, group: &'a FailureGroup) -> Vec<Line<'a>> {
    let roles = ctx.roles;
    let style = match group.kind {
        FailureKind::Run => roles.error,
        FailureKind::DeadLetter => roles.warn,
    };
    let class = match group.kind {
        FailureKind::Run => text::clean(&group.class),
        FailureKind::DeadLetter => format!("dead letter: {}", text::clean(&group.class)).into(),
    };
    let listed = |names: &std::collections::BTreeSet<String>| {
        let names: Vec<&str> = names.iter().take(3).map(String::as_str).collect();
        text::clean(&names.join(" ")).into_owned()
    };
    let number = |n: usize, style| ctx.exact(u64::try_from(n).unwrap_or(u64::MAX), style);
    vec![
        Line::from(span(class, style)),
        Line::from(span(text::clean(&group.job), roles.strong)),
        Line::from(number(group.count, roles.strong)),
        Line::from(number(group.open, style)),
        Line::from(span(age(ctx, group.last_at), roles.text)),
        Line::from(span(age(ctx, group.first_at), roles.dim)),
        Line::from(span(listed(&group.hosts), roles.text)),
        Line::from(span(listed(&group.steps), roles.text)),
        Line::from(span(
            text::clean(&first_line(&group.example)).into_owned(),
            roles.dim,
        )),
    ]
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

fn problems(ctx: Ctx, width: u16) -> Vec<Line<'static>> {
    let failures = ctx.app.failures();
    let mut lines = Vec::new();
    if let Some(problem) = failures.problem() {
        let clean = text::clean(problem);
        let parts = text::wrap(&clean, width.saturating_sub(2).max(8));
        let parts = parts.iter().take(3);
        lines.extend(parts.map(|part| Line::from(span((*part).to_owned(), ctx.roles.error))));
    }
    match failures.cut_logs() {
        0 => {}
        cut => {
            let logs = plural(cut, "log");
            let text = format!("{logs} too long to be read whole: there may be more failures");
            lines.push(Line::from(span(text, ctx.roles.warn)));
        }
    }
    lines
}

fn about(ctx: Ctx, group: &FailureGroup, width: u16) -> Vec<Line<'static>> {
    let roles = ctx.roles;
    let clean = text::clean(&group.example);
    let mut lines: Vec<Line> = text::wrap(&clean, width.saturating_sub(2).max(8))
        .iter()
        .take(3)
        .map(|part| Line::from(span((*part).to_owned(), roles.error)))
        .collect();
    let mut fact = |label: &str, value: &str| {
        lines.push(Line::from(vec![
            span(format!("{label:<9}"), roles.dim),
            span(text::clean(value).into_owned(), roles.text),
        ]));
    };
    fact("open", &open(group));
    if let Some(at) = group.last_at {
        fact("last", &format::date(at, &ctx.app.setup.zone));
    }
    let names = |names: &std::collections::BTreeSet<String>| {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        names.join(" ")
    };
    fact("steps", &names(&group.steps));
    fact("hosts", &names(&group.hosts));
    lines
}

/// The work left on a group.
pub(in crate::console) fn open(group: &FailureGroup) -> String {
    match group.kind {
        FailureKind::DeadLetter => format!("{}: R redrives them", plural(group.open, "message")),
        FailureKind::Run if group.open == 0 => {
            String::from("none: all of its runs were executed again, or Dagster retries them")
        }
        FailureKind::Run => format!(
            "{} of {} not executed again since: E does",
            group.open,
            plural(group.runs, "run")
        ),
    }
}
