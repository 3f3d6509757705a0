//! The row of a command: its name, risk, route, line in the audit log and on the command line. The
//! rows themselves are in [`super`].

use std::borrow::Cow;
use std::fmt::Display;

use serde::Deserialize;

use super::Command;

/// The program, as it is called.
const PROGRAM: &str = "dagster-taskiq-tui";

/// Number of ids that are written out on a command line.
const IDS: usize = 3;

/// Risk of a command: read-only mode refuses all but `Safe`, and the console asks before
/// `Destructive`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Danger {
    /// Changes nothing outside the console.
    Safe,
    /// Changes the pool's behaviour; nothing is lost.
    Disruptive,
    /// Interrupts work or removes messages.
    Destructive,
}

/// The addressee of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// The named worker, or every one.
    Worker,
    /// One worker that is subscribed to this queue; any one if it concerns several. Without a worker
    /// the console's own access to the queues.
    Queues(Option<&'a str>),
    /// Any single worker, through Dagster's storage.
    Storage,
    /// Any single worker, because workers agree on alarms.
    Alarms,
    /// Dagster's webserver.
    Dagster,
    /// The console itself, on its host.
    Console,
}

impl Command {
    /// The risk of the command.
    #[must_use]
    pub fn danger(&self) -> Danger {
        self.row("").danger
    }

    /// Its addressee.
    #[must_use]
    pub fn route(&self) -> Route<'_> {
        self.row("").route
    }

    /// Its name, for the audit log and for sentences: the words of the command line's command, and
    /// those of the console's.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        self.row("").verb
    }

    /// Its target, for the audit log. `worker` is the worker it is sent to.
    #[must_use]
    pub fn target(&self, worker: &str) -> String {
        self.row(worker).target
    }

    /// The command line with the same effect, if there is one. `worker` is the worker it is sent to.
    #[must_use]
    pub fn command_line(&self, worker: Option<&str>) -> Option<String> {
        self.row("").command_line(worker)
    }

    /// The queue it refers to.
    #[must_use]
    pub fn queue(&self) -> Option<&str> {
        match self.route() {
            Route::Queues(queue) => queue,
            _ => None,
        }
    }

    /// Whether a part of its effect, or its answer, is in Dagster's storage.
    #[must_use]
    pub fn is_in_storage(&self) -> bool {
        self.row("").is_in_storage
    }

    /// Whether its duration grows with the size of a queue.
    #[must_use]
    pub fn takes_long(&self) -> bool {
        self.row("").takes_long
    }
}

/// Everything about a command but its effect.
pub(super) struct Row<'a> {
    pub(super) verb: &'static str,
    pub(super) danger: Danger,
    pub(super) route: Route<'a>,
    /// What it is about, for the audit log.
    pub(super) target: String,
    /// Whether a part of its effect, or its answer, is in Dagster's storage.
    pub(super) is_in_storage: bool,
    /// Whether its duration grows with the size of a queue.
    pub(super) takes_long: bool,
    /// The words after its name on the command line; `None` if it has no equivalent there.
    words: Option<String>,
}

impl<'a> Row<'a> {
    pub(super) fn new(verb: &'static str, danger: Danger, route: Route<'a>) -> Self {
        Self {
            verb,
            danger,
            route,
            target: String::new(),
            is_in_storage: route == Route::Storage,
            takes_long: false,
            words: Some(String::new()),
        }
    }

    /// The row of a command that takes only a queue.
    pub(super) fn of_queue(verb: &'static str, danger: Danger, queue: &'a str) -> Self {
        Self::new(verb, danger, Route::Queues(Some(queue)))
            .about(format!("queue {queue}"))
            .words([queue])
    }

    pub(super) fn about(self, target: impl Into<String>) -> Self {
        let target = target.into();
        Self { target, ..self }
    }

    /// Sets the words after the name on the command line; empty ones are left out.
    pub(super) fn words<const N: usize>(self, words: [&str; N]) -> Self {
        let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
        let words = Some(words.join(" "));
        Self { words, ..self }
    }

    pub(super) fn without_words(self) -> Self {
        let words = None;
        Self { words, ..self }
    }

    pub(super) fn in_storage_if(self, is_in_storage: bool) -> Self {
        Self {
            is_in_storage,
            ..self
        }
    }

    pub(super) fn in_storage(self) -> Self {
        self.in_storage_if(true)
    }

    pub(super) fn long(self) -> Self {
        Self {
            takes_long: true,
            ..self
        }
    }

    /// The command line with the same effect. A worker is named last.
    pub(super) fn command_line(&self, worker: Option<&str>) -> Option<String> {
        let words = self.words.as_deref()?;
        let worker = worker.filter(|_| self.route == Route::Worker).map(quoted);
        let all = [
            PROGRAM,
            self.verb,
            words,
            worker.as_deref().unwrap_or_default(),
        ];
        let given = all.into_iter().filter(|word| !word.is_empty());
        Some(given.collect::<Vec<_>>().join(" "))
    }
}

/// A flag, if it is set.
pub(super) fn flag(is_set: bool, name: &str) -> &str {
    if is_set { name } else { "" }
}

/// A flag with its value, if there is one.
pub(super) fn option(name: &str, value: Option<&impl Display>) -> String {
    value.map_or_else(String::new, |value| format!("{name} {value}"))
}

/// The first of some ids, each after `before`, and an ellipsis if there are more.
pub(super) fn list(before: &str, ids: &[String]) -> String {
    let shown = ids.iter().take(IDS).map(|id| format!("{before}{id}"));
    let more = (ids.len() > IDS).then(|| String::from("…"));
    shown.chain(more).collect::<Vec<_>>().join(" ")
}

/// A word as a shell takes it: in quotation marks if it has characters that a shell interprets. An
/// operator copies the line, and names come from others.
#[must_use]
pub fn quoted(word: &str) -> String {
    let shell = shlex::Quoter::new().allow_nul(true);
    shell
        .quote(word)
        .map_or_else(|_| String::from("…"), Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_reach_a_shell_as_single_words() {
        for name in [
            "load",
            "it's",
            "a b; rm x",
            "$(x)",
            "`x`",
            "\"'\"",
            "größe",
            "",
            "x\ny",
        ] {
            let command = Command::FreeSlot {
                run_id: String::from("4f0c81aa"),
                step_key: name.to_owned(),
            };
            let line = command.command_line(None).unwrap_or_default();
            let words = [PROGRAM, "run", "free-slot", "4f0c81aa", name];
            let split = shlex::split(&line).unwrap_or_default();
            assert_eq!(split, words, "{line}");
        }
    }
}
