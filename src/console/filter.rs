//! The filter of `/`: terms that must all hold.
//!
//! `text` is a substring, `!term` its opposite, `~text` fuzzy, `re:PATTERN` a regular expression,
//! `field:value` looks at one field only (`field:re:PATTERN` too), `prio:5` is that number and
//! `prio:>5` compares, `tag:team=data` is that tag and `tag:team` a part of one. Case does not matter; `"several words"` are one term.

use std::borrow::Cow;
use std::collections::BTreeMap;

use regex::{Regex, RegexBuilder};

use super::view::View;
use super::{fuzzy, rows};

/// An item that can be filtered: its fields by name, and all its text.
pub trait Searchable {
    /// The value of a field; `None` if it has no such field.
    fn field(&self, name: &str) -> Option<Cow<'_, str>>;
    /// The text that a bare term is searched in.
    fn haystack(&self) -> String;
}

#[derive(Clone, Debug)]
enum Test {
    Substring(String),
    Fuzzy(String),
    Pattern(Regex),
    /// One line of several: `key=value`.
    Line(String),
    Exactly(i64),
    AtLeast(i64),
    AtMost(i64),
}

#[derive(Clone, Debug)]
struct Term {
    inverse: bool,
    field: Option<&'static str>,
    test: Test,
}

/// A filter, ready to use.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    text: String,
    /// The text with saved filters in their places.
    expanded: Option<String>,
    terms: Vec<Term>,
    error: Option<String>,
}

/// The field that a term names, if a view has one of that name.
fn field_named(name: &str) -> Option<&'static str> {
    let name = if name == "priority" { "prio" } else { name };
    let mut fields = View::ALL.into_iter().flat_map(rows::fields);
    fields.find(|known| *known == name)
}

impl Filter {
    /// Parses a filter. With an invalid regular expression it matches nothing, and
    /// [`Filter::error`] returns the reason.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut filter = Self {
            text: text.to_owned(),
            ..Self::default()
        };
        for word in words(text) {
            match Term::parse(&word) {
                Ok(term) => filter.terms.extend(term),
                Err(error) => filter.error = Some(error),
            }
        }
        filter
    }

    /// Parses a filter in which saved ones are named: a word `@name` stands for the text of that name.
    #[must_use]
    pub fn with_saved(text: &str, saved: &BTreeMap<String, String>) -> Self {
        let mut unknown = None;
        let expanded: Vec<String> = words_as_typed(text)
            .into_iter()
            .map(|word| match word.strip_prefix('@') {
                None | Some("") => word,
                Some(name) => saved.get(name).cloned().unwrap_or_else(|| {
                    unknown = Some(name.to_owned());
                    String::new()
                }),
            })
            .collect();
        let mut filter = Self::parse(&expanded.join(" "));
        if let Some(name) = unknown {
            let known: Vec<String> = saved.keys().map(|name| format!("@{name}")).collect();
            let known = match known.as_slice() {
                [] => String::from("none is; :save-filter NAME saves one"),
                known => known.join(" "),
            };
            filter.error = Some(format!("no filter is saved as @{name}: {known}"));
        }
        filter.expanded = Some(std::mem::replace(&mut filter.text, text.to_owned()));
        filter
    }

    /// The text with the saved filters in their places.
    #[must_use]
    pub fn expanded(&self) -> &str {
        self.expanded.as_deref().unwrap_or(&self.text)
    }

    /// The typed text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it matches everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty() && self.error.is_none()
    }

    /// The error in one sentence, if any.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// A field of the filter that is not among these, so that no row has it.
    #[must_use]
    pub fn foreign_field(&self, fields: &[&str]) -> Option<&str> {
        let named = self.terms.iter().filter_map(|term| term.field);
        let mut foreign = named.filter(|field| !fields.contains(field));
        foreign.next()
    }

    /// Whether a row matches.
    #[must_use]
    pub fn matches(&self, row: &impl Searchable) -> bool {
        self.error.is_none() && self.terms.iter().all(|term| term.holds(row))
    }
}

