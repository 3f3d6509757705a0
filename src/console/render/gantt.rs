//! A run's steps over time: each step's wait for its start, and its duration.
//!
//! ```text
//! extract   ██████
//! load        ░░░░██████████   ░ waited  █ ran
//! report    waits for load
//! ```

use std::collections::HashMap;

use jiff::Timestamp;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::Ctx;
use super::paint::span;
use crate::console::format::{self, seconds_between};
use crate::console::text;
use crate::console::throughput::ended_at;
use crate::domain::{Phase, RunStep, TaskView};

/// Columns of the names.
const NAME: u16 = 26;

/// Columns of state and elapsed time.
const FIGURES: u16 = 24;

/// Minimum columns for bars.
const LEAST: u16 = 12;

/// One line of the chart.
struct Bar {
    name: String,
    sign: &'static str,
    style: Style,
    sent: Option<Timestamp>,
    started: Option<Timestamp>,
    /// `None` while it is running.
    ended: Option<Timestamp>,
    /// A further remark.
    note: String,
}

impl Bar {
    fn of_task(ctx: Ctx, task: &TaskView) -> Self {
        let (sign, style) = ctx.phase_sign(&task.phase);
        let started = match &task.phase {
            Phase::Held => None,
            Phase::Running { since, .. } => Some(*since),
            Phase::Done { started, .. } => *started,
        };
        Self {
            name: task.name().to_owned(),
            sign,
            style,
            sent: Some(task.sent_at.unwrap_or(task.received_at)),
            started,
            ended: ended_at(task),
            note: String::new(),
        }
    }

    /// Bar of a step. `task` is its last message held by a worker; `run_ended` is the end of steps
    /// without a recorded end.
    fn of_step(
        ctx: Ctx,
        step: &RunStep,
        task: Option<&TaskView>,
        run_ended: Option<Timestamp>,
    ) -> Self {
        let (glyphs, roles) = (ctx.glyphs, ctx.roles);
        let known = task.map(|task| Self::of_task(ctx, task));
        if step.status.is_none()
            && let Some(known) = known
        {
            // It has not begun in Dagster.
            return known;
        }
        let sent = step.sent_at.or(known.and_then(|known| known.sent));
        let (sign, style) = match step.status.as_deref() {
            Some("SUCCESS") => (glyphs.done, roles.ok),
            Some("FAILURE") => (glyphs.down, roles.error),
            Some("SKIPPED") => (glyphs.skipped, roles.dim),
            Some(_) if run_ended.is_some() => (glyphs.skipped, roles.dim),
            Some(_) => (glyphs.running, roles.running),
            None if sent.is_some() => (glyphs.held, roles.held),
            None => (glyphs.unknown, roles.dim),
        };
        let note = match step.attempts {
            0 if sent.is_none() && run_ended.is_some() && step.status.is_none() => {
                String::from("not run")
            }
            0 if sent.is_some() || run_ended.is_some() => String::new(),
            0 if step.depends_on.is_empty() => String::from("not sent yet"),
            0 => format!("waits for {}", step.depends_on.join(", ")),
            1 => String::new(),
            attempts => format!("try {attempts}"),
        };
        Self {
            name: step.key.clone(),
            sign,
            style,
            sent,
            started: step.started_at,
            ended: step.ended_at.or(run_ended),
            note,
        }
    }

    fn first(&self) -> Option<Timestamp> {
        self.sent.or(self.started)
    }

    fn elapsed(&self, ctx: Ctx) -> String {
        match (self.started, self.ended) {
            (Some(started), Some(ended)) => format::span(started, ended),
            (Some(started), None) => format::duration(seconds_between(started, ctx.now)),
            _ => ctx.glyphs.unknown.to_owned(),
        }
    }

    fn waited(&self, ctx: Ctx) -> String {
        match (self.sent, self.started) {
            (Some(sent), Some(started)) => format::span(sent, started),
            (Some(sent), None) if self.ended.is_none() => {
                format::duration(seconds_between(sent, ctx.now))
            }
            _ => ctx.glyphs.unknown.to_owned(),
        }
    }
}

/// A line per task, in the order of sending, and a legend.
pub(super) fn of_tasks(ctx: Ctx, tasks: &[&TaskView], width: u16) -> Vec<Line<'static>> {
    let bars = tasks.iter().map(|task| Bar::of_task(ctx, task));
    lines(ctx, bars.collect(), width)
}

