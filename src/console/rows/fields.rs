//! Filter fields of each kind of row.

use std::borrow::Cow;

use crate::console::filter::Searchable;
use crate::console::labels;
use crate::console::view::View;
use crate::domain::{
    AuditEntry, DagsterPart, FailureGroup, LogLine, PeekedMessage, QueueView, RunView, TaskView,
};

/// The fields that the rows of a view have.
#[must_use]
pub fn fields(view: View) -> &'static [&'static str] {
    match view {
        View::Overview | View::Steps => {
            &["queue", "status", "run", "job", "step", "worker", "prio"]
        }
        View::Queues => &["queue", "status"],
        View::Runs => &[
            "status",
            "run",
            "job",
            "prio",
            "tag",
            "partition",
            "asset",
            "by",
        ],
        View::Workers => &["worker", "host", "status"],
        View::Logs => &["level", "run", "step", "worker"],
        View::DeadLetters => &["queue", "status", "run", "job", "step", "prio"],
        View::Audit => &["host", "status"],
        View::Dagster => &["kind", "status"],
        View::Failures => &["status", "job", "step", "worker", "run"],
    }
}

impl Searchable for TaskView {
    fn field(&self, name: &str) -> Option<Cow<'_, str>> {
        match name {
            "queue" => Some(Cow::Borrowed(&self.queue)),
            "status" => Some(Cow::Borrowed(labels::phase(&self.phase))),
            "run" => Some(Cow::Borrowed(&self.run_id)),
            "job" => self.job.as_deref().map(Cow::Borrowed),
            "step" => Some(Cow::Borrowed(self.name())),
            "worker" => Some(Cow::Borrowed(&self.worker)),
            "prio" => Some(Cow::Owned(self.priority.to_string())),
            _ => None,
        }
    }

    fn haystack(&self) -> String {
        [
            self.name(),
            self.job.as_deref().unwrap_or_default(),
            &self.run_id,
            &self.queue,
            &self.worker,
            labels::phase(&self.phase),
            labels::reason(&self.phase).unwrap_or_default(),
        ]
        .join(" ")
    }
}

impl Searchable for RunView {
    fn field(&self, name: &str) -> Option<Cow<'_, str>> {
        match name {
            "status" => {
                let word = labels::run_status(self.status);
                // Two words for it, so that all of them can be selected at once.
                Some(if self.status.is_finished() {
                    Cow::Borrowed(word)
                } else {
                    Cow::Owned(format!("{word} unfinished"))
                })
            }
            "run" => Some(Cow::Borrowed(&self.run_id)),
            "job" => Some(Cow::Borrowed(&self.job)),
            "prio" => Some(Cow::Owned(self.priority?.to_string())),
            "tag" => Some(Cow::Owned(
                self.written_tags().collect::<Vec<_>>().join("\n"),
            )),
            "partition" => self.partition().map(Cow::Borrowed),
            "asset" if !self.assets.is_empty() => Some(Cow::Owned(self.assets.join("\n"))),
            "by" => self.launched_by().map(Cow::Owned),
            _ => None,
        }
    }

    fn haystack(&self) -> String {
        let tags = self.written_tags().collect::<Vec<_>>().join(" ");
        let assets = self.assets.join(" ");
        let status = labels::run_status(self.status);
        [&self.run_id, &self.job, status, &tags, &assets].join(" ")
    }
}

impl Searchable for QueueView {
    fn field(&self, name: &str) -> Option<Cow<'_, str>> {
        match name {
            "queue" => Some(Cow::Borrowed(&self.name)),
            "status" => Some(Cow::Borrowed(if self.error.is_some() {
                "error"
            } else {
                "ok"
            })),
            _ => None,
        }
    }

    fn haystack(&self) -> String {
        let error = self.error.as_deref().unwrap_or_default();
        [&self.url, labels::queue_role(&self.role).as_ref(), error].join(" ")
    }
}

impl Searchable for LogLine {
    fn field(&self, name: &str) -> Option<Cow<'_, str>> {
        match name {
            "level" => Some(Cow::Borrowed(labels::level(self.level))),
            "run" => self.run_id.as_deref().map(Cow::Borrowed),
            "step" => self.step_key.as_deref().map(Cow::Borrowed),
            "worker" => self.worker.as_deref().map(Cow::Borrowed),
            _ => None,
        }
    }

    fn haystack(&self) -> String {
        let step = self.step_key.as_deref().unwrap_or_default();
        [&self.target, step, &self.message].join(" ")
    }
}

impl Searchable for PeekedMessage {
    fn field(&self, name: &str) -> Option<Cow<'_, str>> {
        let task = self.envelope.as_ref();
        match name {
            "queue" => Some(Cow::Borrowed(&self.queue)),
            "status" => Some(Cow::Borrowed(self.stage.word())),
            "run" => Some(Cow::Borrowed(&task?.run_id)),
            "job" => task?.job.as_deref().map(Cow::Borrowed),
            "step" => Some(Cow::Borrowed(self.name())),
            "prio" => Some(Cow::Owned(task?.priority.to_string())),
            _ => None,
        }
    }

    fn haystack(&self) -> String {
        let task = self.envelope.as_ref();
        [
            self.name(),
            self.reason.as_deref().unwrap_or_default(),
            self.problem.as_deref().unwrap_or_default(),
            task.and_then(|task| task.job.as_deref())
                .unwrap_or_default(),
            task.map(|task| task.run_id.as_str()).unwrap_or_default(),
            &self.queue,
            self.source.as_deref().unwrap_or_default(),
            &self.message_id,
        ]
        .join(" ")
    }
}

impl Searchable for AuditEntry {
    fn field(&self, name: &str) -> Option<Cow<'_, str>> {
        match name {
            "status" => Some(Cow::Borrowed(if self.done { "done" } else { "failed" })),
            "host" => Some(Cow::Borrowed(&self.host)),
            _ => None,
        }
    }

    fn haystack(&self) -> String {
        [
            self.user.as_str(),
            &self.from,
            &self.host,
            &self.verb,
            &self.target,
            &self.text,
            self.reason.as_deref().unwrap_or_default(),
        ]
        .join(" ")
    }
}

impl Searchable for FailureGroup {
    fn field(&self, name: &str) -> Option<Cow<'_, str>> {
        let words = |words: Vec<&str>| (!words.is_empty()).then(|| Cow::Owned(words.join(" ")));
        match name {
            "status" => Some(Cow::Borrowed(self.kind.word())),
            "job" => Some(Cow::Borrowed(&self.job)),
            "step" => words(self.steps.iter().map(String::as_str).collect()),
            "worker" => words(self.hosts.iter().map(String::as_str).collect()),
            "run" => {
                let runs = self.members.iter();
                words(runs.map(|member| member.run_id.as_str()).collect())
            }
            _ => None,
        }
    }

    fn haystack(&self) -> String {
        [self.kind.word(), &self.class, &self.job, &self.example].join(" ")
    }
}

impl Searchable for DagsterPart {
    fn field(&self, name: &str) -> Option<Cow<'_, str>> {
        match name {
            "kind" => Some(Cow::Borrowed(self.kind.word())),
            "status" => Some(Cow::Borrowed(&self.state)),
            _ => None,
        }
    }

    fn haystack(&self) -> String {
        [
            self.kind.word(),
            &self.name,
            &self.location,
            &self.state,
            &self.result,
            &self.detail,
            self.error.as_deref().unwrap_or_default(),
        ]
        .join(" ")
    }
}
