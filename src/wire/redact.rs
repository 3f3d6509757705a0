//! Hides secrets in displayed messages, and puts them back into edited ones.
//!
//! A Dagster message contains the instance's storage configuration, as YAML inside JSON strings:
//! passwords and tokens by their keys, and URLs with a password in them. In doubt, a value is
//! hidden.

use serde_json::Value;
use thiserror::Error;

use crate::domain::secrets;
pub use crate::domain::secrets::{REDACTED, redact_text};

/// An edited body has [`REDACTED`] in a place for which the message has no secret.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "{place} of the edited body says {REDACTED} and is not as it was shown: leave it as it was, or \
     write out the whole value"
)]
pub struct NotRestored {
    place: String,
}

/// The body with its secrets hidden.
#[must_use]
pub fn redact(body: &str) -> String {
    match serde_json::from_str::<Value>(body) {
        Ok(value) if !value.is_string() => secrets::redact_value(None, &value).to_string(),
        _ => redact_text(body).into_owned(),
    }
}

/// The edited body with the hidden secrets of the original restored.
///
/// # Errors
/// [`NotRestored`] if a secret cannot be restored.
pub fn restore_secrets(edited: &str, original: &str) -> Result<String, NotRestored> {
    let values = (
        serde_json::from_str::<Value>(edited),
        serde_json::from_str::<Value>(original),
    );
    let (Ok(new), Ok(old)) = values else {
        if edited.trim_end() == redact(original).trim_end() {
            return Ok(original.to_owned());
        }
        let place = || String::from("some part");
        return if edited.contains(REDACTED) {
            Err(NotRestored { place: place() })
        } else {
            Ok(edited.to_owned())
        };
    };
    if new == secrets::redact_value(None, &old) {
        return Ok(original.to_owned());
    }
    restored(None, &new, &old, "").map(|value| value.to_string())
}

fn restored(
    key: Option<&str>,
    new: &Value,
    old: &Value,
    place: &str,
) -> Result<Value, NotRestored> {
    if secrets::redact_value(key, old) == *new {
        return Ok(old.clone());
    }
    match new {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| {
                let old = old.get(name).unwrap_or(&Value::Null);
                // Everything below a secret's key is secret as well.
                let is_below = name != "env" && key.is_some_and(secrets::names_a_secret);
                let key = if is_below { key } else { Some(name.as_str()) };
                let value = restored(key, value, old, &format!("{place}/{name}"))?;
                Ok((name.clone(), value))
            })
            .collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(index, item)| {
                let old = old.get(index).unwrap_or(&Value::Null);
                restored(key, item, old, &format!("{place}/{index}"))
            })
            .collect(),
        Value::String(text) if text.contains(REDACTED) => Err(NotRestored {
            place: place.to_owned(),
        }),
        other => Ok(other.clone()),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;
    use serde_json::json;

    const YAML: &str = "postgres_db:\n  username: dagster\n  password: hunter2 is, long\n  \
         hostname: db\n";

    fn body() -> String {
        json!({"task_id": "1", "kwargs": {"packed": {"storage": {"config_yaml": YAML},
            "url": "postgresql://dagster:hunter2@db/x?sslmode=require", "api_key": "hunter2",
            "token": {"env": "TOKEN"}, "pin_password": 1234, "n": 5}}})
        .to_string()
    }

    #[test]
    fn passwords_in_yaml_in_urls_and_by_key_are_hidden_and_nothing_else_is() {
        let shown = redact(&body());
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(
            !shown.contains("1234") && !shown.contains("is, long"),
            "{shown}"
        );
        for kept in [
            "username: dagster",
            "hostname: db",
            "postgresql://dagster:(redacted)@db/x",
            "TOKEN",
        ] {
            assert!(shown.contains(kept), "{kept}: {shown}");
        }
    }

    #[test]
    fn a_text_that_is_no_json_is_redacted_too() {
        for text in [
            "{\"password\": \"hunter2\", broken",
            "password=hunter2&user=x",
            "DB_PASSWORD: hunter2",
            "amqp://u:hunter2@h",
            "{db: {password: 'hunter2'}}",
            "password: |-\n  hunter2\n  hunter2\nuser: x",
            "db:\n  password: >\n    hunter2",
            "{\"a\": \"{\\\"password\\\": \\\"hunter2\\\"}\"",
        ] {
            let shown = redact_text(text);
            assert!(!shown.contains("hunter2"), "{text} became {shown}");
        }
        assert_eq!(redact_text("nothing to hide: 5"), "nothing to hide: 5");
    }

    #[test]
    fn an_edit_keeps_the_secrets_that_were_hidden() {
        let original = body();
        let mut edited: Value = serde_json::from_str(&redact(&original)).unwrap();
        assert_eq!(
            restore_secrets(&edited.to_string(), &original).unwrap(),
            original
        );
        edited["kwargs"]["packed"]["n"] = json!(6);
        let mut wanted: Value = serde_json::from_str(&original).unwrap();
        wanted["kwargs"]["packed"]["n"] = json!(6);
        let restored = restore_secrets(&edited.to_string(), &original).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&restored).unwrap(), wanted);
    }

    #[test]
    fn a_hidden_place_that_was_edited_around_is_refused_and_named() {
        let original = body();
        let mut edited: Value = serde_json::from_str(&redact(&original)).unwrap();
        edited["kwargs"]["packed"]["url"] = json!("postgresql://dagster:(redacted)@other/x");
        let refused = restore_secrets(&edited.to_string(), &original).unwrap_err();
        assert_eq!(refused.place, "/kwargs/packed/url");
        edited["kwargs"]["packed"]["url"] = json!("postgresql://dagster:new@other/x");
        let restored = restore_secrets(&edited.to_string(), &original).unwrap();
        assert!(restored.contains("dagster:new@other"), "{restored}");
    }
}