/// The words of a filter; blanks between quotation marks do not separate words.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for c in text.chars() {
        match c {
            '"' => quoted ^= true,
            c if c.is_whitespace() && !quoted => words.push(std::mem::take(&mut word)),
            c => word.push(c),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

/// The words of a filter with their quotation marks.
fn words_as_typed(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for c in text.chars() {
        quoted ^= c == '"';
        if c.is_whitespace() && !quoted {
            words.push(std::mem::take(&mut word));
        } else {
            word.push(c);
        }
    }
    words.push(word);
    words
}

impl Term {
    /// Parses a term; `None` for one that is still being typed, such as `queue:`.
    fn parse(word: &str) -> Result<Option<Self>, String> {
        let (inverse, word) = match word.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, word),
        };
        let named = word.split_once(':');
        let named = named.and_then(|(name, value)| Some((field_named(name)?, value)));
        let (field, value) = match named {
            Some((field, value)) => (Some(field), value),
            None => (None, word),
        };
        if value.is_empty() {
            return Ok(None);
        }
        let test = match value.strip_prefix("re:") {
            Some("") => return Ok(None),
            Some(pattern) => {
                let regex = RegexBuilder::new(pattern).case_insensitive(true).build();
                let wrong = |_| format!("`{pattern}` is not a regular expression");
                Test::Pattern(regex.map_err(wrong)?)
            }
            None => Test::parse(value, field),
        };
        Ok(Some(Self {
            inverse,
            field,
            test,
        }))
    }

    fn holds(&self, row: &impl Searchable) -> bool {
        let text = match self.field {
            None => Cow::Owned(row.haystack()),
            Some(name) => match row.field(name) {
                Some(value) => value,
                None => return self.inverse,
            },
        };
        self.test.holds(&text) != self.inverse
    }
}

impl Test {
    fn parse(value: &str, field: Option<&str>) -> Self {
        let number = |prefix: &str| value.strip_prefix(prefix)?.parse::<i64>().ok();
        let comparison = number(">=")
            .map(Self::AtLeast)
            .or_else(|| number("<=").map(Self::AtMost))
            .or_else(|| number(">").map(|n| Self::AtLeast(n.saturating_add(1))))
            .or_else(|| number("<").map(|n| Self::AtMost(n.saturating_sub(1))));
        match (comparison, value.strip_prefix('~')) {
            (Some(comparison), _) if field.is_some() => comparison,
            (_, Some(fuzzy)) => Self::Fuzzy(fuzzy.to_owned()),
            _ => match value.parse() {
                // A priority must match whole, because 1 is not 10, but a part of a run's id
                // suffices.
                Ok(number) if field == Some("prio") => Self::Exactly(number),
                // A whole tag, because `team=data` is not `team=database`.
                _ if field == Some("tag") && value.contains('=') => {
                    Self::Line(value.to_lowercase())
                }
                _ => Self::Substring(value.to_lowercase()),
            },
        }
    }

    fn holds(&self, text: &str) -> bool {
        match self {
            Self::Substring(part) => text.to_lowercase().contains(part.as_str()),
            Self::Line(line) => text.lines().any(|known| known.to_lowercase() == *line),
            Self::Fuzzy(query) => fuzzy::score(query, text).is_some(),
            Self::Pattern(regex) => regex.is_match(text),
            Self::Exactly(number) => text.parse() == Ok(*number),
            Self::AtLeast(least) => text.parse().is_ok_and(|n: i64| n >= *least),
            Self::AtMost(most) => text.parse().is_ok_and(|n: i64| n <= *most),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Row;
    impl Searchable for Row {
        fn field(&self, name: &str) -> Option<Cow<'_, str>> {
            match name {
                "queue" => Some("tasks-high".into()),
                "prio" => Some("7".into()),
                _ => None,
            }
        }
        fn haystack(&self) -> String {
            String::from("load_orders tasks-high 7")
        }
    }

    fn passes(filter: &str) -> bool {
        Filter::parse(filter).matches(&Row)
    }

    #[test]
    fn all_terms_must_hold() {
        assert!(passes("orders high"));
        assert!(!passes("orders low"));
        assert!(passes("LOAD !low"));
        assert!(!passes("!load"));
    }

    #[test]
    fn a_field_narrows_and_a_priority_compares() {
        assert!(passes("queue:high prio:>6 prio:<=7"));
        assert!(!passes("prio:>7"));
        assert!(passes("prio:7") && !passes("prio:70") && passes("!prio:8"));
        assert!(!passes("queue:orders"));
        assert!(!passes("job:x") && passes("!job:x"));
    }

    #[test]
    fn fuzzy_and_regular_expressions_are_understood_and_a_bad_one_is_reported() {
        assert!(passes("~ldord") && !passes("~xyz"));
        assert!(passes("re:^load_.*\\d$") && !passes("re:^orders"));
        assert!(Filter::parse("re:(").error().is_some());
        assert!(
            !passes("re:(") && !passes("!re:("),
            "what is meant is not known"
        );
        assert!(passes("queue:re:^tasks-h") && !passes("queue:re:^h"));
        assert!(passes("!queue:re:^h") && Filter::parse("queue:re:(").error().is_some());
        assert!(passes("\"load_orders tasks\"") && !passes("\"orders 7\""));
        assert!(
            passes("\"re:orders tasks\"") && passes("\"orders ta"),
            "not closed yet"
        );
        assert!(
            passes("queue:"),
            "a term that is still being typed hides nothing"
        );
    }
}
