//! The overview's other panels.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::symbols::bar;
use ratatui::text::Line;
use ratatui::widgets::{Sparkline, SparklineBar, Widget};

use crate::console::glyphs::Glyphs;
use crate::console::render::paint::{self, span};
use crate::console::render::panel::{self, panel};
use crate::console::render::table::{self, Column, column};
use crate::console::render::{Ctx, prompt};
use crate::console::rows::WorkerRow;
use crate::console::view::{queues as queues_view, workers as workers_view};
use crate::console::{format, labels, text, throughput};
use crate::domain::{Phase, QueueRole, SourceHealth, TaskOutcome, TaskView};

pub(super) fn queues(ctx: Ctx, area: Rect, framed: bool, buf: &mut Buffer) {
    const COLUMNS: [Column; 7] = [
        column("QUEUE", 16, 0).grow(40),
        column("WAITING", 7, 0).right(),
        column("", 6, 4).grow(30),
        column("OLDEST", 6, 1).right(),
        column("FLIGHT", 6, 1).right(),
        column("DELAYED", 7, 3).right(),
        column("AS OF", 5, 2).right(),
    ];
    let inner = panel(ctx, buf, area, "Queues", &Line::default(), framed);
    if ctx.snapshot.queues.is_empty() {
        return empty(ctx, inner, "No queue is known yet.", buf);
    }
    let most = ctx
        .snapshot
        .queues
        .iter()
        .filter_map(|queue| Some(queue.counts?.visible))
        .max()
        .unwrap_or(0);
    let rows = ctx.snapshot.queues.iter().map(|queue| {
        let waiting = queue.counts.map(|counts| counts.visible);
        let dead = queue.role == QueueRole::DeadLetter;
        let style = if dead {
            ctx.roles.warn
        } else {
            ctx.roles.waiting
        };
        vec![
            queues_view::name(ctx, queue),
            ctx.about(waiting, style),
            ctx.bar(
                waiting.unwrap_or(0),
                most.max(10),
                30.min(inner.width / 4),
                style,
            ),
            queues_view::oldest(ctx, queue),
            ctx.about(queue.counts.map(|counts| counts.in_flight), ctx.roles.text),
            ctx.about(queue.counts.map(|counts| counts.delayed), ctx.roles.text),
            queues_view::as_of(ctx, queue),
        ]
    });
    table::plain(ctx, buf, inner, &COLUMNS, rows);
}

pub(super) fn workers(ctx: Ctx, area: Rect, framed: bool, buf: &mut Buffer) {
    const COLUMNS: [Column; 5] = [
        column("WORKER", 12, 0).grow(36),
        column("STATE", 10, 1),
        column("STEPS", 12, 0).grow(24),
        column("RUNS", 5, 2).grow(12),
        column("FAILED", 6, 3).right(),
    ];
    let inner = panel(ctx, buf, area, "Workers", &Line::default(), framed);
    if ctx.snapshot.workers.is_empty() {
        return empty(ctx, inner, "No worker is connected.", buf);
    }
    let rows = ctx.snapshot.workers.iter().map(|worker| {
        vec![
            Line::from(span(worker.id.as_str(), ctx.roles.text)),
            workers_view::state(ctx, WorkerRow::Linked(worker)),
            ctx.slots(worker.steps, 24.min(inner.width / 3)),
            ctx.slots(worker.runs, 12.min(inner.width / 8)),
            Line::from(ctx.exact(worker.failed, ctx.roles.error)),
        ]
    });
    table::plain(ctx, buf, inner, &COLUMNS, rows);
}

pub(super) fn throughput(ctx: Ctx, area: Rect, framed: bool, buf: &mut Buffer) {
    let rate = format!("{}/min", throughput::last_minute(ctx.snapshot, ctx.now));
    let right = Line::from(span(rate, ctx.roles.strong));
    let inner = panel(ctx, buf, area, "Throughput", &right, framed);
    let inner = panel::indent(inner).intersection(buf.area);
    if inner.is_empty() {
        return;
    }
    let width = usize::from(inner.width.min(120));
    let buckets = throughput::buckets(ctx.snapshot, ctx.now, width);
    let most = buckets.iter().flatten().copied().max().unwrap_or(0);
    if most == 0 {
        return empty(ctx, inner, "Nothing ended in the last minutes.", buf);
    }
    let seconds =
        u64::try_from(throughput::BUCKET_SECONDS).unwrap_or(1) * u64::from(inner.width.min(120));
    let scale = format!(
        "{} {} now, {most} at most in {}s",
        format::coarse_age(seconds),
        ctx.glyphs.arrow,
        throughput::BUCKET_SECONDS
    );
    let (bars, label) = if inner.height >= 3 {
        (
            Rect {
                height: inner.height - 1,
                ..inner
            },
            paint::row(inner, inner.height - 1),
        )
    } else {
        (inner, Rect::default())
    };
    Sparkline::default()
        .data(buckets.iter().copied().map(SparklineBar::from))
        .bar_set(bar_set(ctx.glyphs))
        .absent_value_symbol(ctx.glyphs.unknown)
        .absent_value_style(ctx.roles.dim)
        .style(ctx.roles.spark)
        .render(bars, buf);
    paint::lines(ctx, buf, label, &[Line::from(span(scale, ctx.roles.dim))]);
}

fn bar_set(glyphs: &Glyphs) -> bar::Set<'static> {
    let [one, two, three, four, five, six, seven, full] = glyphs.spark;
    bar::Set {
        full,
        seven_eighths: seven,
        three_quarters: six,
        five_eighths: five,
        half: four,
        three_eighths: three,
        one_quarter: two,
        one_eighth: one,
        empty: " ",
    }
}

