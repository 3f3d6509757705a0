//! Layers of settings, and their merge: defaults < file < environment < flags.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Serialize, Serializer};
use serde_json::{Map, json};

use super::check::Checker;
use super::contexts::applied;
use super::error::ConfigError;
use super::region::region_of_queue_url;
use super::rows::Row;
use super::table::{Partial, ROWS, Settings};
use super::{EMBEDDED_ENDPOINT, EMBEDDED_QUEUE};
use crate::domain::secrets::redact_text;

/// The place that a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was not given.
    Default,
    /// A line of the YAML file.
    File(PathBuf, usize),
    /// A variable of the environment.
    Environment(&'static str),
    /// The environment, of a value that is named as its variable.
    Process,
    /// The chosen context.
    Context(String),
    /// A flag, with its name if the setting has one.
    Flag(Option<&'static str>),
    /// Taken from another setting (the region from the queue URL).
    Derived,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the defaults"),
            Self::File(path, line) => write!(f, "{}, line {line}", path.display()),
            Self::Environment(name) => write!(f, "{name} in the environment"),
            Self::Process => f.write_str("the environment"),
            Self::Context(name) => write!(f, "the context {name}"),
            Self::Flag(Some(flag)) => write!(f, "{flag} on the command line"),
            Self::Flag(None) => f.write_str("the command line"),
            Self::Derived => f.write_str("the queue URL"),
        }
    }
}

/// An object: `kind`, and those of `file`, `line`, `variable` and `flag` that apply.
impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Default => json!({"kind": "default"}),
            Self::File(path, line) => {
                json!({"kind": "file", "file": path.to_string_lossy(), "line": line})
            }
            Self::Environment(name) => json!({"kind": "environment", "variable": name}),
            Self::Process => json!({"kind": "environment"}),
            Self::Context(name) => json!({"kind": "context", "context": name}),
            Self::Flag(flag) => json!({"kind": "flag", "flag": flag}),
            Self::Derived => json!({"kind": "derived"}),
        }
        .serialize(serializer)
    }
}

/// A value with its origin. `Debug` hides the secrets in it.
#[derive(Clone, PartialEq, Eq)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// Its origin.
    pub origin: Origin,
}

impl<T: fmt::Debug> fmt::Debug for Setting<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = format!("{:?}", self.value);
        write!(f, "{} (from {})", redact_text(&value), self.origin)
    }
}

/// Settings from one place.
#[derive(Clone, Debug, Default)]
pub struct Layer {
    pub(super) values: Partial,
    place: Place,
}

#[derive(Clone, Debug, Default)]
enum Place {
    File(PathBuf, BTreeMap<String, usize>),
    Environment,
    Context(String),
    #[default]
    Flags,
}

impl Layer {
    /// The layer of a file, with the lines of its keys and of the flaws in their values.
    pub(super) fn file(path: PathBuf, values: Partial, lines: BTreeMap<String, usize>) -> Self {
        let place = Place::File(path, lines);
        Self { values, place }
    }

    /// The layer of the command line.
    #[must_use]
    pub fn flags(values: Partial) -> Self {
        let place = Place::Flags;
        Self { values, place }
    }

    /// The layer of a chosen context.
    pub(super) fn context(name: &str, values: Partial) -> Self {
        let place = Place::Context(name.to_owned());
        Self { values, place }
    }

    /// Whether it is a layer of the command line.
    pub(super) fn is_of_flags(&self) -> bool {
        matches!(self.place, Place::Flags)
    }

    /// The layer of the environment.
    ///
    /// # Errors
    /// [`ConfigError::BadValue`]
    pub fn environment() -> Result<Self, ConfigError> {
        let (layer, problems) = Self::environment_and_problems();
        match problems.into_iter().next() {
            Some(problem) => Err(problem),
            None => Ok(layer),
        }
    }

