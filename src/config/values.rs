//! Types of settings, and the JSON schema of each.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::listen::Listen;
use super::rows::Flaw;
use super::urls::is_part_of_queue_name;
use crate::domain::{AlarmKind, Isolation, LogFormat, Ring, SlotRange};

/// A priority band: steps of at least `min` travel on a queue of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Band {
    /// Name; the queue is `<base>-<name>`, and the band named `normal` is the base queue.
    pub name: String,
    /// Lowest priority (run plus step) that travels on it; the last band has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<i64>,
}

/// The policy for a step whose worker is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerLost {
    /// The next attempt is started, whatever the step's own retry policy.
    #[default]
    Retry,
    /// The step fails.
    Fail,
}

/// A type that a setting's value can have.
pub(super) trait SettingValue: Serialize + DeserializeOwned {
    /// Its JSON schema, of which [`super::check`] knows the keywords that are used here.
    fn schema() -> Value;

    /// From JSON that fits the schema.
    ///
    /// # Errors
    /// Why it does not fit.
    fn from_json(value: Value) -> Result<Self, String> {
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    /// As it is written in a file.
    fn to_json(&self) -> Value {
        // Plain data: it always serializes.
        serde_json::to_value(self).unwrap_or_default()
    }

    /// As [`SettingValue::to_json`], with the secrets in it: for checks.
    fn unhidden(&self) -> Value {
        self.to_json()
    }

    /// Adds it to a command line; the items of a list each by itself.
    fn add_to(&self, flag: &str, words: &mut Vec<OsString>) {
        let mut add = |value: &Value| {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            words.push(flag_with(flag, text));
        };
        match self.to_json() {
            Value::Bool(false) => {}
            Value::Bool(true) => words.push(flag.into()),
            Value::Array(items) => items.iter().for_each(add),
            value => add(&value),
        }
    }
}

/// `--flag=value`: a value of its own that begins with a hyphen would be taken for a flag.
pub(crate) fn flag_with(flag: &str, value: impl AsRef<OsStr>) -> OsString {
    let mut word = OsString::from(flag);
    word.push("=");
    word.push(value);
    word
}

impl SettingValue for bool {
    fn schema() -> Value {
        json!({"type": "boolean"})
    }
}

impl SettingValue for u32 {
    fn schema() -> Value {
        json!({"type": "integer", "minimum": 0, "maximum": Self::MAX})
    }
}

/// A number, or `2..16`. Numbers that do not go together are found by [`check_slots`].
impl SettingValue for SlotRange {
    fn schema() -> Value {
        json!({
            "type": ["integer", "string"],
            "minimum": 0,
            "maximum": u32::MAX,
            "pattern": r"^[0-9]{1,9}(\.\.[0-9]{1,9})?$",
            "patternErrorMessage": "must be a whole number, or the smallest and the largest one (2..16)",
        })
    }

    fn from_json(value: Value) -> Result<Self, String> {
        slots(&value).ok_or_else(|| format!("{value} is no number of slots"))
    }

    fn to_json(&self) -> Value {
        if self.is_fixed() {
            self.min.into()
        } else {
            self.to_string().into()
        }
    }
}

fn slots(value: &Value) -> Option<SlotRange> {
    match value {
        Value::String(text) => SlotRange::parse(text),
        number => Some(SlotRange::fixed(number.as_u64()?.try_into().ok()?)),
    }
}

/// Checks the numbers of slots.
pub(super) fn check_slots(value: &Value) -> Vec<Flaw> {
    Flaw::whole(slots(value).map_or(Ok(()), SlotRange::check))
}

/// Checks the name of a worker. It stands in files, in logs and in Dagster's storage.
pub(super) fn check_name(value: &Value) -> Vec<Flaw> {
    Flaw::whole(value.as_str().map_or(Ok(()), named))
}

/// Checks a name.
pub(super) fn named(name: &str) -> Result<(), &'static str> {
    if name.trim().is_empty() {
        Err("a name has at least one letter")
    } else if name.contains(char::is_control) {
        Err("a name has no line ends and no other control characters")
    } else {
        Ok(())
    }
}

/// Suffixes of the queues that the program itself puts beside the base queue: that of dead letters
/// and that of runs.
const NOT_BANDS: [&str; 2] = ["dead", "runs"];

