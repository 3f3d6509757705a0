//! Details of the row under the cursor: all its data, and its own log lines.

use std::cell::Cell;

use jiff::Timestamp;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::Ctx;
use super::dialog::{box_area, box_inner, boxed};
use super::paint::{self, span};
use crate::console::app::App;
use crate::console::depth_history::DAY;
use crate::console::labels::{self, plural};
use crate::console::render::badges::signed;
use crate::console::view::queues;
use crate::console::{format, text};
use crate::domain::{FleetWorker, LogLine, QueueView, WorkerState, WorkerView};

/// Maximum number of log lines shown: the newest.
const LOG_LINES: usize = 200;

pub(super) mod explain;
mod failures;
mod messages;
mod run;
mod task;

fn size(body: Rect) -> (u16, u16) {
    (body.width.min(130), body.height)
}

/// The area of the text, and its lines.
pub(super) fn page(app: &App, body: Rect) -> (Rect, Vec<Line<'static>>) {
    let caret = Cell::new(None);
    let ctx = Ctx::timeless(app, &caret);
    let inner = box_inner(box_area(body, size(body)));
    let lines = content(ctx, inner.width).map_or_else(Vec::new, |(_, lines)| lines);
    (inner, lines)
}

pub(super) fn render(ctx: Ctx, scroll: u16, body: Rect, buf: &mut Buffer) {
    let inner_width = box_inner(box_area(body, size(body))).width;
    let (title, lines) = content(ctx, inner_width).unwrap_or_else(|| {
        let gone = Line::from(span("It is gone. Esc goes back.", ctx.roles.dim));
        (String::from("Details"), vec![gone])
    });
    // The path to this view, which Esc goes back.
    let place = ctx.app.view().title();
    let filter = ctx.app.list().filter.text();
    let filter = if filter.is_empty() {
        String::new()
    } else {
        format!(" /{}", text::clean(filter))
    };
    let title = format!("{place}{filter} {} {title}", ctx.glyphs.arrow);
    let inner = boxed(ctx, buf, body, &title, size(body));
    let skip = usize::from(scroll).min(lines.len());
    paint::lines(ctx, buf, inner, &lines[skip..]);
}

fn content(ctx: Ctx, width: u16) -> Option<(String, Vec<Line<'static>>)> {
    let index = ctx.app.list().selected()?;
    let mut page = Page {
        ctx,
        width,
        lines: Vec::new(),
    };
    let title = ctx.app.view().spec().detail(&mut page, index)?;
    Some((title, page.lines))
}

/// The lines of a page during its construction.
pub(in crate::console) struct Page<'a> {
    pub(in crate::console) ctx: Ctx<'a>,
    width: u16,
    lines: Vec<Line<'static>>,
}

/// Columns of the labels.
const LABEL: u16 = 12;

