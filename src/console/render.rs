//! Drawing: a pure function of model, area and time. One file per region or view.
//!
//! ```text
//! header   product, context, source badges
//! tabs     1 Overview  2 Queues  3 Steps …
//! body     the view, with overlay and toasts on top
//! hints    keys of the view, or the input line
//! ```

mod alarm_history;
mod alarms;
pub(super) mod badges;
mod chrome;
pub(super) mod detail;
mod dialog;
mod gantt;
mod help;
mod launch;
pub(super) mod paint;
pub(super) mod panel;
pub(super) mod prompt;
pub(super) mod table;

use std::cell::Cell;

use jiff::Timestamp;
use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::alarms::Alarm;
use super::app::{App, Find};
use super::glyphs::Glyphs;
use super::overlay::Overlay;
use super::shown::Shown;
use super::theme::Roles;
use super::view::View;

/// Inputs of every region's drawing.
#[derive(Clone, Copy)]
pub(super) struct Ctx<'a> {
    pub(super) app: &'a App,
    pub(super) snapshot: &'a Shown,
    pub(super) roles: &'a Roles,
    pub(super) glyphs: &'static Glyphs,
    pub(super) now: Timestamp,
    /// Columns of the table whose cells are drawn; 0 for their text alone. In a wide table, a cell
    /// may have a bar beside its figure.
    pub(super) table_width: u16,
    pub(super) caret: &'a Cell<Option<Caret>>,
}

impl<'a> Ctx<'a> {
    fn new(app: &'a App, now: Timestamp, caret: &'a Cell<Option<Caret>>) -> Self {
        Self {
            app,
            snapshot: &app.snapshot,
            roles: &app.theme.roles,
            glyphs: app.setup.glyphs,
            now,
            table_width: 0,
            caret,
        }
    }

    /// For geometry: the time changes the content of lines, not their number.
    fn timeless(app: &'a App, caret: &'a Cell<Option<Caret>>) -> Self {
        Self::new(app, Timestamp::UNIX_EPOCH, caret)
    }
}

/// Position of the terminal's cursor, at a column and a row from 0: input methods, screen readers
/// and braille follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caret {
    /// Column.
    pub x: u16,
    /// Row.
    pub y: u16,
    /// Whether it is visible: it is where text is typed, and is not on a chosen row.
    pub is_shown: bool,
}

/// The regions of the screen. A very low screen has only the body.
#[derive(Clone, Copy, Debug)]
struct Screen {
    header: Rect,
    tabs: Rect,
    body: Rect,
    hints: Rect,
}

impl Screen {
    fn of(area: Rect) -> Self {
        let line = |y: u16, shown: bool| Rect {
            x: area.x,
            y: area.y + y,
            width: area.width,
            height: u16::from(shown),
        };
        let (top, bottom) = match area.height {
            0..3 => (0, 0),
            3..6 => (1, 1),
            _ => (2, 1),
        };
        Self {
            header: line(0, top > 0),
            tabs: line(1, top > 1),
            body: Rect {
                y: area.y + top,
                height: area.height - top - bottom,
                ..area
            },
            hints: line(area.height - bottom, bottom > 0),
        }
    }
}

/// The time, rounded down to ten seconds.
fn calm(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second().div_euclid(10) * 10).unwrap_or(now)
}

/// Rows of a body with room for frames around panels.
pub(super) const ROOMY: u16 = 30;

/// Whether there is room for frames around panels.
pub(super) fn is_roomy(body: Rect) -> bool {
    body.width >= 110 && body.height >= ROOMY
}

impl App {
    /// Draws the model as of `now`.
    pub fn render(&self, frame: &mut Frame, now: Timestamp) {
        if let Some(caret) = self.render_to(frame.buffer_mut(), now) {
            frame.set_cursor_position((caret.x, caret.y));
        }
    }

    /// Draws the model as of `now` into a buffer. Returns the position of the terminal's cursor.
    pub fn render_to(&self, buf: &mut Buffer, now: Timestamp) -> Option<Caret> {
        let area = buf.area;
        let caret = Cell::new(None);
        let now = if self.setup.reduced_motion {
            calm(now)
        } else {
            now
        };
        let ctx = Ctx::new(self, now, &caret);
        let screen = Screen::of(area);
        buf.set_style(area, ctx.roles.text);
        chrome::header(ctx, screen.header, buf);
        chrome::tabs(ctx, screen.tabs, buf);
        self.view.spec().render(ctx, screen.body, buf);
        chrome::hints(ctx, screen.hints, buf);
        match &self.overlay {
            None => {}
            Some(Overlay::Help { scroll }) => help::render(ctx, *scroll, screen.body, buf),
            Some(Overlay::Alarms(place)) => alarms::render(ctx, place, screen.body, buf),
            Some(Overlay::AlarmHistory { scroll }) => {
                alarm_history::render(ctx, *scroll, screen.body, buf);
            }
            Some(Overlay::Detail { scroll }) => detail::render(ctx, *scroll, screen.body, buf),
            Some(Overlay::Explain { scroll, .. }) => {
                detail::explain::render(ctx, *scroll, screen.body, buf);
            }
            Some(Overlay::Palette { input, choice, .. }) => {
                prompt::palette(ctx, input, *choice, screen, buf);
            }
            Some(Overlay::Filter { input, .. }) => prompt::filter(ctx, input, screen, buf),
            Some(Overlay::Find { input }) => prompt::log_find(ctx, input, screen, buf),
            Some(Overlay::Scale { input }) => prompt::scale(ctx, input, screen, buf),
            Some(Overlay::Columns { choice }) => dialog::columns(ctx, *choice, screen.body, buf),
            Some(Overlay::Launch { input, choice }) => {
                dialog::launch(ctx, input, *choice, screen.body, buf);
            }
            Some(Overlay::LaunchForm(form)) => launch::render(ctx, form, screen.body, buf),
            Some(Overlay::Stagger(stagger)) => dialog::stagger(ctx, stagger, screen.body, buf),
            Some(Overlay::Confirm(confirm)) => dialog::confirm(ctx, confirm, screen.body, buf),
            Some(Overlay::Quit) => dialog::quit(ctx, screen.body, buf),
        }
        if let (Some(find), Some(overlay)) = (self.find(), &self.overlay) {
            let needle = find.needle();
            paint::highlight(buf, page(self, overlay).0, &needle);
            prompt::page_find(ctx, find, &matching_lines(self, overlay), screen, buf);
        }
        chrome::toasts(ctx, screen.body, buf);
        if !self.setup.glyphs.is_unicode() {
            paint::to_ascii(buf);
        }
        caret.get()
    }
}

