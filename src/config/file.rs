//! The YAML file (`-y`, `--config-yaml`).

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::check::{Checker, given};
use super::error::{ConfigError, Problem};
use super::merge::Layer;
use super::rows::joined;
use super::table::{Partial, ROWS};
use super::yaml::{self, Data, Node};
use crate::domain::secrets::redact_text;

/// A settings file that was read.
#[derive(Debug)]
pub struct File {
    /// Its settings.
    pub layer: Layer,
    /// Its keys that are not used here.
    pub ignored: Vec<Problem>,
    /// Values that are refused unless a variable or a flag replaces them.
    pub unusable: Vec<Problem>,
}

/// Largest file that is read, in bytes: a device has no end.
const LARGEST: u64 = 1 << 20;

/// Keys of the same block that are not a worker's: the executor's own, and dagster-celery's.
pub(super) const FOREIGN: [(&str, &str); 6] = [
    ("retries", "only the executor uses it"),
    ("max_concurrent", "only the executor uses it"),
    ("tag_concurrency_limits", "only the executor uses it"),
    ("broker", "it is Celery's; `queue_url` names the queue"),
    ("backend", "it is Celery's; no result backend is needed"),
    (
        "include",
        "it is Celery's; a worker finds the code through Dagster",
    ),
];

/// The rest of a run configuration.
pub(super) const RUN_CONFIG: [&str; 6] =
    ["ops", "resources", "loggers", "inputs", "solids", "graph"];

/// Reads a settings file: flat, or a fragment of Dagster's run configuration with the same keys under
/// `execution: config:`.
///
/// # Errors
/// [`ConfigError`], which names each problem with its line.
pub fn read_file(path: &Path) -> Result<File, ConfigError> {
    let mut bytes = Vec::new();
    let read =
        std::fs::File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes));
    let size = read.map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    if size as u64 > LARGEST {
        let path = path.to_owned();
        return Err(ConfigError::TooLarge { path });
    }
    let text = decode(&bytes).map_err(|problem| invalid(path, vec![problem]))?;
    parse(path, text)
}

fn invalid(path: &Path, mut problems: Vec<Problem>) -> ConfigError {
    problems.sort_by_key(|problem| problem.line);
    let path = path.to_owned();
    ConfigError::Invalid { path, problems }
}

/// The text of a file, without the mark that some editors begin one with.
fn decode(bytes: &[u8]) -> Result<&str, Problem> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let text = if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
            String::from("this is UTF-16; save the file as UTF-8")
        } else {
            let byte = bytes.get(error.valid_up_to()).copied().unwrap_or_default();
            format!("byte 0x{byte:02X} is not UTF-8; save the file as UTF-8")
        };
        Problem {
            line: before.split(|byte| *byte == b'\n').count(),
            key: String::new(),
            text,
        }
    })
}

/// Parses a settings file's text; `path` is its origin for messages.
///
/// # Errors
/// [`ConfigError::Invalid`]
pub fn parse(path: &Path, text: &str) -> Result<File, ConfigError> {
    let root = Node::parse(text).map_err(|mistake| {
        let last = text.lines().count().max(1);
        let line = mistake.line.unwrap_or(last).clamp(1, last);
        let problem = if mistake.is_yaml {
            let (key, text) = (String::new(), mistake.text);
            Problem { line, key, text }
        } else {
            not_yaml(text, line, &mistake.text)
        };
        invalid(path, vec![problem])
    })?;
    let mut reader = Reader::default();
    reader.root(&root);
    if !reader.checker.problems.is_empty() {
        reader.checker.problems.append(&mut reader.unusable);
        return Err(invalid(path, reader.checker.problems));
    }
    let values = Partial::from_json(reader.values).map_err(ConfigError::Unexpected)?;
    Ok(File {
        layer: Layer::file(path.to_owned(), values, reader.lines),
        ignored: reader.ignored,
        unusable: reader.unusable,
    })
}

fn not_yaml(text: &str, line: usize, words: &str) -> Problem {
    let written = text.lines().nth(line - 1).unwrap_or_default();
    let indent = written.len() - written.trim_start().len();
    Problem {
        line,
        key: String::new(),
        text: if written[..indent].contains('\t') {
            String::from("a tab indents this line; YAML takes spaces only")
        } else {
            format!("this is not YAML: {}", without_values(words))
        },
    }
}