impl Page<'_> {
    /// Adds a label and its value, broken to the width.
    pub(in crate::console) fn field(&mut self, label: &str, value: &str) {
        let value = text::clean(value);
        let room = self.width.saturating_sub(LABEL).max(8);
        let parts = text::wrap(&value, room);
        for (index, part) in parts.iter().enumerate() {
            let label = if index == 0 { label } else { "" };
            self.lines.push(Line::from(vec![
                span(
                    format!("{label:<w$}", w = usize::from(LABEL)),
                    self.ctx.roles.dim,
                ),
                span((*part).to_owned(), self.ctx.roles.text),
            ]));
        }
    }

    /// Adds a whole external text after a head, each line broken to the width. If the head leaves
    /// too little room, the text begins below it.
    pub(in crate::console) fn wrapped_text(&mut self, head: Vec<Span<'static>>, text: &str) {
        const ROOM: u16 = 20;
        let head = Line::from(head);
        let mut indent = paint::line_width(&head);
        let is_beside = indent == 0 || self.width.saturating_sub(indent) >= ROOM;
        let mut first = Some(head);
        if !is_beside {
            self.lines.extend(first.take());
            indent = 2;
        }
        let room = self.width.saturating_sub(indent).max(1);
        for line in text.split('\n') {
            let line = text::clean(line);
            let mut parts = text::wrap(&line, room);
            if parts.is_empty() {
                parts.push("");
            }
            for part in parts {
                let mut shown = first.take().unwrap_or_else(|| {
                    let blank = " ".repeat(usize::from(indent));
                    Line::from(span(blank, self.ctx.roles.text))
                });
                shown.push_span(span(part.to_owned(), self.ctx.roles.text));
                self.lines.push(shown);
            }
        }
    }

    /// Adds a label and a state in its colour.
    pub(in crate::console) fn state(&mut self, label: &str, state: Line<'static>) {
        let mut line = Line::from(span(
            format!("{label:<w$}", w = usize::from(LABEL)),
            self.ctx.roles.dim,
        ));
        line.spans.extend(state.spans);
        self.lines.push(line);
    }

    /// Adds a blank line and a heading.
    pub(in crate::console) fn heading(&mut self, text: String) {
        self.lines.push(Line::default());
        self.lines
            .push(Line::from(span(text, self.ctx.roles.header)));
    }

    /// Adds a label and a time, if it is known.
    pub(in crate::console) fn time(&mut self, label: &str, at: Option<Timestamp>) {
        if let Some(at) = at {
            let text = format::date(at, &self.ctx.app.setup.zone);
            self.field(label, &text);
        }
    }

    pub(in crate::console) fn queue(&mut self, queue: &QueueView) -> String {
        self.field("url", &queue.url);
        self.field("role", &labels::queue_role(&queue.role));
        if let Some(pause) = self.ctx.snapshot.paused_queues.get(&queue.name) {
            self.field("paused", &queues::paused(self.ctx, pause));
        }
        match queue.counts {
            None => self.field("counts", "not read yet"),
            Some(counts) => {
                self.field("waiting", &format!("~{}", counts.visible));
                self.field("in flight", &format!("~{}", counts.in_flight));
                self.field("delayed", &format!("~{}", counts.delayed));
            }
        }
        self.time("oldest sent", queue.oldest);
        self.time("counted at", queue.counted_at);
        if let Some(error) = &queue.error {
            self.field("error", error);
        }
        self.day(queue);
        self.queue_data(queue);
        queue.name.clone()
    }

    /// Adds the waiting messages over the last day, as a sparkline.
    fn day(&mut self, queue: &QueueView) {
        let app = self.ctx.app;
        if !app.waiting.knows(&queue.name) {
            return;
        }
        let columns = usize::from(self.width.saturating_sub(LABEL)).min(DAY);
        let figures = app.waiting.of(&queue.name, self.ctx.now, columns);
        let most = figures.iter().flatten().max().copied().unwrap_or(0);
        let levels = self.ctx.glyphs.spark;
        let top = u64::try_from(levels.len() - 1).unwrap_or(0);
        let sign = |figure: &Option<u64>| match figure {
            None | Some(0) => " ",
            Some(count) => {
                let level = count.saturating_mul(top).div_ceil(most.max(1));
                levels[usize::try_from(level.min(top)).unwrap_or(0)]
            }
        };
        let line: String = figures.iter().map(sign).collect();
        self.state("last 24 h", Line::from(span(line, self.ctx.roles.spark)));
        self.field("", &format!("~{most} at most"));
    }

    pub(in crate::console) fn worker(&mut self, worker: &WorkerView) -> String {
        let (sign, style) = self.ctx.worker_sign(worker.state);
        self.state("state", signed(sign, worker.state.word(), style));
        self.field("host", &worker.hostname);
        self.field("pid", &worker.pid.to_string());
        self.field("version", &worker.version);
        self.state("step slots", self.ctx.slots(worker.steps, self.width));
        self.state("run slots", self.ctx.slots(worker.runs, self.width));
        self.field(
            "ended",
            &format!("{} steps, {} failed", worker.finished, worker.failed),
        );
        self.time("started at", Some(worker.started_at));
        self.time("last report", Some(worker.heartbeat_at));
        if worker.dropped_events > 0 {
            let what = "dropped because it was too busy to send them; what is shown of its tasks may \
                        be wrong, the work itself is not";
            let count = usize::try_from(worker.dropped_events).unwrap_or(usize::MAX);
            self.field("missed", &format!("{} {what}", plural(count, "event")));
        }
        for host in &worker.hosts {
            self.heading(format!("Python host {}", host.location));
            self.state("state", self.ctx.host_phase(&host.phase));
            if let crate::domain::ForkServerPhase::Failed(reason) = &host.phase {
                self.field("reason", reason);
            }
            self.field("pid", &host.pid.to_string());
            self.field("children", &host.children.to_string());
            if let Some(isolation) = host.isolation {
                self.field("isolation", isolation.word());
            }
            if let Some(reason) = &host.isolation_reason {
                self.field("because", reason);
            }
        }
        format!("Worker {}", worker.id)
    }

    pub(in crate::console) fn reported(&mut self, worker: &FleetWorker) -> String {
        let word = worker.state.map_or("unknown", WorkerState::word);
        self.field("state", word);
        self.field("host", &worker.hostname);
        if let Some(pid) = worker.pid {
            self.field("pid", &pid.to_string());
        }
        self.field("version", &worker.version);
        self.state("step slots", self.ctx.slots(worker.steps, self.width));
        self.state("run slots", self.ctx.slots(worker.runs, self.width));
        self.field("queues", &worker.queues.join(", "));
        self.time("last report", Some(worker.heartbeat_at));
        self.heading(String::from("from Dagster's storage"));
        let how = format!(
            "This console is not connected to it: dagster-taskiq-tui attach --host {}",
            worker.hostname
        );
        for part in text::wrap(&how, self.width.max(8)) {
            self.lines
                .push(Line::from(span(part.to_owned(), self.ctx.roles.dim)));
        }
        format!("Worker {}", worker.id)
    }

    /// Adds the newest log lines that match `is_shown`.
    fn logs(&mut self, is_shown: impl Fn(&LogLine) -> bool) {
        let snapshot = self.ctx.snapshot;
        let mut lines: Vec<&LogLine> = snapshot
            .logs
            .iter()
            .rev()
            .filter(|line| is_shown(line))
            .take(LOG_LINES)
            .collect();
        lines.reverse();
        self.heading(format!("{} of it", plural(lines.len(), "log line")));
        for line in lines {
            let (level, style) = self.ctx.level(line.level);
            let head = vec![
                span(format!("{} ", self.ctx.clock(line.at)), self.ctx.roles.dim),
                span(format!("{level:<5} "), style),
            ];
            self.wrapped_text(head, &line.message);
        }
    }
}
