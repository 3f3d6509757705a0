//! A view that is a table: each of its columns is one row of code, with its cell, its order and its
//! filter field.

use std::borrow::Cow;
use std::cmp::Ordering;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use serde::Serialize;

use super::Spec;
use crate::console::app::App;
use crate::console::filter::{Filter, Searchable};
use crate::console::labels::plural;
use crate::console::render::detail::Page;
use crate::console::render::paint::{self, span};
use crate::console::render::panel::{self, panel};
use crate::console::render::table::{self, Column, column};
use crate::console::render::{Ctx, is_roomy, prompt};
use crate::console::rows::{RowId, Sort};
use crate::console::shown::Shown;
use crate::domain::LogLevel;

/// The table of a view.
pub(in crate::console) trait Table: Sized + Sync + 'static {
    /// One of its rows, most often a reference into the snapshot.
    type Row<'a>: Copy + Serialize;

    /// Title of its tab and panel.
    const TITLE: &'static str;

    /// The title for narrow tabs.
    const SHORT_TITLE: &'static str = Self::TITLE;

    /// Its columns, from left to right.
    const COLUMNS: &'static [TableColumn<Self>];

    /// The order before one is chosen; without one, that of the list itself.
    const DEFAULT_SORT: Option<Sort> = None;

    /// Number of its rows.
    fn total(shown: &Shown) -> usize;

    /// The row at a position.
    fn row(shown: &Shown, index: usize) -> Option<Self::Row<'_>>;

    /// Whether its rows are identical in both.
    fn is_same(one: &Shown, other: &Shown) -> bool;

    /// What identifies a row, whatever its position.
    fn id(row: Self::Row<'_>) -> RowId<'_>;

    /// The text in which a filter's bare words are searched.
    fn haystack(row: Self::Row<'_>) -> String;

    /// The row in words, within a sentence.
    fn about(row: Self::Row<'_>) -> String;

    /// Text while it has no rows: the reason, and the next action.
    fn empty(ctx: Ctx) -> &'static str;

    /// The figure beside its tab: the number of its live items.
    fn tab_count(_ctx: Ctx) -> Option<Span<'static>> {
        None
    }

    /// Adds the details of a row to a page. Returns the page's title.
    fn detail(page: &mut Page, row: Self::Row<'_>) -> String;

    /// The area of the table. What is below it, [`Table::render`] draws.
    fn region(body: Rect) -> Rect {
        body
    }

    /// Draws the view.
    fn render(ctx: Ctx, body: Rect, buf: &mut Buffer) {
        Self::draw(ctx, body, is_roomy(body), buf);
    }

    /// What its panel says at the right of the title, before the filter.
    fn note(_ctx: Ctx) -> Option<Span<'static>> {
        None
    }

    /// Arranges the rows that match a filter, while no order is chosen.
    fn arrange(_shown: &Shown, _picked: &mut [usize]) {}

    /// Draws the table over `area`: a panel with a note, a text for an empty list, and the visible
    /// rows. Returns whether it has rows.
    fn draw(ctx: Ctx, area: Rect, framed: bool, buf: &mut Buffer) -> bool {
        let list = ctx.app.list();
        let title = prompt::place(ctx, Self::TITLE);
        let mut note = note::<Self>(ctx);
        // The last parts are left out first, so that the number of marks is always visible.
        while paint::line_width(&note) > panel::room_beside(&title, area, framed) {
            note.spans.pop();
        }
        let inner = panel(ctx, buf, area, &title, &note, framed);
        if list.rows.is_empty() {
            let text = prompt::nothing(ctx, Self::empty(ctx));
            paint::lines(ctx, buf, panel::indent(inner), &[text]);
            return false;
        }
        let cells = Ctx {
            table_width: inner.width,
            ..ctx
        };
        table::table(ctx, buf, inner, &columns::<Self>(), list, |index| {
            self::cells::<Self>(cells, index)
        });
        true
    }
}

/// Marks, chosen columns and filter, at the right of the title.
fn note<T: Table>(ctx: Ctx) -> Line<'static> {
    let list = ctx.app.list();
    let mut spans: Vec<Span> = Vec::new();
    if let Some(mut note) = T::note(ctx) {
        note.content.to_mut().push_str("  ");
        spans.push(note);
    }
    if !list.marks.is_empty() {
        let text = format!("{} {} marked  ", ctx.glyphs.mark, list.marks.len());
        spans.push(span(text, ctx.roles.warn));
    }
    if list.narrow {
        spans.push(span("narrow  ", ctx.roles.info));
    }
    if !list.hidden.is_empty() {
        let text = format!("{} hidden  ", plural(list.hidden.len(), "column"));
        spans.push(span(text, ctx.roles.info));
    }
    spans.extend(prompt::filter_note(ctx).spans);
    Line::from(spans)
}

