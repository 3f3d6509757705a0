//! Steps and run workers: in flight first, then those that ended.

use std::borrow::Cow;
use std::sync::Arc;

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::table::{Table, TableColumn};
use crate::console::render::Ctx;
use crate::console::render::detail::Page;
use crate::console::render::paint::span;
use crate::console::rows::{RowId, task_at};
use crate::console::shown::Shown;
use crate::console::throughput::ended_at;
use crate::console::{format, labels, text};
use crate::domain::{Phase, TaskView, Timestamp, Usage};

/// The view of steps.
pub(super) struct Steps;

type Column = TableColumn<Steps>;

impl Table for Steps {
    type Row<'a> = &'a TaskView;

    const TITLE: &'static str = "Steps";

    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "a method is for one lifetime of `Ctx`, a cell for all of them"
    )]
    const COLUMNS: &'static [Column] = &[
        Column::unseen("SINCE").sort_first(|_, a, b| since(a).cmp(&since(b))),
        Column::new("STATE", 11, 0, |ctx, task| ctx.phase(&task.phase))
            .grow(13)
            .sort(|_, a, b| labels::phase(&a.phase).cmp(labels::phase(&b.phase)))
            .filter("status", |_, task| {
                Some(Cow::Borrowed(labels::phase(&task.phase)))
            }),
        Column::new("STEP", 16, 0, |ctx, task| {
            let is_over = matches!(task.phase, Phase::Done { .. });
            let style = if is_over {
                ctx.roles.text
            } else {
                ctx.roles.strong
            };
            Line::from(span(text::clean(task.name()), style))
        })
        .grow(48)
        .sort(|_, a, b| a.name().cmp(b.name()))
        .filter("step", |_, task| Some(Cow::Borrowed(task.name()))),
        Column::new("ELAPSED", 8, 0, |ctx, task| ctx.elapsed(task))
            .right()
            .sort(|_, a, b| elapsed(a).cmp(&elapsed(b))),
        Column::new("WAITED", 8, 4, |ctx, task| ctx.waited(task))
            .right()
            .sort(|_, a, b| waited(a).cmp(&waited(b))),
        Column::new("PRIO", 4, 2, |_, task| {
            Line::from(task.priority.to_string())
        })
        .right()
        .sort(|_, a, b| a.priority.cmp(&b.priority))
        .filter("prio", |_, task| {
            Some(Cow::Owned(task.priority.to_string()))
        }),
        Column::new("TRY", 3, 5, |ctx, task| {
            let attempt = if task.attempt == 0 {
                ctx.glyphs.unknown.to_owned()
            } else {
                task.attempt.to_string()
            };
            Line::from(span(attempt, repeated(ctx, task.attempt)))
        })
        .right()
        .sort(|_, a, b| a.attempt.cmp(&b.attempt)),
        Column::new("JOB", 12, 1, |_, task| {
            Line::from(task.job.as_deref().unwrap_or_default())
        })
        .grow(28)
        .sort(|_, a, b| a.job.cmp(&b.job))
        .filter("job", |_, task| task.job.as_deref().map(Cow::Borrowed)),
        Column::new("RUN", 8, 3, |ctx, task| {
            Line::from(span(format::short_id(&task.run_id), ctx.roles.dim))
        })
        .sort(|_, a, b| a.run_id.cmp(&b.run_id))
        .filter("run", |_, task| Some(Cow::Borrowed(&task.run_id))),
        Column::new("QUEUE", 6, 6, |ctx, task| {
            Line::from(span(ctx.queue_label(&task.queue), ctx.roles.dim))
        })
        .grow(12)
        .sort(|_, a, b| a.queue.cmp(&b.queue))
        .filter("queue", |_, task| Some(Cow::Borrowed(&task.queue))),
        Column::new("CPU", 5, 7, |_, task| {
            Line::from(cpu(task).map_or_else(String::new, |percent| format!("{percent}%")))
        })
        .right()
        .sort(|_, a, b| cpu(a).cmp(&cpu(b))),
        Column::new("MEMORY", 8, 7, |_, task| {
            Line::from(usage(task).map_or_else(String::new, memory))
        })
        .right()
        .sort(|_, a, b| {
            let mebibytes = |task| usage(task).map(|usage| usage.memory_mib);
            mebibytes(a).cmp(&mebibytes(b))
        }),
        Column::new("PID", 7, 8, |ctx, task| {
            let pid = pid(task).map_or_else(String::new, |pid| pid.to_string());
            Line::from(span(pid, ctx.roles.dim))
        })
        .right()
        .sort(|_, a, b| pid(a).cmp(&pid(b))),
        Column::new("RECV", 4, 9, |ctx, task| {
            let style = repeated(ctx, task.receive_count);
            Line::from(span(task.receive_count.to_string(), style))
        })
        .right()
        .sort(|_, a, b| a.receive_count.cmp(&b.receive_count)),
        Column::new("ENDED", 8, 5, |ctx, task| {
            Line::from(span(ctx.ended(task), ctx.roles.dim))
        })
        .sort(|_, a, b| ended_at(a).cmp(&ended_at(b))),
        Column::new("WORKER", 12, 7, |ctx, task| {
            Line::from(span(task.worker.as_str(), ctx.roles.dim))
        })
        .grow(28)
        .sort(|_, a, b| a.worker.cmp(&b.worker))
        .filter("worker", |_, task| Some(Cow::Borrowed(&task.worker))),
        Column::new("HOST", 12, 10, |ctx, task| {
            let mut workers = ctx.snapshot.workers.iter();
            let worker = workers.find(|worker| worker.id == task.worker);
            let host = worker.map(|worker| worker.hostname.as_str());
            Line::from(span(host.unwrap_or_default(), ctx.roles.dim))
        })
        .grow(24),
    ];

    fn total(shown: &Shown) -> usize {
        shown.tasks.len() + shown.recent.len()
    }

    fn row(shown: &Shown, index: usize) -> Option<&TaskView> {
        task_at(shown, index)
    }

    fn is_same(one: &Shown, other: &Shown) -> bool {
        Arc::ptr_eq(&one.tasks, &other.tasks) && Arc::ptr_eq(&one.recent, &other.recent)
    }

    fn id(task: Self::Row<'_>) -> RowId<'_> {
        RowId::Id(&task.task_id)
    }

    fn haystack(task: &TaskView) -> String {
        [
            task.name(),
            task.job.as_deref().unwrap_or_default(),
            &task.run_id,
            &task.queue,
            &task.worker,
            labels::phase(&task.phase),
            labels::reason(&task.phase).unwrap_or_default(),
        ]
        .join(" ")
    }

    fn about(task: &TaskView) -> String {
        match &task.step_key {
            Some(step) => format!("step {step} of run {}", task.run_id),
            None => format!("run {}", task.run_id),
        }
    }

    fn empty(_ctx: Ctx) -> &'static str {
        "No steps yet. Press l to launch a run."
    }

    fn tab_count(ctx: Ctx) -> Option<Span<'static>> {
        let n = u64::try_from(ctx.snapshot.tasks.len()).unwrap_or(u64::MAX);
        (n > 0).then(|| ctx.exact(n, ctx.roles.running))
    }

    fn detail(page: &mut Page, task: &TaskView) -> String {
        page.task(task)
    }
}

