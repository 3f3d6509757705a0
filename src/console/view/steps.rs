//! Steps and run workers: in flight first, then those that ended.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use crate::console::render::paint::span;
use crate::console::render::table::{Column, column};
use crate::console::render::table_view::{self, Sheet};
use crate::console::render::{Ctx, is_roomy};
use crate::console::rows::task_at;
use crate::console::{format, text};
use crate::domain::{Phase, TaskView, Usage};

const COLUMNS: [Column; 16] = [
    column("STATE", 11, 0).grow(13),
    column("STEP", 16, 0).grow(48),
    column("ELAPSED", 8, 0).right(),
    column("WAITED", 8, 4).right(),
    column("PRIO", 4, 2).right(),
    column("TRY", 3, 5).right(),
    column("JOB", 12, 1).grow(28),
    column("RUN", 8, 3),
    column("QUEUE", 6, 6).grow(12),
    column("CPU", 5, 7).right(),
    column("MEMORY", 8, 7).right(),
    column("PID", 7, 8).right(),
    column("RECV", 4, 9).right(),
    column("ENDED", 8, 5),
    column("WORKER", 12, 7).grow(28),
    column("HOST", 12, 10).grow(24),
];

pub(in crate::console) const SHEET: Sheet = Sheet {
    title: "Steps",
    empty: "No steps yet. Press l to launch a run.",
    columns: &COLUMNS,
    cells: |ctx, index, _| {
        let task = task_at(ctx.snapshot, index);
        task.map(|task| cells(ctx, task)).unwrap_or_default()
    },
};

pub(in crate::console) fn render(ctx: Ctx, body: Rect, buf: &mut Buffer) {
    table_view::render(ctx, &SHEET, body, is_roomy(body), buf);
}

fn cells<'a>(ctx: Ctx<'a>, task: &'a TaskView) -> Vec<Line<'a>> {
    let roles = ctx.roles;
    let over = matches!(task.phase, Phase::Done { .. });
    let pid = match task.phase {
        Phase::Running { pid: Some(pid), .. } => pid.to_string(),
        _ => String::new(),
    };
    let usage = task.usage.filter(|_| task.is_running());
    let attempt = if task.attempt == 0 {
        ctx.glyphs.unknown.to_owned()
    } else {
        task.attempt.to_string()
    };
    let again = if task.receive_count > 1 {
        roles.warn
    } else {
        roles.dim
    };
    let mut workers = ctx.snapshot.workers.iter();
    let worker = workers.find(|worker| worker.id == task.worker);
    let host = worker.map(|worker| worker.hostname.as_str());
    vec![
        ctx.phase(&task.phase),
        Line::from(span(
            text::clean(task.name()),
            if over { roles.text } else { roles.strong },
        )),
        ctx.elapsed(task),
        ctx.waited(task),
        Line::from(task.priority.to_string()),
        Line::from(span(
            attempt,
            if task.attempt > 1 {
                roles.warn
            } else {
                roles.dim
            },
        )),
        Line::from(task.job.as_deref().unwrap_or_default()),
        Line::from(span(format::short_id(&task.run_id), roles.dim)),
        Line::from(span(ctx.queue_label(&task.queue), roles.dim)),
        Line::from(usage.map_or_else(String::new, |usage| format!("{}%", usage.cpu_percent))),
        Line::from(usage.map_or_else(String::new, memory)),
        Line::from(span(pid, roles.dim)),
        Line::from(span(task.receive_count.to_string(), again)),
        Line::from(span(ctx.ended(task), roles.dim)),
        Line::from(span(task.worker.as_str(), roles.dim)),
        Line::from(span(host.unwrap_or_default(), roles.dim)),
    ]
}

pub(in crate::console) fn memory(usage: Usage) -> String {
    format::bytes(usage.memory_mib * 1024 * 1024)
}