/// The columns on the screen.
fn columns<T: Table>() -> Vec<Column> {
    let shown = T::COLUMNS.iter().filter(|column| column.cell.is_some());
    shown.map(|column| column.layout).collect()
}

/// The cells of a row, one per column on the screen.
fn cells<T: Table>(ctx: Ctx<'_>, index: usize) -> Vec<Line<'_>> {
    let Some(row) = T::row(ctx.snapshot, index) else {
        return Vec::new();
    };
    let cells = T::COLUMNS.iter().filter_map(|column| column.cell);
    cells.map(|cell| cell(ctx, row)).collect()
}

type Cell<T> = for<'a> fn(Ctx<'a>, <T as Table>::Row<'a>) -> Line<'a>;
type Compare<T> = for<'a> fn(&'a Shown, <T as Table>::Row<'a>, <T as Table>::Row<'a>) -> Ordering;
type Field<T> = for<'a> fn(&'a Shown, <T as Table>::Row<'a>) -> Option<Cow<'a, str>>;

/// A column of a table.
pub(in crate::console) struct TableColumn<T: Table> {
    layout: Column,
    /// `None`: it is not shown, only sorted or filtered by.
    cell: Option<Cell<T>>,
    order: Option<Compare<T>>,
    is_main_order: bool,
    field: Option<(&'static str, Field<T>)>,
}

impl<T: Table> TableColumn<T> {
    /// A column of fixed width with its cell. On a narrow screen, the columns of the highest rank
    /// are left out first; a rank of 0 stays.
    pub(super) const fn new(title: &'static str, width: u16, rank: u8, cell: Cell<T>) -> Self {
        let mut new = Self::unseen(title);
        new.layout = column(title, width, rank);
        new.cell = Some(cell);
        new
    }

    /// What the rows can be sorted or filtered by without a column on the screen.
    pub(super) const fn unseen(title: &'static str) -> Self {
        Self {
            layout: column(title, 0, 0),
            cell: None,
            order: None,
            is_main_order: false,
            field: None,
        }
    }

    /// Lets the column grow up to `max` columns of the terminal.
    pub(super) const fn grow(mut self, max: u16) -> Self {
        self.layout = self.layout.grow(max);
        self
    }

    /// Aligns the column to the right, as for figures.
    pub(super) const fn right(mut self) -> Self {
        self.layout = self.layout.right();
        self
    }

    /// The order by this column.
    pub(super) const fn sort(mut self, compare: Compare<T>) -> Self {
        self.order = Some(compare);
        self
    }

    /// The order by this column, which is the table's first one.
    pub(super) const fn sort_first(mut self, compare: Compare<T>) -> Self {
        self.is_main_order = true;
        self.sort(compare)
    }

