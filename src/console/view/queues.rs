//! The queues: SQS's counts, the tasks held and running of each, and errors of readings.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use crate::console::format::{self, coarse_age, seconds_between};
use crate::console::labels;
use crate::console::render::badges::signed;
use crate::console::render::paint::{self, span};
use crate::console::render::panel::{self, panel};
use crate::console::render::table::{self, Column, column};
use crate::console::render::table_view::{self, Sheet};
use crate::console::render::{Ctx, is_roomy};
use crate::console::text;
use crate::domain::{PriorityCount, QueuePause, QueueRole, QueueView};

const COLUMNS: [Column; 11] = [
    column("QUEUE", 16, 0).grow(44),
    column("ROLE", 8, 3).grow(14),
    column("WAITING", 7, 0).right(),
    column("", 8, 5).grow(30),
    column("OLDEST", 6, 1).right(),
    column("IN FLIGHT", 9, 0).right(),
    column("DELAYED", 7, 2).right(),
    column("HELD", 5, 1).right(),
    column("RUNNING", 7, 1).right(),
    column("AS OF", 5, 1).right(),
    column("STATE", 7, 4).grow(60),
];

/// Age in seconds beyond which counts are shown with their age; younger ones are from the last
/// reading or the one before it.
const FRESH_SECONDS: u64 = 15;

/// The table, and below it the queue under the cursor if there is room.
pub(in crate::console) fn regions(body: Rect) -> (Rect, Rect) {
    let lower = if body.height >= 30 {
        14
    } else if body.height >= 18 {
        8
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

pub(in crate::console) const SHEET: Sheet = Sheet {
    title: "Queues",
    empty: "No queue is known yet: a worker tells of the queues it is subscribed to.",
    columns: &COLUMNS,
    cells: |ctx, index, _| {
        let queue = ctx.snapshot.queues.get(index);
        queue.map(|queue| cells(ctx, queue)).unwrap_or_default()
    },
};

pub(in crate::console) fn render(ctx: Ctx, body: Rect, buf: &mut Buffer) {
    let framed = is_roomy(body);
    let (upper, lower) = regions(body);
    if !table_view::render(ctx, &SHEET, upper, framed, buf) {
        return;
    }
    if let Some(queue) = ctx
        .app
        .list()
        .selected()
        .and_then(|index| ctx.snapshot.queues.get(index))
    {
        selected(ctx, buf, lower, queue, framed);
    }
}

fn cells<'a>(ctx: Ctx<'a>, queue: &'a QueueView) -> Vec<Line<'a>> {
    let visible = |queue: &QueueView| Some(queue.counts?.visible);
    let most = ctx.snapshot.queues.iter().filter_map(visible).max();
    let counts = queue.counts;
    let style = if queue.role == QueueRole::DeadLetter {
        ctx.roles.warn
    } else {
        ctx.roles.waiting
    };
    let of = ctx
        .snapshot
        .priorities
        .iter()
        .filter(|count| count.queue == queue.name);
    let (held, running) = of.fold((0, 0), |sum, count| {
        (sum.0 + count.held, sum.1 + count.running)
    });
    vec![
        name(ctx, queue),
        Line::from(span(labels::queue_role(&queue.role), ctx.roles.dim)),
        ctx.about(counts.map(|counts| counts.visible), style),
        ctx.bar(
            counts.map_or(0, |counts| counts.visible),
            most.unwrap_or(0).max(10),
            30,
            style,
        ),
        oldest(ctx, queue),
        ctx.about(counts.map(|counts| counts.in_flight), ctx.roles.text),
        ctx.about(counts.map(|counts| counts.delayed), ctx.roles.text),
        Line::from(ctx.exact(held, ctx.roles.held)),
        Line::from(ctx.exact(running, ctx.roles.running)),
        as_of(ctx, queue),
        state(ctx, queue),
    ]
}

fn state<'a>(ctx: Ctx<'a>, queue: &'a QueueView) -> Line<'a> {
    if let Some(pause) = ctx.snapshot.paused_queues.get(&queue.name) {
        let text = format!("{} {}", ctx.glyphs.paused, paused(ctx, pause));
        return Line::from(span(text, ctx.roles.warn));
    }
    match &queue.error {
        Some(error) => Line::from(span(
            format!("{} {error}", ctx.glyphs.down),
            ctx.roles.error,
        )),
        None if queue.counts.is_some() => signed(ctx.glyphs.up, "ok", ctx.roles.ok),
        None => signed(ctx.glyphs.pending, "not read yet", ctx.roles.info),
    }
}

/// Who paused a queue, when and why.
pub(in crate::console) fn paused(ctx: Ctx, pause: &QueuePause) -> String {
    let age = coarse_age(seconds_between(pause.at, ctx.now));
    let why = pause.reason.as_ref().map(|reason| format!(": {reason}"));
    let text = format!(
        "paused {age} ago by {}{}",
        pause.by,
        why.unwrap_or_default()
    );
    text::clean(&text).into_owned()
}

/// A queue's name; a paused one has its sign, and a dead-letter queue that is not empty stands out.
pub(in crate::console) fn name<'a>(ctx: Ctx<'a>, queue: &'a QueueView) -> Line<'a> {
    if ctx.snapshot.paused_queues.contains_key(&queue.name) {
        let text = format!("{} {}", ctx.glyphs.paused, queue.name);
        return Line::from(span(text, ctx.roles.warn));
    }
    let dead = queue.role == QueueRole::DeadLetter
        && queue.counts.is_some_and(|counts| counts.visible > 0);
    let style = if queue.error.is_some() {
        ctx.roles.error
    } else if dead {
        ctx.roles.warn
    } else {
        ctx.roles.text
    };
    Line::from(span(queue.name.as_str(), style))
}

/// Age of the oldest message, if the broker reports it.
pub(in crate::console) fn oldest(ctx: Ctx, queue: &QueueView) -> Line<'static> {
    match queue.oldest.map(|at| seconds_between(at, ctx.now)) {
        None => Line::from(span(ctx.glyphs.unknown, ctx.roles.dim)),
        Some(age) => Line::from(span(coarse_age(age), ctx.roles.waiting)),
    }
}

/// Age of a queue's counts: `now` while they are read regularly, then in coarse steps.
pub(in crate::console) fn as_of(ctx: Ctx, queue: &QueueView) -> Line<'static> {
    match queue.counted_at.map(|at| seconds_between(at, ctx.now)) {
        None => Line::from(span(ctx.glyphs.unknown, ctx.roles.dim)),
        Some(age) if age < FRESH_SECONDS => Line::from(span("now", ctx.roles.dim)),
        Some(age) => Line::from(span(coarse_age(age), ctx.roles.warn)),
    }
}

