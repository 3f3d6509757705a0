//! Tables that draw only the visible rows: 100,000 rows cost no more than those.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::paint::{self, Align, span};
use super::{Ctx, panel};
use crate::console::app::List;
use crate::console::text;

/// A column. Widths are defined here and do not depend on the rows, so that columns stay in place
/// while scrolling.
#[derive(Clone, Copy, Debug)]
pub(in crate::console) struct Column {
    title: &'static str,
    width: u16,
    max: u16,
    align: Align,
    rank: u8,
}

/// A column of fixed width. On a narrow screen, the columns of the highest rank are left out first.
pub(in crate::console) const fn column(title: &'static str, width: u16, rank: u8) -> Column {
    Column {
        title,
        width,
        max: width,
        align: Align::Left,
        rank,
    }
}

impl Column {
    pub(in crate::console) fn title(&self) -> &'static str {
        self.title
    }

    /// Lets the column grow up to `max` columns.
    pub(in crate::console) const fn grow(self, max: u16) -> Self {
        Self { max, ..self }
    }

    /// Aligns the column to the right, as for figures.
    pub(in crate::console) const fn right(self) -> Self {
        let align = Align::Right;
        Self { align, ..self }
    }
}

/// Columns between two columns.
fn gap(width: u16) -> u16 {
    if width >= 120 { 2 } else { 1 }
}

/// Columns of a higher rank are left out of a narrow table.
const NARROW_RANK: u8 = 2;

/// The width of each column in `width`; `None` for those that are left out, including those that
/// the operator has hidden (not `is_shown`).
fn solve(columns: &[Column], width: u16, is_shown: impl Fn(&Column) -> bool) -> Vec<Option<u16>> {
    let gap = gap(width);
    let mut shown: Vec<bool> = columns.iter().map(is_shown).collect();
    let needed = |shown: &[bool]| -> u16 {
        let widths = columns
            .iter()
            .zip(shown)
            .filter(|(_, shown)| **shown)
            .map(|(c, _)| c.width + gap);
        widths.sum::<u16>().saturating_sub(gap)
    };
    while needed(&shown) > width {
        let candidates =
            (0..columns.len()).filter(|index| shown[*index] && columns[*index].rank > 0);
        match candidates.max_by_key(|index| (columns[*index].rank, *index)) {
            Some(index) => shown[index] = false,
            None => break,
        }
    }
    let mut spare = width.saturating_sub(needed(&shown));
    let mut widths: Vec<u16> = columns.iter().map(|column| column.width).collect();
    // One column at a time to each that may grow, without precedence of the most important ones:
    // all get an equal share, and what one cannot use goes to the rest.
    while spare > 0 {
        let mut grown = false;
        for (index, column) in columns.iter().enumerate() {
            if shown[index] && widths[index] < column.max && spare > 0 {
                widths[index] += 1;
                spare -= 1;
                grown = true;
            }
        }
        if !grown {
            break;
        }
    }
    let shown_width = |(index, width): (usize, u16)| shown[index].then_some(width);
    widths.into_iter().enumerate().map(shown_width).collect()
}

/// Draws the header and the visible rows of a list. `cells` returns the cells of the row at a
/// position of the snapshot's list, one per column.
pub(in crate::console) fn table<'a>(
    ctx: Ctx,
    buf: &mut Buffer,
    area: Rect,
    columns: &[Column],
    list: &List,
    cells: impl Fn(usize) -> Vec<Line<'a>>,
) {
    // One column at the left is the cursor's.
    let field = panel::indent(area);
    let is_shown = |column: &Column| {
        let left_out = list.narrow && column.rank > NARROW_RANK;
        !left_out && !list.hidden.contains(column.title)
    };
    let widths = solve(columns, field.width, is_shown);
    let sorted = list.sort.and_then(|sort| {
        let orders = ctx.app.view().spec().orders();
        Some((*orders.get(sort.column)?, sort.descending))
    });
    let heads: Vec<Line> = columns
        .iter()
        .zip(&widths)
        .map(|(column, width)| match sorted {
            Some((title, descending)) if title == column.title => {
                let sign = if descending { "v" } else { "^" };
                // The direction is more important than the title's last letter.
                let title = text::prefix(title, width.unwrap_or(0).saturating_sub(1));
                Line::from(span(format!("{title}{sign}"), ctx.roles.strong))
            }
            _ => Line::from(span(column.title, ctx.roles.header)),
        })
        .collect();
    paint_cells(ctx, buf, paint::row(field, 0), columns, &widths, &heads);
    for row in 0..area.height.saturating_sub(1) {
        let index = list.offset + usize::from(row);
        let Some(position) = list.rows.get(index) else {
            break;
        };
        let line = paint::row(field, row + 1);
        paint_cells(ctx, buf, line, columns, &widths, &cells(position));
        let whole = paint::row(area, row + 1);
        let marked = list.is_marked(ctx.app.view(), ctx.snapshot, position);
        let here = index == list.cursor;
        if marked || here {
            let (sign, style) = if marked {
                (ctx.glyphs.mark, ctx.roles.warn)
            } else {
                (ctx.glyphs.cursor, ctx.roles.title)
            };
            paint::line(ctx, buf, whole, &Line::from(span(sign, style)), Align::Left);
        }
        if here {
            paint::cursor_row(ctx, buf, whole);
        }
    }
}

/// Draws a small table without a cursor, all of its rows that fit.
pub(in crate::console) fn plain<'a>(
    ctx: Ctx,
    buf: &mut Buffer,
    area: Rect,
    columns: &[Column],
    rows: impl Iterator<Item = Vec<Line<'a>>>,
) {
    let area = panel::indent(area);
    let widths = solve(columns, area.width, |_| true);
    let heads: Vec<Line> = columns
        .iter()
        .map(|column| Line::from(span(column.title, ctx.roles.header)))
        .collect();
    paint_cells(ctx, buf, paint::row(area, 0), columns, &widths, &heads);
    for (index, cells) in (1..area.height).zip(rows) {
        paint_cells(ctx, buf, paint::row(area, index), columns, &widths, &cells);
    }
}

fn paint_cells(
    ctx: Ctx,
    buf: &mut Buffer,
    row: Rect,
    columns: &[Column],
    widths: &[Option<u16>],
    cells: &[Line],
) {
    let gap = gap(row.width);
    let mut x = row.x;
    for ((column, width), cell) in columns.iter().zip(widths).zip(cells) {
        let Some(width) = *width else {
            continue;
        };
        let room = row.right().saturating_sub(x).min(width);
        paint::line(
            ctx,
            buf,
            Rect {
                x,
                width: room,
                ..row
            },
            cell,
            column.align,
        );
        x = x.saturating_add(width + gap).min(row.right());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrow_table_leaves_out_the_least_important_columns_and_a_wide_one_grows() {
        let columns = [
            column("A", 5, 0).grow(20),
            column("B", 5, 2),
            column("C", 5, 1),
        ];
        assert_eq!(solve(&columns, 11, |_| true), [Some(5), None, Some(5)]);
        assert_eq!(solve(&columns, 20, |_| true), [Some(8), Some(5), Some(5)]);
        assert_eq!(solve(&columns, 3, |_| true), [Some(5), None, None]);
    }
}
