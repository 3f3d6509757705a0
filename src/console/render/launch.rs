//! The form that describes a run.
//!
//! ```text
//! ┌ Launch nightly_etl of shop.py ──────────────┐
//! │ > configuration  the job's own, 6 lines      │
//! │   partition      2026-03-13                  │
//! │   assets         2 of 5                      │
//! │   tags           team=data                   │
//! │   launch                                     │
//! │ ops:  …                      (preview)       │
//! │ Enter edits  e $EDITOR  …                    │
//! └──────────────────────────────────────────────┘
//! ```

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

mod editor;

use super::Ctx;
use super::dialog::boxed;
use super::paint::{self, Align, span};
use super::prompt::typed;
use crate::console::labels::plural;
use crate::console::launch::{Field, LaunchForm, Loadable, Part, PartitionConfig};
use crate::console::overlay::Input;
use crate::console::text;

/// Columns of the labels.
const LABEL: usize = 15;

pub(super) fn render(ctx: Ctx, form: &LaunchForm, body: Rect, buf: &mut Buffer) {
    let job = if form.is_assets_only() {
        "assets"
    } else {
        &form.job.job
    };
    let title = format!(
        "Launch {} of {}",
        text::clean(job),
        text::clean(&form.job.location)
    );
    let (width, height) = (body.width.min(100), body.height.min(26));
    let inner = boxed(ctx, buf, body, &title, (width, height));
    let (main, hint) = (
        without_last(inner),
        paint::row(inner, inner.height.saturating_sub(1)),
    );
    paint::line(ctx, buf, hint, &hints(ctx, form), Align::Left);
    match &form.part {
        Part::Editor(editor) => editor::render(ctx, form, editor, main, buf),
        Part::Pick { input, choice } => pick(ctx, form, input, *choice, main, buf),
        Part::Rows | Part::Tags(_) => rows(ctx, form, main, buf),
    }
}

fn without_last(area: Rect) -> Rect {
    Rect {
        height: area.height.saturating_sub(1),
        ..area
    }
}

fn hints(ctx: Ctx, form: &LaunchForm) -> Line<'static> {
    let keys: &[(&str, &str)] = match (&form.part, form.field) {
        (Part::Editor(_), _) => &[
            ("Esc", "keeps it"),
            ("Ctrl-C", "drops the changes"),
            ("Ctrl-U", "undoes"),
        ],
        (Part::Pick { .. }, Field::Assets) => {
            &[("Space", "marks"), ("Enter", "done"), ("Esc", "leaves")]
        }
        (Part::Pick { .. }, _) => &[("Enter", "picks"), ("Esc", "leaves")],
        (Part::Tags(_), _) => &[("Enter", "keeps them"), ("Esc", "leaves")],
        (Part::Rows, Field::Launch) => &[
            ("Enter", "checks and launches"),
            ("e", "$EDITOR"),
            ("Esc", "back"),
        ],
        (Part::Rows, Field::Config) => &[
            ("Enter", "edits here"),
            ("e", "$EDITOR"),
            ("d", "the job's own"),
            ("Esc", "back"),
        ],
        (Part::Rows, _) => &[("Enter", "changes it"), ("e", "$EDITOR"), ("Esc", "back")],
    };
    let spans = keys.iter().flat_map(|(key, does)| {
        [
            span(*key, ctx.roles.key),
            span(format!(" {does}   "), ctx.roles.hint),
        ]
    });
    Line::from(spans.collect::<Vec<_>>())
}

fn rows(ctx: Ctx, form: &LaunchForm, area: Rect, buf: &mut Buffer) {
    let fields = shown_fields(form, area.height);
    let mut y = 0;
    for field in &fields {
        let here = *field == form.field;
        let place = paint::row(area, y);
        y += 1;
        let (label, value) = row(ctx, form, *field);
        let label_style = if *field == Field::Launch {
            ctx.roles.strong
        } else {
            ctx.roles.dim
        };
        let mut line = Line::from(vec![
            span(if here { ctx.glyphs.cursor } else { " " }, ctx.roles.title),
            span(format!(" {label:<LABEL$}"), label_style),
        ]);
        line.spans.extend(value.spans);
        paint::line(ctx, buf, place, &line, Align::Left);
        if here && matches!(form.part, Part::Rows) {
            paint::cursor_row(ctx, buf, place);
        }
    }
    let gap = area.height > y + 3;
    let mut below = vec![Line::default(); usize::from(gap)];
    below.extend(problems(ctx, form, area.width));
    if let Loadable::Failed(reason) = &form.detail {
        let reason = text::clean(reason).into_owned();
        below.extend(
            text::wrap(&reason, area.width.max(8))
                .into_iter()
                .map(|part| Line::from(span(part.to_owned(), ctx.roles.error))),
        );
    }
    let used = y + u16::try_from(below.len()).unwrap_or(u16::MAX);
    let room = area.height.saturating_sub(used.saturating_add(2));
    for line in form.text().lines().take(usize::from(room)) {
        below.push(Line::from(span(
            text::clean(line).into_owned(),
            ctx.roles.dim,
        )));
    }
    let rest = Rect {
        y: area.y + y.min(area.height),
        height: area.height.saturating_sub(y),
        ..area
    };
    paint::lines(ctx, buf, rest, &below);
    if rest.height >= 4 {
        let twin = format!("$ dagster-taskiq-tui {}", form.command_line());
        let line = Line::from(span(text::clean(&twin).into_owned(), ctx.roles.hint));
        paint::line(
            ctx,
            buf,
            paint::row(rest, rest.height - 1),
            &line,
            Align::Left,
        );
    }
}

