//! The operator's own commands on a row of a view: programs that are run without a shell.
//!
//! The file maps a command's name to its program, its views and its key. `{job}` in a word of the
//! program stands for that field of the row, as `:dump json` writes it:
//!
//! ```yaml
//! ticket:
//!   run: [jira, create, --summary, "{job} failed", --label, "{run_id}"]
//!   views: [runs]
//!   key: <c-t>
//!   help: open a ticket about the run
//! ```

mod fields;
mod program;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::command::{COMMANDS, CommandRow, Scope, Verb, no_offers};
use super::key;
use super::options::ConsoleError;
use super::view::View;
use crate::config::yaml::{self, Data, Node};
use crate::domain::{Danger, nearest, plain};

pub(super) use program::run;

/// Time limit of a program without one of its own, in seconds.
const USUAL_LIMIT: u64 = 60;

/// Maximum time limit, in seconds.
const MAX_LIMIT: u64 = 3600;

/// Word for every view.
const EVERY_VIEW: &str = "all";

/// One command of the operator's own.
#[derive(Clone, Debug)]
pub struct Plugin {
    /// Its row, as those of the command table. It lives as long as the process, as they do.
    pub row: &'static CommandRow,
    /// Its line in the file.
    pub line: usize,
    /// Whether it is confirmed before it runs.
    pub confirms: bool,
    limit: Duration,
    /// The program and its arguments, with the names of fields.
    words: Vec<String>,
}

/// A run of a program for one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Number for the reply.
    pub request: u64,
    /// The command's name.
    pub name: &'static str,
    /// The view, as `:` names it.
    pub view: &'static str,
    /// The program and its arguments.
    pub words: Vec<String>,
    /// All known data of the row; null without one.
    pub row: Value,
    /// Time limit.
    pub limit: Duration,
    /// The row in words, for the audit log; `None` if the program changes nothing.
    pub target: Option<String>,
    /// The operator's reason, for the audit log.
    pub reason: Option<String>,
}

/// A command as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    run: Vec<String>,
    views: Vec<String>,
    key: Option<String>,
    help: Option<String>,
    #[serde(default = "disruptive")]
    danger: Danger,
    confirm: Option<bool>,
    #[serde(default = "usual_limit")]
    timeout: u64,
}

fn disruptive() -> Danger {
    Danger::Disruptive
}

fn usual_limit() -> u64 {
    USUAL_LIMIT
}

/// Loads a file of commands.
///
/// # Errors
/// The file cannot be read, or a command of it is not valid; the message names its line.
pub fn load(path: &Path) -> Result<Vec<Plugin>, ConsoleError> {
    let failed = |reason| ConsoleError::Plugins {
        path: PathBuf::from(path),
        reason,
    };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    parse(&text).map_err(failed)
}

fn parse(text: &str) -> Result<Vec<Plugin>, String> {
    let lines = Node::parse(text).map_err(|mistake| mistake.text)?;
    refuse_repeated(&lines)?;
    let file: Option<BTreeMap<String, Written>> = yaml::read(text)?;
    let mut written: Vec<_> = file.unwrap_or_default().into_iter().collect();
    written.sort_by_key(|(name, _)| lines.line_of(name));
    let plugin = |(number, (name, written)): (usize, (String, Written))| {
        let at = |problem: Problem| {
            let line = lines.line_of(&format!("{name}.{}", problem.field));
            format!("line {line}: `{name}`: {}", problem.text)
        };
        Ok(Plugin {
            row: row(number, &name, &written).map_err(at)?,
            line: lines.line_of(&name),
            confirms: written.confirm.unwrap_or(written.danger != Danger::Safe),
            limit: Duration::from_secs(written.timeout),
            words: written.run,
        })
    };
    written.into_iter().enumerate().map(plugin).collect()
}

/// Refuses a name that is given twice: only one of its commands would be there.
fn refuse_repeated(lines: &Node) -> Result<(), String> {
    let Data::Map(entries) = &lines.data else {
        return Ok(());
    };
    let mut known = BTreeSet::new();
    for (key, _) in entries {
        let name = key.as_key().unwrap_or_default();
        if !known.insert(name.clone()) {
            return Err(format!("line {}: `{name}` is there already", key.line));
        }
    }
    Ok(())
}

/// What is wrong with a command.
struct Problem {
    /// The field; empty for the name.
    field: &'static str,
    text: String,
}

impl Problem {
    fn new(field: &'static str, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { field, text }
    }
}

/// The row of a valid command.
fn row(number: usize, name: &str, written: &Written) -> Result<&'static CommandRow, Problem> {
    check(name, written)?;
    let mut views = Vec::new();
    for word in &written.views {
        if word == EVERY_VIEW {
            views.extend(View::ALL);
        } else {
            views.push(view(word)?);
        }
    }
    let help = written.help.clone();
    let help = help.unwrap_or_else(|| format!("run {}", written.run.join(" ")));
    let help = plain(&help);
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let keys: Vec<&'static str> = written.key.iter().map(|key| &*key.clone().leak()).collect();
    Ok(Box::leak(Box::new(CommandRow {
        verb: Verb::Plugin(number),
        name: name.to_owned().leak(),
        aliases: &[],
        keys: keys.leak(),
        scope: Scope::In(views.leak()),
        danger: written.danger,
        is_hinted: true,
        help: help.leak(),
        argument: "",
        offers: no_offers,
    })))
}

