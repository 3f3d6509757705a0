//! Help: the commands of this view, from the command table.

use std::cell::Cell;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::Ctx;
use super::dialog::{box_area, box_inner, boxed};
use super::paint::{self, span};
use crate::console::app::App;
use crate::console::command::{COMMANDS, CommandRow, Scope};
use crate::console::text;
use crate::domain::Danger;

/// Columns of keys and names.
const KEYS: u16 = 20;
const NAME: u16 = 15;

fn size(body: Rect) -> (u16, u16) {
    (body.width.min(118), body.height)
}

/// The area of the text, and its lines.
pub(super) fn page(app: &App, body: Rect) -> (Rect, Vec<Line<'static>>) {
    let caret = Cell::new(None);
    let inner = box_inner(box_area(body, size(body)));
    (inner, content(Ctx::timeless(app, &caret), inner.width))
}

/// The operator's own commands in this view, then the view's, then those of every view.
fn rows(app: &App) -> impl Iterator<Item = &'static CommandRow> {
    let view = app.view();
    let own = app.keymap.own().iter().copied();
    let of_view = own
        .chain(COMMANDS)
        .filter(move |row| row.scope != Scope::Everywhere && row.scope.covers(view));
    of_view.chain(COMMANDS.iter().filter(|row| row.scope == Scope::Everywhere))
}

fn is_wide(width: u16) -> bool {
    width >= 60
}

/// A row's name with its argument, if the name leaves room.
fn name_of(row: &CommandRow, width: u16) -> String {
    if !is_wide(width) {
        return String::new();
    }
    format!("{} {}", row.name, row.argument)
        .trim_end()
        .to_owned()
}

/// The help text of a row as lines: beside the name, or (an empty first line) below it.
fn lines_of(row: &CommandRow, width: u16) -> Vec<&str> {
    let left = if is_wide(width) { KEYS + NAME } else { 9 };
    let below = name_of(row, width).len() >= usize::from(NAME);
    let help = text::wrap(row.help, width.saturating_sub(left).max(8));
    below.then_some("").into_iter().chain(help).collect()
}

pub(super) fn render(ctx: Ctx, scroll: u16, body: Rect, buf: &mut Buffer) {
    let view = ctx.app.view();
    let inner = boxed(
        ctx,
        buf,
        body,
        &format!("Keys in {}", view.title()),
        size(body),
    );
    let lines = content(ctx, inner.width);
    let skip = usize::from(scroll).min(lines.len());
    paint::lines(ctx, buf, inner, &lines[skip..]);
}

fn content(ctx: Ctx, width: u16) -> Vec<Line<'static>> {
    let mut lines: Vec<Line<'static>> = Vec::new();
    let mut own = true;
    for row in rows(ctx.app) {
        if own && row.scope == Scope::Everywhere {
            own = false;
            lines.push(Line::from(span("everywhere", ctx.roles.header)));
        }
        lines.extend(row_lines(ctx, row, width));
    }
    lines.push(Line::from(span(
        "Esc closes; a key listed here also works from here",
        ctx.roles.dim,
    )));
    lines
}

fn row_lines(ctx: Ctx, row: &CommandRow, width: u16) -> Vec<Line<'static>> {
    let roles = ctx.roles;
    let known: Vec<String> = ctx.app.keymap.keys_of(row).collect();
    let first = known.first().map_or("", String::as_str);
    let (keys, name) = if is_wide(width) {
        (
            format!("{:<w$}", known.join(" "), w = usize::from(KEYS)),
            format!("{:<w$}", name_of(row, width), w = usize::from(NAME)),
        )
    } else {
        (format!("{first:<9}"), String::new())
    };
    let style = match row.danger {
        Danger::Safe => roles.text,
        Danger::Disruptive => roles.strong,
        Danger::Destructive => roles.warn,
    };
    let left = keys.len() + usize::from(if is_wide(width) { NAME } else { 0 });
    let indent = " ".repeat(left);
    let mut lines = Vec::new();
    for (index, part) in lines_of(row, width).into_iter().enumerate() {
        let part = span(part.to_owned(), style);
        lines.push(if index == 0 {
            Line::from(vec![
                span(keys.clone(), roles.key),
                span(name.clone(), roles.dim),
                part,
            ])
        } else {
            Line::from(vec![span(indent.clone(), roles.dim), part])
        });
    }
    lines
}
