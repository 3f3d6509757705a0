//! Dagster's runs, newest first.

use jiff::Timestamp;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use crate::console::format::{self, seconds_between};
use crate::console::render::paint::{self, span};
use crate::console::render::table::{Column, column};
use crate::console::render::table_view::{self, Sheet};
use crate::console::render::{Ctx, is_roomy};
use crate::console::{labels, text};
use crate::domain::{RunStatus, RunView, SourceHealth};

const COLUMNS: [Column; 12] = [
    column("STATUS", 13, 0),
    column("RUN", 8, 0),
    column("JOB", 14, 0).grow(40),
    column("STEPS", 12, 1).grow(32),
    column("FAILED", 6, 3).right(),
    column("DURATION", 8, 2).right(),
    column("CREATED", 19, 5),
    column("PRIO", 4, 4).right(),
    column("PARTITION", 10, 6).grow(24),
    column("BY", 12, 7).grow(28),
    column("ASSETS", 12, 8).grow(40),
    column("TAGS", 16, 9).grow(60),
];

/// Columns of the bar of steps.
const BAR: u16 = 18;

pub(in crate::console) const SHEET: Sheet = Sheet {
    title: "Runs",
    empty: "No runs are known. Press l to launch one.",
    columns: &COLUMNS,
    cells: |ctx, index, width| {
        let run = ctx.snapshot.runs.get(index);
        run.map(|run| cells(ctx, run, width)).unwrap_or_default()
    },
};

pub(in crate::console) fn render(ctx: Ctx, body: Rect, buf: &mut Buffer) {
    let sheet = Sheet {
        empty: empty(ctx),
        ..SHEET
    };
    table_view::render(ctx, &sheet, body, is_roomy(body), buf);
}

/// Reason why there are no runs: Dagster has none, or was not queried.
fn empty(ctx: Ctx) -> &'static str {
    match ctx.snapshot.webserver().map(|source| &source.health) {
        None | Some(SourceHealth::Absent) => labels::NO_WEBSERVER,
        Some(SourceHealth::Connecting) => "Dagster's webserver has not answered yet.",
        Some(SourceHealth::Failing { .. }) => "Dagster's webserver answers with errors.",
        Some(SourceHealth::Down { .. }) => "Dagster's webserver does not answer.",
        Some(SourceHealth::Up) => SHEET.empty,
    }
}

fn cells<'a>(ctx: Ctx<'a>, run: &'a RunView, width: u16) -> Vec<Line<'a>> {
    let roles = ctx.roles;
    let date = |at: Timestamp| format::date(at, &ctx.app.setup.zone);
    let priority = run
        .priority
        .map_or_else(String::new, |priority| priority.to_string());
    vec![
        ctx.run_status(run.status),
        Line::from(format::short_id(&run.run_id)),
        Line::from(span(run.job.as_str(), roles.strong)),
        progress(ctx, run, width),
        Line::from(ctx.exact(u64::from(run.steps_failed), roles.error)),
        Line::from(duration(ctx, run)),
        Line::from(span(
            run.created_at.map(date).unwrap_or_default(),
            roles.dim,
        )),
        Line::from(priority),
        Line::from(text::clean(run.partition().unwrap_or_default())),
        Line::from(span(
            text::clean(&run.launched_by().unwrap_or_default()).into_owned(),
            roles.dim,
        )),
        Line::from(text::clean(&run.assets.join(", ")).into_owned()),
        Line::from(span(text::clean(&own_tags(run)).into_owned(), roles.dim)),
    ]
}

/// The tags that are no column of their own: those that Dagster did not set itself.
fn own_tags(run: &RunView) -> String {
    let tags = run.written_tags();
    let own = tags.filter(|tag| !tag.starts_with("dagster/"));
    own.collect::<Vec<_>>().join(" ")
}

/// Finished steps of all, as a bar if the table is wide.
fn progress(ctx: Ctx, run: &RunView, width: u16) -> Line<'static> {
    let roles = ctx.roles;
    let ended = run.steps_succeeded + run.steps_failed;
    let Some(total) = run.steps_total.filter(|total| *total > 0) else {
        return Line::from(span(
            format!("{ended} of {}", ctx.glyphs.unknown),
            roles.dim,
        ));
    };
    let figure = span(format!("{ended}/{total}"), roles.text);
    if width < 110 {
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
