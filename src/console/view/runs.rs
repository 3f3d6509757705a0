//! Dagster's runs, newest first.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;
use ratatui::text::{Line, Span};

use super::table::{Table, TableColumn};
use crate::console::format::{self, seconds_between};
use crate::console::render::Ctx;
use crate::console::render::detail::Page;
use crate::console::render::paint::{self, span};
use crate::console::rows::RowId;
use crate::console::shown::Shown;
use crate::console::{labels, text};
use crate::domain::{RunStatus, RunView, SourceHealth};

/// The view of runs.
pub(super) struct Runs;

type Column = TableColumn<Runs>;

impl Table for Runs {
    type Row<'a> = &'a RunView;

    const TITLE: &'static str = "Runs";

    const COLUMNS: &'static [Column] = &[
        Column::new("STATUS", 13, 0, |ctx, run| ctx.run_status(run.status))
            .sort(|_, a, b| labels::run_status(a.status).cmp(labels::run_status(b.status)))
            .filter("status", |_, run| Some(status(run))),
        Column::new("RUN", 8, 0, |_, run| {
            Line::from(format::short_id(&run.run_id))
        })
        .sort(|_, a, b| a.run_id.cmp(&b.run_id))
        .filter("run", |_, run| Some(Cow::Borrowed(&run.run_id))),
        Column::new("JOB", 14, 0, |ctx, run| {
            Line::from(span(run.job.as_str(), ctx.roles.strong))
        })
        .grow(40)
        .sort(|_, a, b| a.job.cmp(&b.job))
        .filter("job", |_, run| Some(Cow::Borrowed(&run.job))),
        Column::new("STEPS", 12, 1, progress)
            .grow(32)
            .sort(|_, a, b| ended(a).cmp(&ended(b))),
        Column::new("FAILED", 6, 3, |ctx, run| {
            Line::from(ctx.exact(u64::from(run.steps_failed), ctx.roles.error))
        })
        .right()
        .sort(|_, a, b| a.steps_failed.cmp(&b.steps_failed)),
        Column::new("DURATION", 8, 2, |ctx, run| Line::from(duration(ctx, run)))
            .right()
            .sort(|_, a, b| length(a).cmp(&length(b))),
        Column::new("CREATED", 19, 5, |ctx, run| {
            let date = |at: Timestamp| format::date(at, &ctx.app.setup.zone);
            let date = run.created_at.map(date).unwrap_or_default();
            Line::from(span(date, ctx.roles.dim))
        })
        .sort_first(|_, a, b| a.created_at.cmp(&b.created_at)),
        Column::new("PRIO", 4, 4, |_, run| {
            Line::from(run.priority.map_or_else(String::new, |n| n.to_string()))
        })
        .right()
        .sort(|_, a, b| a.priority.cmp(&b.priority))
        .filter("prio", |_, run| Some(Cow::Owned(run.priority?.to_string()))),
        Column::new("PARTITION", 10, 6, |_, run| {
            Line::from(text::clean(run.partition().unwrap_or_default()))
        })
        .grow(24)
        .sort(|_, a, b| a.partition().cmp(&b.partition()))
        .filter("partition", |_, run| run.partition().map(Cow::Borrowed)),
        Column::new("BY", 12, 7, |ctx, run| {
            let by = run.launched_by().unwrap_or_default();
            Line::from(span(text::clean(&by).into_owned(), ctx.roles.dim))
        })
        .grow(28)
        .sort(|_, a, b| a.launched_by().cmp(&b.launched_by()))
        .filter("by", |_, run| run.launched_by().map(Cow::Owned)),
        Column::new("ASSETS", 12, 8, |_, run| {
            Line::from(text::clean(&run.assets.join(", ")).into_owned())
        })
        .grow(40)
        .filter("asset", |_, run| {
            (!run.assets.is_empty()).then(|| Cow::Owned(run.assets.join("\n")))
        }),
        Column::new("TAGS", 16, 9, |ctx, run| {
            let tags = text::clean(&own_tags(run)).into_owned();
            Line::from(span(tags, ctx.roles.dim))
        })
        .grow(60)
        .filter("tag", |_, run| {
            let tags: Vec<String> = run.written_tags().collect();
            Some(Cow::Owned(tags.join("\n")))
        }),
    ];

    fn total(shown: &Shown) -> usize {
        shown.runs.len()
    }

    fn row(shown: &Shown, index: usize) -> Option<&RunView> {
        shown.runs.get(index)
    }

    fn is_same(one: &Shown, other: &Shown) -> bool {
        Arc::ptr_eq(&one.runs, &other.runs)
    }

    fn id(run: Self::Row<'_>) -> RowId<'_> {
        RowId::Id(&run.run_id)
    }

    fn haystack(run: &RunView) -> String {
        let tags = run.written_tags().collect::<Vec<_>>().join(" ");
        let assets = run.assets.join(" ");
        let status = labels::run_status(run.status);
        [&run.run_id, &run.job, status, &tags, &assets].join(" ")
    }

    fn about(run: &RunView) -> String {
        format!("run {}", run.run_id)
    }

    fn empty(ctx: Ctx) -> &'static str {
        // Dagster has none, or was not queried.
        match ctx.snapshot.webserver().map(|source| &source.health) {
            None | Some(SourceHealth::Absent) => labels::NO_WEBSERVER,
            Some(SourceHealth::Connecting) => "Dagster's webserver has not answered yet.",
            Some(SourceHealth::Failing { .. }) => "Dagster's webserver answers with errors.",
            Some(SourceHealth::Down { .. }) => "Dagster's webserver does not answer.",
            Some(SourceHealth::Up) => "No runs are known. Press l to launch one.",
        }
    }

    /// Runs that have not started come first: why they do not is a question of their own, and they
    /// may be older than all others.
    fn arrange(shown: &Shown, picked: &mut [usize]) {
        let waits = |at: &usize| {
            shown
                .runs
                .get(*at)
                .is_some_and(|run| run.status.is_waiting())
        };
        picked.sort_by_key(|at| !waits(at));
    }

    fn tab_count(ctx: Ctx) -> Option<Span<'static>> {
        let n = ctx.app.unfinished_runs;
        (n > 0).then(|| span(n.to_string(), ctx.roles.running))
    }

    fn detail(page: &mut Page, run: &RunView) -> String {
        page.run(run)
    }
}