/// The titles of the shown columns of the current view, then the cells of all its rows; `None` if
/// the view is not a table.
pub(super) fn cells_of_all(app: &App, now: Timestamp) -> Option<Vec<Vec<String>>> {
    let spec = app.view.spec();
    let columns = spec.columns();
    if columns.is_empty() {
        return None;
    }
    let caret = Cell::new(None);
    let ctx = Ctx::new(app, now, &caret);
    let list = app.list();
    let shown: Vec<bool> = columns
        .iter()
        .map(|column| !column.title().is_empty() && !list.hidden.contains(column.title()))
        .collect();
    let pick = |cells: Vec<String>| -> Vec<String> {
        let cells = cells.into_iter().zip(&shown);
        cells
            .filter(|(_, shown)| **shown)
            .map(|(cell, _)| cell)
            .collect()
    };
    let titles = columns.iter().map(|column| column.title().to_owned());
    let mut rows = vec![pick(titles.collect())];
    for row in 0..list.rows.len() {
        let Some(position) = list.rows.get(row) else {
            continue;
        };
        let cells = spec.cells(ctx, position);
        rows.push(pick(cells.iter().map(ToString::to_string).collect()));
    }
    Some(rows)
}

/// Number of rows of the current view that are visible at once.
pub(super) fn page_rows(app: &App) -> usize {
    let area = Rect::new(0, 0, app.size.0, app.size.1);
    let body = Screen::of(area).body;
    let rows = app.view.spec().page_rows(app, body);
    usize::from(rows)
}

/// The item at a point of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spot {
    /// A view's tab.
    Tab(View),
    /// A row of the view's list, which may have fewer.
    Row(usize),
}

/// The target of a click at a column and a row.
pub(super) fn spot(app: &App, x: u16, y: u16) -> Option<Spot> {
    let screen = Screen::of(Rect::new(0, 0, app.size.0, app.size.1));
    if screen.tabs.contains((x, y).into()) {
        let caret = Cell::new(None);
        return chrome::tab_at(Ctx::timeless(app, &caret), screen.tabs, x).map(Spot::Tab);
    }
    let inner = app.view.spec().list_area(app, screen.body)?;
    // The header is not a row.
    let row = y.checked_sub(inner.y + 1)?;
    let visible = inner.contains((x, y).into());
    visible.then(|| Spot::Row(app.list().offset + usize::from(row)))
}

/// Number of lines of an alarm that do not fit into the list of alarms.
pub(super) fn alarm_overflow(app: &App, alarm: &Alarm) -> u16 {
    let area = Rect::new(0, 0, app.size.0, app.size.1);
    alarms::overflow(alarm, Screen::of(area).body)
}

/// Maximum scroll offset of a page.
pub(super) fn overlay_overflow(app: &App, overlay: &Overlay) -> u16 {
    let (area, lines) = page(app, overlay);
    let lines = u16::try_from(lines.len()).unwrap_or(u16::MAX);
    lines.saturating_sub(area.height)
}

/// The lines of a page in which the searched text is.
pub(super) fn matching_lines(app: &App, overlay: &Overlay) -> Vec<u16> {
    let needle = app.find().map(Find::needle).unwrap_or_default();
    if needle.is_empty() {
        return Vec::new();
    }
    let (_, lines) = page(app, overlay);
    let has = |line: &Line| line.to_string().to_lowercase().contains(&needle);
    let found = (0..).zip(&lines).filter(|(_, line)| has(line));
    found.map(|(index, _)| index).collect()
}

/// The area of a page's text, and its lines.
fn page(app: &App, overlay: &Overlay) -> (Rect, Vec<Line<'static>>) {
    let area = Rect::new(0, 0, app.size.0, app.size.1);
    let body = Screen::of(area).body;
    match overlay {
        Overlay::Help { .. } => help::page(app, body),
        Overlay::AlarmHistory { .. } => alarm_history::page(app, body),
        Overlay::Detail { .. } => detail::page(app, body),
        Overlay::Explain { .. } => detail::explain::page(app, body),
        _ => (Rect::ZERO, Vec::new()),
    }
}
