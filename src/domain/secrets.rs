//! Hiding secrets: in our own values ([`Secret`]) and in foreign text (messages, exceptions, URLs,
//! output of libraries) before it reaches a log, a snapshot, an error or an audit log.
//!
//! A secret in a text is recognised by its form (`password=…`, a URL with a password, a bearer
//! token) or by its value, if a variable of this process's environment contains it. In doubt, a
//! value is hidden.

mod forms;
mod known;

use std::borrow::Cow;
use std::fmt;

use serde_json::Value;

pub use forms::names_a_secret;

/// Replacement of a secret.
pub const REDACTED: &str = "(redacted)";

/// A value that neither `Debug` nor `Display` shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The value itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self(value)
    }
}

impl std::str::FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(value: &str) -> Result<Self, Self::Err> {
        Ok(Self(value.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

/// A text with its secrets hidden; most texts contain none and are borrowed.
#[must_use]
pub fn redact_text(text: &str) -> Cow<'_, str> {
    match known::hide(text) {
        Cow::Borrowed(text) => forms::hide(text),
        Cow::Owned(text) => Cow::Owned(forms::hide(&text).into_owned()),
    }
}

/// A text that may be a JSON object or array, with its secrets hidden; it stays valid JSON.
#[must_use]
pub fn redact(text: &str) -> Cow<'_, str> {
    if !text.trim_start().starts_with(['{', '[']) {
        return redact_text(text);
    }
    if !forms::is_suspect(text) && matches!(known::hide(text), Cow::Borrowed(_)) {
        return Cow::Borrowed(text);
    }
    match serde_json::from_str::<Value>(text) {
        Ok(value) => {
            let hidden = redact_value(None, &value);
            if hidden == value {
                return Cow::Borrowed(text);
            }
            let body = text.trim_end();
            let pretty = body.contains('\n');
            let shown = pretty.then(|| serde_json::to_string_pretty(&hidden).ok());
            let mut shown = shown.flatten().unwrap_or_else(|| hidden.to_string());
            shown.push_str(&text[body.len()..]);
            Cow::Owned(shown)
        }
        Err(_) => redact_text(text),
    }
}

/// A JSON value, the member `key` of an object or an item of it, with its secrets hidden.
#[must_use]
pub fn redact_value(key: Option<&str>, value: &Value) -> Value {
    redact_member(key.is_some_and(names_a_secret), value)
}

/// Hides a member. Below a key that names a secret, everything is hidden except the names of
/// environment variables.
fn redact_member(hidden: bool, value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .map(|(key, value)| {
                let hidden = names_a_secret(key) || (hidden && key != "env");
                (key.clone(), redact_member(hidden, value))
            })
            .collect(),
        Value::Array(items) => {
            // `["--secret-key", "value"]`, and a tag as a pair.
            let before = std::iter::once(None).chain(items.iter().map(Value::as_str));
            let pairs = items.iter().zip(before);
            pairs
                .map(|(item, before)| {
                    let is_flag = item.as_str().is_some_and(|text| text.starts_with("--"));
                    let follows = !is_flag && before.is_some_and(names_a_secret);
                    redact_member(hidden || (follows && item.is_string()), item)
                })
                .collect()
        }
        Value::String(_) | Value::Number(_) if hidden => Value::from(REDACTED),
        // For example a message's body within an answer: JSON within a string.
        Value::String(text) => Value::from(redact(text)),
        other => other.clone(),
    }
}

/// Hides the secrets of a text in place.
pub fn redact_in_place(text: &mut String) {
    if let Cow::Owned(hidden) = redact_text(text) {
        *text = hidden;
    }
}

#[cfg(test)]
mod tests;