/// Columns of the bar of steps.
const BAR: u16 = 18;

/// The status as a filter field: two words for one that is unfinished, so that all of them can be
/// selected at once.
fn status(run: &RunView) -> Cow<'static, str> {
    let word = labels::run_status(run.status);
    if run.status.is_finished() {
        Cow::Borrowed(word)
    } else {
        Cow::Owned(format!("{word} unfinished"))
    }
}

fn ended(run: &RunView) -> u32 {
    run.steps_succeeded + run.steps_failed
}

/// Duration for the order: unfinished runs have the longest of all, the longer the earlier they
/// began.
fn length(run: &RunView) -> (u8, i64) {
    match (run.started_at, run.ended_at) {
        (Some(from), Some(to)) => (1, to.as_millisecond() - from.as_millisecond()),
        (Some(from), None) => (2, -from.as_millisecond()),
        (None, _) => (0, 0),
    }
}

/// The tags that are no column of their own: those that Dagster did not set itself.
fn own_tags(run: &RunView) -> String {
    let tags = run.written_tags();
    let own = tags.filter(|tag| !tag.starts_with("dagster/"));
    own.collect::<Vec<_>>().join(" ")
}

/// Finished steps of all, as a bar if the table is wide.
fn progress(ctx: Ctx<'_>, run: &RunView) -> Line<'static> {
    let roles = ctx.roles;
    let ended = ended(run);
    let Some(total) = run.steps_total.filter(|total| *total > 0) else {
        return Line::from(span(
            format!("{ended} of {}", ctx.glyphs.unknown),
            roles.dim,
        ));
    };
    let figure = span(format!("{ended}/{total}"), roles.text);
    if ctx.table_width < 110 {
        return Line::from(figure);
    }
    let style = match run.status {
        RunStatus::Failure => roles.error,
        RunStatus::Canceled | RunStatus::Canceling => roles.dim,
        _ => roles.gauge,
    };
    let mut bar = ctx.bar(u64::from(ended), u64::from(total), BAR, style);
    let used = paint::line_width(&bar);
    let rest = usize::from(BAR.saturating_sub(used));
    bar.spans
        .push(span(ctx.glyphs.bar_rest.repeat(rest), roles.gauge_empty));
    bar.spans.push(Span::raw(" "));
    bar.spans.push(figure);
    bar
}

/// Duration from start to end, or to now.
pub(in crate::console) fn duration(ctx: Ctx, run: &RunView) -> String {
    match (run.started_at, run.ended_at) {
        (Some(started), Some(ended)) => format::span(started, ended),
        (Some(started), None) => format::duration(seconds_between(started, ctx.now)),
        _ => String::new(),
    }
}