/// Style of a count that is 1 as long as nothing went wrong.
fn repeated(ctx: Ctx, count: u32) -> Style {
    if count > 1 {
        ctx.roles.warn
    } else {
        ctx.roles.dim
    }
}

/// Usage of a task; only a running one has it.
fn usage(task: &TaskView) -> Option<Usage> {
    task.usage.filter(|_| task.is_running())
}

fn cpu(task: &TaskView) -> Option<u32> {
    usage(task).map(|usage| usage.cpu_percent)
}

pub(in crate::console) fn memory(usage: Usage) -> String {
    format::bytes(usage.memory_mib * 1024 * 1024)
}

/// Duration of a task; running ones have the longest, the longer the earlier they began.
fn elapsed(task: &TaskView) -> (u8, i64) {
    match &task.phase {
        Phase::Running { since, .. } => (2, -since.as_millisecond()),
        Phase::Done {
            at,
            started: Some(started),
            ..
        } => (1, at.as_millisecond() - started.as_millisecond()),
        Phase::Held | Phase::Done { started: None, .. } => (0, 0),
    }
}

/// Time that a task waited for its start, likewise.
fn waited(task: &TaskView) -> (u8, i64) {
    let sent = task.sent_at.unwrap_or(task.received_at).as_millisecond();
    match &task.phase {
        Phase::Held => (2, -sent),
        Phase::Running { since: start, .. }
        | Phase::Done {
            started: Some(start),
            ..
        } => (1, start.as_millisecond() - sent),
        Phase::Done { started: None, .. } => (0, 0),
    }
}

/// Process id of a task; only a running one has it.
fn pid(task: &TaskView) -> Option<u32> {
    match task.phase {
        Phase::Running { pid, .. } => pid,
        _ => None,
    }
}

/// Running before held before ended, each by the moment it began.
fn since(task: &TaskView) -> (u8, Timestamp) {
    match &task.phase {
        Phase::Running { since, .. } => (0, *since),
        Phase::Held => (1, task.received_at),
        Phase::Done { at, .. } => (2, *at),
    }
}
