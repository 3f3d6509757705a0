//! Workers: target against actual slots, state, heartbeat; below, the Python hosts of one of them.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::paint::{self, span};
use super::panel::{self, panel};
use super::sheet::{self, Sheet};
use super::table::{self, Column, column};
use super::{Ctx, is_roomy};
use crate::console::alarms::HEARTBEAT_LATE;
use crate::console::format::{self, coarse_age, seconds_between};
use crate::console::render::signs::signed;
use crate::domain::{HostPhase, HostView, WorkerView};

const COLUMNS: [Column; 11] = [
    column("WORKER", 14, 0).grow(40),
    column("STATE", 10, 0),
    column("STEP SLOTS", 10, 0).grow(30),
    column("RUN SLOTS", 9, 1).grow(16),
    column("ENDED", 6, 3).right(),
    column("FAILED", 6, 2).right(),
    column("HEARTBEAT", 9, 1).right(),
    column("HOSTS", 5, 6).right(),
    column("PID", 7, 5).right(),
    column("VERSION", 8, 7),
    column("SINCE", 19, 8),
];

/// The table, and below it the worker under the cursor.
pub(super) fn regions(body: Rect) -> (Rect, Rect) {
    let lower = if body.height >= 30 {
        body.height / 2
    } else if body.height >= 14 {
        body.height * 2 / 5
    } else {
        0
    };
    let upper = Rect {
        height: body.height - lower,
        ..body
    };
    (
        upper,
        Rect {
            y: upper.bottom(),
            height: lower,
            ..body
        },
    )
}

pub(super) const SHEET: Sheet = Sheet {
    title: "Workers",
    empty: "No worker is linked: nothing takes messages from the queues.",
    columns: &COLUMNS,
    cells: |ctx, index, width| {
        let worker = ctx.snapshot.workers.get(index);
        worker
            .map(|worker| cells(ctx, worker, width))
            .unwrap_or_default()
    },
};

pub(super) fn render(ctx: Ctx, body: Rect, buf: &mut Buffer) {
    let framed = is_roomy(body);
    let (upper, lower) = regions(body);
    if !sheet::render(ctx, &SHEET, upper, framed, buf) {
        return;
    }
    if let Some(worker) = ctx
        .app
        .list()
        .selected()
        .and_then(|index| ctx.snapshot.workers.get(index))
    {
        hosts(ctx, buf, lower, worker, framed);
    }
}

fn cells<'a>(ctx: Ctx<'a>, worker: &'a WorkerView, width: u16) -> Vec<Line<'a>> {
    let roles = ctx.roles;
    let (sign, style) = ctx.worker_sign(worker.state);
    let (steps, runs) = if width >= 150 { (30, 16) } else { (10, 0) };
    vec![
        Line::from(span(worker.id.as_str(), roles.strong)),
        signed(sign, worker.state.word(), style),
        ctx.slots(worker.steps, steps),
        ctx.slots(worker.runs, runs),
        Line::from(ctx.exact(worker.finished, roles.text)),
        Line::from(ctx.exact(worker.failed, roles.error)),
        heartbeat(ctx, worker),
        Line::from(worker.hosts.len().to_string()),
        Line::from(span(worker.pid.to_string(), roles.dim)),
        Line::from(span(worker.version.as_str(), roles.dim)),
        Line::from(span(
            format::date(worker.started_at, &ctx.app.setup.zone),
            roles.dim,
        )),
    ]
}

fn heartbeat(ctx: Ctx, worker: &WorkerView) -> Line<'static> {
    let silent = seconds_between(worker.heartbeat_at, ctx.now);
    if silent < HEARTBEAT_LATE {
        Line::from(span("now", ctx.roles.dim))
    } else {
        Line::from(span(
            format!("{} {}", ctx.glyphs.warn, coarse_age(silent)),
            ctx.roles.error,
        ))
    }
}

fn hosts(ctx: Ctx, buf: &mut Buffer, area: Rect, worker: &WorkerView, framed: bool) {
    const COLUMNS: [Column; 6] = [
        column("PYTHON HOST", 20, 0).grow(60),
        column("STATE", 10, 0),
        column("CHILDREN", 8, 1).right(),
        column("MEMORY", 6, 1).right(),
        column("LOADED IN", 9, 2).right(),
        column("PID", 7, 3).right(),
    ];
    if area.is_empty() {
        return;
    }
    let title = format!("Python hosts of {}", worker.id);
    let inner = panel(ctx, buf, area, &title, &Line::default(), framed);
    if worker.hosts.is_empty() {
        let text = "None is loaded: the first step of a code location starts its host.";
        return paint::lines(
            ctx,
            buf,
            panel::indent(inner),
            &[Line::from(span(text, ctx.roles.dim))],
        );
    }
    table::plain(
        ctx,
        buf,
        inner,
        &COLUMNS,
        worker.hosts.iter().map(|host| host_cells(ctx, host)),
    );
    // Why a host does not load is a sentence: below the table, where it has the whole width.
    let failed = worker.hosts.iter().filter_map(|host| match &host.phase {
        HostPhase::Failed(reason) => {
            Some(format!("{} {}: {reason}", ctx.glyphs.down, host.location))
        }
        _ => None,
    });
    let lines: Vec<Line> = failed
        .map(|text| Line::from(span(text, ctx.roles.error)))
        .collect();
    let used = u16::try_from(worker.hosts.len() + 1)
        .unwrap_or(u16::MAX)
        .min(inner.height);
    let below = Rect {
        y: inner.y + used,
        height: inner.height - used,
        ..inner
    };
    paint::lines(ctx, buf, panel::indent(below), &lines);
}

fn host_cells<'a>(ctx: Ctx<'a>, host: &'a HostView) -> Vec<Line<'a>> {
    let unknown = || ctx.glyphs.unknown.to_owned();
    let loaded = host
        .load_ms
        .map_or_else(unknown, |ms| format!("{}.{}s", ms / 1000, ms % 1000 / 100));
    vec![
        Line::from(host.location.as_str()),
        ctx.host_phase(&host.phase),
        Line::from(ctx.exact(u64::from(host.children), ctx.roles.running)),
        Line::from(host.pss_bytes.map_or_else(unknown, format::bytes)),
        Line::from(span(loaded, ctx.roles.dim)),
        Line::from(span(host.pid.to_string(), ctx.roles.dim)),
    ]
}
