//! Log lines, the newest at the bottom.

use std::borrow::Cow;
use std::sync::Arc;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::Spec;
use crate::console::app::{App, LogTimes};
use crate::console::filter::{Filter, Searchable};
use crate::console::labels::{self, plural};
use crate::console::render::detail::Page;
use crate::console::render::paint::{self, Align, span};
use crate::console::render::panel::{self, panel};
use crate::console::render::{Ctx, is_roomy, prompt};
use crate::console::rows::{RowId, Sort};
use crate::console::shown::Shown;
use crate::console::{format, text};
use crate::domain::{LogLevel, LogLine};

/// Columns of a line's target on a wide screen.
const TARGET: u16 = 22;

/// The view of log lines.
pub(super) struct Logs;

impl Spec for Logs {
    fn title(&self) -> &'static str {
        "Logs"
    }

    fn total(&self, shown: &Shown) -> usize {
        shown.logs.len()
    }

    fn is_same(&self, one: &Shown, other: &Shown) -> bool {
        Arc::ptr_eq(&one.logs, &other.logs)
    }

    fn id_at<'a>(&self, shown: &'a Shown, index: usize) -> Option<RowId<'a>> {
        let line = shown.logs.get(index)?;
        Some(RowId::Line(line.at, &line.message))
    }

    fn shows_all(&self) -> bool {
        false
    }

    fn matches(&self, filter: &Filter, level: LogLevel, shown: &Shown, index: usize) -> bool {
        let (folds, logs) = (&shown.tracebacks, &shown.logs);
        let mut lines = folds.lines_of(index, logs);
        !folds.hides(index)
            && folds.level(index, logs) >= Some(level)
            && lines.any(|line| filter.matches(line))
    }

    fn fields(&self) -> Vec<&'static str> {
        FIELDS.map(|(name, _)| name).to_vec()
    }

    fn orders(&self) -> Vec<&'static str> {
        Vec::new()
    }

    fn sort(&self, _sort: Sort, _shown: &Shown, picked: &mut [usize]) {
        picked.sort_unstable();
    }

    fn value_at(&self, shown: &Shown, index: usize) -> Option<serde_json::Value> {
        serde_json::to_value(shown.logs.get(index)?).ok()
    }

    fn about(&self, _shown: &Shown, _index: usize) -> Option<String> {
        Some(String::from("a log line"))
    }

    fn detail(&self, page: &mut Page, index: usize) -> Option<String> {
        let shown = page.ctx.snapshot;
        let line = shown.logs.get(index)?;
        page.time("at", Some(line.at));
        page.field("level", labels::level(line.level));
        page.field("target", &line.target);
        page.field("run", line.run_id.as_deref().unwrap_or_default());
        page.field("step", line.step_key.as_deref().unwrap_or_default());
        page.field("worker", line.worker.as_deref().unwrap_or_default());
        if let Some(lines) = shown.tracebacks.of(index) {
            page.heading(format!("traceback of {}", plural(lines.len(), "line")));
            for line in shown.tracebacks.lines_of(index, &shown.logs) {
                page.wrapped_text(Vec::new(), &line.message);
            }
            return Some(String::from("Traceback"));
        }
        page.heading(String::from("message"));
        page.wrapped_text(Vec::new(), &line.message);
        Some(String::from("Log line"))
    }

    fn render(&self, ctx: Ctx, body: Rect, buf: &mut Buffer) {
        let list = ctx.app.list();
        let inner = panel(
            ctx,
            buf,
            body,
            &prompt::place(ctx, "Logs"),
            &note(ctx),
            is_roomy(body),
        );
        if list.rows.is_empty() {
            let text = prompt::nothing(ctx, "No lines at this level. Press v for another level.");
            return paint::lines(ctx, buf, panel::indent(inner), &[text]);
        }
        if ctx.app.logs.wrap {
            wrapped(ctx, buf, inner);
        } else {
            cut(ctx, buf, inner);
        }
        paint::highlight(buf, inner, &ctx.app.log_find().to_lowercase());
    }

    fn list_area(&self, _app: &App, _body: Rect) -> Option<Rect> {
        None
    }

    fn page_rows(&self, _app: &App, body: Rect) -> u16 {
        panel::inner(body).height
    }
}

