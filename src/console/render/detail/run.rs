//! Details of a run: its steps over time, its events in Dagster's log, its configuration.

use ratatui::text::Line;

use super::super::gantt;
use super::super::paint::span;
use super::{LOG_LINES, Page};
use crate::console::follow::Follow;
use crate::console::labels::{self, plural};
use crate::console::view::runs;
use crate::console::{format, text};
use crate::domain::{RunView, TaskView};

impl Page<'_> {
    pub(in crate::console) fn run(&mut self, run: &RunView) -> String {
        self.state("status", self.ctx.run_status(run.status));
        self.field("run", &run.run_id);
        self.field("job", &run.job);
        let total = run
            .steps_total
            .map_or_else(String::new, |total| format!(" of {total}"));
        let text = format!(
            "{}{total} succeeded, {} failed",
            run.steps_succeeded, run.steps_failed
        );
        self.field("steps", &text);
        if let Some(priority) = run.priority {
            self.field("priority", &priority.to_string());
        }
        if let Some(partition) = run.partition() {
            self.field("partition", partition);
        }
        if let Some(by) = run.launched_by() {
            self.field("launched by", &by);
        }
        if !run.assets.is_empty() {
            self.field("assets", &run.assets.join(", "));
        }
        if !run.tags.is_empty() {
            let tags: Vec<String> = run.written_tags().collect();
            self.field("tags", &tags.join(" "));
        }
        self.time("created at", run.created_at);
        self.time("started at", run.started_at);
        self.time("ended at", run.ended_at);
        self.field("duration", &runs::duration(self.ctx, run));
        self.waits_for(&run.run_id, None);
        let snapshot = self.ctx.snapshot;
        let tasks: Vec<&TaskView> = snapshot
            .tasks
            .iter()
            .chain(snapshot.recent.iter())
            .filter(|task| task.run_id == run.run_id)
            .collect();
        let followed = self.ctx.app.followed.as_ref();
        let followed = followed.filter(|follow| follow.id == run.run_id);
        if let Some(known) = followed.and_then(|follow| follow.run.as_ref()) {
            self.heading(plural(known.steps.len(), "step"));
            let (ctx, width) = (self.ctx, self.width);
            let ended = run.ended_at.filter(|_| run.status.is_finished());
            let lines = gantt::of_run(ctx, &known.steps, &tasks, ended, width);
            self.lines.extend(lines);
        } else {
            self.heading(format!("{} of it here", plural(tasks.len(), "task")));
            self.lines
                .extend(gantt::of_tasks(self.ctx, &tasks, self.width));
        }
        for task in tasks {
            if let Some(reason) = labels::reason(&task.phase) {
                let text = format!("{}: {reason}", task.name());
                self.field(labels::phase(&task.phase), &text);
            }
        }
        if let Some(follow) = followed {
            self.events(follow, ": the run's own, and errors");
            self.config(follow);
        }
        self.logs(|line| line.run_id.as_ref().is_some_and(|id| *id == run.run_id));
        format!("Run {}", format::short_id(&run.run_id))
    }

    fn config(&mut self, follow: &Follow) {
        let Some(known) = &follow.run else { return };
        let config = known.config.trim_end();
        if config.is_empty() || config == "{}" {
            return;
        }
        self.heading(String::from("run configuration"));
        for line in config.lines().take(LOG_LINES) {
            let line = text::clean(line).into_owned();
            self.lines.push(Line::from(span(line, self.ctx.roles.text)));
        }
    }
}
