//! The command table: every key, `:` name, hint and help line of the console is a row here.
//!
//! A key that is not in the table does not exist, except inside an input line, a dialog or a list
//! that lies over the view, which show their own keys.

use std::fmt::Write;

use jiff::Timestamp;

use super::app::{App, Effect};
use super::key::{self, Key};
use super::view::View;
use crate::domain::Danger;

mod row;
mod table;

pub use table::COMMANDS;

/// Carries out a command. It gets the argument after the command's name in `:`, and the effects to
/// add to.
pub type Handler = fn(&mut App, &str, Timestamp, &mut Vec<Effect>);

/// Function of a command. Those that pages and dialogs treat in their own way have a name.
#[derive(Clone, Copy, Debug)]
pub enum Verb {
    /// Show a view.
    Show(View),
    /// Move the cursor.
    Move(Motion),
    /// Details of the row under the cursor.
    Open,
    /// One step back: close the overlay, else clear the filter, else the overview.
    Back,
    /// Copy the id under the cursor.
    Copy,
    /// All alarms.
    Alarms,
    /// Acknowledge an alarm until a time.
    Acknowledge,
    /// Show the keys.
    Help,
    /// Draw the whole screen again.
    Redraw,
    /// Back to the shell; `fg` returns.
    Suspend,
    /// Leave.
    Quit,
    /// A command of the operator's own, by its number in the file.
    Plugin(usize),
    /// Any other.
    Run(Handler),
}

/// A movement of the cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Motion {
    Down,
    Up,
    PageDown,
    PageUp,
    Top,
    Bottom,
}

/// Views in which a command can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In every view.
    Everywhere,
    /// In these views.
    In(&'static [View]),
}

impl Scope {
    /// Whether it includes `view`.
    #[must_use]
    pub fn covers(self, view: View) -> bool {
        match self {
            Self::Everywhere => true,
            Self::In(views) => views.contains(&view),
        }
    }
}

/// One command.
#[derive(Debug)]
pub struct CommandRow {
    /// Its function.
    pub verb: Verb,
    /// Its one name, in every place: the words of the command line's command with the same effect,
    /// if there is one.
    pub name: &'static str,
    /// Former and shorter names: understood, and never shown.
    pub aliases: &'static [&'static str],
    /// Its keys, as [`key::parse`] reads them.
    pub keys: &'static [&'static str],
    /// The views in which it can be used.
    pub scope: Scope,
    /// Its danger. Destructive commands have an upper-case key and are confirmed by typing.
    pub danger: Danger,
    /// Whether the hint bar shows it.
    pub is_hinted: bool,
    /// Its description, for help and palette.
    pub help: &'static str,
    /// Arguments after its name in `:`.
    pub argument: &'static str,
    /// Arguments that are known, for completion.
    pub offers: fn(&App) -> Vec<String>,
}

impl CommandRow {
    /// Its keys.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        self.keys.iter().flat_map(|keys| key::parse(keys))
    }

    /// Its name in the hint bar of a view: without its noun (`queue`, `worker`, ...), unless another
    /// one there reads the same then.
    #[must_use]
    pub fn hint(&self, view: View) -> &'static str {
        let short = short(self.name);
        let mut same = hints(view).filter(|row| short == self::short(row.name));
        let is_clear = same.all(|row| row.name == self.name);
        if is_clear { short } else { self.name }
    }

    /// Its name, and its aliases.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        [self.name].into_iter().chain(self.aliases.iter().copied())
    }

    /// Whether this is its name, or one of its aliases.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        self.names().any(|known| known == name)
    }

    /// The views in which it can be used, as text.
    #[must_use]
    pub fn shown_scope(&self) -> String {
        match self.scope {
            Scope::Everywhere => String::from("everywhere"),
            Scope::In(views) => {
                let titles: Vec<&str> = views.iter().map(|view| view.title()).collect();
                titles.join(", ")
            }
        }
    }
}

/// The known arguments of a command without any.
pub(super) fn no_offers(_: &App) -> Vec<String> {
    Vec::new()
}

/// A name without its noun.
fn short(name: &str) -> &str {
    name.split_once(' ').map_or(name, |(_, verb)| verb)
}

