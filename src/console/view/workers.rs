//! Workers, this host's and the fleet's: target against actual slots, state, heartbeat, version;
//! below, the Python hosts of one of them.

use std::borrow::Cow;
use std::sync::Arc;

use ratatui::buffer::Buffer;
use ratatui::layout::Constraint::{Fill, Length};
use ratatui::layout::{Layout, Rect};
use ratatui::text::{Line, Span};

use super::table::{Table, TableColumn};
use crate::console::alarms::HEARTBEAT_LATE;
use crate::console::format::{self, coarse_age, seconds_between};
use crate::console::render::badges::signed;
use crate::console::render::detail::Page;
use crate::console::render::paint::{self, span};
use crate::console::render::panel::{self, panel};
use crate::console::render::table::{self, column};
use crate::console::render::{Ctx, is_roomy};
use crate::console::rows::{self, RowId, WorkerRow};
use crate::console::shown::Shown;
use crate::domain::{
    FleetWorker, ForkServerPhase, ForkServerView, Isolation, WorkerState, WorkerView,
};

/// The view of workers.
pub(super) struct Workers;

type Column = TableColumn<Workers>;

impl Table for Workers {
    type Row<'a> = WorkerRow<'a>;

    const TITLE: &'static str = "Workers";

    const SHORT_TITLE: &'static str = "Work";

    const COLUMNS: &'static [Column] = &[
        Column::new("WORKER", 14, 0, |ctx, worker| {
            Line::from(span(worker.id(), ctx.roles.strong))
        })
        .grow(40)
        .sort_first(|_, a, b| a.id().cmp(b.id()))
        .filter("worker", |_, worker| Some(Cow::Borrowed(worker.id()))),
        Column::new("STATE", 11, 0, state)
            .sort(|_, a, b| a.state_word().cmp(b.state_word()))
            .filter("status", |_, worker| {
                Some(Cow::Borrowed(worker.state_word()))
            }),
        Column::new("STEP SLOTS", 10, 0, |ctx, worker| {
            let width = if ctx.table_width >= 150 { 30 } else { 10 };
            let has_bounds = worker.steps().range.is_some();
            let width = if has_bounds && ctx.table_width >= 80 {
                width.max(11)
            } else {
                width
            };
            ctx.slots(worker.steps(), width)
        })
        .grow(30),
        Column::unseen("BUSY").sort(|_, a, b| a.steps().busy.cmp(&b.steps().busy)),
        Column::new("RUN SLOTS", 9, 1, |ctx, worker| {
            let width = if ctx.table_width >= 150 { 16 } else { 0 };
            ctx.slots(worker.runs(), width)
        })
        .grow(16),
        Column::new("ENDED", 6, 3, |ctx, worker| {
            known(ctx, worker, |worker| {
                Line::from(ctx.exact(worker.finished, ctx.roles.text))
            })
        })
        .right(),
        Column::new("FAILED", 6, 2, |ctx, worker| {
            known(ctx, worker, |worker| {
                Line::from(ctx.exact(worker.failed, ctx.roles.error))
            })
        })
        .right()
        .sort(|_, a, b| a.failed().cmp(&b.failed())),
        Column::new("HEARTBEAT", 9, 1, heartbeat).right(),
        Column::new("HOST", 12, 4, |ctx, worker| {
            Line::from(span(worker.hostname(), ctx.roles.text))
        })
        .grow(28)
        .sort(|_, a, b| a.hostname().cmp(b.hostname()))
        .filter("host", |_, worker| Some(Cow::Borrowed(worker.hostname()))),
        Column::new("PYTHON", 6, 7, |ctx, worker| {
            known(ctx, worker, |worker| {
                Line::from(worker.hosts.len().to_string())
            })
        })
        .right(),
        Column::new("PID", 7, 6, |ctx, worker| {
            let pid = worker.pid().map(|pid| pid.to_string());
            Line::from(span(
                pid.unwrap_or_else(|| ctx.glyphs.unknown.to_owned()),
                ctx.roles.dim,
            ))
        })
        .right(),
        Column::new("VERSION", 9, 5, version).sort(|_, a, b| a.version().cmp(b.version())),
        Column::new("SINCE", 19, 8, |ctx, worker| {
            known(ctx, worker, |worker| {
                let since = format::date(worker.started_at, &ctx.app.setup.zone);
                Line::from(span(since, ctx.roles.dim))
            })
        }),
    ];

    fn total(shown: &Shown) -> usize {
        shown.workers.len() + rows::reported(shown).count()
    }

    fn row(shown: &Shown, index: usize) -> Option<WorkerRow<'_>> {
        rows::worker_at(shown, index)
    }

    fn is_same(one: &Shown, other: &Shown) -> bool {
        Arc::ptr_eq(&one.workers, &other.workers) && Arc::ptr_eq(&one.fleet, &other.fleet)
    }

    fn id(worker: Self::Row<'_>) -> RowId<'_> {
        RowId::Id(worker.id())
    }

    fn haystack(worker: WorkerRow) -> String {
        [
            worker.id(),
            worker.hostname(),
            worker.state_word(),
            worker.version(),
        ]
        .join(" ")
    }

    fn about(worker: WorkerRow) -> String {
        format!("worker {}", worker.id())
    }

    fn empty(_ctx: Ctx) -> &'static str {
        "No worker is connected: nothing takes messages from the queues. S starts one."
    }

    fn tab_count(ctx: Ctx) -> Option<Span<'static>> {
        let alive = |state: &Option<WorkerState>| !state.is_some_and(WorkerState::is_over);
        let linked = ctx.snapshot.workers.iter();
        let linked = linked.map(|worker| Some(worker.state));
        let others = rows::reported(ctx.snapshot).map(|worker| worker.state);
        let n = linked.chain(others).filter(alive).count();
        (n > 0).then(|| span(n.to_string(), ctx.roles.running))
    }

    fn detail(page: &mut Page, worker: WorkerRow) -> String {
        match worker {
            WorkerRow::Linked(worker) => page.worker(worker),
            WorkerRow::Reported(worker) => page.reported(worker),
        }
    }

    fn region(body: Rect) -> Rect {
        regions(body).0
    }

    fn render(ctx: Ctx, body: Rect, buf: &mut Buffer) {
        let framed = is_roomy(body);
        let (upper, lower) = regions(body);
        if !Self::draw(ctx, upper, framed, buf) {
            return;
        }
        let selected = ctx.app.list().selected();
        match selected.and_then(|index| rows::worker_at(ctx.snapshot, index)) {
            Some(WorkerRow::Linked(worker)) => hosts(ctx, buf, lower, worker, framed),
            Some(WorkerRow::Reported(worker)) => elsewhere(ctx, buf, lower, worker, framed),
            None => {}
        }
    }
}