#[derive(Default)]
struct Reader {
    checker: Checker,
    values: Map<String, Value>,
    lines: BTreeMap<String, usize>,
    ignored: Vec<Problem>,
    unusable: Vec<Problem>,
}

impl Reader {
    fn root(&mut self, root: &Node) {
        let Some(entries) = self.entries(root, "") else {
            return;
        };
        let is_named = |(key, _): &&(Node, Node)| key.as_key().as_deref() == Some("execution");
        let Some((_, execution)) = entries.iter().find(is_named) else {
            return self.settings(entries, "");
        };
        for (key, _) in entries {
            let Some(name) = self.name(key) else {
                continue;
            };
            match name {
                name if name == "execution" => {}
                name if RUN_CONFIG.contains(&name.as_str()) => {
                    self.ignore(key.line, name, "only a run uses it");
                }
                name if ROWS.iter().any(|row| row.is_named(&name)) => {
                    let text = "stands beside `execution`; put it under `execution: config:`";
                    self.checker.add(key.line, name, text);
                }
                name => {
                    let known = RUN_CONFIG.into_iter().chain(["execution"]);
                    self.checker.unknown(key.line, &name, known);
                }
            }
        }
        for (key, config) in self.entries(execution, "execution").unwrap_or_default() {
            let Some(name) = self.name(key) else {
                continue;
            };
            if name == "config" {
                let entries = self.entries(config, "execution.config");
                self.settings(entries.unwrap_or_default(), "execution.config.");
            } else {
                let path = format!("execution.{name}");
                let known = std::iter::once("config");
                self.checker.unknown(key.line, &path, known);
            }
        }
    }

    /// The name that a key is; `None` for a key that is no name.
    fn name(&mut self, key: &Node) -> Option<String> {
        let text = match key.as_key() {
            Some(name) if name.is_empty() => String::from("a key is empty; write its name"),
            Some(name) => return Some(name),
            None => format!("a key must be a text, not {}", given(&key.data)),
        };
        self.checker.add(key.line, "", text);
        None
    }

    /// The entries of a mapping; `None` if there is nothing, or something else.
    fn entries<'n>(&mut self, node: &'n Node, path: &str) -> Option<&'n [(Node, Node)]> {
        match &node.data {
            Data::Map(entries) => Some(entries),
            Data::Scalar(Value::Null) => None,
            _ => {
                let text = "settings are written as lines of `key: value`";
                self.checker.add(node.line, path, text);
                None
            }
        }
    }

    fn settings(&mut self, entries: &[(Node, Node)], path: &str) {
        let mut seen: BTreeMap<&str, (usize, String)> = BTreeMap::new();
        for (key, node) in entries {
            let Some(name) = self.name(key) else {
                continue;
            };
            let shown = format!("{path}{name}");
            let Some(row) = ROWS.iter().find(|row| row.is_named(&name)) else {
                match FOREIGN.iter().find(|(foreign, _)| *foreign == name) {
                    Some((_, reason)) if !path.is_empty() => self.ignore(key.line, shown, reason),
                    _ => {
                        let known = ROWS.iter().flat_map(|row| [Some(row.key), row.alias]);
                        let known = known.flatten();
                        self.checker.unknown(key.line, &shown, known);
                    }
                }
                continue;
            };
            if let Some((line, first)) = seen.get(row.key) {
                let text = if *first == name {
                    format!("is given twice, first in line {line}")
                } else {
                    format!("is another name of `{first}` in line {line}; leave one of them out")
                };
                self.checker.add(key.line, shown, text);
                continue;
            }
            seen.insert(row.key, (key.line, name));
            if let Some(reason) = row.unused {
                self.ignore(key.line, shown.as_str(), reason);
            }
            if node.data != Data::Scalar(Value::Null)
                && let Some(value) = self.checker.setting(row, node, &shown)
            {
                for flaw in row.check.map(|check| check(&value)).unwrap_or_default() {
                    let line = match flaw.at.as_str() {
                        "" => key.line,
                        part => node.line_of(part),
                    };
                    let text = format!("cannot be used: {}", flaw.text);
                    self.lines.insert(joined(row.key, &flaw.at), line);
                    let key = joined(&shown, &flaw.at);
                    self.unusable.push(Problem { line, key, text });
                }
                self.values.insert(row.key.to_owned(), value);
                self.lines.insert(row.key.to_owned(), key.line);
            }
        }
    }

    fn ignore(&mut self, line: usize, key: impl Into<String>, reason: &str) {
        let (key, text) = (key.into(), format!("is ignored: {reason}"));
        self.ignored.push(Problem { line, key, text });
    }
}

