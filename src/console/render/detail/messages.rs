//! Data about queues and messages: attributes, pairing, and messages from peeks.

use jiff::Timestamp;
use ratatui::text::Line;

use super::Page;
use crate::console::format::{self, coarse_age, seconds_between};
use crate::console::labels::plural;
use crate::console::render::paint::span;
use crate::console::text;
use crate::console::view::dead_letters::size;
use crate::domain::{Peek, PeekedMessage, QueueDetail, QueueView};

/// The attribute with a queue's creation time, in Unix seconds.
const CREATED: &str = "CreatedTimestamp";

/// Attributes that are shown in words already, or are not of interest.
const HIDDEN_ATTRIBUTES: [&str; 7] = [
    CREATED,
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesDelayed",
    "ApproximateNumberOfMessagesNotVisible",
    "QueueArn",
    "RedrivePolicy",
    "LastModifiedTimestamp",
];

/// Columns for the longest shown name of an attribute, and a space.
const NAME: usize = 28;

impl Page<'_> {
    /// Adds the data that were received about a queue when its details were opened.
    pub(super) fn queue_data(&mut self, queue: &QueueView) {
        let messages = self.ctx.app.messages();
        if let Some(detail) = messages.details.get(&queue.name) {
            self.pairing(detail);
        }
        if let Some(problem) = messages.problems.get(&queue.name) {
            self.field("problem", problem);
        }
        match messages.peeks.get(&queue.name) {
            Some(peek) => self.peek(peek),
            None if messages.only_by_receiving.contains(&queue.name) => {
                self.heading(String::from("Messages"));
                self.paragraph(
                    "Only receiving them shows them, and raises their receive counts: m does so, and asks first.",
                );
            }
            None => {}
        }
        if let Some(detail) = messages.details.get(&queue.name) {
            self.attributes(detail);
        }
    }

    pub(super) fn paragraph(&mut self, words: &str) {
        for part in text::wrap(words, self.width.max(8)) {
            self.lines
                .push(Line::from(span(part.to_owned(), self.ctx.roles.dim)));
        }
    }

    fn pairing(&mut self, detail: &QueueDetail) {
        let made = detail.attributes.iter().find(|(name, _)| name == CREATED);
        let made = made.and_then(|(_, at)| Timestamp::from_second(at.parse().ok()?).ok());
        self.time("made at", made);
        match &detail.redrive {
            Some(policy) => self.field(
                "dead-letter",
                &format!("to {} after {} receives", policy.queue, policy.max_receives),
            ),
            None if detail.sources.is_empty() => {
                self.field("dead-letter", "none: what is received too often stays");
            }
            None => {}
        }
        if !detail.sources.is_empty() {
            self.field(
                "it is for",
                &format!("dead letters of {}", detail.sources.join(", ")),
            );
        }
    }

    fn peek(&mut self, peek: &Peek) {
        let age = seconds_between(peek.at, self.ctx.now);
        let when = if age < 10 {
            String::from("now")
        } else {
            format!("{} ago", coarse_age(age))
        };
        let more = if peek.more { ", the first of more" } else { "" };
        let count = plural(peek.messages.len(), "message");
        self.heading(format!("{count}, seen {when}{more}"));
        for message in &peek.messages {
            self.message_line(message);
        }
    }

    /// Adds a message in one line: its task, run and state.
    fn message_line(&mut self, message: &PeekedMessage) {
        let (ctx, roles) = (self.ctx, self.ctx.roles);
        let age = message
            .sent_at
            .map_or_else(String::new, |at| coarse_age(seconds_between(at, ctx.now)));
        let mut spans = vec![
            span(format!("{age:>4}  "), roles.dim),
            span(text::clean(message.name()).into_owned(), roles.strong),
        ];
        if let Some(task) = &message.envelope {
            let job = task.job.as_deref().unwrap_or("?");
            let text = format!(
                "  {}  run {}  prio {}  attempt {}",
                text::clean(job),
                text::clean(format::short_id(&task.run_id)),
                task.priority,
                task.attempt,
            );
            spans.push(span(text, roles.text));
        } else {
            let problem = message.problem.as_deref().unwrap_or_default();
            spans.push(span(format!("  {}", text::clean(problem)), roles.warn));
        }
        let fared = format!(
            "  {}, received {}",
            message.stage.word(),
            message.receive_count
        );
        spans.push(span(fared, roles.dim));
        self.lines.push(Line::from(spans));
    }

    fn attributes(&mut self, detail: &QueueDetail) {
        self.heading(String::from("Attributes"));
        let roles = self.ctx.roles;
        let shown = detail
            .attributes
            .iter()
            .filter(|(name, _)| !HIDDEN_ATTRIBUTES.contains(&name.as_str()));
        let tags = detail
            .tags
            .iter()
            .map(|(key, value)| (format!("tag {key}"), value));
        let all = shown.map(|(name, value)| (name.clone(), value)).chain(tags);
        for (name, value) in all {
            let name = text::clean(&name).into_owned();
            self.lines.push(Line::from(vec![
                span(format!("{name:<NAME$} "), roles.dim),
                span(text::clean(value).into_owned(), roles.text),
            ]));
        }
        for problem in &detail.unknown {
            self.field("unknown", problem);
        }
    }

    /// Adds a whole message.
    pub(in crate::console) fn letter(&mut self, letter: &PeekedMessage) -> String {
        if let Some(reason) = &letter.reason {
            self.field("reason", reason);
        }
        // A problem found by this console, if no worker has dead-lettered the message for it.
        if let Some(problem) = &letter.problem
            && letter.reason.as_ref() != Some(problem)
        {
            self.field("problem", problem);
        }
        self.field("queue", &letter.queue);
        self.field("came from", letter.source.as_deref().unwrap_or("unknown"));
        self.field("stage", letter.stage.word());
        self.field(
            "received",
            &plural(usize::try_from(letter.receive_count).unwrap_or(0), "time"),
        );
        self.time("sent at", letter.sent_at);
        if let Some(task) = &letter.envelope {
            self.field("kind", task.kind.task_name());
            self.field("run", &task.run_id);
            self.field("job", task.job.as_deref().unwrap_or("unknown"));
            self.field("priority", &task.priority.to_string());
            self.field("attempt", &task.attempt.to_string());
            self.field("task id", &task.task_id);
        }
        self.field("message id", &letter.message_id);
        if let Some(group) = &letter.group {
            self.field("group", group);
        }
        for (name, value) in &letter.attributes {
            self.field("attribute", &format!("{name} = {value}"));
        }
        let place = if letter.offloaded { ", from S3" } else { "" };
        self.heading(format!(
            "Body, {}{place}; secrets are hidden",
            size(letter.body_bytes)
        ));
        match &letter.body {
            Some(body) => self.body(body),
            None => {
                self.paragraph(
                    "It is too large to be carried here: `queue peek --body` prints it.",
                );
            }
        }
        letter.name().to_owned()
    }

    fn body(&mut self, body: &str) {
        let pretty = text::pretty(body);
        for line in pretty.lines() {
            let clean = text::clean(line).into_owned();
            for part in text::wrap(&clean, self.width.max(8)) {
                self.lines
                    .push(Line::from(span(part.to_owned(), self.ctx.roles.text)));
            }
        }
    }
}
