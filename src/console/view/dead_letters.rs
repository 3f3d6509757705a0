//! Messages that no worker could run: the reason, the time, and the task.
//!
//! ```text
//! dead letters of all queues, as of the last peek
//! the one under the cursor: reason, task, source queue
//! ```

use std::borrow::Cow;
use std::sync::Arc;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::queues;
use super::table::{Table, TableColumn};
use crate::console::format::{self, coarse_age, seconds_between};
use crate::console::render::detail::Page;
use crate::console::render::paint::{self, span};
use crate::console::render::panel::{self, panel};
use crate::console::render::{Ctx, is_roomy};
use crate::console::rows::RowId;
use crate::console::shown::Shown;
use crate::console::text;
use crate::domain::{PeekedMessage, QueueRole};

/// The view of dead letters.
pub(super) struct DeadLetters;

type Column = TableColumn<DeadLetters>;

impl Table for DeadLetters {
    type Row<'a> = &'a PeekedMessage;

    const TITLE: &'static str = "Dead letters";

    const SHORT_TITLE: &'static str = "Dead";

    const COLUMNS: &'static [Column] = &[
        Column::new("STEP", 18, 0, |ctx, letter| {
            Line::from(span(text::clean(letter.name()), ctx.roles.strong))
        })
        .grow(28)
        .sort(|_, a, b| a.name().cmp(b.name()))
        .filter("step", |_, letter| Some(Cow::Borrowed(letter.name()))),
        Column::new("REASON", 20, 0, |ctx, letter| {
            Line::from(span(text::clean(reason(letter)), ctx.roles.warn))
        })
        .grow(110),
        Column::unseen("STAGE").filter("status", |_, letter| {
            Some(Cow::Borrowed(letter.stage.word()))
        }),
        Column::new("AGE", 5, 0, |ctx, letter| {
            let age = letter.sent_at.map(|at| seconds_between(at, ctx.now));
            or_unknown(ctx, age.map(coarse_age), ctx.roles.text)
        })
        .right()
        .sort(|_, a, b| a.sent_at.cmp(&b.sent_at)),
        Column::new("RECV", 4, 2, |ctx, letter| {
            Line::from(span(letter.receive_count.to_string(), ctx.roles.text))
        })
        .right()
        .sort(|_, a, b| a.receive_count.cmp(&b.receive_count)),
        Column::new("JOB", 10, 4, |ctx, letter| {
            or_unknown(ctx, job(letter).map(text::clean), ctx.roles.text)
        })
        .grow(18)
        .sort(|_, a, b| job(a).cmp(&job(b)))
        .filter("job", |_, letter| job(letter).map(Cow::Borrowed)),
        Column::new("RUN", 8, 1, |ctx, letter| {
            let run = letter.envelope.as_ref().map(|task| &task.run_id);
            let run = run.map(|run_id| text::clean(format::short_id(run_id)));
            or_unknown(ctx, run, ctx.roles.dim)
        })
        .filter("run", |_, letter| {
            Some(Cow::Borrowed(&letter.envelope.as_ref()?.run_id))
        }),
        Column::new("PRIO", 4, 5, |ctx, letter| {
            or_unknown(ctx, priority(letter), ctx.roles.text)
        })
        .right()
        .filter("prio", |_, letter| priority(letter).map(Cow::Owned)),
        Column::new("TRY", 3, 5, |ctx, letter| {
            let task = letter.envelope.as_ref();
            let attempt = task.map(|task| task.attempt.to_string());
            or_unknown(ctx, attempt, ctx.roles.text)
        })
        .right(),
        Column::new("FROM", 12, 3, |ctx, letter| {
            let source = letter.source.as_deref().map(text::clean);
            or_unknown(ctx, source, ctx.roles.text)
        })
        .grow(18),
        Column::new("QUEUE", 14, 6, |ctx, letter| {
            Line::from(span(letter.queue.as_str(), ctx.roles.dim))
        })
        .grow(18)
        .sort_first(|_, a, b| a.queue.cmp(&b.queue))
        .filter("queue", |_, letter| Some(Cow::Borrowed(&letter.queue))),
        Column::new("SIZE", 6, 7, |ctx, letter| {
            Line::from(span(size(letter.body_bytes), ctx.roles.dim))
        })
        .right(),
    ];

    fn total(shown: &Shown) -> usize {
        shown.dead_letters.len()
    }

    fn row(shown: &Shown, index: usize) -> Option<&PeekedMessage> {
        shown.dead_letters.get(index)
    }

    fn is_same(one: &Shown, other: &Shown) -> bool {
        Arc::ptr_eq(&one.dead_letters, &other.dead_letters)
    }

    fn id(letter: Self::Row<'_>) -> RowId<'_> {
        RowId::Id(&letter.message_id)
    }

    fn haystack(letter: &PeekedMessage) -> String {
        let task = letter.envelope.as_ref();
        [
            letter.name(),
            letter.reason.as_deref().unwrap_or_default(),
            letter.problem.as_deref().unwrap_or_default(),
            job(letter).unwrap_or_default(),
            task.map(|task| task.run_id.as_str()).unwrap_or_default(),
            &letter.queue,
            letter.source.as_deref().unwrap_or_default(),
            &letter.message_id,
        ]
        .join(" ")
    }

    fn about(letter: &PeekedMessage) -> String {
        format!("message {}", letter.message_id)
    }

    fn empty(_ctx: Ctx) -> &'static str {
        "No dead letter is known."
    }

    fn tab_count(ctx: Ctx) -> Option<Span<'static>> {
        let dead = ctx.snapshot.queues.iter();
        let dead = dead.filter(|queue| queue.role == QueueRole::DeadLetter);
        let dead = dead
            .filter_map(|queue| Some(queue.counts?.visible))
            .sum::<u64>();
        (dead > 0).then(|| span(format!("~{}", format::count(dead)), ctx.roles.warn))
    }

    fn detail(page: &mut Page, letter: &PeekedMessage) -> String {
        page.letter(letter)
    }

    fn region(body: Rect) -> Rect {
        queues::regions(body).0
    }

    fn render(ctx: Ctx, body: Rect, buf: &mut Buffer) {
        let framed = is_roomy(body);
        let (upper, lower) = queues::regions(body);
        Self::draw(ctx, upper, framed, buf);
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
}

/// A cell that only some of them have.
fn or_unknown<'a>(ctx: Ctx, value: Option<impl Into<Cow<'a, str>>>, style: Style) -> Line<'a> {
    Line::from(match value {
        Some(value) => span(value, style),
        None => span(ctx.glyphs.unknown, ctx.roles.dim),
    })
}

fn job(letter: &PeekedMessage) -> Option<&str> {
    letter.envelope.as_ref()?.job.as_deref()
}

fn priority(letter: &PeekedMessage) -> Option<String> {
    Some(letter.envelope.as_ref()?.priority.to_string())
}

/// Reason why it was dead-lettered, as far as recorded.
fn reason(letter: &PeekedMessage) -> &str {
    let recorded = letter.reason.as_deref().or(letter.problem.as_deref());
    recorded.unwrap_or(if letter.source.is_some() {
        "received more often than its queue allows"
    } else {
        "unknown"
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
                "{name}: {count} messages, shown only by receiving them{when}: m, which asks first"
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