pub(super) fn in_flight(ctx: Ctx, area: Rect, framed: bool, buf: &mut Buffer) {
    const COLUMNS: [Column; 9] = [
        column("STATE", 9, 0),
        column("STEP", 16, 0).grow(44),
        column("ELAPSED", 8, 0).right(),
        column("PRIO", 4, 3).right(),
        column("JOB", 12, 1).grow(24),
        column("RUN", 8, 2),
        column("WAITED", 8, 4).right(),
        column("QUEUE", 5, 5).grow(8),
        column("WORKER", 12, 6).grow(24),
    ];
    let list = ctx.app.list();
    let filter = list.filter.text();
    let right = if filter.is_empty() {
        Line::default()
    } else {
        prompt::filter_note(ctx)
    };
    let inner = panel(ctx, buf, area, "In flight", &right, framed);
    if list.rows.is_empty() {
        if let Some(problem) = ctx.app.startup_problem() {
            return not_started(ctx, inner, problem, buf);
        }
        let webserver = ctx.snapshot.webserver();
        let can_launch = webserver.is_some_and(|source| source.health != SourceHealth::Absent);
        let hint = if can_launch {
            "No steps in flight. Press l to launch a run."
        } else {
            "No steps in flight."
        };
        let line = prompt::nothing(ctx, hint);
        return paint::lines(ctx, buf, panel::indent(inner), &[line]);
    }
    table::table(ctx, buf, inner, &COLUMNS, list, |index| {
        let Some(task) = ctx.snapshot.tasks.get(index) else {
            return Vec::new();
        };
        vec![
            ctx.phase(&task.phase),
            Line::from(text::clean(task.name())),
            ctx.elapsed(task),
            Line::from(task.priority.to_string()),
            Line::from(task.job.as_deref().unwrap_or_default()),
            Line::from(span(format::short_id(&task.run_id), ctx.roles.dim)),
            ctx.waited(task),
            Line::from(span(ctx.queue_label(&task.queue), ctx.roles.dim)),
            Line::from(span(task.worker.as_str(), ctx.roles.dim)),
        ]
    });
}

pub(super) fn failures(ctx: Ctx, area: Rect, framed: bool, buf: &mut Buffer) {
    let inner = panel(ctx, buf, area, "Recent failures", &Line::default(), framed);
    let mut failed = ctx
        .snapshot
        .recent
        .iter()
        .filter(|task| is_failure(task))
        .peekable();
    if failed.peek().is_none() {
        return empty(ctx, inner, "None.", buf);
    }
    let inner = panel::indent(inner);
    let mut lines = Vec::new();
    for task in failed.take(usize::from(inner.height)) {
        if framed {
            lines.extend(failure_block(ctx, task, inner.width));
        } else {
            lines.push(failure(ctx, task));
        }
    }
    paint::lines(ctx, buf, inner, &lines);
}

fn is_failure(task: &TaskView) -> bool {
    matches!(
        task.phase,
        Phase::Done {
            outcome: TaskOutcome::Failure { .. } | TaskOutcome::DeadLettered { .. },
            ..
        }
    )
}

fn failure<'a>(ctx: Ctx<'a>, task: &'a TaskView) -> Line<'a> {
    let reason = labels::reason(&task.phase).unwrap_or_default();
    let mut line = failure_head(ctx, task);
    line.spans.push(span(text::clean(reason), ctx.roles.text));
    line
}

/// A failure with its whole reason, if there is room for it.
fn failure_block<'a>(ctx: Ctx<'a>, task: &'a TaskView, width: u16) -> Vec<Line<'a>> {
    let mut head = failure_head(ctx, task);
    head.spans
        .push(span(task.job.as_deref().unwrap_or_default(), ctx.roles.dim));
    let reason = text::clean(labels::reason(&task.phase).unwrap_or_default());
    let mut lines = vec![head];
    for part in text::wrap(&reason, width.saturating_sub(2).max(1)) {
        lines.push(Line::from(span(format!("  {part}"), ctx.roles.text)));
    }
    lines
}

fn failure_head<'a>(ctx: Ctx<'a>, task: &'a TaskView) -> Line<'a> {
    let (sign, style) = ctx.phase_sign(&task.phase);
    Line::from(vec![
        span(format!("{} ", ctx.ended(task)), ctx.roles.dim),
        span(format!("{sign} "), style),
        span(format!("{} ", text::clean(task.name())), ctx.roles.strong),
    ])
}

/// Shows in full the text that a narrow status line truncates: it may be a new user's first screen.
fn not_started(ctx: Ctx, area: Rect, problem: &str, buf: &mut Buffer) {
    let area = panel::indent(area);
    let problem = text::clean(problem);
    let heading = Line::from(span("No worker was started:", ctx.roles.dim));
    let parts = text::wrap(&problem, area.width.max(1)).into_iter();
    let again = Line::from(span("S tries it again.", ctx.roles.dim));
    let lines: Vec<Line> = std::iter::once(heading)
        .chain(parts.map(|part| Line::from(span(part, ctx.roles.text))))
        .chain([again])
        .collect();
    paint::lines(ctx, buf, area, &lines);
}

fn empty(ctx: Ctx, area: Rect, text: &'static str, buf: &mut Buffer) {
    paint::lines(
        ctx,
        buf,
        panel::indent(area),
        &[Line::from(span(text, ctx.roles.dim))],
    );
}
