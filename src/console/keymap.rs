//! Key bindings, of single keys and sequences: the command table's, with the operator's own
//! replacing them.
//!
//! The file maps a command's name to a key or a list of them, `run terminate: ["<c-x>T"]`; an empty
//! list removes a command's keys.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::command::{COMMANDS, CommandRow, Scope};
use super::key::{self, Key};
use super::options::ConsoleError;
use super::plugins::{self, Plugin};
use super::view::View;
use crate::config::yaml;
use crate::domain::Danger;

/// Place in which a binding was written.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    BuiltIn,
    /// Line of the file of keys.
    Line(usize),
    /// Line of the file of the operator's own commands.
    Plugin(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built in"),
            Self::Line(line) => write!(f, "line {line}"),
            Self::Plugin(line) => write!(f, "line {line} of your commands"),
        }
    }
}

#[derive(Clone, Debug)]
struct Binding {
    keys: Vec<Key>,
    row: &'static CommandRow,
    place: Place,
}

/// All bindings.
#[derive(Clone, Debug)]
pub struct Keymap {
    bindings: Vec<Binding>,
    /// The operator's own commands.
    own: Vec<&'static CommandRow>,
}

/// Meaning of keys.
#[derive(Clone, Copy, Debug)]
pub enum Meaning {
    /// This command.
    Command(&'static CommandRow),
    /// The beginning of a sequence.
    Begun,
    /// Nothing.
    Nothing,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a key, or a list of keys")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl Default for Keymap {
    fn default() -> Self {
        let bindings = COMMANDS.iter().flat_map(built_in).collect();
        let own = Vec::new();
        Self { bindings, own }
    }
}

fn built_in(row: &'static CommandRow) -> impl Iterator<Item = Binding> {
    row.keys.iter().map(move |keys| Binding {
        keys: key::parse(keys),
        row,
        place: Place::BuiltIn,
    })
}

impl Keymap {
    /// Loads the built-in keys, with those of a file replacing them.
    ///
    /// # Errors
    /// The file cannot be read, names no known command, gives a destructive command a key that is
    /// not upper-case, or two bindings conflict; the message names both places.
    pub fn load(path: &Path) -> Result<Self, ConsoleError> {
        let failed = |reason| ConsoleError::Keys {
            path: PathBuf::from(path),
            reason,
        };
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        Self::parse(&text).map_err(failed)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let file: Option<BTreeMap<String, OneOrMany>> = yaml::read(text)?;
        let lines = yaml::Node::parse(text).map_err(|mistake| mistake.text)?;
        let mut map = Self::default();
        for (name, keys) in file.unwrap_or_default() {
            let line = lines.line_of(&name);
            let row = COMMANDS.iter().find(|row| row.is_named(&name));
            let row = row.ok_or_else(|| format!("line {line}: there is no command `{name}`"))?;
            let keys = match keys {
                OneOrMany::One(keys) => vec![keys],
                OneOrMany::Many(keys) => keys,
            };
            map.bindings.retain(|binding| binding.row.name != row.name);
            for written in keys {
                let keys = key::parse(&written);
                let last = keys.last().ok_or_else(|| {
                    format!("line {line}: an empty key for `{name}`; use [] to give it none")
                })?;
                if row.danger == Danger::Destructive && !last.is_uppercase() {
                    return Err(format!(
                        "line {line}: `{name}` is destructive, its key must end in an upper-case letter, and `{written}` does not"
                    ));
                }
                map.bindings.push(Binding {
                    keys,
                    row,
                    place: Place::Line(line),
                });
            }
        }
        map.check()?;
        Ok(map)
    }

    /// Loads the operator's own commands and adds their keys.
    ///
    /// # Errors
    /// The file is not valid, or a key in it has another meaning already; the message names the
    /// places.
    pub fn load_plugins(self, path: &Path) -> Result<(Self, Vec<Plugin>), ConsoleError> {
        let plugins = plugins::load(path)?;
        let keymap = self.with_plugins(&plugins);
        let keymap = keymap.map_err(|reason| ConsoleError::Plugins {
            path: PathBuf::from(path),
            reason,
        })?;
        Ok((keymap, plugins))
    }

    fn with_plugins(mut self, plugins: &[Plugin]) -> Result<Self, String> {
        for plugin in plugins {
            self.own.push(plugin.row);
            let place = Place::Plugin(plugin.line);
            self.bindings
                .extend(built_in(plugin.row).map(|binding| Binding {
                    place: place.clone(),
                    ..binding
                }));
        }
        self.check()?;
        Ok(self)
    }

    /// The operator's own commands.
    #[must_use]
    pub fn own(&self) -> &[&'static CommandRow] {
        &self.own
    }

