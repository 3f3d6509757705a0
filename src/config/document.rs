//! Documents made from the table of settings: a reference page, a commented file, a JSON schema.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::file::{FOREIGN, RUN_CONFIG};
use super::rows::Row;
use super::table::ROWS;

/// The tables of `docs/reference/settings.md`: one a section.
#[must_use]
pub fn reference() -> String {
    let mut page = String::new();
    for row in ROWS {
        if let Some(section) = row.section {
            let _ = write!(
                page,
                "\n## {section}\n\n| key | meaning | default | flag | environment |\n|---|---|---|---|---|\n"
            );
        }
        let code = |text: Option<&str>| text.map(|text| format!("`{text}`")).unwrap_or_default();
        let alias = row.alias.map(|alias| format!(" (or `{alias}`)"));
        let _ = writeln!(
            page,
            "| `{}`{} | {} | {} | {} | {} |",
            row.key,
            alias.unwrap_or_default(),
            meaning(row),
            default(row),
            code(row.flag),
            code(row.env)
        );
    }
    page
}

/// The meaning, and the range of a number.
fn meaning(row: &Row) -> String {
    let unit = if row.is_seconds() { " Seconds" } else { "" };
    let range = match row.range {
        Some((least, u32::MAX)) => format!(" at least {least}"),
        Some((least, most)) => format!(" from {least} to {most}"),
        None => String::new(),
    };
    let more = format!("{unit}{range}");
    let more = more.trim();
    let unused = row.unused.map(|why| format!(" Ignored: {why}."));
    let mut text = row.doc().to_owned();
    if !more.is_empty() {
        let (first, rest) = more.split_at(1);
        let _ = write!(text, " {}{rest}.", first.to_uppercase());
    }
    text + &unused.unwrap_or_default()
}

fn default(row: &Row) -> String {
    match (row.computed, row.default_value()) {
        (Some(words), _) => words.to_owned(),
        (None, Some(value)) if !is_empty(&value) => format!("`{}`", flow(&value)),
        _ => String::from("none"),
    }
}

fn is_empty(value: &Value) -> bool {
    value == &json!([]) || value == &json!({})
}

/// A value as YAML in one line.
#[must_use]
pub fn flow(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(flow).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(members) => {
            let member = |(key, value): (&String, &Value)| {
                let key = flow(&Value::from(key.as_str()));
                format!("{key}: {}", flow(value))
            };
            let members: Vec<String> = members.iter().map(member).collect();
            format!("{{{}}}", members.join(", "))
        }
        Value::String(text) if is_plain(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Whether a text needs no quotes.
fn is_plain(text: &str) -> bool {
    let mut letters = text.chars();
    let begins = letters
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '/');
    let is_word = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    let url = text.split_once("://").map(|(_, rest)| rest);
    begins
        && url
            .unwrap_or(text)
            .chars()
            .all(|c| is_word(c) || (url.is_some() && c == ':'))
        && !text.ends_with(':')
        && !["true", "false", "null", "yes", "no", "on", "off"]
            .contains(&text.to_lowercase().as_str())
}

/// A file with every setting at its default, each a comment: an empty file means the same.
#[must_use]
pub fn sample() -> String {
    let mut text = String::from(
        "# Settings of dagster-taskiq-tui. Each is at its default; to change one, take the # before its\n\
         # key away. `dagster-taskiq-tui config check FILE` says what is wrong with a file.\n\
         #\n\
         # Editors check it by its schema (`dagster-taskiq-tui config schema > settings.schema.json`):\n\
         # yaml-language-server: $schema=settings.schema.json\n",
    );
    for row in ROWS {
        if let Some(section) = row.section {
            let _ = write!(text, "\n\n# ---- {section} ----\n");
        }
        text.push('\n');
        for line in wrapped(&format!("{}{}", meaning(row), ways(row))) {
            let _ = writeln!(text, "# {line}");
        }
        let value = row.default_value().filter(|value| !is_empty(value));
        let value = value.map(|value| flow(&value));
        let _ = match (value, row.example) {
            (Some(value), _) => writeln!(text, "#{}: {value}", row.key),
            (None, Some(example)) => writeln!(
                text,
                "# Default: {}. For example:\n#{}: {example}",
                default(row),
                row.key
            ),
            // No value can be used without another setting.
            (None, None) => writeln!(text, "# Default: {}.\n#{}:", default(row), row.key),
        };
    }
    text
}

fn ways(row: &Row) -> String {
    match (row.flag, row.env) {
        (None, None) => String::new(),
        (Some(way), None) | (None, Some(way)) => format!(" Also {way}."),
        (Some(flag), Some(env)) => format!(" Also {flag}, {env}."),
    }
}

fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + word.len() < 96 => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// A schema that takes null also, itself and in its optional properties: a key without a value.
fn or_nothing(mut schema: Value) -> Value {
    if let Some(Value::Array(words)) = schema.get_mut("enum") {
        words.push(Value::Null);
    }
    match schema.get_mut("type") {
        Some(Value::Array(types)) => types.push("null".into()),
        Some(word) => *word = json!([word, "null"]),
        None => {}
    }
    optional_or_nothing(schema)
}

fn optional_or_nothing(mut schema: Value) -> Value {
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    for (name, property) in properties.into_iter().flatten() {
        *property = if required.contains(&name.as_str().into()) {
            optional_or_nothing(property.take())
        } else {
            or_nothing(property.take())
        };
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get_mut(inner) {
            *inner = optional_or_nothing(inner.take());
        }
    }
    schema
}

/// The JSON schema of a settings file.
#[must_use]
pub fn schema() -> Value {
    let mut definitions = Map::new();
    let mut settings = Map::new();
    for row in ROWS {
        let mut schema = row.schema();
        schema["description"] = meaning(row).into();
        if let Some(default) = row.default_value() {
            schema["default"] = default;
        }
        definitions.insert(row.key.to_owned(), or_nothing(schema));
        let refers = json!({"$ref": format!("#/definitions/{}", row.key)});
        if let Some(alias) = row.alias {
            let message = format!("Older name of {}.", row.key);
            let alias_schema = json!({"allOf": [refers], "deprecationMessage": message});
            settings.insert(alias.to_owned(), alias_schema);
        }
        settings.insert(row.key.to_owned(), refers);
    }
    let mut nested = settings.clone();
    for (key, reason) in FOREIGN {
        nested.insert(
            key.to_owned(),
            json!({"description": format!("Ignored: {reason}.")}),
        );
    }
    let mut run_config = Map::new();
    for key in RUN_CONFIG {
        run_config.insert(
            key.to_owned(),
            json!({"description": "Ignored: only a run uses it."}),
        );
    }
    let object = |properties: Map<String, Value>| json!({"type": ["object", "null"], "properties": properties, "additionalProperties": false});
    let execution = json!({"config": object(nested)});
    let execution = object(execution.as_object().cloned().unwrap_or_default());
    run_config.insert("execution".to_owned(), execution);
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Settings of dagster-taskiq-tui",
        "definitions": definitions,
        "if": {"type": "object", "required": ["execution"]},
        "then": object(run_config),
        "else": object(settings),
    })
}
