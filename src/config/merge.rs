//! Layers of settings, and their merge: defaults < file < environment < flags.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};
use url::Url;

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
    File(PathBuf, BTreeMap<&'static str, usize>),
    Environment,
    Context(String),
    #[default]
    Flags,
}

impl Layer {
    /// The layer of a file, with the lines of its keys.
    pub(super) fn file(
        path: PathBuf,
        values: Partial,
        lines: BTreeMap<&'static str, usize>,
    ) -> Self {
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
        let mut values = Map::new();
        for row in ROWS {
            let Some((name, text)) = row.env.and_then(|name| Some((name, variable(name)?))) else {
                continue;
            };
            let value = Checker::text(row, &text);
            let value = value.map_err(|problem| bad(row, &Origin::Environment(name), &problem))?;
            values.insert(row.key.to_owned(), value);
        }
        let values = Partial::from_json(values).map_err(ConfigError::Unexpected)?;
        let place = Place::Environment;
        Ok(Self { values, place })
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
        match settings.problems().into_iter().next() {
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

    /// Applies each row's own check to its value, and those over several settings; returns the
    /// problems.
    #[must_use]
    pub fn problems(&self) -> Vec<ConfigError> {
        let checked = self.shown().filter_map(|(row, value, origin)| {
            let problem = row.check?(&value).err()?;
            Some(bad(row, origin, problem))
        });
        checked.chain(self.unknown_queue()).collect()
    }

    /// The first name in `subscribe` that no queue has. A worker that serves no queue would look as
    /// one that has nothing to do.
    fn unknown_queue(&self) -> Option<ConfigError> {
        let base = self.queue_url.value.rsplit('/').next().unwrap_or_default();
        let mut known = vec![base, &self.default_queue.value];
        known.extend(self.queues.value.keys().map(String::as_str));
        let mut asked = self.subscribe.value.iter();
        let unknown = asked.find(|name| !known.contains(&name.as_str()))?;
        let known = known.join(", ");
        Some(ConfigError::BadValue {
            name: "subscribe",
            origin: self.subscribe.origin.to_string(),
            problem: format!("no queue is named {unknown}; there are {known}"),
        })
    }
}

fn bad(row: &Row, origin: &Origin, problem: &str) -> ConfigError {
    ConfigError::BadValue {
        name: row.key,
        origin: origin.to_string(),
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
        variable(name).map(|value| Setting {
            value,
            origin: Origin::Environment(name),
        })
    };
    ["AWS_REGION", "AWS_DEFAULT_REGION"]
        .into_iter()
        .find_map(of)
        .unwrap_or(default)
}

pub(super) fn check_queue_url(value: &Value) -> Result<(), &'static str> {
    match value.as_str() {
        Some(url) if !Url::parse(url).is_ok_and(|url| url.has_host()) => {
            Err("it is not a URL; give the queue's full URL, as `aws sqs get-queue-url` prints it")
        }
        _ => Ok(()),
    }
}

pub(super) fn check_bands(value: &Value) -> Result<(), &'static str> {
    let bands: Vec<(&str, Option<i64>)> = value
        .as_array()
        .into_iter()
        .flatten()
        .map(|band| {
            (
                band["name"].as_str().unwrap_or_default(),
                band["min"].as_i64(),
            )
        })
        .collect();
    let Some(((_, last), upper)) = bands.split_last() else {
        return Ok(());
    };
    if last.is_some() {
        return Err("the last band takes all the rest: leave out its min");
    }
    if upper.iter().any(|(_, min)| min.is_none()) {
        return Err("every band but the last needs a min");
    }
    if upper.windows(2).any(|pair| pair[0].1 <= pair[1].1) {
        return Err("list the bands from the highest min to the lowest");
    }
    if !bands.iter().any(|(name, _)| *name == "normal") {
        return Err("one band must be named normal: it is the base queue");
    }
    Ok(())
}

/// An environment variable; an empty one counts as absent, as for AWS's own tools.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
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