fn check(name: &str, written: &Written) -> Result<(), Problem> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if name.is_empty() || !name.chars().all(is_part) {
        let text = "a name has letters, digits and - only";
        return Err(Problem::new("", text));
    }
    if let Some(row) = COMMANDS.iter().find(|row| row.is_named(name)) {
        let text = format!("this is a name of the console's own command `{}`", row.name);
        return Err(Problem::new("", text));
    }
    let program = written.run.first().map_or("", String::as_str);
    if program.is_empty() || program.contains('{') {
        let text = "`run` begins with the name of a program";
        return Err(Problem::new("run", text));
    }
    if written.views.is_empty() {
        let text = format!("`views` names none: name some, or [{EVERY_VIEW}]");
        return Err(Problem::new("views", text));
    }
    if let Some(written_key) = &written.key {
        let last = key::parse(written_key).last().copied();
        let last = last.ok_or_else(|| Problem::new("key", "an empty key; leave `key` out"))?;
        if written.danger == Danger::Destructive && !last.is_uppercase() {
            let text = format!(
                "it is destructive, its key must end in an upper-case letter, and `{written_key}` does not"
            );
            return Err(Problem::new("key", text));
        }
    }
    if written.danger == Danger::Destructive && written.confirm == Some(false) {
        let text = "what is destructive is always confirmed; leave `confirm` out";
        return Err(Problem::new("confirm", text));
    }
    if !(1..=MAX_LIMIT).contains(&written.timeout) {
        let text = format!("`timeout` is from 1 to {MAX_LIMIT} seconds");
        return Err(Problem::new("timeout", text));
    }
    Ok(())
}

/// The view of a name; `:` takes the same.
fn view(name: &str) -> Result<View, Problem> {
    let views = COMMANDS.iter().filter_map(|row| match row.verb {
        Verb::Show(view) => Some((row, view)),
        _ => None,
    });
    let mut named = views.clone().filter(|(row, _)| row.is_named(name));
    named.next().map(|(_, view)| view).ok_or_else(|| {
        let near = nearest(name, views.map(|(row, _)| row.name));
        let near = near.map(|near| format!("; the nearest is `{near}`"));
        let text = format!("there is no view `{name}`{}", near.unwrap_or_default());
        Problem::new("views", text)
    })
}

/// Name of a view, as `:` takes it.
pub(super) fn name_of(view: View) -> &'static str {
    let shows = |row: &&CommandRow| matches!(row.verb, Verb::Show(shown) if shown == view);
    COMMANDS.iter().find(shows).map_or("", |row| row.name)
}

impl Plugin {
    /// Time limit of its program.
    #[must_use]
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// The program and its arguments for a row.
    ///
    /// # Errors
    /// The row has no such field, or its value would be taken for an option; one sentence.
    pub fn words_for(&self, row: &Value) -> Result<Vec<String>, String> {
        fields::fill(&self.words, row)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_command_is_read_with_its_defaults() {
        let text = "\
ticket:
  run: [jira, create, '{job}']
  views: [runs, dlq]
  key: <c-t>
look: {run: [less], views: [all], danger: safe, help: \"look\\n  at it\", timeout: 5}
";
        let plugins = parse(text).unwrap();
        let [ticket, look] = plugins.as_slice() else {
            panic!("two are written: {plugins:?}");
        };
        assert_eq!((ticket.row.name, ticket.line), ("ticket", 1));
        assert_eq!(ticket.row.danger, Danger::Disruptive);
        assert_eq!(ticket.row.help, "run jira create {job}");
        assert_eq!(
            ticket.row.scope,
            Scope::In(&[View::Runs, View::DeadLetters])
        );
        assert!(ticket.confirms && !look.confirms);
        assert_eq!(ticket.limit(), Duration::from_mins(1));
        assert_eq!(look.limit(), Duration::from_secs(5));
        assert_eq!(look.row.help, "look at it");
        assert!(View::ALL.iter().all(|view| look.row.scope.covers(*view)));
        assert!(parse("# none yet\n").unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_refused_with_its_line_and_field() {
        let valid = "x:\n  run: [x]\n  views: [runs]\n";
        for (text, reasons) in [
            (
                format!("{valid}  keey: q\n"),
                ["line 4", "unknown field `keey`"],
            ),
            (format!("{valid}  key: ''\n"), ["line 4", "empty key"]),
            (format!("{valid}  timeout: 0\n"), ["line 4", "1 to 3600"]),
            (format!("{valid}  timeout: soon\n"), ["line 4", "x.timeout"]),
            (
                format!("{valid}  danger: high\n"),
                ["line 4", "destructive"],
            ),
            (
                format!("{valid}{valid}"),
                ["line 4", "`x` is there already"],
            ),
            (
                format!("{valid}  danger: destructive\n  key: q\n"),
                ["line 5", "upper-case"],
            ),
            (
                format!("{valid}  danger: destructive\n  confirm: false\n"),
                ["line 5", "always confirmed"],
            ),
            (
                String::from("x:\n  views: [rusn]\n  run: [x]\n"),
                ["line 2", "no view `rusn`; the nearest is `runs`"],
            ),
            (
                String::from("x:\n  views: []\n  run: [x]\n"),
                ["line 2", "names none"],
            ),
            (
                String::from("x:\n  views: [runs]\n  run: []\n"),
                ["line 3", "name of a program"],
            ),
            (
                String::from("x:\n  views: [runs]\n"),
                ["line 2", "missing field `run`"],
            ),
            (
                valid.replace("x:", "terminate:"),
                ["line 1", "own command `run terminate`"],
            ),
            (valid.replace("x:", "a b:"), ["line 1", "letters, digits"]),
        ] {
            let refused = parse(&text).unwrap_err();
            for reason in reasons {
                assert!(refused.contains(reason), "{text}{reason}: {refused}");
            }
        }
    }
}
