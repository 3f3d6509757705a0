//! Explanation why something does not start: all the reasons, and sources that could not be
//! queried.

use std::cell::Cell;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::super::Ctx;
use super::super::dialog::{box_area, box_inner, boxed};
use super::super::paint::{self, span};
use super::{Page, size};
use crate::console::app::{App, Explained};
use crate::console::{format, labels};
use crate::domain::{Explanation, TaskView};

/// The area of the text, and its lines.
pub(in crate::console::render) fn page(app: &App, body: Rect) -> (Rect, Vec<Line<'static>>) {
    let caret = Cell::new(None);
    let ctx = Ctx::timeless(app, &caret);
    let inner = box_inner(box_area(body, size(body)));
    (inner, content(ctx, inner.width).1)
}

pub(in crate::console::render) fn render(ctx: Ctx, scroll: u16, body: Rect, buf: &mut Buffer) {
    let width = box_inner(box_area(body, size(body))).width;
    let (title, lines) = content(ctx, width);
    let inner = boxed(ctx, buf, body, &title, size(body));
    let skip = usize::from(scroll).min(lines.len());
    paint::lines(ctx, buf, inner, &lines[skip..]);
}

fn content(ctx: Ctx, width: u16) -> (String, Vec<Line<'static>>) {
    let mut page = Page {
        ctx,
        width,
        lines: Vec::new(),
    };
    let Some(explained) = &ctx.app.explained else {
        return (String::from("Explain"), page.lines);
    };
    let Explained {
        subject, answer, ..
    } = explained;
    match answer {
        None => page.paragraph("Reading Dagster's storage ..."),
        Some(Err(reason)) => page.field("not known", reason),
        Some(Ok(found)) => page.explanation(found),
    }
    let run = format::short_id(&subject.run_id);
    let title = match &subject.step_key {
        Some(step) => format!("Explain {step} of run {run}"),
        None => format!("Explain run {run}"),
    };
    (title, page.lines)
}

impl Page<'_> {
    /// Adds the reason for waiting, in its line of the details.
    pub(super) fn waits_for(&mut self, run_id: &str, step_key: Option<&str>) {
        let found = self.ctx.app.explanation_of(run_id, step_key);
        if let Some(first) = found.and_then(|found| found.reasons.first()) {
            self.field("waits for", &format!("{} (w: all)", first.text));
        }
    }

    /// Adds the usual duration of a running step, and whether it is late.
    pub(super) fn usual_time(&mut self, task: &TaskView) {
        let step_key = task.step_key.as_deref();
        let found = self.ctx.app.explanation_of(&task.run_id, step_key);
        let reasons = found.map(|found| found.reasons.as_slice());
        let mut reasons = reasons.unwrap_or_default().iter();
        if let Some(pace) = reasons.find(|reason| ["pace", "slow"].contains(&reason.kind.as_str()))
        {
            let label = if pace.kind == "slow" {
                "slow"
            } else {
                "usual time"
            };
            self.field(label, &pace.text);
        } else if let Some(usual) = task.beyond_usual {
            self.field("slow", &labels::beyond_usual(&usual));
        }
    }

    fn explanation(&mut self, found: &Explanation) {
        self.field("run", &found.run_id);
        self.field("job", &found.job);
        self.field("status", &found.status);
        if let Some(step) = &found.step_key {
            self.field("step", step);
        }
        self.heading(String::from(if found.waits {
            "Why it does not start"
        } else {
            "It does not wait"
        }));
        let bullet = |page: &Self| span(format!("{} ", page.ctx.glyphs.arrow), page.ctx.roles.dim);
        for reason in &found.reasons {
            let head = vec![bullet(self)];
            self.wrapped_text(head, &reason.text);
            for holder in reason.other_holders() {
                let head = vec![span("    ", self.ctx.roles.dim)];
                self.wrapped_text(head, &holder.text);
            }
        }
        if let Some(holder) = found.freeable().next() {
            let step = holder.step_key.as_deref().unwrap_or_default();
            self.paragraph(&format!(
                "F gives back the pool slot of {step}; it asks first."
            ));
        }
        if !found.steps.is_empty() {
            self.heading(String::from("Steps that wait"));
            for step in &found.steps {
                let head = vec![span(format!("{}  ", step.step_key), self.ctx.roles.strong)];
                self.wrapped_text(head, &step.reason);
            }
            self.paragraph(":run explain RUN STEP explains one step.");
        }
        if !found.unknown.is_empty() {
            self.heading(String::from("Not known"));
            for unknown in &found.unknown {
                let head = vec![bullet(self)];
                self.wrapped_text(head, unknown);
            }
        }
    }
}