/// The table, and below it the worker under the cursor.
pub(in crate::console) fn regions(body: Rect) -> (Rect, Rect) {
    let lower = if body.height >= 30 {
        body.height / 2
    } else if body.height >= 14 {
        body.height * 2 / 5
    } else {
        0
    };
    let [upper, lower] = Layout::vertical([Fill(1), Length(lower)]).areas(body);
    (upper, lower)
}

/// A cell that only linked workers have.
fn known<'a>(
    ctx: Ctx<'a>,
    worker: WorkerRow<'a>,
    cell: impl FnOnce(&'a WorkerView) -> Line<'a>,
) -> Line<'a> {
    match worker {
        WorkerRow::Linked(worker) => cell(worker),
        WorkerRow::Reported(_) => Line::from(span(ctx.glyphs.unknown, ctx.roles.dim)),
    }
}

/// State of a worker. A worker whose report is overdue is not shown as running.
pub(in crate::console) fn state(ctx: Ctx, worker: WorkerRow) -> Line<'static> {
    match (worker, worker.state()) {
        (_, state) if is_silent(ctx, worker) && !state.is_some_and(WorkerState::is_over) => {
            signed(ctx.glyphs.down, "silent", ctx.roles.error)
        }
        (WorkerRow::Linked(view), Some(state)) if view.next_step(ctx.now).is_some() => {
            let seconds = view.next_step(ctx.now).map_or(0, |(_, seconds)| seconds);
            let verb = if state == WorkerState::Draining {
                "stops"
            } else {
                "kills"
            };
            let (sign, style) = ctx.worker_sign(state);
            signed(sign, &format!("{verb} {}", countdown(seconds)), style)
        }
        (_, Some(state)) => {
            let (sign, style) = ctx.worker_sign(state);
            signed(sign, state.word(), style)
        }
        (_, None) => signed(ctx.glyphs.pending, "unknown", ctx.roles.dim),
    }
}

