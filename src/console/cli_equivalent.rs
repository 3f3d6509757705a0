//! The command line equivalent to a dialog's action, for use in a script.

use crate::domain::Command;

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
