//! The commands on this host and on attached ones, with their users and outcomes: newest first.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use crate::console::render::badges::signed;
use crate::console::render::paint::span;
use crate::console::render::table::{Column, column};
use crate::console::render::table_view::{self, Sheet};
use crate::console::render::{Ctx, is_roomy};
use crate::console::{format, text};
use crate::domain::AuditEntry;

const COLUMNS: [Column; 9] = [
    column("TIME", 19, 0),
    column("USER", 8, 1).grow(16),
    column("FROM", 12, 5).grow(30),
    column("VERB", 14, 0),
    column("TARGET", 16, 0).grow(50),
    column("OUTCOME", 8, 0),
    column("REASON", 10, 2).grow(40),
    column("REPLY", 20, 3).grow(80),
    column("HOST", 12, 6).grow(24),
];

pub(in crate::console) const SHEET: Sheet = Sheet {
    title: "Audit",
    empty: "Nothing was asked here yet: whatever changes something is recorded.",
    columns: &COLUMNS,
    cells: |ctx, index, _| {
        let entry = ctx.snapshot.audit.get(index);
        entry.map(|entry| cells(ctx, entry)).unwrap_or_default()
    },
};

pub(in crate::console) fn render(ctx: Ctx, body: Rect, buf: &mut Buffer) {
    table_view::render(ctx, &SHEET, body, is_roomy(body), buf);
}

fn cells<'a>(ctx: Ctx<'a>, entry: &'a AuditEntry) -> Vec<Line<'a>> {
    let roles = ctx.roles;
    let outcome = if entry.done {
        signed(ctx.glyphs.done, "done", roles.ok)
    } else {
        signed(ctx.glyphs.down, "failed", roles.error)
    };
    vec![
        Line::from(span(
            format::date(entry.time, &ctx.app.setup.zone),
            roles.dim,
        )),
        Line::from(span(text::clean(&entry.user), roles.text)),
        Line::from(span(text::clean(&entry.from), roles.dim)),
        Line::from(span(text::clean(&entry.verb), roles.strong)),
        Line::from(span(text::clean(&entry.target), roles.text)),
        outcome,
        Line::from(span(
            text::clean(entry.reason.as_deref().unwrap_or_default()),
            roles.text,
        )),
        Line::from(span(text::clean(&entry.text), roles.text)),
        Line::from(span(text::clean(&entry.host), roles.dim)),
    ]
}
