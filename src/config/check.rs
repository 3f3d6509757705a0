//! Validates values against JSON schemas, and reports all problems. It supports the keywords that
//! [`super::values`] uses.

use std::env::VarError;

use regex::Regex;
use serde_json::{Map, Value};

use super::error::Problem;
use super::file::without_values;
use super::rows::{Row, joined};
use super::yaml::{Data, Node};
use crate::domain::nearest;

/// Number from which on a whole number is read as a fraction: about that of 64 bits.
const TOO_LARGE: f64 = 9e18;

/// Collector of problems.
#[derive(Debug, Default)]
pub(super) struct Checker {
    pub problems: Vec<Problem>,
}

impl Checker {
    /// Adds a problem.
    pub fn add(&mut self, line: usize, key: impl Into<String>, text: impl Into<String>) {
        let (key, text) = (key.into(), text.into());
        self.problems.push(Problem { line, key, text });
    }

    /// Adds a key that is not known, with the nearest one that is.
    pub fn unknown<'k>(&mut self, line: usize, path: &str, known: impl Iterator<Item = &'k str>) {
        let key = path.rsplit('.').next().unwrap_or(path);
        if key == "<<" {
            let text = "is YAML's merge key, which settings do not know: write the keys out, or give \
                        a whole value by its alias (`*name`)";
            return self.add(line, path, text);
        }
        let near = nearest(key, known);
        let near = near.map(|near| format!("; the nearest known key is `{near}`"));
        let text = format!("is not a known key{}", near.unwrap_or_default());
        self.add(line, path, text);
    }

    /// The value of a variable: a text, or the items of a list with commas between them.
    ///
    /// # Errors
    /// The problem, as the rest of a sentence that begins with `it`.
    pub fn text(row: &Row, text: &str) -> Result<Value, String> {
        let schema = row.schema();
        let node = |text: &str| Node {
            line: 0,
            data: Data::Scalar(match schema["type"].as_str() {
                Some("integer" | "boolean") => text.parse().unwrap_or_else(|_| text.into()),
                _ => text.into(),
            }),
        };
        let node = if schema["type"] == "array" {
            let items = text.split(',').map(str::trim);
            let items = items.filter(|item| !item.is_empty()).map(node);
            Node {
                line: 0,
                data: Data::List(items.collect()),
            }
        } else {
            node(text)
        };
        let mut checker = Self::default();
        let value = checker.setting(row, &node, row.key);
        match (value, checker.problems.into_iter().next()) {
            (Some(value), None) => Ok(value),
            (_, problem) => Err(format!(
                "it {}",
                problem.map(|p| p.text).unwrap_or_default()
            )),
        }
    }

    /// The value of a node that is one of this setting.
    pub fn setting(&mut self, row: &Row, node: &Node, path: &str) -> Option<Value> {
        let value = self.value(node, &row.schema(), path)?;
        match (row.make)(value.clone()) {
            Ok(()) => Some(value),
            Err(problem) => {
                let problem = without_values(&problem);
                self.add(node.line, path, format!("cannot be used: {problem}"));
                None
            }
        }
    }

    /// The value of a node that fits a schema; `None` if it does not fit. Optional keys without a
    /// value are left out.
    pub fn value(&mut self, node: &Node, schema: &Value, path: &str) -> Option<Value> {
        let found = self.problems.len();
        let value = match &node.data {
            Data::List(items) if allows(schema, "array") => {
                let item = |(index, item): (usize, &Node)| {
                    self.value(item, &schema["items"], &format!("{path}[{index}]"))
                };
                Some(items.iter().enumerate().filter_map(item).collect())
            }
            Data::Map(entries) if allows(schema, "object") => {
                let map = self.map(node.line, entries, schema, path);
                if allows(schema, "string") {
                    self.variable(node.line, &map, path)
                } else {
                    Some(Value::Object(map))
                }
            }
            Data::Scalar(value) if allows(schema, kind_of(value)) => {
                self.scalar(node.line, value, schema, path);
                Some(value.clone())
            }
            data => {
                let (expected, given) = (expected(schema), given(data));
                self.add(node.line, path, format!("{expected}, not {given}"));
                None
            }
        };
        value.filter(|_| self.problems.len() == found)
    }

    fn map(
        &mut self,
        line: usize,
        entries: &[(Node, Node)],
        schema: &Value,
        path: &str,
    ) -> Map<String, Value> {
        let known = schema["properties"].as_object();
        let others = &schema["additionalProperties"];
        let required = schema["required"].as_array();
        let is_required = |name: &str| required.is_some_and(|names| names.contains(&name.into()));
        let mut seen = Map::new();
        let mut found = Map::new();
        for (key, value) in entries {
            let Some(name) = key.as_key() else {
                self.add(key.line, path, "has a key that is no text");
                continue;
            };
            let inner = joined(path, &name);
            if let Some(first) = seen.insert(name.clone(), key.line.into()) {
                self.add(
                    key.line,
                    inner,
                    format!("is given twice, first in line {first}"),
                );
                continue;
            }
            let schema = match known.and_then(|known| known.get(&name)) {
                Some(_) if value.data == Data::Scalar(Value::Null) && !is_required(&name) => {
                    continue;
                }
                Some(schema) => schema,
                None if others == false => {
                    let known = known.into_iter().flatten().map(|(name, _)| name.as_str());
                    self.unknown(key.line, &inner, known);
                    continue;
                }
                None => others,
            };
            if schema.is_null() {
                found.insert(name, value.to_json());
            } else if let Some(value) = self.value(value, schema, &inner) {
                found.insert(name, value);
            }
        }
        for name in required.into_iter().flatten() {
            let name = name.as_str().unwrap_or_default();
            if !seen.contains_key(name) {
                self.add(line, path, format!("needs `{name}`"));
            }
        }
        found
    }

    /// Dagster's `{env: NAME}`.
    fn variable(&mut self, line: usize, map: &Map<String, Value>, path: &str) -> Option<Value> {
        let name = map.get("env")?.as_str()?;
        let problem = match std::env::var(name) {
            Ok(value) => return Some(Value::String(value)),
            Err(VarError::NotPresent) => "is not set",
            Err(VarError::NotUnicode(_)) => "is not UTF-8",
        };
        let text = format!("is the environment variable {name}, which {problem}");
        self.add(line, path, text);
        None
    }

    fn scalar(&mut self, line: usize, value: &Value, schema: &Value, path: &str) {
        if let Some(words) = schema["enum"].as_array()
            && !words.contains(value)
        {
            let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
            self.add(line, path, format!("must be one of {}", words.join(", ")));
        }
        if let (Some(text), Some(pattern)) = (value.as_str(), schema["pattern"].as_str())
            && !Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text))
        {
            self.add(line, path, expected(schema));
        }
        let least = schema["minimum"].as_i64().unwrap_or(i64::MIN);
        let most = schema["maximum"].as_i64().unwrap_or(i64::MAX);
        if value.is_number() && !value.as_i64().is_some_and(|n| (least..=most).contains(&n)) {
            let range = if most < u32::MAX.into() {
                format!("from {least} to {most}")
            } else if least == i64::MIN {
                String::from("a smaller number")
            } else if value.as_i64().is_some_and(|n| n < least) {
                format!("at least {least}")
            } else {
                format!("at most {most}")
            };
            self.add(line, path, format!("must be {range}"));
        }
    }
}

