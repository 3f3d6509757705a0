//! Messages by priority and queue: running, held, waiting. An unknown figure is a dot.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use crate::console::render::Ctx;
use crate::console::render::paint::{self, Align, span};
use crate::console::render::panel::{self, panel};
use crate::domain::{PriorityCount, QueueRole};

/// Columns of the priority itself.
const PRIORITY: u16 = 5;

/// A queue's column: its name, its label, SQS's own count.
struct QueueColumn<'a> {
    name: &'a str,
    label: &'a str,
    waiting: Option<u64>,
}

pub(super) fn render(ctx: Ctx, area: Rect, framed: bool, buf: &mut Buffer) {
    let inner = panel::indent(panel(
        ctx,
        buf,
        area,
        "Priority x queue",
        &legend(ctx),
        framed,
    ));
    let columns = columns(ctx);
    if inner.height < 2 || columns.is_empty() {
        return;
    }
    // `2/1/~128` and a gap; wider if there is room for all queues.
    let count = u16::try_from(columns.len()).unwrap_or(u16::MAX);
    let wide = inner.width >= count.saturating_mul(14).saturating_add(PRIORITY);
    let cell = if wide { 14 } else { 10 };
    let fitting = usize::from((inner.width + 2).saturating_sub(PRIORITY) / cell);
    let shown = &columns[..columns.len().min(fitting)];
    heads(ctx, buf, inner, shown, columns.len(), cell);
    let mut priorities: Vec<i64> = ctx
        .snapshot
        .priorities
        .iter()
        .map(|count| count.priority)
        .collect();
    priorities.sort_unstable_by(|a, b| b.cmp(a));
    priorities.dedup();
    let rows = inner.height - 2;
    for (row, priority) in (1..=rows).zip(&priorities) {
        let line = paint::row(inner, row);
        let hidden = priorities.len().saturating_sub(usize::from(rows));
        let last = row == rows && hidden > 0;
        let label = if last {
            format!("<={priority}")
        } else {
            priority.to_string()
        };
        let priority_cell = Rect {
            width: PRIORITY.min(line.width),
            ..line
        };
        paint::line(
            ctx,
            buf,
            priority_cell,
            &Line::from(span(label, ctx.roles.strong)),
            Align::Left,
        );
        for (index, column) in shown.iter().enumerate() {
            let of = |count: &&PriorityCount| {
                count.queue == column.name
                    && (count.priority == *priority || (last && count.priority < *priority))
            };
            let figures = sum(ctx.snapshot.priorities.iter().filter(of));
            figures_at(ctx, buf, line, index, cell, &figures_line(ctx, figures));
        }
    }
    let total_row = u16::try_from(priorities.len())
        .unwrap_or(u16::MAX)
        .min(rows)
        + 1;
    totals(ctx, buf, paint::row(inner, total_row), shown, cell);
}

/// Running, held, and waiting if known.
type Figures = Option<(u64, u64, Option<u64>)>;

fn sum<'a>(counts: impl Iterator<Item = &'a PriorityCount>) -> Figures {
    counts.fold(None, |sum, count| {
        let (running, held, waiting) = sum.unwrap_or((0, 0, Some(0)));
        let waiting = waiting.zip(count.waiting).map(|(a, b)| a + b);
        Some((running + count.running, held + count.held, waiting))
    })
}

fn columns(ctx: Ctx<'_>) -> Vec<QueueColumn<'_>> {
    let queues = ctx
        .snapshot
        .queues
        .iter()
        .filter(|queue| queue.role != QueueRole::DeadLetter);
    queues
        .map(|queue| QueueColumn {
            name: &queue.name,
            label: ctx.queue_label(&queue.name),
            waiting: queue.counts.map(|counts| counts.visible),
        })
        .collect()
}

fn legend(ctx: Ctx) -> Line<'static> {
    let roles = ctx.roles;
    let slash = || span("/", roles.dim);
    let words = [
        ("running", roles.running),
        ("held", roles.held),
        ("waiting", roles.waiting),
    ];
    let [running, held, waiting] = words.map(|(word, style)| span(word, style));
    Line::from(vec![running, slash(), held, slash(), waiting])
}

fn heads(ctx: Ctx, buf: &mut Buffer, inner: Rect, shown: &[QueueColumn], total: usize, cell: u16) {
    let line = paint::row(inner, 0);
    let hidden = total - shown.len();
    let head = if hidden > 0 {
        format!("+{hidden}")
    } else {
        String::from("PRIO")
    };
    paint::line(
        ctx,
        buf,
        Rect {
            width: PRIORITY.min(line.width),
            ..line
        },
        &Line::from(span(head, ctx.roles.header)),
        Align::Left,
    );
    for (index, column) in (0..).zip(shown) {
        let x = inner.x + PRIORITY + index * cell;
        let at = Rect {
            x,
            width: (cell - 2).min(inner.right().saturating_sub(x)),
            ..line
        };
        paint::line(
            ctx,
            buf,
            at,
            &Line::from(span(column.label.to_uppercase(), ctx.roles.header)),
            Align::Right,
        );
    }
}

/// The last row: exact sums of running and held tasks, SQS's estimate of waiting ones.
fn totals(ctx: Ctx, buf: &mut Buffer, line: Rect, shown: &[QueueColumn], cell: u16) {
    let roles = ctx.roles;
    let all = Line::from(span("all", roles.dim));
    let label = Rect {
        width: PRIORITY.min(line.width),
        ..line
    };
    paint::line(ctx, buf, label, &all, Align::Left);
    for (index, column) in shown.iter().enumerate() {
        let of = ctx
            .snapshot
            .priorities
            .iter()
            .filter(|count| count.queue == column.name);
        let (running, held, _) = sum(of).unwrap_or((0, 0, None));
        let waiting = ctx.about(column.waiting, roles.waiting);
        figures_at(
            ctx,
            buf,
            line,
            index,
            cell,
            &figures(ctx, (running, held), waiting),
        );
    }
}

fn figures_line(ctx: Ctx, figures_here: Figures) -> Line<'static> {
    let roles = ctx.roles;
    let Some((running, held, waiting)) = figures_here else {
        return Line::default();
    };
    let waiting = match waiting {
        None => Line::from(span(ctx.glyphs.unknown, roles.dim)),
        Some(n) => Line::from(ctx.exact(n, roles.waiting)),
    };
    figures(ctx, (running, held), waiting)
}

/// `2/1/~128`.
fn figures(ctx: Ctx, (running, held): (u64, u64), waiting: Line<'static>) -> Line<'static> {
    let roles = ctx.roles;
    let slash = || span("/", roles.dim);
    let mut spans = vec![
        ctx.exact(running, roles.running),
        slash(),
        ctx.exact(held, roles.held),
        slash(),
    ];
    spans.extend(waiting.spans);
    Line::from(spans)
}

/// Paints the figures in their queue's column, under its name.
fn figures_at(ctx: Ctx, buf: &mut Buffer, line: Rect, index: usize, cell: u16, figures: &Line) {
    let index = u16::try_from(index).unwrap_or(u16::MAX);
    let x = line.x + PRIORITY + index * cell;
    let width = (cell - 2).min(line.right().saturating_sub(x));
    paint::line(ctx, buf, Rect { x, width, ..line }, figures, Align::Right);
}