/// A line per step of a run, unsent steps last; before them its run worker, if a worker holds that.
pub(super) fn of_run(
    ctx: Ctx,
    steps: &[RunStep],
    tasks: &[&TaskView],
    run_ended: Option<Timestamp>,
    width: u16,
) -> Vec<Line<'static>> {
    let of_run = tasks.iter().filter(|task| task.step_key.is_none());
    let mut bars: Vec<Bar> = of_run.map(|task| Bar::of_task(ctx, task)).collect();
    let mut last: HashMap<&str, &TaskView> = HashMap::new();
    for task in tasks {
        let Some(key) = task.step_key.as_deref() else {
            continue;
        };
        let known = last.entry(key).or_insert(task);
        if known.received_at < task.received_at {
            *known = task;
        }
    }
    let step = |step: &RunStep| {
        let task = last.get(step.key.as_str()).copied();
        Bar::of_step(ctx, step, task, run_ended)
    };
    bars.extend(steps.iter().map(step));
    lines(ctx, bars, width)
}

fn lines(ctx: Ctx, mut bars: Vec<Bar>, width: u16) -> Vec<Line<'static>> {
    bars.sort_by_key(|bar| (bar.first().is_none(), bar.first()));
    let bar = width.saturating_sub(NAME + FIGURES);
    let first = bars.iter().filter_map(Bar::first).min();
    let ends = bars.iter().filter(|bar| bar.first().is_some());
    let last = ends.map(|bar| bar.ended.unwrap_or(ctx.now)).max();
    let (first, last) = (first.unwrap_or(ctx.now), last.unwrap_or(ctx.now));
    let scale = Scale { first, last, bar };
    let mut lines: Vec<Line> = bars.iter().map(|each| line(ctx, each, &scale)).collect();
    if bar >= LEAST && !lines.is_empty() {
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
    /// The column of a point in time.
    fn column(&self, at: Timestamp) -> usize {
        let span = (self.last.as_millisecond() - self.first.as_millisecond()).max(1);
        let from = (at.as_millisecond() - self.first.as_millisecond()).clamp(0, span);
        usize::try_from(from * i64::from(self.bar) / span).unwrap_or(0)
    }
}

fn line(ctx: Ctx, bar: &Bar, scale: &Scale) -> Line<'static> {
    let name = text::clean(&bar.name);
    let name = text::fit(&name, NAME - 4, ctx.glyphs.ellipsis).into_owned();
    let pad = NAME.saturating_sub(3).saturating_sub(text::width(&name));
    let mut spans = vec![
        span(format!("{} ", bar.sign), bar.style),
        span(name, ctx.roles.strong),
        Span::raw(" ".repeat(usize::from(pad))),
    ];
    if bar.first().is_none() {
        spans.push(span(text::clean(&bar.note).into_owned(), ctx.roles.dim));
        return Line::from(spans);
    }
    if scale.bar >= LEAST {
        spans.extend(drawn(ctx, bar, scale));
    }
    spans.push(Span::raw("  "));
    let elapsed = if bar.started.is_some() && bar.ended.is_none() {
        ctx.roles.strong
    } else if bar.started.is_some() {
        ctx.roles.text
    } else {
        ctx.roles.dim
    };
    spans.push(span(bar.elapsed(ctx), elapsed));
    spans.push(span(" after ", ctx.roles.dim));
    spans.push(span(bar.waited(ctx), ctx.roles.dim));
    if !bar.note.is_empty() {
        spans.push(span(format!("  {}", bar.note), ctx.roles.warn));
    }
    Line::from(spans)
}

/// Draws blanks, the wait, the run, blanks.
fn drawn(ctx: Ctx, bar: &Bar, scale: &Scale) -> [Span<'static>; 4] {
    let begin = scale.column(bar.first().unwrap_or(scale.first));
    let end = scale.column(bar.ended.unwrap_or(ctx.now));
    let end = end.max(begin + 1).min(usize::from(scale.bar));
    let started = match bar.started {
        // A step that ran has at least one column.
        Some(at) => scale.column(at).clamp(begin, end).min(end - 1).max(begin),
        None => end,
    };
    [
        Span::raw(" ".repeat(begin)),
        span(
            ctx.glyphs.bar_rest.repeat(started.saturating_sub(begin)),
            ctx.roles.waiting,
        ),
        span(
            ctx.glyphs.bar_full.repeat(end.saturating_sub(started)),
            bar.style,
        ),
        Span::raw(" ".repeat(usize::from(scale.bar) - end.max(started))),
    ]
}