/// Remaining time: to the second only if it is short.
fn countdown(seconds: i64) -> String {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    if seconds < 100 {
        format!("{seconds}s")
    } else {
        coarse_age(seconds)
    }
}

/// A version other than this console's own stands out: mixed versions cause failed upgrades.
fn version(ctx: Ctx, worker: WorkerRow) -> Line<'static> {
    if worker.is_other_version() {
        let text = format!("{} {}", ctx.glyphs.warn, worker.version());
        return Line::from(span(text, ctx.roles.warn));
    }
    Line::from(span(worker.version().to_owned(), ctx.roles.dim))
}

/// Whether its next report is overdue.
fn is_silent(ctx: Ctx, worker: WorkerRow) -> bool {
    match worker {
        WorkerRow::Linked(_) => seconds_between(worker.heartbeat_at(), ctx.now) >= HEARTBEAT_LATE,
        WorkerRow::Reported(worker) => worker.is_silent(ctx.now),
    }
}

fn heartbeat(ctx: Ctx, worker: WorkerRow) -> Line<'static> {
    let silent = seconds_between(worker.heartbeat_at(), ctx.now);
    if is_silent(ctx, worker) {
        let over = worker.state().is_some_and(WorkerState::is_over);
        let (sign, style) = if over {
            ("", ctx.roles.dim)
        } else {
            (ctx.glyphs.warn, ctx.roles.error)
        };
        let text = format!("{sign} {}", coarse_age(silent));
        return Line::from(span(text.trim_start().to_owned(), style));
    }
    Line::from(span("now", ctx.roles.dim))
}

/// Data of a worker that this console is not connected to.
fn elsewhere(ctx: Ctx, buf: &mut Buffer, area: Rect, worker: &FleetWorker, framed: bool) {
    if area.is_empty() {
        return;
    }
    let inner = panel(ctx, buf, area, &worker.id, &Line::default(), framed);
    let queues = if worker.queues.is_empty() {
        String::from("It does not say which queues it receives from.")
    } else {
        format!("Receives from {}", worker.queues.join(", "))
    };
    let lines = [
        format!("On {}, from Dagster's storage.", worker.hostname),
        queues,
        format!(
            "To steer it: dagster-taskiq-tui attach --host {}",
            worker.hostname
        ),
    ];
    let lines: Vec<Line> = lines
        .into_iter()
        .map(|text| Line::from(span(text, ctx.roles.dim)))
        .collect();
    paint::lines(ctx, buf, panel::indent(inner), &lines);
}

fn hosts(ctx: Ctx, buf: &mut Buffer, area: Rect, worker: &WorkerView, framed: bool) {
    const COLUMNS: [table::Column; 7] = [
        column("PYTHON HOST", 20, 0).grow(60),
        column("STATE", 10, 0),
        column("ISOLATION", 9, 2),
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
    let lines: Vec<Line> = worker
        .hosts
        .iter()
        .filter_map(|host| remark(ctx, host))
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

/// Reason why a host does not load or does not fork: a sentence below the table, at full width.
fn remark(ctx: Ctx, host: &ForkServerView) -> Option<Line<'static>> {
    let location = &host.location;
    if let ForkServerPhase::Failed(reason) = &host.phase {
        let text = format!("{} {location}: {reason}", ctx.glyphs.down);
        return Some(Line::from(span(text, ctx.roles.error)));
    }
    let mode = host.isolation.filter(|mode| *mode != Isolation::Fork)?;
    let reason = host.isolation_reason.as_deref()?;
    let text = format!("{location}: isolation {mode}; {reason}");
    Some(Line::from(span(text, ctx.roles.dim)))
}

fn host_cells<'a>(ctx: Ctx<'a>, host: &'a ForkServerView) -> Vec<Line<'a>> {
    let unknown = || ctx.glyphs.unknown.to_owned();
    let loaded = host
        .load_ms
        .map_or_else(unknown, |ms| format!("{}.{}s", ms / 1000, ms % 1000 / 100));
    vec![
        Line::from(host.location.as_str()),
        ctx.host_phase(&host.phase),
        Line::from(
            host.isolation
                .map_or_else(unknown, |mode| mode.word().to_owned()),
        ),
        Line::from(ctx.exact(u64::from(host.children), ctx.roles.running)),
        Line::from(host.pss_bytes.map_or_else(unknown, format::bytes)),
        Line::from(span(loaded, ctx.roles.dim)),
        Line::from(span(host.pid.to_string(), ctx.roles.dim)),
    ]
}
