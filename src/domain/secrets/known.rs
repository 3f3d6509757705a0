//! Secrets recognised by their value: the content of variables in this process's environment.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use super::REDACTED;
use super::forms::{names_a_secret, password_of_url};
use crate::domain::percent_encoded;

/// Minimum length of a value; shorter ones are too often common words (`test`, `local`, `dagster`).
const SHORTEST: usize = 8;

/// Suffixes of names whose values are the location of a secret, not the secret itself.
const NO_VALUES: [&str; 8] = [
    "_FILE",
    "_PATH",
    "_DIR",
    "_URL",
    "_URI",
    "_NAME",
    "_TYPE",
    "_ENDPOINT",
];

/// Suffixes of names of variables with secrets, besides the names that show it.
const MORE_NAMES: [&str; 4] = ["_KEY", "_PASS", "_PW", "_AUTH"];

static KNOWN: LazyLock<Option<Regex>> =
    LazyLock::new(|| {
        matcher(std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        }))
    });

/// The text without the secrets of this process's environment.
pub(super) fn hide(text: &str) -> Cow<'_, str> {
    match KNOWN.as_ref() {
        Some(known) => known.replace_all(text, REDACTED),
        None => Cow::Borrowed(text),
    }
}

/// Matches the values that are secret, longest first.
fn matcher(variables: impl Iterator<Item = (String, String)>) -> Option<Regex> {
    let mut values: Vec<String> = variables
        .filter_map(|(name, value)| {
            if holds_a_secret(&name) {
                Some(value)
            } else {
                password_of_url(&value).map(str::to_owned)
            }
        })
        .filter(|value| is_distinctive(value))
        .flat_map(|value| [percent_encoded(&value), value])
        .collect();
    values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    values.dedup();
    if values.is_empty() {
        return None;
    }
    let values: Vec<String> = values.iter().map(|value| regex::escape(value)).collect();
    Regex::new(&values.join("|")).ok()
}

fn holds_a_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    !NO_VALUES.iter().any(|end| name.ends_with(end))
        && (names_a_secret(&name) || MORE_NAMES.iter().any(|end| name.ends_with(end)))
}

/// Whether a value is long and unusual enough that hiding it does not garble ordinary text.
fn is_distinctive(value: &str) -> bool {
    let odd = |c: char| !c.is_ascii_lowercase() && !matches!(c, '-' | '_' | '.' | ' ');
    value.len() >= SHORTEST && !value.starts_with(['/', '(']) && value.contains(odd)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(variables: &[(&str, &str)], text: &str) -> String {
        let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        let matcher = matcher(variables.iter().map(owned));
        matcher.map_or(text.to_owned(), |m| m.replace_all(text, "#").into_owned())
    }

    #[test]
    fn values_of_secret_variables_are_hidden_wherever_they_stand() {
        let variables = [
            ("PGPASSWORD", "hunter2-and/more"),
            ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI"),
            ("STRIPE_KEY", "sk1234567"),
            ("DATABASE_URL", "postgresql://u:In-A-Url-9@db/x"),
        ];
        let text = "a hunter2-and/more b hunter2-and%2Fmore wJalrXUtnFEMI sk1234567 In-A-Url-9";
        assert_eq!(hidden(&variables, text), "a # b # # # #");
    }

    #[test]
    fn common_words_and_the_places_of_secrets_are_not() {
        let variables = [
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("PGPASSWORD", "dagster-tasks"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/Token1"),
            ("TOKEN_URL", "https://Example9.org"),
            ("HOME", "/home/Somebody1"),
        ];
        let text = "test dagster-tasks /var/run/Token1 https://Example9.org /home/Somebody1";
        assert_eq!(hidden(&variables, text), text);
    }

    #[test]
    fn of_two_values_the_longer_one_is_hidden_whole() {
        let variables = [("A_TOKEN", "Abcdefgh1"), ("B_TOKEN", "Abcdefgh12345")];
        assert_eq!(hidden(&variables, "x Abcdefgh12345 Abcdefgh1"), "x # #");
        assert!(matcher(std::iter::empty()).is_none());
        let odd = [("A_TOKEN", "[a]b1*2(x"), ("B_TOKEN", "")];
        assert_eq!(hidden(&odd, "a [a]b1*2(x b"), "a # b");
    }
}
