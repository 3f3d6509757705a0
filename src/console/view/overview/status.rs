//! The status lines: alarms, worst first, and steps that run longer than usual, or that there are
//! no alarms; and the current figures.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use crate::console::alarms::{Alarm, Severity};
use crate::console::command::{COMMANDS, Verb};
use crate::console::render::Ctx;
use crate::console::render::paint::{self, Align, span};
use crate::console::render::panel::{self, panel};
use crate::console::{format, labels, text};
use crate::domain::{Phase, QueueRole, RunStatus, Snapshot, TaskOutcome, TaskView};

pub(super) fn render(ctx: Ctx, area: Rect, framed: bool, buf: &mut Buffer) {
    let alarms = ctx.app.alarms(ctx.now);
    if framed {
        let inner = panel::indent(panel(ctx, buf, area, "Status", &figures(ctx), true));
        paint::lines(ctx, buf, inner, &alarm_lines(ctx, &alarms, inner.height));
        return;
    }
    let area = Rect {
        x: area.x + 1.min(area.width),
        width: area.width.saturating_sub(1),
        ..area
    };
    // The last row is for the figures, unless it is the only one.
    let rows = area.height.saturating_sub(1).max(1);
    let lines = alarm_lines(ctx, &alarms, rows);
    paint::lines(ctx, buf, area, &lines);
    let last = paint::row(area, rows);
    paint::line(ctx, buf, last, &figures(ctx), Align::Left);
}

fn alarm_lines(ctx: Ctx, alarms: &[Alarm], rows: u16) -> Vec<Line<'static>> {
    if ctx.snapshot.revision == 0 && alarms.is_empty() {
        let text = format!("{} Connecting: nothing is known yet", ctx.glyphs.pending);
        return vec![Line::from(span(text, ctx.roles.info))];
    }
    let late = late_steps(ctx);
    if alarms.is_empty() && late.is_none() {
        let well = span(format!("{} No alarms", ctx.glyphs.done), ctx.roles.ok);
        return vec![Line::from(well)];
    }
    let rows = usize::from(rows);
    let all = alarms.len() + usize::from(late.is_some());
    let alarms = alarms.iter().map(|alarm| alarm_line(ctx, alarm));
    let mut lines: Vec<Line> = alarms.chain(late).take(rows).collect();
    let more = all.saturating_sub(rows);
    if let Some(last) = lines.last_mut().filter(|_| more > 0) {
        // At the front, so that truncation cannot remove it.
        let row = COMMANDS.iter().find(|row| matches!(row.verb, Verb::Alarms));
        let key = row.and_then(|row| ctx.app.keymap.keys_of(row).next());
        let key = key.map_or_else(String::new, |key| format!("{key} "));
        let more = [
            span(format!("+{more} "), ctx.roles.warn),
            span(key, ctx.roles.key),
        ];
        last.spans.splice(0..0, more);
    }
    lines
}

/// Number of lines about what is no alarm.
pub(super) fn notes(snapshot: &Snapshot) -> usize {
    usize::from(snapshot.tasks.iter().any(TaskView::is_late))
}

/// The step that is late for the longest time, and the number of others.
fn late_steps(ctx: Ctx) -> Option<Line<'static>> {
    let late = || ctx.snapshot.tasks.iter().filter(|task| task.is_late());
    let started = |task: &&TaskView| match task.phase {
        Phase::Running { since, .. } => since,
        _ => ctx.now,
    };
    let first = late().min_by_key(started)?;
    let usual = first.beyond_usual?;
    let elapsed = format::duration(format::seconds_between(started(&first), ctx.now));
    let others = match late().count() - 1 {
        0 => String::new(),
        others => format!(", {others} more late"),
    };
    let text = format!(
        "{} has run for {elapsed}, usually {}{others}",
        text::clean(first.name()),
        labels::brief(usual.median_ms),
    );
    Some(Line::from(vec![
        span(format!("{} ", ctx.glyphs.warn), ctx.roles.warn),
        span(text, ctx.roles.strong),
    ]))
}

fn alarm_line(ctx: Ctx, alarm: &Alarm) -> Line<'static> {
    let (sign, style) = match alarm.severity {
        _ if alarm.is_acknowledged(ctx.now) => (ctx.glyphs.done, ctx.roles.dim),
        Severity::Critical => (ctx.glyphs.down, ctx.roles.error),
        Severity::Warning => (ctx.glyphs.warn, ctx.roles.warn),
    };
    Line::from(vec![
        span(format!("{sign} "), style),
        span(alarm.text.clone(), ctx.roles.strong),
    ])
}

/// `3 running · 1 held · ~37 waiting · 2 failed of 40 recent · 1 run queued`.
fn figures(ctx: Ctx) -> Line<'static> {
    let (snapshot, roles) = (ctx.snapshot, ctx.roles);
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let running = count(
        snapshot
            .tasks
            .iter()
            .filter(|task| task.is_running())
            .count(),
    );
    let held = count(snapshot.tasks.len()) - running;
    let live = snapshot
        .queues
        .iter()
        .filter(|queue| queue.role != QueueRole::DeadLetter);
    let counts: Vec<u64> = live
        .filter_map(|queue| Some(queue.counts?.visible))
        .collect();
    let waiting = (!counts.is_empty()).then(|| counts.iter().sum());
    let failed = |phase: &Phase| {
        matches!(
            phase,
            Phase::Done {
                outcome: TaskOutcome::Failure { .. },
                ..
            }
        )
    };
    let failures = count(
        snapshot
            .recent
            .iter()
            .filter(|task| failed(&task.phase))
            .count(),
    );
    let between = || span(format!(" {} ", ctx.glyphs.separator), roles.dim);
    let mut spans = vec![
        ctx.exact(running, roles.running),
        span(" running", roles.dim),
        between(),
    ];
    spans.extend([
        ctx.exact(held, roles.held),
        span(" held", roles.dim),
        between(),
    ]);
    spans.extend(ctx.about(waiting, roles.waiting).spans);
    spans.extend([span(" waiting", roles.dim), between()]);
    spans.extend([
        ctx.exact(failures, roles.error),
        span(" failed of ", roles.dim),
    ]);
    spans.push(span(format::count(count(snapshot.recent.len())), roles.dim));
    spans.push(Span::styled(" recent", roles.dim));
    let queued = snapshot.runs.iter();
    let queued = queued.filter(|run| run.status == RunStatus::Queued);
    let queued = count(queued.count());
    if queued > 0 {
        let runs = if queued == 1 { " run" } else { " runs" };
        spans.extend([between(), span(format::count(queued), roles.waiting)]);
        spans.push(span(format!("{runs} queued"), roles.dim));
    }
    Line::from(spans)
}