type Field = fn(&LogLine) -> Option<&str>;

/// Its filter fields.
const FIELDS: [(&str, Field); 4] = [
    ("level", |line| Some(labels::level(line.level))),
    ("run", |line| line.run_id.as_deref()),
    ("step", |line| line.step_key.as_deref()),
    ("worker", |line| line.worker.as_deref()),
];

impl Searchable for LogLine {
    fn field(&self, name: &str) -> Option<Cow<'_, str>> {
        let (_, value) = FIELDS.iter().find(|(known, _)| *known == name)?;
        value(self).map(Cow::Borrowed)
    }

    fn haystack(&self) -> String {
        let step = self.step_key.as_deref().unwrap_or_default();
        [&self.target, step, &self.message].join(" ")
    }
}

/// Level, follow, wrap and filter, at the right of the title.
fn note(ctx: Ctx) -> Line<'static> {
    let logs = ctx.app.logs;
    let (sign, word) = if logs.follow {
        (ctx.glyphs.running, "follow")
    } else {
        (ctx.glyphs.paused, "held still")
    };
    let mut spans = vec![
        span(
            format!("{} and up", labels::level(logs.level)),
            ctx.roles.info,
        ),
        span(
            format!("  {sign} {word}"),
            if logs.follow {
                ctx.roles.ok
            } else {
                ctx.roles.warn
            },
        ),
    ];
    if logs.wrap {
        spans.push(span("  wrap", ctx.roles.info));
    }
    let filter = prompt::filter_note(ctx);
    if !filter.spans.is_empty() {
        spans.push(Span::raw("  "));
        spans.extend(filter.spans);
    }
    Line::from(spans)
}

fn at(ctx: Ctx<'_>, row: usize) -> Option<&LogLine> {
    ctx.snapshot.logs.get(ctx.app.list().rows.get(row)?)
}

fn cut(ctx: Ctx, buf: &mut Buffer, area: Rect) {
    let list = ctx.app.list();
    for row in 0..area.height {
        let index = list.offset + usize::from(row);
        let Some(line) = at(ctx, index) else {
            break;
        };
        let place = paint::row(area, row);
        let level = level(ctx, index, line);
        let mut whole = head(ctx, line, level, area.width);
        let words = words(ctx, index, line);
        whole.spans.push(span(words, message_style(ctx, level)));
        paint::line(ctx, buf, place, &whole, Align::Left);
        mark(ctx, buf, place, index);
    }
}

/// Draws lines broken to the width, upwards from the cursor's line or the end of the page.
fn wrapped(ctx: Ctx, buf: &mut Buffer, area: Rect) {
    let list = ctx.app.list();
    let mut bottom = area.height;
    // Upwards from the cursor; a short log starts at the top nevertheless.
    let lowest = list.cursor.max(
        usize::from(area.height)
            .min(list.rows.len())
            .saturating_sub(1),
    );
    let mut blocks = Vec::new();
    let mut used: u16 = 0;
    for index in (0..=lowest).rev() {
        let Some(line) = at(ctx, index) else {
            continue;
        };
        let block = block(ctx, index, line, area.width);
        used = used.saturating_add(u16::try_from(block.len()).unwrap_or(u16::MAX));
        blocks.push((index, block));
        if used >= area.height {
            break;
        }
    }
    if used < area.height {
        bottom = used;
    }
    for (index, block) in blocks {
        for (back, line) in (1..).zip(block.iter().rev()) {
            let Some(row) = bottom.checked_sub(back) else {
                return;
            };
            paint::line(ctx, buf, paint::row(area, row), line, Align::Left);
        }
        bottom = bottom.saturating_sub(u16::try_from(block.len()).unwrap_or(u16::MAX));
        mark(ctx, buf, paint::row(area, bottom), index);
    }
}

