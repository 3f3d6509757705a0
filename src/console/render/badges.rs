//! States as a sign and a word, bars and gauges: small parts shared by several views.

use jiff::Timestamp;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::Ctx;
use super::paint::span;
use crate::console::format::{self, seconds_between};
use crate::console::labels;
use crate::console::throughput::ended_at;
use crate::domain::{
    ForkServerPhase, LogLevel, Phase, QueueRole, RunStatus, Slots, SourceHealth, TaskOutcome,
    TaskView, WorkerState,
};

/// A sign and a word in one style.
pub(in crate::console) fn signed(sign: &'static str, word: &str, style: Style) -> Line<'static> {
    Line::from(span(format!("{sign} {word}"), style))
}

impl<'a> Ctx<'a> {
    pub(in crate::console) fn phase(self, phase: &Phase) -> Line<'static> {
        let (sign, style) = self.phase_sign(phase);
        signed(sign, labels::phase(phase), style)
    }

    pub(in crate::console) fn phase_sign(self, phase: &Phase) -> (&'static str, Style) {
        let (glyphs, roles) = (self.glyphs, self.roles);
        match phase {
            Phase::Held => (glyphs.held, roles.held),
            Phase::Running { .. } => (glyphs.running, roles.running),
            Phase::Done { outcome, .. } => match outcome {
                TaskOutcome::Success => (glyphs.done, roles.ok),
                TaskOutcome::Failure { .. } | TaskOutcome::DeadLettered { .. } => {
                    (glyphs.down, roles.error)
                }
                TaskOutcome::UpForRetry { .. } => (glyphs.retry, roles.warn),
                TaskOutcome::Lost { .. } => (glyphs.warn, roles.warn),
                TaskOutcome::Skipped { .. }
                | TaskOutcome::Canceled
                | TaskOutcome::GivenBack { .. } => (glyphs.skipped, roles.dim),
            },
        }
    }

    pub(in crate::console) fn run_status(self, status: RunStatus) -> Line<'static> {
        let (glyphs, roles) = (self.glyphs, self.roles);
        let (sign, style) = match status {
            RunStatus::Success => (glyphs.done, roles.ok),
            RunStatus::Failure => (glyphs.down, roles.error),
            RunStatus::Started => (glyphs.running, roles.running),
            RunStatus::Canceling => (glyphs.warn, roles.warn),
            RunStatus::Canceled => (glyphs.skipped, roles.dim),
            RunStatus::Queued
            | RunStatus::NotStarted
            | RunStatus::Managed
            | RunStatus::Starting => (glyphs.held, roles.held),
        };
        signed(sign, labels::run_status(status), style)
    }

    pub(in crate::console) fn worker_sign(self, state: WorkerState) -> (&'static str, Style) {
        let (glyphs, roles) = (self.glyphs, self.roles);
        match state {
            WorkerState::Running => (glyphs.up, roles.ok),
            WorkerState::Starting => (glyphs.pending, roles.info),
            WorkerState::Paused => (glyphs.paused, roles.warn),
            WorkerState::Draining | WorkerState::Stopping => (glyphs.warn, roles.warn),
            WorkerState::Stopped => (glyphs.skipped, roles.dim),
            WorkerState::Lost => (glyphs.down, roles.error),
        }
    }

    pub(in crate::console) fn host_phase(self, phase: &ForkServerPhase) -> Line<'static> {
        let (glyphs, roles) = (self.glyphs, self.roles);
        let (sign, style) = match phase {
            ForkServerPhase::Ready => (glyphs.up, roles.ok),
            ForkServerPhase::Loading => (glyphs.pending, roles.info),
            ForkServerPhase::Draining => (glyphs.warn, roles.warn),
            ForkServerPhase::Failed(_) => (glyphs.down, roles.error),
        };
        signed(sign, labels::host_phase(phase), style)
    }

    pub(in crate::console) fn source_sign(self, health: &SourceHealth) -> (&'static str, Style) {
        let (glyphs, roles) = (self.glyphs, self.roles);
        match health {
            SourceHealth::Up => (glyphs.up, roles.ok),
            SourceHealth::Connecting => (glyphs.pending, roles.info),
            SourceHealth::Absent => (glyphs.skipped, roles.dim),
            SourceHealth::Down { .. } | SourceHealth::Failing { .. } => (glyphs.down, roles.error),
        }
    }

    pub(in crate::console) fn level(self, level: LogLevel) -> (&'static str, Style) {
        let roles = self.roles;
        match level {
            LogLevel::Trace => ("TRACE", roles.dim),
            LogLevel::Debug => ("DEBUG", roles.dim),
            LogLevel::Info => ("INFO", roles.info),
            LogLevel::Warn => ("WARN", roles.warn),
            LogLevel::Error => ("ERROR", roles.error),
        }
    }

    /// Duration of a task's run, or of its wait.
    pub(in crate::console) fn elapsed(self, task: &TaskView) -> Line<'static> {
        let roles = self.roles;
        match &task.phase {
            Phase::Running { since, .. } => {
                let elapsed = format::duration(seconds_between(*since, self.now));
                Line::from(if task.beyond_usual.is_some() {
                    // A sign, for terminals without colours.
                    span(format!("{elapsed}!"), roles.warn)
                } else {
                    span(elapsed, roles.strong)
                })
            }
            Phase::Done {
                at,
                started: Some(started),
                ..
            } => Line::from(format::span(*started, *at)),
            Phase::Held | Phase::Done { started: None, .. } => {
                Line::from(span(self.glyphs.unknown, roles.dim))
            }
        }
    }

    /// Time that a task waited for its start, in queue and worker; for a held one, until now.
    pub(in crate::console) fn waited(self, task: &TaskView) -> Line<'static> {
        let sent = task.sent_at.unwrap_or(task.received_at);
        let text = match &task.phase {
            Phase::Held => format::duration(seconds_between(sent, self.now)),
            Phase::Running { since, .. } => format::span(sent, *since),
            Phase::Done {
                started: Some(started),
                ..
            } => format::span(sent, *started),
            Phase::Done { started: None, .. } => self.glyphs.unknown.to_owned(),
        };
        Line::from(span(text, self.roles.dim))
    }

    /// The time of day a task ended.
    pub(in crate::console) fn ended(self, task: &TaskView) -> String {
        ended_at(task).map_or_else(String::new, |at| self.clock(at))
    }

    pub(in crate::console) fn clock(self, at: Timestamp) -> String {
        format::clock(at, &self.app.setup.zone)
    }

    /// A figure that SQS only estimates, or the sign for an unknown one.
    pub(in crate::console) fn about(self, n: Option<u64>, style: Style) -> Line<'static> {
        match n {
            None => Line::from(span(self.glyphs.unknown, self.roles.dim)),
            Some(0) => Line::from(span("~0", self.roles.dim)),
            Some(n) => Line::from(span(format!("~{}", format::count(n)), style)),
        }
    }

    /// An exact figure; zero is dim.
    pub(in crate::console) fn exact(self, n: u64, style: Style) -> Span<'static> {
        span(
            format::count(n),
            if n == 0 { self.roles.dim } else { style },
        )
    }

    /// A bar of `width` columns, filled by `value` of `max`.
    pub(in crate::console) fn bar(
        self,
        value: u64,
        max: u64,
        width: u16,
        style: Style,
    ) -> Line<'static> {
        let eighths = u64::from(width) * 8;
        let filled = value
            .min(max)
            .saturating_mul(eighths)
            .checked_div(max)
            .unwrap_or(0);
        // A value above zero has at least one cell.
        let filled = if value > 0 { filled.max(1) } else { 0 };
        let (full, part) = (filled / 8, filled % 8);
        let mut bar = self
            .glyphs
            .bar_full
            .repeat(usize::try_from(full).unwrap_or(0));
        if let Some(index) = usize::try_from(part)
            .ok()
            .and_then(|part| part.checked_sub(1))
        {
            bar.push_str(self.glyphs.bar_parts[index]);
        }
        Line::from(span(bar, style))
    }

    /// Slots as signs if they fit in `width`, else as a figure; with their bounds if those fit.
    pub(in crate::console) fn slots(self, slots: Slots, width: u16) -> Line<'static> {
        let roles = self.roles;
        let whole = slots.to_string();
        let figure = if whole.len() <= usize::from(width) {
            whole
        } else {
            format!("{}/{}", slots.busy, slots.target)
        };
        let free = slots.target.saturating_sub(slots.busy);
        let taken = usize::try_from(slots.busy).unwrap_or(usize::MAX);
        let shown = slots.busy.max(slots.target);
        let mut spans = Vec::new();
        let room = u32::from(width).saturating_sub(u32::try_from(figure.len()).unwrap_or(0).max(5));
        if shown < room {
            let free = usize::try_from(free).unwrap_or(0);
            spans.push(span(self.glyphs.slot_busy.repeat(taken), roles.gauge));
            spans.push(span(self.glyphs.slot_free.repeat(free), roles.gauge_empty));
            spans.push(Span::raw(" "));
        }
        spans.push(span(
            figure,
            if free == 0 && shown > 0 {
                roles.warn
            } else {
                roles.text
            },
        ));
        Line::from(spans)
    }

    /// A queue's short name, by its role in the set.
    pub(in crate::console) fn queue_label(self, queue: &str) -> &'a str {
        let view = self.snapshot.queues.iter().find(|view| view.name == queue);
        match view.map(|view| &view.role) {
            Some(QueueRole::Base) => "base",
            Some(QueueRole::Runs) => "runs",
            Some(QueueRole::Band(name) | QueueRole::Named(name)) => name,
            Some(QueueRole::DeadLetter) => "dead",
            None => "other",
        }
    }
}
