//! Details of a task: all its data, and the data followed while they are open.

use ratatui::text::Line;

use super::super::paint::span;
use super::{LOG_LINES, Page};
use crate::console::follow::Follow;
use crate::console::labels::{self, plural};
use crate::console::text;
use crate::console::view::steps;
use crate::domain::{LogLine, Phase, TaskView};

/// Number of output lines shown of each stream: the newest.
const OUTPUT_LINES: usize = 100;

impl Page<'_> {
    pub(in crate::console) fn task(&mut self, task: &TaskView) -> String {
        self.stack(task);
        self.state("state", self.ctx.phase(&task.phase));
        if let Some(reason) = labels::reason(&task.phase) {
            self.field("reason", reason);
        }
        self.field("run", &task.run_id);
        self.field("job", task.job.as_deref().unwrap_or("not in the message"));
        self.field("kind", task.kind.task_name());
        self.field("queue", &task.queue);
        self.field("priority", &task.priority.to_string());
        let attempt = if task.attempt == 0 {
            String::from("not in the message")
        } else {
            task.attempt.to_string()
        };
        self.field("attempt", &attempt);
        self.field(
            "received",
            &plural(usize::try_from(task.receive_count).unwrap_or(0), "time"),
        );
        self.time("sent at", task.sent_at);
        self.time("received at", Some(task.received_at));
        let (since, ended, pid) = match &task.phase {
            Phase::Held => (None, None, None),
            Phase::Running { since, pid } => (Some(*since), None, *pid),
            Phase::Done { at, started, .. } => (*started, Some(*at), None),
        };
        self.time("started at", since);
        self.time("ended at", ended);
        self.state("elapsed", self.ctx.elapsed(task));
        self.state("waited", self.ctx.waited(task));
        match task.phase {
            Phase::Held => self.waits_for(&task.run_id, task.step_key.as_deref()),
            Phase::Running { .. } => self.usual_time(task),
            Phase::Done { .. } => {}
        }
        self.field("worker", &task.worker);
        if let Some(pid) = pid {
            self.field("pid", &pid.to_string());
        }
        let mut workers = self.ctx.snapshot.workers.iter();
        if let Some(worker) = workers.find(|worker| worker.id == task.worker) {
            self.field("host", &worker.hostname);
        }
        self.uses(task);
        self.field("task id", &task.task_id);
        self.field("message id", &task.message_id);
        self.followed(task);
        let step = task.step_key.clone();
        let of_run = |line: &&LogLine| line.run_id.as_ref().is_some_and(|id| *id == task.run_id);
        self.logs(move |line| of_run(&line) && (step.is_none() || line.step_key == step));
        task.name().to_owned()
    }

    /// Adds the stack of the task's process, if it was requested.
    fn stack(&mut self, task: &TaskView) {
        let followed = self.ctx.app.followed.as_ref();
        let Some(follow) = followed.filter(|follow| follow.id == task.task_id) else {
            return;
        };
        match &follow.stack {
            None if follow.is_reading_stack() => self.paragraph("Reading the stack ..."),
            None => return,
            Some(Err(reason)) => self.field("no stack", reason),
            Some(Ok(report)) => {
                let at = self.ctx.clock(report.at);
                let heading = format!("Stack of process {}, {at}, {}", report.pid, report.by);
                self.lines
                    .push(Line::from(span(heading, self.ctx.roles.header)));
                if let Some(usual) = task.beyond_usual.filter(|_| task.is_late()) {
                    let elapsed = self.ctx.elapsed(task).to_string();
                    let elapsed = elapsed.trim_end_matches('!');
                    let usual = labels::beyond_usual(&usual);
                    self.wrapped_text(Vec::new(), &format!("{elapsed} so far. {usual}"));
                }
                for line in report.text.trim_end().lines() {
                    self.wrapped_text(Vec::new(), line);
                }
            }
        }
        self.lines.push(Line::default());
    }

    /// Adds what its processes use: as it was measured for these details, otherwise the last sample.
    fn uses(&mut self, task: &TaskView) {
        let followed = self.ctx.app.followed.as_ref();
        let measured = followed
            .filter(|follow| follow.id == task.task_id && task.is_running())
            .and_then(|follow| follow.usage.as_ref());
        let Some(measured) = measured else {
            if let Some(usage) = task.usage {
                let text = format!("{}% of a core, {}", usage.cpu_percent, steps::memory(usage));
                self.field("uses", &text);
            }
            return;
        };
        let [first, second] = labels::usage(measured);
        self.field("uses", &first);
        self.field("runs as", &second);
    }

    /// Adds the followed data of a task: Dagster's events, its output, its message.
    fn followed(&mut self, task: &TaskView) {
        let followed = self.ctx.app.followed.as_ref();
        let Some(follow) = followed.filter(|follow| follow.id == task.task_id) else {
            return;
        };
        self.events(follow, "");
        self.output(follow);
        self.message(follow);
    }

    /// Adds Dagster's events of the followed item; `which` is the end of the heading.
    pub(super) fn events(&mut self, follow: &Follow, which: &str) {
        self.heading(format!(
            "{} of it in Dagster's log{which}",
            plural(follow.events.len(), "event")
        ));
        if let Some(problem) = &follow.problem {
            self.field("not read", problem);
        }
        for event in &follow.events {
            let time = event.at.map(|at| self.ctx.clock(at)).unwrap_or_default();
            let kind = event.kind.as_deref().unwrap_or(&event.level);
            let style = if event.error.is_some() {
                self.ctx.roles.error
            } else {
                self.ctx.roles.info
            };
            let what = event.error.as_deref().unwrap_or(&event.message);
            let head = vec![
                span(format!("{time} "), self.ctx.roles.dim),
                span(format!("{:<21} ", text::clean(kind)), style),
            ];
            self.wrapped_text(head, what.trim());
        }
    }

    fn output(&mut self, follow: &Follow) {
        for (name, output) in [
            ("standard output", &follow.stdout),
            ("standard error", &follow.stderr),
        ] {
            let count = output.lines().count();
            if count > 0 {
                self.heading(name.to_owned());
                for line in output.lines().skip(count.saturating_sub(OUTPUT_LINES)) {
                    self.wrapped_text(Vec::new(), line);
                }
            }
        }
        if let Some(problem) = &follow.output_problem {
            self.heading(String::from("output"));
            self.field("not read", problem);
        }
    }

    fn message(&mut self, follow: &Follow) {
        match &follow.message {
            None => {}
            Some(Err(reason)) => {
                self.heading(String::from("message"));
                self.field("not shown", reason);
            }
            Some(Ok(body)) => {
                self.heading(String::from("message, secrets hidden"));
                for line in text::pretty(body).lines().take(LOG_LINES) {
                    self.wrapped_text(Vec::new(), line);
                }
            }
        }
    }
}