    /// The layer of the environment without what cannot be used, and what is wrong with that.
    #[must_use]
    pub fn environment_and_problems() -> (Self, Vec<ConfigError>) {
        let (mut values, mut problems) = (Map::new(), Vec::new());
        for row in ROWS {
            let Some((name, text)) = row.env.and_then(|name| Some((name, variable(name)?))) else {
                continue;
            };
            match text.and_then(|text| Checker::text(row, &text)) {
                Ok(value) => {
                    values.insert(row.key.to_owned(), value);
                }
                Err(problem) => problems.push(bad(row.key, &Origin::Environment(name), &problem)),
            }
        }
        for name in OF_PYTHON {
            let is_time = |text: String| match text.trim().parse::<f64>() {
                Ok(seconds) if seconds.is_finite() && seconds >= 0.0 => Ok(()),
                _ => Err(String::from("it must be a number of seconds")),
            };
            if let Some(Err(problem)) = variable(name).map(|text| text.and_then(is_time)) {
                problems.push(bad(name, &Origin::Process, &problem));
            }
        }
        let values = Partial::from_json(values).unwrap_or_else(|problem| {
            problems.push(ConfigError::Unexpected(problem));
            Partial::default()
        });
        let place = Place::Environment;
        (Self { values, place }, problems)
    }

    /// The line of a key of its file, or of a part of its value that has a flaw.
    fn line_of(&self, key: &str) -> Option<usize> {
        match &self.place {
            Place::File(_, lines) => lines.get(key).copied(),
            _ => None,
        }
    }

    /// The origin of a value of this layer.
    fn origin(&self, row: &Row) -> Origin {
        match &self.place {
            Place::File(path, lines) => {
                Origin::File(path.clone(), lines.get(row.key).copied().unwrap_or(1))
            }
            Place::Environment => Origin::Environment(row.env.unwrap_or_default()),
            Place::Context(name) => Origin::Context(name.clone()),
            Place::Flags => Origin::Flag(row.flag),
        }
    }
}

/// The topmost layer's value, with its origin.
pub(super) fn topmost<T>(
    layers: &[Layer],
    key: &str,
    get: impl Fn(&Partial) -> Option<T>,
) -> Option<Setting<T>> {
    let row = ROWS.iter().find(|row| row.key == key)?;
    layers.iter().rev().find_map(|layer| {
        get(&layer.values).map(|value| Setting {
            value,
            origin: layer.origin(row),
        })
    })
}

impl Settings {
    /// Merges the layers, lowest first. `local_broker`: with no queue configured, the embedded
    /// broker's base queue is used instead of an error.
    ///
    /// # Errors
    /// [`ConfigError::NoQueue`] or [`ConfigError::BadValue`].
    pub fn merge(layers: &[Layer], local_broker: bool) -> Result<Self, ConfigError> {
        let settings = Self::merge_unchecked(layers, local_broker)?;
        match settings.problems(layers).into_iter().next() {
            Some(problem) => Err(problem),
            None => Ok(settings),
        }
    }

    /// As [`Settings::merge`], without checking the values.
    ///
    /// # Errors
    /// [`ConfigError::NoQueue`], [`ConfigError::UnknownContext`] or [`ConfigError::BesideContext`].
    pub fn merge_unchecked(layers: &[Layer], local_broker: bool) -> Result<Self, ConfigError> {
        let layers = &applied(layers)?;
        let mut settings = Self::topmost(layers);
        if settings.queue_url.origin == Origin::Default {
            if !local_broker {
                return Err(ConfigError::NoQueue {
                    embedded: EMBEDDED_ENDPOINT,
                });
            }
            let endpoint = &mut settings.endpoint_url.value;
            let endpoint = endpoint.get_or_insert_with(|| EMBEDDED_ENDPOINT.to_owned());
            settings.queue_url.value = format!(
                "{}/000000000000/{EMBEDDED_QUEUE}",
                endpoint.trim_end_matches('/')
            );
        }
        if settings.region_name.origin == Origin::Default {
            settings.region_name = region(&settings.queue_url.value, settings.region_name);
        }
        Ok(settings)
    }

    /// All problems: those of single values, and those over several settings.
    fn problems(&self, layers: &[Layer]) -> Vec<ConfigError> {
        let mut problems = self.value_problems(layers);
        problems.extend(self.unknown_queue());
        problems
    }

