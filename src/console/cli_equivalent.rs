//! The command line equivalent to a dialog's action, for use in a script.

use crate::domain::{Command, FailureGroup, quoted};

/// Lines for a dialog: the first command's equivalent, and a note if there are more.
pub(super) fn twins<'a>(
    commands: impl Iterator<Item = (Option<&'a str>, &'a Command)>,
) -> Vec<String> {
    let all: Vec<String> = commands
        .filter_map(|(worker, command)| command.command_line(worker))
        .collect();
    match all.as_slice() {
        [] => Vec::new(),
        [one] => vec![format!("$ {one}")],
        [first, more @ ..] => vec![format!("$ {first}  (and {} more)", more.len())],
    }
}

/// The line for a command on groups of failures, with `more` after it. The command line takes one
/// group at a time.
pub(super) fn of_groups(command: &str, groups: &[FailureGroup], more: &str) -> String {
    let [FailureGroup { class, job, .. }] = groups else {
        return format!("$ dagster-taskiq-tui {command} --group …");
    };
    let job = if job.is_empty() {
        String::new()
    } else {
        format!(" --job {}", quoted(job))
    };
    let class = quoted(class);
    format!("$ dagster-taskiq-tui {command} --group {class}{job}{more}")
}