    /// The filter field of this name: its value in a row, if that has one.
    pub(super) const fn filter(mut self, name: &'static str, value: Field<T>) -> Self {
        self.field = Some((name, value));
        self
    }
}

/// The columns that a table can be sorted by: the main one, then from left to right.
fn orders<T: Table>() -> impl Iterator<Item = (&'static str, Compare<T>)> {
    let (main, others): (Vec<_>, Vec<_>) =
        T::COLUMNS.iter().partition(|column| column.is_main_order);
    let all = main.into_iter().chain(others);
    all.filter_map(|column| Some((column.layout.title(), column.order?)))
}

/// A row, for a filter.
struct Fields<'a, T: Table>(&'a Shown, T::Row<'a>);

impl<T: Table> Searchable for Fields<'_, T> {
    fn field(&self, name: &str) -> Option<Cow<'_, str>> {
        let mut fields = T::COLUMNS.iter().filter_map(|column| column.field);
        let (_, value) = fields.find(|(known, _)| *known == name)?;
        value(self.0, self.1)
    }

    fn haystack(&self) -> String {
        T::haystack(self.1)
    }
}

impl<T: Table> Spec for T {
    fn title(&self) -> &'static str {
        T::TITLE
    }

    fn short_title(&self) -> &'static str {
        T::SHORT_TITLE
    }

    fn tab_count(&self, ctx: Ctx) -> Option<Span<'static>> {
        T::tab_count(ctx)
    }

    fn total(&self, shown: &Shown) -> usize {
        T::total(shown)
    }

    fn is_same(&self, one: &Shown, other: &Shown) -> bool {
        T::is_same(one, other)
    }

    fn id_at<'a>(&self, shown: &'a Shown, index: usize) -> Option<RowId<'a>> {
        T::row(shown, index).map(T::id)
    }

    fn matches(&self, filter: &Filter, _level: LogLevel, shown: &Shown, index: usize) -> bool {
        T::row(shown, index).is_some_and(|row| filter.matches(&Fields::<T>(shown, row)))
    }

    fn fields(&self) -> Vec<&'static str> {
        let fields = T::COLUMNS.iter().filter_map(|column| column.field);
        fields.map(|(name, _)| name).collect()
    }

    fn orders(&self) -> Vec<&'static str> {
        orders::<T>().map(|(title, _)| title).collect()
    }

    fn default_sort(&self) -> Option<Sort> {
        T::DEFAULT_SORT
    }

    fn sort(&self, sort: Sort, shown: &Shown, picked: &mut [usize]) {
        let Some((_, compare)) = orders::<T>().nth(sort.column) else {
            return picked.sort_unstable();
        };
        picked.sort_by(|a, b| {
            let ordering = match (T::row(shown, *a), T::row(shown, *b)) {
                (Some(a), Some(b)) => compare(shown, a, b),
                _ => Ordering::Equal,
            };
            let ordering = if sort.descending {
                ordering.reverse()
            } else {
                ordering
            };
            ordering.then(a.cmp(b))
        });
    }

    fn arrange(&self, shown: &Shown, picked: &mut [usize]) {
        T::arrange(shown, picked);
    }

    fn columns(&self) -> Vec<Column> {
        columns::<T>()
    }

    fn cells<'a>(&self, ctx: Ctx<'a>, index: usize) -> Vec<Line<'a>> {
        cells::<T>(ctx, index)
    }

    fn value_at(&self, shown: &Shown, index: usize) -> Option<serde_json::Value> {
        serde_json::to_value(T::row(shown, index)?).ok()
    }

    fn about(&self, shown: &Shown, index: usize) -> Option<String> {
        T::row(shown, index).map(T::about)
    }

    fn detail(&self, page: &mut Page, index: usize) -> Option<String> {
        let row = T::row(page.ctx.snapshot, index)?;
        Some(T::detail(page, row))
    }

    fn render(&self, ctx: Ctx, body: Rect, buf: &mut Buffer) {
        T::render(ctx, body, buf);
    }

    fn list_area(&self, _app: &App, body: Rect) -> Option<Rect> {
        Some(panel::within(T::region(body), is_roomy(body)))
    }
}