    /// Applies each row's own check to its value, which came from these layers; returns the
    /// problems. What was not given is not checked: it is right, or made of a setting that is wrong
    /// itself.
    #[must_use]
    pub fn value_problems(&self, layers: &[Layer]) -> Vec<ConfigError> {
        let given = self
            .unhidden()
            .filter(|(_, _, origin)| **origin != Origin::Default);
        let mut problems = Vec::new();
        for (row, value, origin) in given {
            for flaw in row.check.map(|check| check(&value)).unwrap_or_default() {
                let flaw = flaw.within(row.key);
                let mut origin = origin.clone();
                if let Origin::File(_, line) = &mut origin
                    && let Some(own) = layers.iter().find_map(|layer| layer.line_of(&flaw.at))
                {
                    *line = own;
                }
                problems.push(bad(flaw.at, &origin, &flaw.text));
            }
        }
        problems
    }

    /// The first name in `subscribe` that no queue has. A worker that serves no queue would look as
    /// one that has nothing to do.
    #[must_use]
    pub fn unknown_queue(&self) -> Option<ConfigError> {
        let base = self.queue_url.value.rsplit('/').next().unwrap_or_default();
        let mut known = vec![base, &self.default_queue.value];
        known.extend(self.queues.value.keys().map(String::as_str));
        let mut asked = self.subscribe.value.iter();
        let unknown = asked.find(|name| !known.contains(&name.as_str()))?;
        let known = known.join(", ");
        Some(ConfigError::BadValue {
            name: "subscribe".to_owned(),
            origin: self.subscribe.origin.clone(),
            problem: format!("no queue is named {unknown}; there are {known}"),
        })
    }
}

fn bad(name: impl Into<String>, origin: &Origin, problem: &str) -> ConfigError {
    ConfigError::BadValue {
        name: name.into(),
        origin: origin.clone(),
        problem: problem.to_owned(),
    }
}

/// The region that applies if none is configured: that of the queue URL, `AWS_REGION`,
/// `AWS_DEFAULT_REGION`, the default. The Python side uses the same order.
fn region(queue_url: &str, default: Setting<String>) -> Setting<String> {
    if let Some(region) = region_of_queue_url(queue_url) {
        return Setting {
            value: region,
            origin: Origin::Derived,
        };
    }
    let of = |name| {
        let value = variable(name)?.ok()?;
        Some(Setting {
            value,
            origin: Origin::Environment(name),
        })
    };
    ["AWS_REGION", "AWS_DEFAULT_REGION"]
        .into_iter()
        .find_map(of)
        .unwrap_or(default)
}

/// Variables that the Python side reads, and that have no setting: numbers of seconds.
const OF_PYTHON: [&str; 2] = [
    "DAGSTER_TASKIQ_STORAGE_PATIENCE",
    "DAGSTER_TASKIQ_RESEND_AFTER",
];