/// Removes the value that a parser complains about from its message: it may be a secret.
pub(super) fn without_values(problem: &str) -> String {
    static QUOTED: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r#"(?s)(invalid (?:type|value): \w[\w -]*?|unknown variant) (?:"(?:[^"\\]|\\.)*"|`.*?`)"#).ok()
    });
    let without = match QUOTED.as_ref() {
        Some(quoted) => quoted.replace_all(problem, "$1"),
        None => "a value has the wrong type".into(),
    };
    redact_text(&without).into_owned()
}

/// Reads a YAML text; an empty one is the default.
///
/// # Errors
/// The parser's words, without the value it does not like; an unknown key or a value of the wrong
/// type is named with its line.
pub fn parse_yaml<T: DeserializeOwned + Default>(text: &str) -> Result<T, String> {
    yaml::read::<Option<T>>(text)
        .map(Option::unwrap_or_default)
        .map_err(|problem| without_values(&problem))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;
    use crate::domain::SlotRange;

    fn read(text: &str) -> Partial {
        parse(Path::new("c.yaml"), text).unwrap().layer.values
    }

    /// Everything that is wrong, a line each.
    fn wrong(text: &str) -> Vec<String> {
        match parse(Path::new("c.yaml"), text) {
            Err(ConfigError::Invalid { problems, .. }) => {
                problems.iter().map(ToString::to_string).collect()
            }
            other => panic!("{text:?} became {other:?}"),
        }
    }

    #[test]
    fn all_that_is_wrong_is_named_with_line_key_and_nearest_key() {
        let text = "\
region_nme: eu-west-1
slots: many
visibility_timeout: 5
priority_bands:
  - {name: high, mni: 8}
  - {min: low}
queues: [a]
slots: 2
isolation_by_location: {defs.py: spoon}
on_worker_lost: [retry]
ring: bell
run_slots: 1.5
";
        assert_eq!(
            wrong(text),
            [
                "line 1: `region_nme` is not a known key; the nearest known key is `region_name`",
                "line 2: `slots` must be a whole number, or the smallest and the largest one (2..16)",
                "line 3: `visibility_timeout` must be from 10 to 43200",
                "line 5: `priority_bands[0].mni` is not a known key; the nearest known key is `min`",
                "line 6: `priority_bands[1].min` must be a whole number, not a text",
                "line 6: `priority_bands[1]` needs `name`",
                "line 7: `queues` must be a mapping (`key: value`), not a list",
                "line 8: `slots` is given twice, first in line 2",
                "line 9: `isolation_by_location.defs.py` must be one of auto, fork, reuse, fresh",
                "line 10: `on_worker_lost` must be a text, not a list",
                "line 11: `ring` must be a list, not a text",
                "line 12: `run_slots` must be a whole number, not a fraction",
            ]
        );
    }

    #[test]
    fn what_is_no_yaml_or_no_mapping_is_named_with_its_line() {
        for (text, expected) in [
            ("slots: [1, 2\nname: a\n", "line 2: this is not YAML"),
            ("queues:\n\ta: b\n", "line 2: a tab indents this line"),
            (
                "slots: 1\r\nqueue: 2\r\n",
                "line 2: `queue` is not a known key",
            ),
            (
                "- slots\n",
                "line 1: settings are written as lines of `key: value`",
            ),
            ("# x\njust words\n", "line 2: settings are written as"),
            (
                "slots: 1\n---\nslots: 2\n",
                "line 2: a second document begins here",
            ),
            ("slots: 99999999999999999999\n", "not so large a number"),
            ("slots: 2..\n", "(2..16)"),
            ("run_slots: .inf\n", "line 1: this number is not finite"),
            (
                "queues: &a {}\n<<: *a\n",
                "line 2: `<<` is YAML's merge key",
            ),
            ("x: 1\n", "line 1: `x` is not a known key"),
            ("ops: 1\n", "line 1: `ops` is not a known key"),
        ] {
            let wrong = wrong(text);
            assert!(wrong.len() == 1 && wrong[0].contains(expected), "{wrong:?}");
        }
    }

    #[test]
    fn other_encodings_than_utf8_are_named_and_a_byte_order_mark_is_not_part_of_the_first_key() {
        let shown = |bytes: &'static [u8]| decode(bytes).map_err(|problem| problem.to_string());
        let latin = shown(b"slots: 2\nname: caf\xe9\n").unwrap_err();
        assert_eq!(
            latin,
            "line 2: byte 0xE9 is not UTF-8; save the file as UTF-8"
        );
        assert!(shown(b"\xff\xfes\0").unwrap_err().contains("UTF-16"));
        assert_eq!(shown(b"\xef\xbb\xbfslots: 2\n").unwrap(), "slots: 2\n");
    }

    #[test]
    fn a_fragment_of_run_configuration_is_taken_and_other_keys_are_reported() {
        let text = "\
ops:
  load: {config: {n: 1}}
execution:
  config:
    queue_url: http://q/1/tasks
    workers: 3
    retries: {enabled: {}}
    config_source: {profile_name: x}
    broker: pyamqp://guest@localhost//
";
        let file = parse(Path::new("c.yaml"), text).unwrap();
        let partial = file.layer.values;
        assert_eq!(partial.queue_url.as_deref(), Some("http://q/1/tasks"));
        assert_eq!(partial.slots, Some(SlotRange::fixed(3)));
        let ignored: Vec<String> = file.ignored.iter().map(ToString::to_string).collect();
        assert_eq!(
            ignored,
            [
                "line 1: `ops` is ignored: only a run uses it",
                "line 7: `execution.config.retries` is ignored: only the executor uses it",
                "line 8: `execution.config.config_source` is ignored: only executor and launcher use it",
                "line 9: `execution.config.broker` is ignored: it is Celery's; `queue_url` names the queue",
            ]
        );
        assert_eq!(read("execution: {config: }\n"), Partial::default());
        assert_eq!(read("execution:\n"), Partial::default());
        let wrong = wrong("execution:\n  config:\n    wrokers: 3\n  confg: {}\nslots: 2\n");
        assert_eq!(
            wrong,
            [
                "line 3: `execution.config.wrokers` is not a known key; the nearest known key is `workers`",
                "line 4: `execution.confg` is not a known key; the nearest known key is `config`",
                "line 5: `slots` stands beside `execution`; put it under `execution: config:`",
            ]
        );
    }

    #[test]
    fn an_older_name_is_taken_and_refused_beside_the_newer_one() {
        assert_eq!(read("workers: 3\n").slots, Some(SlotRange::fixed(3)));
        assert_eq!(
            wrong("workers: 3\nslots: 4\n"),
            ["line 2: `slots` is another name of `workers` in line 1; leave one of them out"]
        );
    }

    #[test]
    fn a_text_may_come_from_the_environment_as_in_dagster() {
        let partial = read("queue_url: {env: PATH}\nqueues: {a: {env: PATH}}\n");
        assert_eq!(partial.queue_url, std::env::var("PATH").ok());
        assert_eq!(
            wrong("queue_url: {env: DTQ_NO_SUCH}\n"),
            ["line 1: `queue_url` is the environment variable DTQ_NO_SUCH, which is not set"]
        );
    }

    #[test]
    fn a_value_that_is_wrong_is_not_quoted() {
        for text in [
            "workers: s3cr3t-value\n",
            "on_worker_lost: s3cr3t-value\n",
            "queues: 's3cr3t \"-value'\n",
            "queues: {a: [s3cr3t-value]}\nworkers: 's3cr3t-value'\n",
            "endpoint_url: [s3cr3t-value]\nring: s3cr3t-value",
            "s3cr3t-value",
            "name: 's3cr3t-value",
            "name: &s3cr3t-value\n  a\n b: *s3cr3t",
        ] {
            let shown = wrong(text).join("\n");
            assert!(!shown.contains("s3cr3t"), "{text} became {shown}");
        }
    }

    #[test]
    fn an_empty_file_is_no_settings() {
        for text in ["", "# nothing yet\n", "~\n", "{}\n", "slots:\n"] {
            assert_eq!(read(text), Partial::default(), "{text:?}");
        }
    }
}
