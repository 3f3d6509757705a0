//! The table of most views: a panel with a note, a text for an empty list, selectable columns, and
//! the visible rows. A view is its [`Sheet`] and its further drawing.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::paint::{self, span};
use super::panel::{self, panel};
use super::table::{self, Column};
use super::{Ctx, prompt};
use crate::console::view::{
    View, audit, dagster, dead_letters, failures, queues, runs, steps, workers,
};

/// The table of a view.
pub(in crate::console) struct Sheet {
    /// Title of its panel.
    pub(in crate::console) title: &'static str,
    /// Text while it has no rows: the reason, and the next action.
    pub(in crate::console) empty: &'static str,
    /// Its columns.
    pub(in crate::console) columns: &'static [Column],
    /// The cells of the row at a position of the snapshot's list, one per column, for a table of
    /// this many columns of the terminal.
    pub(in crate::console) cells: for<'a> fn(Ctx<'a>, usize, u16) -> Vec<Line<'a>>,
}

/// The sheet of a view, if it is a table.
pub(in crate::console) fn of(view: View) -> Option<&'static Sheet> {
    match view {
        View::Queues => Some(&queues::SHEET),
        View::Steps => Some(&steps::SHEET),
        View::Runs => Some(&runs::SHEET),
        View::Workers => Some(&workers::SHEET),
        View::DeadLetters => Some(&dead_letters::SHEET),
        View::Audit => Some(&audit::SHEET),
        View::Failures => Some(&failures::SHEET),
        View::Dagster => Some(&dagster::SHEET),
        View::Overview | View::Logs => None,
    }
}

impl Sheet {
    /// The titles of its columns that can be hidden: all with a title but the first.
    pub(in crate::console) fn optional_columns(&self) -> impl Iterator<Item = &'static str> {
        let titled = self.columns.iter().map(Column::title);
        titled.filter(|title| !title.is_empty()).skip(1)
    }
}

/// Draws the sheet over `area`; returns whether it has rows.
pub(in crate::console) fn render(
    ctx: Ctx,
    sheet: &Sheet,
    area: Rect,
    framed: bool,
    buf: &mut Buffer,
) -> bool {
    let list = ctx.app.list();
    let title = prompt::place(ctx, sheet.title);
    let mut note = note(ctx);
    // The last parts are left out first, so that the number of marks is always visible.
    while paint::line_width(&note) > panel::room_beside(&title, area, framed) {
        note.spans.pop();
    }
    let inner = panel(ctx, buf, area, &title, &note, framed);
    if list.rows.is_empty() {
        let text = prompt::nothing(ctx, sheet.empty);
        paint::lines(ctx, buf, panel::indent(inner), &[text]);
        return false;
    }
    table::table(ctx, buf, inner, sheet.columns, list, |index| {
        (sheet.cells)(ctx, index, inner.width)
    });
    true
}

/// Marks, chosen columns and filter, at the right of the title.
fn note(ctx: Ctx) -> Line<'static> {
    let list = ctx.app.list();
    let mut spans: Vec<Span> = Vec::new();
    if ctx.app.view() == View::Failures {
        spans.push(span(
            format!("{}  ", ctx.app.failures().note()),
            ctx.roles.info,
        ));
    }
    if !list.marks.is_empty() {
        let text = format!("{} {} marked  ", ctx.glyphs.mark, list.marks.len());
        spans.push(span(text, ctx.roles.warn));
    }
    if list.narrow {
        spans.push(span("narrow  ", ctx.roles.info));
    }
    if !list.hidden.is_empty() {
        let text = format!(
            "{} hidden  ",
            super::labels::plural(list.hidden.len(), "column")
        );
        spans.push(span(text, ctx.roles.info));
    }
    spans.extend(prompt::filter_note(ctx).spans);
    Line::from(spans)
}