/// An environment variable, or the reason why its text cannot be had; an empty one counts as absent,
/// as for AWS's own tools.
fn variable(name: &str) -> Option<Result<String, String>> {
    let value = std::env::var_os(name).filter(|value| !value.is_empty())?;
    Some(
        value
            .into_string()
            .map_err(|_| String::from("it is not UTF-8")),
    )
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use std::path::Path;

    use super::super::file::parse;
    use super::super::values::WorkerLost;
    use super::*;
    use crate::domain::{Isolation, SlotRange};

    fn parsed(yaml: &str) -> Layer {
        parse(Path::new("c.yaml"), yaml).unwrap().layer
    }

    fn flags(yaml: &str) -> Layer {
        Layer::flags(parsed(yaml).values)
    }

    #[test]
    fn a_higher_layer_wins_and_the_value_knows_where_it_came_from() {
        let layers = [
            parsed("queue_url: http://f/1/q\nslots: 3\non_worker_lost: fail\n"),
            flags("{queue_url: 'http://e/1/q'}"),
            flags("{slots: 7}"),
        ];
        let settings = Settings::merge(&layers, false).unwrap();
        assert_eq!(settings.queue_url.value, "http://e/1/q");
        assert_eq!(settings.queue_url.origin, Origin::Flag(Some("--queue-url")));
        assert_eq!(settings.slots.value, SlotRange::fixed(7));
        assert_eq!(settings.on_worker_lost.value, WorkerLost::Fail);
        let origin = settings.on_worker_lost.origin;
        assert_eq!(origin, Origin::File("c.yaml".into(), 3));
        assert_eq!(settings.run_slots.origin, Origin::Default);
    }

    #[test]
    fn a_worker_without_a_queue_is_refused_unless_the_embedded_broker_is_requested() {
        let error = Settings::merge(&[], false).unwrap_err().to_string();
        assert!(error.contains("DAGSTER_TASKIQ_SQS_QUEUE_URL"), "{error}");
        let settings = Settings::merge(&[], true).unwrap();
        assert_eq!(
            settings.queue_url.value,
            "http://127.0.0.1:9324/000000000000/dagster-tasks"
        );
        assert_eq!(
            settings.endpoint_url.value.as_deref(),
            Some(EMBEDDED_ENDPOINT)
        );
    }

    #[test]
    fn a_modes_word_and_a_range_are_checked_as_the_file_is_read() {
        let settings = flags(
            "{queue_url: 'http://f/1/q', isolation: reuse, isolation_by_location: {defs.py: fresh}}",
        );
        let settings = Settings::merge(&[settings], false).unwrap();
        assert_eq!(settings.isolation.value, Isolation::Reuse);
        assert_eq!(
            settings.isolation_by_location.value["defs.py"],
            Isolation::Fresh
        );
        for (yaml, expected) in [
            (
                "isolation: spoon",
                "must be one of auto, fork, reuse, fresh",
            ),
            ("max_steps_per_process: 0", "must be at least 1"),
            ("visibility_timeout: 5", "must be from 10 to 43200"),
        ] {
            let error = parse(Path::new("c.yaml"), yaml).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_region_comes_from_the_queue_url_unless_it_is_named() {
        let url = "{queue_url: 'https://sqs.eu-west-1.amazonaws.com/1/q'}";
        let settings = Settings::merge(&[flags(url)], false).unwrap();
        assert_eq!(settings.region_name.value, "eu-west-1");
        let layers = [flags(url), flags("{region_name: us-west-2}")];
        assert_eq!(
            Settings::merge(&layers, false).unwrap().region_name.value,
            "us-west-2"
        );
    }

    #[test]
    fn bands_that_make_no_sense_are_refused_with_what_to_do() {
        let check = |bands: &str| {
            let yaml = format!("{{queue_url: 'http://q/1/t', priority_bands: {bands}}}");
            Settings::merge(&[flags(&yaml)], false).map(|s| s.prefetch.value)
        };
        assert!(check("[{name: high, min: 8}, {name: normal, min: 3}, {name: low}]").is_ok());
        let error = check("[{name: high, min: 8}, {name: normal, min: 3}]").unwrap_err();
        assert!(error.to_string().contains("leave out its min"), "{error}");
        let error = check("[{name: high, min: 2}, {name: mid, min: 3}, {name: normal}]");
        assert!(
            error
                .unwrap_err()
                .to_string()
                .contains("highest min to the lowest")
        );
        let error = check("[{name: high, min: 8}, {name: low}]").unwrap_err();
        assert!(error.to_string().contains("named normal"), "{error}");
    }

    #[test]
    fn a_queue_that_is_not_there_cannot_be_subscribed_to() {
        let check = |names: &str| {
            let yaml = format!(
                "{{queue_url: 'http://q/1/t', queues: {{gpu: 'http://q/1/g'}}, subscribe: {names}}}"
            );
            Settings::merge(&[flags(&yaml)], false).map(|settings| settings.subscribe.value)
        };
        for names in ["[]", "[t]", "[dagster, gpu]"] {
            assert!(check(names).is_ok(), "{names}");
        }
        let error = check("[t, gup]").unwrap_err().to_string();
        assert!(
            error.contains("no queue is named gup; there are t, dagster, gpu"),
            "{error}"
        );
    }

    #[test]
    fn the_error_for_a_queue_url_that_is_only_a_name_shows_the_right_form() {
        let layers = [flags("{queue_url: dagster-tasks}")];
        let error = Settings::merge(&layers, false).unwrap_err().to_string();
        assert!(
            error.contains("--queue-url") && error.contains("full URL"),
            "{error}"
        );
    }
}
