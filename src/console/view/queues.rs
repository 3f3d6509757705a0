//! The queues: SQS's counts, the tasks held and running of each, and errors of readings.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::sync::Arc;

use ratatui::buffer::Buffer;
use ratatui::layout::Constraint::{Fill, Length};
use ratatui::layout::{Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::table::{Table, TableColumn};
use crate::console::format::{self, coarse_age, seconds_between};
use crate::console::labels;
use crate::console::render::badges::signed;
use crate::console::render::detail::Page;
use crate::console::render::paint::{self, span};
use crate::console::render::panel::{self, panel};
use crate::console::render::table::{self, column};
use crate::console::render::{Ctx, is_roomy};
use crate::console::rows::RowId;
use crate::console::shown::Shown;
use crate::console::text;
use crate::domain::{PriorityCount, QueueCounts, QueuePause, QueueRole, QueueView, Snapshot};

/// The view of queues.
pub(super) struct Queues;

type Column = TableColumn<Queues>;

impl Table for Queues {
    type Row<'a> = &'a QueueView;

    const TITLE: &'static str = "Queues";

    const COLUMNS: &'static [Column] = &[
        Column::new("QUEUE", 16, 0, name)
            .grow(44)
            .sort_first(|_, a, b| a.name.cmp(&b.name))
            .filter("queue", |_, queue| Some(Cow::Borrowed(&queue.name))),
        Column::new("ROLE", 8, 3, |ctx, queue| {
            Line::from(span(labels::queue_role(&queue.role), ctx.roles.dim))
        })
        .grow(14)
        .sort(|_, a, b| labels::queue_role(&a.role).cmp(&labels::queue_role(&b.role))),
        Column::new("WAITING", 7, 0, |ctx, queue| {
            let visible = queue.counts.map(|counts| counts.visible);
            ctx.about(visible, waiting(ctx, queue))
        })
        .right()
        .sort(|_, a, b| by_count(a, b, |counts| counts.visible)),
        Column::new("", 8, 5, |ctx, queue| {
            let visible = |queue: &QueueView| Some(queue.counts?.visible);
            let most = ctx.snapshot.queues.iter().filter_map(visible).max();
            let most = most.unwrap_or(0).max(10);
            let style = waiting(ctx, queue);
            ctx.bar(visible(queue).unwrap_or(0), most, 30, style)
        })
        .grow(30),
        Column::new("OLDEST", 6, 1, oldest).right().sort(|_, a, b| {
            // By the age, which grows towards earlier times; an empty queue has none.
            let age = |queue: &QueueView| queue.oldest.map(|at| -at.as_millisecond());
            age(a).cmp(&age(b))
        }),
        Column::new("IN FLIGHT", 9, 0, |ctx, queue| {
            let in_flight = queue.counts.map(|counts| counts.in_flight);
            ctx.about(in_flight, ctx.roles.text)
        })
        .right()
        .sort(|_, a, b| by_count(a, b, |counts| counts.in_flight)),
        Column::new("DELAYED", 7, 2, |ctx, queue| {
            let delayed = queue.counts.map(|counts| counts.delayed);
            ctx.about(delayed, ctx.roles.text)
        })
        .right()
        .sort(|_, a, b| by_count(a, b, |counts| counts.delayed)),
        Column::new("HELD", 5, 1, |ctx, queue| {
            Line::from(ctx.exact(held(ctx.snapshot, queue), ctx.roles.held))
        })
        .right()
        .sort(|shown, a, b| held(shown, a).cmp(&held(shown, b))),
        Column::new("RUNNING", 7, 1, |ctx, queue| {
            Line::from(ctx.exact(running(ctx.snapshot, queue), ctx.roles.running))
        })
        .right()
        .sort(|shown, a, b| running(shown, a).cmp(&running(shown, b))),
        Column::new("AS OF", 5, 1, as_of).right(),
        Column::new("STATE", 7, 4, state)
            .grow(60)
            .filter("status", |_, queue| {
                let is_read = queue.error.is_none();
                Some(Cow::Borrowed(if is_read { "ok" } else { "error" }))
            }),
    ];

    fn total(shown: &Shown) -> usize {
        shown.queues.len()
    }

    fn row(shown: &Shown, index: usize) -> Option<&QueueView> {
        shown.queues.get(index)
    }

    fn is_same(one: &Shown, other: &Shown) -> bool {
        Arc::ptr_eq(&one.queues, &other.queues)
    }

    fn id(queue: Self::Row<'_>) -> RowId<'_> {
        RowId::Id(&queue.name)
    }

    fn haystack(queue: &QueueView) -> String {
        let error = queue.error.as_deref().unwrap_or_default();
        [&queue.url, labels::queue_role(&queue.role).as_ref(), error].join(" ")
    }

    fn about(queue: &QueueView) -> String {
        format!("queue {}", queue.name)
    }

    fn empty(_ctx: Ctx) -> &'static str {
        "No queues are known yet: workers report the queues they receive from."
    }

    fn tab_count(ctx: Ctx) -> Option<Span<'static>> {
        let counted = ctx.snapshot.queues.iter();
        let counted = counted.filter(|queue| queue.role != QueueRole::DeadLetter);
        let waiting = counted
            .filter_map(|queue| Some(queue.counts?.visible))
            .sum::<u64>();
        let text = || format!("~{}", format::count(waiting));
        (waiting > 0).then(|| span(text(), ctx.roles.waiting))
    }

    fn detail(page: &mut Page, queue: &QueueView) -> String {
        page.queue(queue)
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
        if let Some(queue) = ctx
            .app
            .list()
            .selected()
            .and_then(|index| ctx.snapshot.queues.get(index))
        {
            selected(ctx, buf, lower, queue, framed);
        }
    }
}

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
    let [upper, lower] = Layout::vertical([Fill(1), Length(lower)]).areas(body);
    (upper, lower)
}

/// Style of the number of waiting messages.
fn waiting(ctx: Ctx, queue: &QueueView) -> Style {
    if queue.role == QueueRole::DeadLetter {
        ctx.roles.warn
    } else {
        ctx.roles.waiting
    }
}

fn by_count(a: &QueueView, b: &QueueView, count: fn(QueueCounts) -> u64) -> Ordering {
    a.counts.map(count).cmp(&b.counts.map(count))
}

/// Number of a queue's messages that workers hold.
fn held(snapshot: &Snapshot, queue: &QueueView) -> u64 {
    priorities(snapshot, queue).map(|count| count.held).sum()
}

/// Number of a queue's messages whose tasks run.
fn running(snapshot: &Snapshot, queue: &QueueView) -> u64 {
    priorities(snapshot, queue).map(|count| count.running).sum()
}

fn priorities<'a>(
    snapshot: &'a Snapshot,
    queue: &'a QueueView,
) -> impl Iterator<Item = &'a PriorityCount> {
    let counts = snapshot.priorities.iter();
    counts.filter(|count| count.queue == queue.name)
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
    const COLUMNS: [table::Column; 4] = [
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
    let mut counts = priorities(ctx.snapshot, queue).peekable();
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