fn allows(schema: &Value, kind: &str) -> bool {
    let types = &schema["type"];
    types == kind
        || types
            .as_array()
            .is_some_and(|types| types.iter().any(|t| t == kind))
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "boolean",
        Value::Number(number) if !number.is_f64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        _ => "null",
    }
}

/// Says which value a schema takes.
fn expected(schema: &Value) -> String {
    if let Some(text) = schema["patternErrorMessage"].as_str() {
        return text.to_owned();
    }
    let words = [
        ("string", "a text"),
        ("boolean", "true or false"),
        ("integer", "a whole number"),
        ("array", "a list"),
        ("object", "a mapping (`key: value`)"),
    ];
    let word = words.iter().find(|(kind, _)| allows(schema, kind));
    format!(
        "must be {}",
        word.map_or("something else", |(_, word)| word)
    )
}

/// Names the kind of a node.
pub(super) fn given(data: &Data) -> &'static str {
    match data {
        Data::List(_) => "a list",
        Data::Map(_) => "a mapping",
        Data::Scalar(value) => match value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::String(_) => "a text",
            Value::Number(number) if number.as_f64().is_some_and(|n| n.abs() >= TOO_LARGE) => {
                "so large a number"
            }
            Value::Number(number) if number.is_f64() => "a fraction",
            _ => "a number",
        },
    }
}