/// Checks the priority bands.
pub(super) fn check_bands(value: &Value) -> Vec<Flaw> {
    // It fits the schema.
    let bands: Vec<Band> = serde_json::from_value(value.clone()).unwrap_or_default();
    let mut flaws = Vec::new();
    let mut lowest: Option<i64> = None;
    for (index, band) in bands.iter().enumerate() {
        let mut add = |part: &str, text: String| {
            flaws.push(Flaw::new(format!("[{index}]{part}"), text));
        };
        let name = &band.name;
        if !is_part_of_queue_name(name) {
            let text =
                "the name of a band is a part of a queue's name: letters, digits, `-` and `_`";
            add(".name", text.to_owned());
        } else if NOT_BANDS.contains(&name.as_str()) {
            let text = format!(
                "no band can be named {name}: the queue <base>-{name} is the program's own; take \
                 another name"
            );
            add(".name", text);
        } else if bands[..index].iter().any(|other| other.name == *name) {
            add(".name", format!("another band is named {name}, too"));
        }
        match (band.min, lowest) {
            (None, _) if index + 1 < bands.len() => {
                add("", String::from("every band but the last needs a min"));
            }
            (Some(_), _) if index + 1 == bands.len() => {
                let text = "the last band takes all the rest: leave out its min";
                add(".min", text.to_owned());
            }
            (Some(min), Some(lowest)) if min >= lowest => {
                let text = "list the bands from the highest min to the lowest";
                add(".min", text.to_owned());
            }
            _ => {}
        }
        lowest = band.min.or(lowest);
    }
    if flaws.is_empty() && !bands.is_empty() && !bands.iter().any(|band| band.name == "normal") {
        let text = "one band must be named normal: it is the base queue";
        flaws.push(Flaw::new("", text));
    }
    flaws
}

/// Whole seconds.
impl SettingValue for Duration {
    fn schema() -> Value {
        json!({"type": "integer", "format": "seconds", "minimum": 0, "maximum": u32::MAX})
    }

    fn from_json(value: Value) -> Result<Self, String> {
        u32::from_json(value).map(|seconds| Self::from_secs(seconds.into()))
    }

    fn to_json(&self) -> Value {
        self.as_secs().into()
    }
}

/// Dagster's `StringSource`: a text, or `{env: NAME}`.
impl SettingValue for String {
    fn schema() -> Value {
        json!({
            "type": ["string", "object"],
            "properties": {"env": {"type": "string"}},
            "required": ["env"],
            "additionalProperties": false,
        })
    }
}

impl SettingValue for PathBuf {
    fn schema() -> Value {
        String::schema()
    }

    fn add_to(&self, flag: &str, words: &mut Vec<OsString>) {
        words.push(flag_with(flag, self));
    }
}

impl<T: SettingValue> SettingValue for Vec<T> {
    fn schema() -> Value {
        json!({"type": "array", "items": T::schema()})
    }

    fn unhidden(&self) -> Value {
        self.iter().map(T::unhidden).collect()
    }
}

impl<T: SettingValue> SettingValue for BTreeMap<String, T> {
    fn schema() -> Value {
        json!({"type": "object", "additionalProperties": T::schema()})
    }
}

/// Free-form.
impl SettingValue for Map<String, Value> {
    fn schema() -> Value {
        json!({"type": "object"})
    }
}

impl SettingValue for Band {
    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {"name": {"type": "string"}, "min": {"type": "integer"}},
            "required": ["name"],
            "additionalProperties": false,
        })
    }
}

pub(super) fn one_of<T: Serialize>(words: &[T]) -> Value {
    json!({"type": "string", "enum": words})
}

impl SettingValue for WorkerLost {
    fn schema() -> Value {
        one_of(&[Self::Retry, Self::Fail])
    }
}

impl SettingValue for Isolation {
    fn schema() -> Value {
        one_of(&Self::ALL)
    }
}

impl SettingValue for LogFormat {
    fn schema() -> Value {
        one_of(&[Self::Text, Self::Json])
    }
}

impl SettingValue for Listen {
    fn schema() -> Value {
        json!({
            "type": ["string", "integer"],
            "minimum": 0,
            "maximum": u16::MAX,
            "patternErrorMessage":
                "must be an IP address and a port (0.0.0.0:9400), a port for loopback, or off",
        })
    }
}

impl SettingValue for Ring {
    fn schema() -> Value {
        one_of(&[Self::Bell, Self::Desktop])
    }
}

impl SettingValue for AlarmKind {
    fn schema() -> Value {
        one_of(&Self::ALL)
    }
}