/// A line's head and message on as many rows as needed; the rows after the first are indented.
fn block<'a>(ctx: Ctx<'a>, row: usize, line: &'a LogLine, width: u16) -> Vec<Line<'a>> {
    let level = level(ctx, row, line);
    let head = head(ctx, line, level, width);
    let indent = paint::line_width(&head);
    let message = words(ctx, row, line);
    let parts = text::wrap(&message, width.saturating_sub(indent).max(1));
    let style = message_style(ctx, level);
    let mut lines = vec![head];
    for (index, part) in parts.into_iter().enumerate() {
        let part = span(part.to_owned(), style);
        if index == 0 {
            lines[0].spans.push(part);
        } else {
            lines.push(Line::from(vec![
                Span::raw(" ".repeat(usize::from(indent))),
                part,
            ]));
        }
    }
    lines
}

/// Marks the cursor's line while the view does not follow.
fn mark(ctx: Ctx, buf: &mut Buffer, place: Rect, index: usize) {
    if index == ctx.app.list().cursor && !ctx.app.logs.follow {
        let sign = Line::from(span(ctx.glyphs.cursor, ctx.roles.title));
        paint::line(ctx, buf, place, &sign, Align::Left);
        paint::cursor_row(ctx, buf, place);
    }
}

fn time(ctx: Ctx, line: &LogLine) -> String {
    match ctx.app.logs.times {
        LogTimes::Clock => format!(" {} ", ctx.clock(line.at)),
        LogTimes::Full => {
            let time = format::date_millis(line.at, &ctx.app.setup.zone);
            format!(" {time} ")
        }
        LogTimes::None => String::from(" "),
    }
}

fn head<'a>(ctx: Ctx<'a>, line: &'a LogLine, level: LogLevel, width: u16) -> Line<'a> {
    let roles = ctx.roles;
    let (level, style) = ctx.level(level);
    let mut spans = vec![
        span(time(ctx, line), roles.dim),
        span(format!("{level:<5} "), style),
    ];
    if width >= 100 {
        let target = line.step_key.as_deref().unwrap_or(&line.target);
        let target = text::clean(target);
        let target = text::fit(&target, TARGET, ctx.glyphs.ellipsis).into_owned();
        let pad = TARGET.saturating_sub(text::width(&target)) + 1;
        spans.push(span(
            format!("{target}{}", " ".repeat(usize::from(pad))),
            roles.dim,
        ));
    }
    Line::from(spans)
}

/// A row's text. For a traceback its last line, and how many there are.
fn words<'a>(ctx: Ctx<'a>, row: usize, line: &'a LogLine) -> Cow<'a, str> {
    let message = text::clean(&line.message);
    let at = ctx.app.list().rows.get(row);
    match at.and_then(|at| ctx.snapshot.tracebacks.of(at)) {
        Some(lines) => {
            let count = lines.len();
            Cow::Owned(format!("{message}  [traceback, {count} lines: Enter]"))
        }
        None => message,
    }
}

/// Level of a row: a traceback has the highest of its lines.
fn level(ctx: Ctx, row: usize, line: &LogLine) -> LogLevel {
    let at = ctx.app.list().rows.get(row);
    let level = at.and_then(|at| ctx.snapshot.tracebacks.level(at, &ctx.snapshot.logs));
    level.unwrap_or(line.level)
}

fn message_style(ctx: Ctx, level: LogLevel) -> ratatui::style::Style {
    use crate::domain::LogLevel::{Debug, Error, Info, Trace, Warn};
    match level {
        Trace | Debug => ctx.roles.dim,
        Info | Warn => ctx.roles.text,
        Error => ctx.roles.strong,
    }
}
