//! A run's tasks over time: how long each waited for its start, and how long it ran.
//!
//! ```text
//! extract   ██████
//! load        ░░░░██████████   ░ waited  █ ran
//! ```

use jiff::Timestamp;
use ratatui::text::{Line, Span};

use super::Ctx;
use super::paint::span;
use crate::console::text;
use crate::console::throughput::ended_at;
use crate::domain::{Phase, TaskView};

/// Columns of the names.
const NAME: u16 = 26;

/// Columns of state and elapsed time.
const FIGURES: u16 = 24;

/// Less room than this shows no bars.
const LEAST: u16 = 12;

/// When a task was sent, started and ended, as far as it has.
fn times(task: &TaskView, now: Timestamp) -> (Timestamp, Option<Timestamp>, Timestamp) {
    let sent = task.sent_at.unwrap_or(task.received_at);
    let started = match &task.phase {
        Phase::Held => None,
        Phase::Running { since, .. } => Some(*since),
        Phase::Done { started, .. } => *started,
    };
    (sent, started, ended_at(task).unwrap_or(now))
}

/// A line per task, in the order in which they were sent, and a legend.
pub(super) fn lines(ctx: Ctx, tasks: &[&TaskView], width: u16) -> Vec<Line<'static>> {
    let mut tasks = tasks.to_vec();
    tasks.sort_by_key(|task| times(task, ctx.now).0);
    let bar = width.saturating_sub(NAME + FIGURES);
    let first = tasks.iter().map(|task| times(task, ctx.now).0).min();
    let last = tasks.iter().map(|task| times(task, ctx.now).2).max();
    let (Some(first), Some(last)) = (first, last) else {
        return Vec::new();
    };
    let scale = Scale { first, last, bar };
    let mut lines: Vec<Line> = tasks.iter().map(|task| line(ctx, task, &scale)).collect();
    if bar >= LEAST {
        lines.push(Line::from(vec![
            span(
                format!("{} waited  ", ctx.glyphs.bar_rest),
                ctx.roles.waiting,
            ),
            span(format!("{} ran", ctx.glyphs.bar_full), ctx.roles.text),
        ]));
    }
    lines
}

struct Scale {
    first: Timestamp,
    last: Timestamp,
    bar: u16,
}

impl Scale {
    /// The column of a moment.
    fn column(&self, at: Timestamp) -> usize {
        let span = (self.last.as_millisecond() - self.first.as_millisecond()).max(1);
        let from = (at.as_millisecond() - self.first.as_millisecond()).clamp(0, span);
        usize::try_from(from * i64::from(self.bar) / span).unwrap_or(0)
    }
}

fn line(ctx: Ctx, task: &TaskView, scale: &Scale) -> Line<'static> {
    let (sign, style) = ctx.phase_sign(&task.phase);
    let name = text::clean(task.name());
    let name = text::fit(&name, NAME - 4, ctx.glyphs.ellipsis).into_owned();
    let pad = NAME.saturating_sub(3).saturating_sub(text::width(&name));
    let mut spans = vec![
        span(format!("{sign} "), style),
        span(name, ctx.roles.strong),
        Span::raw(" ".repeat(usize::from(pad))),
    ];
    if scale.bar >= LEAST {
        let (sent, started, end) = times(task, ctx.now);
        let sent = scale.column(sent);
        let end = scale.column(end).max(sent + 1).min(usize::from(scale.bar));
        let started = started.map_or(end, |at| scale.column(at).clamp(sent, end));
        // What ran is never drawn as nothing.
        let ran = matches!(
            &task.phase,
            Phase::Running { .. }
                | Phase::Done {
                    started: Some(_),
                    ..
                }
        );
        let started = if ran {
            started.min(end.saturating_sub(1)).max(sent)
        } else {
            started
        };
        spans.push(Span::raw(" ".repeat(sent)));
        spans.push(span(
            ctx.glyphs.bar_rest.repeat(started - sent),
            ctx.roles.waiting,
        ));
        spans.push(span(
            ctx.glyphs.bar_full.repeat(end.saturating_sub(started)),
            style,
        ));
        spans.push(Span::raw(
            " ".repeat(usize::from(scale.bar) - end.max(started)),
        ));
    }
    spans.push(Span::raw("  "));
    let elapsed = ctx.elapsed(task);
    spans.extend(elapsed.spans);
    spans.push(span(" after ", ctx.roles.dim));
    spans.extend(ctx.waited(task).spans);
    Line::from(spans)
}
