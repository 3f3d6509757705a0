//! Messages that no worker could run: the reason, the time, and the task.
//!
//! ```text
//! dead letters of all queues, as of the last peek
//! the one under the cursor: reason, task, source queue
//! ```

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::queues;
use crate::console::format::{self, coarse_age, seconds_between};
use crate::console::render::paint::{self, span};
use crate::console::render::panel::{self, panel};
use crate::console::render::table::{Column, column};
use crate::console::render::table_view::{self, Sheet};
use crate::console::render::{Ctx, is_roomy};
use crate::console::text;
use crate::domain::PeekedMessage;

const COLUMNS: [Column; 11] = [
    column("STEP", 18, 0).grow(28),
    column("REASON", 20, 0).grow(110),
    column("AGE", 5, 0).right(),
    column("RECV", 4, 2).right(),
    column("JOB", 10, 4).grow(18),
    column("RUN", 8, 1),
    column("PRIO", 4, 5).right(),
    column("TRY", 3, 5).right(),
    column("FROM", 12, 3).grow(18),
    column("QUEUE", 14, 6).grow(18),
    column("SIZE", 6, 7).right(),
];

pub(in crate::console) const SHEET: Sheet = Sheet {
    title: "Dead letters",
    empty: "No dead letter is known.",
    columns: &COLUMNS,
    cells: |ctx, index, _| {
        let letter = ctx.snapshot.dead_letters.get(index);
        letter.map(|letter| cells(ctx, letter)).unwrap_or_default()
    },
};

pub(in crate::console) fn render(ctx: Ctx, body: Rect, buf: &mut Buffer) {
    let framed = is_roomy(body);
    let (upper, lower) = queues::regions(body);
    table_view::render(ctx, &SHEET, upper, framed, buf);
    if !lower.is_empty() {
        let title = ctx
            .app
            .selected_letter()
            .map_or("Queues", |letter| letter.queue.as_str());
        let inner = panel(ctx, buf, lower, title, &Line::default(), framed);
        let mut lines = ctx
            .app
            .selected_letter()
            .map(|letter| about(ctx, letter, inner.width))
            .unwrap_or_default();
        lines.extend(of_queues(ctx));
        paint::lines(ctx, buf, panel::indent(inner), &lines);
    } else if ctx.app.list().rows.is_empty() {
        let inner = panel::within(upper, framed);
        let below = Rect {
            y: inner.y + 1.min(inner.height),
            height: inner.height.saturating_sub(1),
            ..inner
        };
        paint::lines(ctx, buf, panel::indent(below), &of_queues(ctx));
    }
}

fn cells<'a>(ctx: Ctx<'a>, letter: &'a PeekedMessage) -> Vec<Line<'a>> {
    let roles = ctx.roles;
    let task = letter.envelope.as_ref();
    let unknown = || span(ctx.glyphs.unknown, roles.dim);
    let number = |number: Option<String>| number.map_or_else(unknown, |n| span(n, roles.text));
    let age = letter.sent_at.map(|at| seconds_between(at, ctx.now));
    vec![
        Line::from(span(text::clean(letter.name()), roles.strong)),
        Line::from(span(text::clean(reason(letter)), roles.warn)),
        Line::from(number(age.map(coarse_age))),
        Line::from(span(letter.receive_count.to_string(), roles.text)),
        Line::from(
            task.and_then(|task| task.job.as_deref())
                .map_or_else(unknown, |job| span(text::clean(job), roles.text)),
        ),
        Line::from(task.map_or_else(unknown, |task| {
            span(text::clean(format::short_id(&task.run_id)), roles.dim)
        })),
        Line::from(number(task.map(|task| task.priority.to_string()))),
        Line::from(number(task.map(|task| task.attempt.to_string()))),
        Line::from(
            letter
                .source
                .as_deref()
                .map_or_else(unknown, |source| span(text::clean(source), roles.text)),
        ),
        Line::from(span(letter.queue.as_str(), roles.dim)),
        Line::from(span(size(letter.body_bytes), roles.dim)),
    ]
}

/// Reason why it was dead-lettered, as far as recorded.
fn reason(letter: &PeekedMessage) -> &str {
    let recorded = letter.reason.as_deref().or(letter.problem.as_deref());
    recorded.unwrap_or(if letter.source.is_some() {
        "received more often than its queue allows"
    } else {
        "not told"
    })
}

pub(in crate::console) fn size(bytes: usize) -> String {
    if bytes < 1024 {
        format!("{bytes}B")
    } else {
        format::bytes(u64::try_from(bytes).unwrap_or(u64::MAX))
    }
}

fn about(ctx: Ctx, letter: &PeekedMessage, width: u16) -> Vec<Line<'static>> {
    let roles = ctx.roles;
    let clean = text::clean(reason(letter));
    let mut lines: Vec<Line> = text::wrap(&clean, width.saturating_sub(2).max(8))
        .iter()
        .take(3)
        .map(|part| Line::from(span((*part).to_owned(), roles.warn)))
        .collect();
    let mut fact = |label: &str, value: &str| {
        lines.push(Line::from(vec![
            span(format!("{label:<9}"), roles.dim),
            span(text::clean(value).into_owned(), roles.text),
        ]));
    };
    if let Some(task) = &letter.envelope {
        fact("run", &task.run_id);
    }
    fact("message", &letter.message_id);
    if let Some(at) = letter.sent_at {
        fact("sent at", &format::date(at, &ctx.app.setup.zone));
    }
    lines
}

/// State of the last peek at each dead-letter queue, and hidden messages.
fn of_queues(ctx: Ctx) -> Vec<Line<'static>> {
    let (roles, messages) = (ctx.roles, ctx.app.messages());
    let mut lines = Vec::new();
    for queue in ctx.app.dead_letter_queues() {
        let name = &queue.name;
        let peek = messages.peeks.get(name);
        let count = queue.counts.map_or_else(
            || String::from("?"),
            |counts| format!("~{}", counts.visible),
        );
        let text = if let Some(problem) = messages.problems.get(name) {
            Some((format!("{name}: {}", text::clean(problem)), roles.error))
        } else if messages.only_by_receiving.contains(name) {
            let when = peek.map_or_else(String::new, |peek| {
                format!(
                    "; seen {} ago",
                    coarse_age(seconds_between(peek.at, ctx.now))
                )
            });
            let text = format!(
                "{name}: {count} messages, to be seen only by receiving them{when}: m asks"
            );
            Some((text, roles.info))
        } else if peek.is_some_and(|peek| peek.more) {
            let shown = peek.map_or(0, |peek| peek.messages.len());
            Some((format!("{name}: the first {shown} of {count}"), roles.info))
        } else {
            None
        };
        if let Some((text, style)) = text {
            lines.push(Line::from(span(text, style)));
        }
    }
    if ctx.app.dead_letter_queues().next().is_none() {
        let text = "No queue has a dead-letter queue: `queue create --dead-letters` makes one.";
        lines.push(Line::from(span(text, roles.dim)));
    }
    lines
}
