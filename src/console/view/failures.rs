//! The view of failures, grouped by exception class and job, and dead letters.
//!
//! ```text
//! the groups, largest first
//! the one under the cursor: an example of the error, steps, hosts
//! ```

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::queues;
use super::table::{Table, TableColumn};
use crate::console::format::{self, coarse_age, seconds_between};
use crate::console::labels::plural;
use crate::console::render::detail::Page;
use crate::console::render::paint::{self, span};
use crate::console::render::panel::{self, panel};
use crate::console::render::{Ctx, is_roomy};
use crate::console::rows::RowId;
use crate::console::shown::Shown;
use crate::console::text;
use crate::domain::{FailureGroup, FailureKind, Timestamp};

/// The view of failures.
pub(super) struct Failures;

type Column = TableColumn<Failures>;

impl Table for Failures {
    type Row<'a> = &'a FailureGroup;

    const TITLE: &'static str = "Failures";

    const SHORT_TITLE: &'static str = "Fail";

    const COLUMNS: &'static [Column] = &[
        Column::unseen("KIND").filter("status", |_, group| Some(Cow::Borrowed(group.kind.word()))),
        Column::new("EXCEPTION", 16, 0, |ctx, group| {
            let class = text::clean(&group.class);
            let class = match group.kind {
                FailureKind::Run => class,
                FailureKind::DeadLetter => format!("dead letter: {class}").into(),
            };
            Line::from(span(class, style(ctx, group)))
        })
        .grow(44)
        .sort(|_, a, b| a.class.cmp(&b.class)),
        Column::new("JOB", 12, 0, |ctx, group| {
            Line::from(span(text::clean(&group.job), ctx.roles.strong))
        })
        .grow(28)
        .sort(|_, a, b| a.job.cmp(&b.job))
        .filter("job", |_, group| Some(Cow::Borrowed(&group.job))),
        Column::new("COUNT", 5, 0, |ctx, group| {
            number(ctx, group.count, ctx.roles.strong)
        })
        .right()
        .sort_first(|_, a, b| a.count.cmp(&b.count)),
        Column::new("OPEN", 4, 0, |ctx, group| {
            number(ctx, group.open, style(ctx, group))
        })
        .right()
        .sort(|_, a, b| a.open.cmp(&b.open)),
        Column::new("LAST", 5, 1, |ctx, group| {
            Line::from(span(age(ctx, group.last_at), ctx.roles.text))
        })
        .right()
        .sort(|_, a, b| a.last_at.cmp(&b.last_at)),
        Column::new("FIRST", 5, 2, |ctx, group| {
            Line::from(span(age(ctx, group.first_at), ctx.roles.dim))
        })
        .right()
        .sort(|_, a, b| a.first_at.cmp(&b.first_at)),
        Column::new("HOSTS", 12, 4, |ctx, group| {
            Line::from(span(some(&group.hosts), ctx.roles.text))
        })
        .grow(30)
        .filter("worker", |_, group| words(&group.hosts)),
        Column::new("STEPS", 14, 5, |ctx, group| {
            Line::from(span(some(&group.steps), ctx.roles.text))
        })
        .grow(30)
        .filter("step", |_, group| words(&group.steps)),
        Column::unseen("RUNS").filter("run", |_, group| {
            let runs = group.members.iter();
            words(runs.map(|member| &member.run_id))
        }),
        Column::new("EXAMPLE", 18, 3, |ctx, group| {
            let line = first_line(&group.example);
            Line::from(span(text::clean(&line).into_owned(), ctx.roles.dim))
        })
        .grow(80),
    ];

    fn total(shown: &Shown) -> usize {
        shown.failures.len()
    }

    fn row(shown: &Shown, index: usize) -> Option<&FailureGroup> {
        shown.failures.get(index)
    }

    fn is_same(one: &Shown, other: &Shown) -> bool {
        Arc::ptr_eq(&one.failures, &other.failures)
    }

    fn id(group: Self::Row<'_>) -> RowId<'_> {
        RowId::Id(&group.id)
    }

    fn haystack(group: &FailureGroup) -> String {
        [group.kind.word(), &group.class, &group.job, &group.example].join(" ")
    }

    fn about(group: &FailureGroup) -> String {
        format!("failures {}", group.id)
    }

    fn empty(ctx: Ctx) -> &'static str {
        if ctx.app.failures().problem().is_some() {
            "What failed cannot be read."
        } else {
            "Nothing failed in this time, and no dead letter is known. f looks further back."
        }
    }

    fn tab_count(ctx: Ctx) -> Option<Span<'static>> {
        let groups = ctx.snapshot.failures.iter();
        let open = groups.map(|group| group.open).sum::<usize>();
        let open = u64::try_from(open).unwrap_or(u64::MAX);
        (open > 0).then(|| ctx.exact(open, ctx.roles.error))
    }

    fn note(ctx: Ctx) -> Option<Span<'static>> {
        Some(span(ctx.app.failures().note(), ctx.roles.info))
    }

    fn detail(page: &mut Page, group: &FailureGroup) -> String {
        page.group(group)
    }

    fn region(body: Rect) -> Rect {
        queues::regions(body).0
    }

    fn render(ctx: Ctx, body: Rect, buf: &mut Buffer) {
        let framed = is_roomy(body);
        let (upper, lower) = queues::regions(body);
        let has_rows = Self::draw(ctx, upper, framed, buf);
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
}

fn style(ctx: Ctx, group: &FailureGroup) -> Style {
    match group.kind {
        FailureKind::Run => ctx.roles.error,
        FailureKind::DeadLetter => ctx.roles.warn,
    }
}

fn number(ctx: Ctx, n: usize, style: Style) -> Line<'static> {
    Line::from(ctx.exact(u64::try_from(n).unwrap_or(u64::MAX), style))
}

fn age(ctx: Ctx, at: Option<Timestamp>) -> String {
    at.map_or_else(
        || ctx.glyphs.unknown.to_owned(),
        |at| coarse_age(seconds_between(at, ctx.now)),
    )
}

/// The first of these names, as many as a cell has room for.
fn some(names: &BTreeSet<String>) -> String {
    let names: Vec<&str> = names.iter().take(3).map(String::as_str).collect();
    text::clean(&names.join(" ")).into_owned()
}

/// All of these names as a filter field.
fn words<'a>(names: impl IntoIterator<Item = &'a String>) -> Option<Cow<'a, str>> {
    let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
    (!names.is_empty()).then(|| Cow::Owned(names.join(" ")))
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
    let names = |names: &BTreeSet<String>| {
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