/// The rows that fit, including the one under the cursor; if there is room for little else, that
/// row alone stays above Dagster's errors.
fn shown_fields(form: &LaunchForm, height: u16) -> Vec<Field> {
    let fields = form.fields();
    let height = usize::from(height);
    if !form.problems.is_empty() && height < fields.len() + 3 {
        return vec![form.field];
    }
    let at = fields.iter().position(|field| *field == form.field);
    let first = (at.unwrap_or(0) + 1).saturating_sub(height);
    fields.into_iter().skip(first).take(height).collect()
}

/// Label and value of a row.
fn row<'a>(ctx: Ctx<'a>, form: &'a LaunchForm, field: Field) -> (&'static str, Line<'a>) {
    let roles = ctx.roles;
    let loading = || span("asking Dagster", roles.dim);
    match field {
        Field::Config => {
            let lines = plural(form.text().lines().count(), "line");
            let value = match (&form.config, &form.detail, &form.partition_config) {
                (Some(_), _, _) => span(format!("edited, {lines}"), roles.warn),
                (None, Loadable::Requested(_), _) | (None, _, PartitionConfig::Requested(_)) => {
                    loading()
                }
                (None, _, PartitionConfig::Known(_)) => {
                    span(format!("the partition's own, {lines}"), roles.text)
                }
                (None, _, PartitionConfig::Unknown) if form.partition.is_some() => {
                    span("the partition's own", roles.text)
                }
                (None, _, PartitionConfig::Unknown) => {
                    span(format!("the job's own, {lines}"), roles.text)
                }
            };
            ("configuration", Line::from(value))
        }
        Field::Partition => {
            let count = form.known().map_or(0, |detail| detail.partitions.len());
            let value = match &form.partition {
                Some(partition) => span(text::clean(partition), roles.strong),
                None => span(format!("none of {count}"), roles.warn),
            };
            ("partition", Line::from(value))
        }
        Field::Assets => {
            let count = form.known().map_or(0, |detail| detail.assets.len());
            let value = match (form.assets.len(), form.is_assets_only()) {
                (0, _) if form.known().is_none() => loading(),
                (0, true) => span(format!("choose some of {count}"), roles.warn),
                (0, false) => span(format!("all {count}"), roles.text),
                (some, _) => {
                    let names: Vec<String> = form.assets.iter().map(|key| key.join("/")).collect();
                    let names = text::clean(&names.join(" ")).into_owned();
                    span(format!("{some} of {count}: {names}"), roles.strong)
                }
            };
            ("assets", Line::from(value))
        }
        Field::Tags => match &form.part {
            Part::Tags(_) => ("tags", typed(ctx, "", &form.tags, 60)),
            _ if form.tags.text().is_empty() => (
                "tags",
                Line::from(span(
                    "none (key=value …)".replace('…', ctx.glyphs.ellipsis),
                    roles.dim,
                )),
            ),
            _ => (
                "tags",
                Line::from(span(text::clean(form.tags.text()), roles.strong)),
            ),
        },
        Field::Launch => {
            let value = if form.checking.is_some() {
                "Dagster checks it"
            } else {
                ""
            };
            ("launch", Line::from(span(value, roles.dim)))
        }
    }
}

/// Dagster's errors, each under its path.
fn problems(ctx: Ctx, form: &LaunchForm, width: u16) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for problem in &form.problems {
        if !problem.path.is_empty() {
            let path = text::clean(&problem.path).into_owned();
            lines.push(Line::from(span(
                format!("{} {path}", ctx.glyphs.down),
                ctx.roles.error,
            )));
        }
        let message = text::clean(&problem.message).into_owned();
        for part in text::wrap(&message, width.max(8)).into_iter().take(4) {
            lines.push(Line::from(span(part.to_owned(), ctx.roles.text)));
        }
    }
    if !lines.is_empty() {
        lines.push(Line::default());
    }
    lines
}

fn pick(ctx: Ctx, form: &LaunchForm, input: &Input, choice: usize, area: Rect, buf: &mut Buffer) {
    let choices = form.choices();
    let matching = form.matching(input.text());
    let first_row = paint::row(area, 0);
    paint::line(
        ctx,
        buf,
        first_row,
        &typed(ctx, ">", input, area.width / 2),
        Align::Left,
    );
    let note = format!("{} of {}", matching.len(), choices.len());
    let right = Rect {
        x: area.x + area.width / 2,
        width: area.width - area.width / 2,
        ..first_row
    };
    paint::line(
        ctx,
        buf,
        right,
        &Line::from(span(note, ctx.roles.dim)),
        Align::Right,
    );
    let list = Rect {
        y: area.y + 1.min(area.height),
        height: area.height.saturating_sub(1),
        ..area
    };
    let first = (choice + 1).saturating_sub(usize::from(list.height));
    for (row, (index, at)) in (0..list.height).zip(matching.iter().enumerate().skip(first)) {
        let marked = form.field == Field::Assets
            && form
                .known()
                .and_then(|detail| detail.assets.get(*at))
                .is_some_and(|key| form.assets.contains(key));
        let sign = match (form.field, marked) {
            (Field::Assets, true) => "[x] ",
            (Field::Assets, false) => "[ ] ",
            _ => "",
        };
        let line = Line::from(vec![
            span(
                if index == choice {
                    ctx.glyphs.cursor
                } else {
                    " "
                },
                ctx.roles.title,
            ),
            span(format!(" {sign}"), ctx.roles.key),
            span(text::clean(&choices[*at]).into_owned(), ctx.roles.strong),
        ]);
        let place = paint::row(list, row);
        paint::line(ctx, buf, place, &line, Align::Left);
        if index == choice {
            paint::cursor_row(ctx, buf, place);
        }
    }
}