    /// Checks for conflicts: no key may have two meanings in one view, nor be the beginning of a
    /// sequence with another meaning.
    fn check(&self) -> Result<(), String> {
        for (index, one) in self.bindings.iter().enumerate() {
            for other in &self.bindings[index + 1..] {
                let (short, long) = if one.keys.len() <= other.keys.len() {
                    (one, other)
                } else {
                    (other, one)
                };
                if long.keys.starts_with(&short.keys) && meet(one.row.scope, other.row.scope) {
                    return Err(format!(
                        "`{}` of {} ({}) and `{}` of {} ({}) exclude each other",
                        shown(&short.keys),
                        short.row.name,
                        short.place,
                        shown(&long.keys),
                        long.row.name,
                        long.place,
                    ));
                }
            }
        }
        Ok(())
    }

    /// Meaning of these keys in a view.
    #[must_use]
    pub fn meaning(&self, keys: &[Key], view: View) -> Meaning {
        let here = |binding: &&Binding| binding.row.scope.covers(view);
        let mut begun = Meaning::Nothing;
        for binding in self.bindings.iter().filter(here) {
            if binding.keys == keys {
                return Meaning::Command(binding.row);
            }
            if binding.keys.starts_with(keys) {
                begun = Meaning::Begun;
            }
        }
        begun
    }

    /// The keys of a command in readable form, each binding by itself.
    pub fn keys_of(&self, row: &CommandRow) -> impl Iterator<Item = String> {
        let name = row.name;
        let of = self
            .bindings
            .iter()
            .filter(move |binding| binding.row.name == name);
        of.map(|binding| shown(&binding.keys))
    }

    /// The first of [`Keymap::keys_of`], for hints; empty if it has none.
    #[must_use]
    pub fn first_key_of(&self, row: &CommandRow) -> String {
        self.keys_of(row).next().unwrap_or_default()
    }
}

fn meet(one: Scope, other: Scope) -> bool {
    View::ALL
        .into_iter()
        .any(|view| one.covers(view) && other.covers(view))
}

/// A sequence in readable form: letters side by side, names separated.
pub(super) fn shown(keys: &[Key]) -> String {
    let mut text = String::new();
    for key in keys {
        let shown = key.to_string();
        if !text.is_empty()
            && (shown.len() > 1 || text.ends_with(|c: char| c != ' ' && text.len() > 1))
        {
            text.push(' ');
        }
        // Writing to a string cannot fail.
        let _ = text.write_str(&shown);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn means(map: &Keymap, keys: &str, view: View) -> Option<&'static str> {
        match map.meaning(&key::parse(keys), view) {
            Meaning::Command(row) => Some(row.name),
            Meaning::Begun => Some("(begun)"),
            Meaning::Nothing => None,
        }
    }

    #[test]
    fn a_sequence_means_its_command_and_its_beginning_waits_for_the_rest() -> Result<(), String> {
        let map = Keymap::parse("queues: zq\nterminate: ['<c-x>T']\nlaunch: []\n")?;
        assert_eq!(means(&map, "zq", View::Runs), Some("queues"));
        assert_eq!(means(&map, "z", View::Runs), Some("(begun)"));
        assert_eq!(
            means(&map, "2", View::Runs),
            None,
            "its own key is replaced"
        );
        assert_eq!(means(&map, "<c-x>T", View::Runs), Some("run terminate"));
        assert_eq!(means(&map, "<c-x>T", View::Logs), None);
        assert_eq!(means(&map, "l", View::Runs), None);
        Ok(())
    }

    #[test]
    fn a_conflict_is_reported_with_both_places() {
        let error = |text: &str| Keymap::parse(text).err().unwrap_or_default();
        let text = error("# mine\nqueues: g\n");
        assert!(
            text.contains("of top (built in)") && text.contains("of queues (line 2)"),
            "{text}"
        );
        let text = error("queues: zq\nruns: z\n");
        assert!(
            text.contains("`z` of runs (line 2)") && text.contains("`zq` of queues (line 1)"),
            "{text}"
        );
    }

    #[test]
    fn errors_in_the_file_are_reported_with_their_lines() {
        let error = |text: &str| Keymap::parse(text).err().unwrap_or_default();
        assert!(error("top: t\nqeues: q\n").contains("line 2: there is no command `qeues`"));
        assert!(error("terminate: t\n").contains("upper-case"));
        assert!(error("top: ''\n").contains("empty key"));
        assert!(error("top: {a: b}\n").contains("a key, or a list of keys"));
    }

    #[test]
    fn the_built_in_keys_have_no_conflict() {
        assert_eq!(Keymap::default().check(), Ok(()));
    }
}