fn selected(ctx: Ctx, buf: &mut Buffer, area: Rect, queue: &QueueView, framed: bool) {
    const COLUMNS: [Column; 4] = [
        column("PRIO", 6, 0).right(),
        column("RUNNING", 8, 0).right(),
        column("HELD", 8, 0).right(),
        column("WAITING", 8, 0).right(),
    ];
    if area.is_empty() {
        return;
    }
    let inner = panel(ctx, buf, area, &queue.name, &Line::default(), framed);
    let url = Line::from(vec![
        span("url  ", ctx.roles.dim),
        span(queue.url.as_str(), ctx.roles.text),
    ]);
    let mut head = vec![url];
    if let Some(pause) = ctx.snapshot.paused_queues.get(&queue.name) {
        head.push(Line::from(span(paused(ctx, pause), ctx.roles.warn)));
    }
    paint::lines(ctx, buf, panel::indent(inner), &head);
    let rows = u16::try_from(head.len())
        .unwrap_or(u16::MAX)
        .min(inner.height);
    let below = Rect {
        y: inner.y + rows,
        height: inner.height - rows,
        ..inner
    };
    let of = |count: &&PriorityCount| count.queue == queue.name;
    let mut counts = ctx.snapshot.priorities.iter().filter(of).peekable();
    if counts.peek().is_none() {
        let text = "No message of it is held or runs here.";
        return paint::lines(
            ctx,
            buf,
            panel::indent(below),
            &[Line::from(span(text, ctx.roles.dim))],
        );
    }
    let rows = counts.map(|count| {
        let waiting = count.waiting.map_or_else(
            || span(ctx.glyphs.unknown, ctx.roles.dim),
            |n| span(format::count(n), ctx.roles.waiting),
        );
        vec![
            Line::from(span(count.priority.to_string(), ctx.roles.strong)),
            Line::from(ctx.exact(count.running, ctx.roles.running)),
            Line::from(ctx.exact(count.held, ctx.roles.held)),
            Line::from(waiting),
        ]
    });
    table::plain(ctx, buf, below, &COLUMNS, rows);
}