/// The commands of the table, and the operator's own ones.
pub fn all(own: &[&'static CommandRow]) -> impl Iterator<Item = &'static CommandRow> {
    COMMANDS.iter().chain(own.iter().copied())
}

/// The command of a `:` line, and its argument. If several views give one name to different
/// commands, the one of `view` is returned. `own` are the operator's own commands.
#[must_use]
pub fn of_line<'a>(
    line: &'a str,
    view: View,
    own: &[&'static CommandRow],
) -> Option<(&'static CommandRow, &'a str)> {
    let named = all(own).filter(|row| row.is_named(line.trim_end()));
    let named = named.max_by_key(|row| row.scope.covers(view));
    named.map(|row| (row, "")).or_else(|| split(line, view))
}

/// The command whose name is followed by a blank, and the rest of the line. The longest name counts;
/// a command without arguments is no match.
#[must_use]
pub fn split(line: &str, view: View) -> Option<(&'static CommandRow, &str)> {
    // `queue redrive --all` is a name, not a queue of that name.
    if COMMANDS.iter().any(|row| row.is_named(line)) {
        return None;
    }
    let takes = COMMANDS.iter().filter(|row| !row.argument.is_empty());
    let rest = |name: &str| line.strip_prefix(name)?.strip_prefix(' ');
    let found = takes.flat_map(|row| {
        let names = row.names();
        names.filter_map(move |name| Some((name.len(), row, rest(name)?)))
    });
    let (_, row, rest) = found.max_by_key(|(length, row, _)| (*length, row.scope.covers(view)))?;
    Some((row, rest))
}

/// Flag after which a `:` line has the operator's reason, as on the command line.
const REASON: &str = "--reason";

/// A `:` line without the operator's reason at its end, and the reason: `worker pause --reason
/// deploying`. Quotation marks around it are left out.
#[must_use]
pub fn split_reason(line: &str) -> (&str, Option<&str>) {
    let ends = |at: usize| line[at + REASON.len()..].starts_with([' ', '=']);
    let begins = |at: usize| line[..at].ends_with(' ');
    let mut places = line.match_indices(REASON).map(|(at, _)| at);
    let Some(at) = places.find(|at| begins(*at) && ends(*at)) else {
        return (line, None);
    };
    let text = line[at + REASON.len() + 1..].trim();
    let quoted = ['"', '\''].into_iter().find_map(|mark| {
        let inner = text.strip_prefix(mark)?.strip_suffix(mark)?;
        (!inner.contains(mark)).then_some(inner)
    });
    (line[..at].trim_end(), Some(quoted.unwrap_or(text).trim()))
}

/// The commands that the hint bar shows in a view, most specific first.
pub fn hints(view: View) -> impl Iterator<Item = &'static CommandRow> {
    let shown = move |row: &&CommandRow| row.is_hinted && row.scope.covers(view);
    let specific = COMMANDS.iter().filter(|row| row.scope != Scope::Everywhere);
    let general = COMMANDS.iter().filter(|row| row.scope == Scope::Everywhere);
    specific.chain(general).filter(shown)
}

/// The key table as Markdown, for `docs/reference/keys.md`.
#[must_use]
pub fn key_table() -> String {
    let mut table = String::from("| Keys | `:` name | Where | What it does |\n|---|---|---|---|\n");
    for row in COMMANDS {
        let keys: Vec<String> = row.keys().map(|key| format!("`{key}`")).collect();
        let name = format!("{} {}", row.name, row.argument);
        // Writing to a string cannot fail.
        let _ = writeln!(
            table,
            "| {} | `{}` | {} | {} |",
            keys.join(" "),
            // A bar would end the cell, even in code.
            name.trim_end().replace('|', "\\|"),
            row.shown_scope(),
            row.help,
        );
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_means_two_things_in_one_view() {
        for view in View::ALL {
            let mut seen = Vec::new();
            for row in COMMANDS.iter().filter(|row| row.scope.covers(view)) {
                for key in row.keys() {
                    assert!(!seen.contains(&key), "{key} means two things in {view:?}");
                    seen.push(key);
                }
            }
        }
    }

    #[test]
    fn a_reason_is_split_off_a_line() {
        for (line, expected) in [
            ("worker scale 4", ("worker scale 4", None)),
            ("more --reason a b", ("more", Some("a b"))),
            ("more --reason=\"a b\"", ("more", Some("a b"))),
            (
                "worker scale 4 --reason 'it is Ann's'",
                ("worker scale 4", Some("'it is Ann's'")),
            ),
            ("more --reason it's Ann's", ("more", Some("it's Ann's"))),
            ("more --reason ", ("more", Some(""))),
            ("more --reasons x", ("more --reasons x", None)),
        ] {
            assert_eq!(split_reason(line), expected, "{line}");
        }
    }

    #[test]
    fn destructive_commands_have_only_upper_case_keys() {
        for row in COMMANDS
            .iter()
            .filter(|row| row.danger == Danger::Destructive)
        {
            assert!(row.keys().all(Key::is_uppercase), "{}", row.name);
        }
    }

    #[test]
    fn every_name_and_alias_is_given_once() {
        let mut names: Vec<&str> = Vec::new();
        for row in COMMANDS {
            for name in row.aliases.iter().chain([&row.name]) {
                assert!(!names.contains(name), "{name} is given twice");
                names.push(name);
            }
        }
    }

    #[test]
    fn every_written_key_is_one_key() {
        for row in COMMANDS {
            for keys in row.keys {
                assert_eq!(key::parse(keys).len(), 1, "{keys} of {}", row.name);
            }
        }
    }
}
