//! Aligned columns on standard output.

use comfy_table::{Cell, CellAlignment, Table, presets};

use super::output::out;
use crate::domain::plain;

/// A column's alignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    /// For numbers.
    Right,
}

/// Prints rows in columns that are as wide as their widest cell; prints nothing without rows.
pub(super) fn print<const N: usize>(columns: [Align; N], rows: &[[String; N]]) {
    if rows.is_empty() {
        return;
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for row in rows {
        // Control characters have a width in no terminal.
        table.add_row(row.iter().zip(columns).map(|(cell, align)| {
            Cell::new(plain(cell)).set_alignment(match align {
                Align::Left => CellAlignment::Left,
                Align::Right => CellAlignment::Right,
            })
        }));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    out!("{}", table.trim_fmt());
}
