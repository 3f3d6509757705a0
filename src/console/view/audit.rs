//! The commands on this host and on attached ones, with their users and outcomes: newest first.

use std::borrow::Cow;
use std::sync::Arc;

use ratatui::text::Line;

use super::table::{Table, TableColumn};
use crate::console::render::Ctx;
use crate::console::render::badges::signed;
use crate::console::render::detail::Page;
use crate::console::render::paint::span;
use crate::console::rows::RowId;
use crate::console::shown::Shown;
use crate::console::{format, text};
use crate::domain::AuditEntry;

/// The view of commands.
pub(super) struct Audit;

type Column = TableColumn<Audit>;

impl Table for Audit {
    type Row<'a> = &'a AuditEntry;

    const TITLE: &'static str = "Audit";

    const COLUMNS: &'static [Column] = &[
        Column::new("TIME", 19, 0, |ctx, entry| {
            let time = format::date(entry.time, &ctx.app.setup.zone);
            Line::from(span(time, ctx.roles.dim))
        })
        .sort_first(|_, a, b| a.time.cmp(&b.time)),
        Column::new("USER", 8, 1, |ctx, entry| {
            Line::from(span(text::clean(&entry.user), ctx.roles.text))
        })
        .grow(16)
        .sort(|_, a, b| a.user.cmp(&b.user)),
        Column::new("FROM", 12, 5, |ctx, entry| {
            Line::from(span(text::clean(&entry.from), ctx.roles.dim))
        })
        .grow(30),
        Column::new("VERB", 14, 0, |ctx, entry| {
            Line::from(span(text::clean(&entry.verb), ctx.roles.strong))
        })
        .sort(|_, a, b| a.verb.cmp(&b.verb)),
        Column::new("TARGET", 16, 0, |ctx, entry| {
            Line::from(span(text::clean(&entry.target), ctx.roles.text))
        })
        .grow(50),
        Column::new("OUTCOME", 8, 0, |ctx, entry| {
            if entry.done {
                signed(ctx.glyphs.done, "done", ctx.roles.ok)
            } else {
                signed(ctx.glyphs.down, "failed", ctx.roles.error)
            }
        })
        .filter("status", |_, entry| {
            Some(Cow::Borrowed(if entry.done { "done" } else { "failed" }))
        }),
        Column::new("REASON", 10, 2, |ctx, entry| {
            let reason = entry.reason.as_deref().unwrap_or_default();
            Line::from(span(text::clean(reason), ctx.roles.text))
        })
        .grow(40),
        Column::new("REPLY", 20, 3, |ctx, entry| {
            Line::from(span(text::clean(&entry.text), ctx.roles.text))
        })
        .grow(80),
        Column::new("HOST", 12, 6, |ctx, entry| {
            Line::from(span(text::clean(&entry.host), ctx.roles.dim))
        })
        .grow(24)
        .filter("host", |_, entry| Some(Cow::Borrowed(&entry.host))),
    ];

    fn total(shown: &Shown) -> usize {
        shown.audit.len()
    }

    fn row(shown: &Shown, index: usize) -> Option<&AuditEntry> {
        shown.audit.get(index)
    }

    fn is_same(one: &Shown, other: &Shown) -> bool {
        Arc::ptr_eq(&one.audit, &other.audit)
    }

    fn id(entry: Self::Row<'_>) -> RowId<'_> {
        RowId::Line(entry.time, &entry.target)
    }

    fn haystack(entry: &AuditEntry) -> String {
        [
            entry.user.as_str(),
            &entry.from,
            &entry.host,
            &entry.verb,
            &entry.target,
            &entry.text,
            entry.reason.as_deref().unwrap_or_default(),
        ]
        .join(" ")
    }

    fn about(_entry: &AuditEntry) -> String {
        String::from("a line of the audit log")
    }

    fn empty(_ctx: Ctx) -> &'static str {
        "No commands yet: each one that changes something is recorded here."
    }

    fn detail(page: &mut Page, entry: &AuditEntry) -> String {
        page.time("at", Some(entry.time));
        page.field("user", &entry.user);
        page.field("from", &entry.from);
        page.field("host", &entry.host);
        page.field("verb", &entry.verb);
        page.field("target", &entry.target);
        if let Some(reason) = &entry.reason {
            page.field("reason", reason);
        }
        page.field(if entry.done { "done" } else { "failed" }, &entry.text);
        if let Some(archive) = &entry.archive {
            page.field("archive", &archive.display().to_string());
        }
        text::clean(&entry.verb).into_owned()
    }
}
