//! The merged settings.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::file::ConfigError;
use super::partial::{Band, Partial, WorkerLost};
use super::region::region_of_queue_url;
use super::{EMBEDDED_ENDPOINT, EMBEDDED_QUEUE, STARVATION_GUARD};
use crate::domain::secrets::redact_text;
use crate::domain::{AlarmKind, Isolation, Ring};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// The YAML file.
    File(PathBuf),
    /// The environment.
    Environment,
    /// The command line.
    Flags,
    /// Taken from another setting (the region from the queue URL).
    Derived,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the defaults"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment => f.write_str("the environment"),
            Self::Flags => f.write_str("the command line"),
            Self::Derived => f.write_str("the queue URL"),
        }
    }
}

/// A value and where it came from. `Debug` hides the secrets in it.
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

/// What a worker, a console or a command needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// URL of the base queue.
    pub queue_url: Setting<String>,
    /// Endpoint other than AWS's own.
    pub endpoint_url: Setting<Option<String>>,
    /// AWS region.
    pub region: Setting<String>,
    /// The queue name that stands for the base queue.
    pub default_queue: Setting<String>,
    /// Named queues.
    pub queues: Setting<BTreeMap<String, String>>,
    /// Which of them this worker serves; empty: all.
    pub subscribe: Setting<Vec<String>>,
    /// Priority bands, highest first; empty: none.
    pub priority_bands: Setting<Vec<Band>>,
    /// Step slots.
    pub workers: Setting<u32>,
    /// Run slots.
    pub run_slots: Setting<u32>,
    /// Messages held beyond the free slots. None by default: a message in hand may wait here while
    /// another worker is idle.
    pub prefetch: Setting<u32>,
    /// Python for the steps.
    pub python: Setting<Option<PathBuf>>,
    /// Folder of `dagster.yaml`.
    pub dagster_home: Setting<Option<PathBuf>>,
    /// Worker name.
    pub name: Setting<Option<String>>,
    /// Visibility timeout asked for at each receive.
    pub visibility_timeout: Setting<Duration>,
    /// What happens to a step whose worker is lost.
    pub on_worker_lost: Setting<WorkerLost>,
    /// Attempts that may be lost, per step.
    pub max_worker_lost_retries: Setting<u32>,
    /// Time between SIGINT and SIGTERM of a cancellation.
    pub cancel_grace: Setting<Duration>,
    /// What kind of process a step gets.
    pub isolation: Setting<Isolation>,
    /// The same for single code locations.
    pub isolation_by_location: Setting<BTreeMap<String, Isolation>>,
    /// Steps that a reused process runs.
    pub max_steps_per_process: Setting<u32>,
    /// MiB that a reused process may hold after a step; 0: no limit.
    pub max_memory_per_process: Setting<u32>,
    /// Whether a message's own instance reference is obeyed.
    pub trust_message_instance: Setting<bool>,
    /// Module names and file globs that this worker may load; empty: all.
    pub allow_locations: Setting<Vec<String>>,
    /// Executions of one attempt without an end after which its message is put away; 0: no limit.
    pub max_deliveries: Setting<u32>,
    /// How long the tasks of a code location that has begun to fail to load are given back.
    pub load_grace: Setting<Duration>,
    /// How long other bands may keep a queue from being asked.
    pub starvation_guard: Setting<Duration>,
    /// Bucket for results that senders of Python's `dagster-taskiq` wait for.
    pub s3_bucket: Setting<Option<String>>,
    /// S3 endpoint other than AWS's own.
    pub s3_endpoint_url: Setting<Option<String>>,
    /// Dagster's webserver.
    pub webserver_url: Setting<Option<String>>,
    /// Theme.
    pub theme: Setting<String>,
    /// How the console calls for alarms; empty: not at all.
    pub ring: Setting<Vec<Ring>>,
    /// The kinds of alarms it calls for.
    pub ring_for: Setting<Vec<AlarmKind>>,
    /// Read-only mode.
    pub read_only: Setting<bool>,
}

/// The longest visibility timeout SQS takes, in seconds.
const MAX_VISIBILITY_SECONDS: u32 = 43_200;

impl Settings {
    /// Merges the layers, lowest first. `local_broker`: with no queue configured, the embedded
    /// broker's base queue is used instead of an error.
    ///
    /// # Errors
    /// [`ConfigError::NoQueue`] or [`ConfigError::BadValue`].
    pub fn merge(layers: &[(Origin, Partial)], local_broker: bool) -> Result<Self, ConfigError> {
        let endpoint_url = optional(layers, |p| p.endpoint_url.clone());
        let queue_url = queue_url(layers, &endpoint_url, local_broker)?;
        let endpoint_url = if queue_url.origin == Origin::Default && endpoint_url.value.is_none() {
            Setting {
                value: Some(EMBEDDED_ENDPOINT.to_owned()),
                origin: Origin::Default,
            }
        } else {
            endpoint_url
        };
        let bands = pick(layers, Vec::new(), |p| p.priority_bands.clone());
        check_bands(&bands)?;
        let visibility = pick(layers, 60, |p| p.visibility_timeout);
        if !(10..=MAX_VISIBILITY_SECONDS).contains(&visibility.value) {
            return Err(bad(
                "visibility_timeout",
                &visibility.origin,
                "give 10 to 43200 seconds",
            ));
        }
        let cores = std::thread::available_parallelism().map_or(4, std::num::NonZero::get);
        Ok(Self {
            region: region(layers, &queue_url.value),
            default_queue: pick(layers, "dagster".to_owned(), |p| p.default_queue.clone()),
            queues: pick(layers, BTreeMap::new(), |p| p.queues.clone()),
            subscribe: pick(layers, Vec::new(), |p| p.subscribe.clone()),
            workers: pick(layers, u32::try_from(cores).unwrap_or(4), |p| p.workers),
            run_slots: pick(layers, 4, |p| p.run_slots),
            prefetch: pick(layers, 0, |p| p.prefetch),
            python: optional(layers, |p| p.python.clone()),
            dagster_home: optional(layers, |p| p.dagster_home.clone()),
            name: optional(layers, |p| p.name.clone()),
            visibility_timeout: visibility.map(|s| Duration::from_secs(s.into())),
            on_worker_lost: pick(layers, WorkerLost::Retry, |p| p.on_worker_lost),
            max_worker_lost_retries: pick(layers, 2, |p| p.max_worker_lost_retries),
            cancel_grace: pick(layers, 10, |p| p.cancel_grace)
                .map(|s| Duration::from_secs(s.into())),
            isolation: isolation(layers)?,
            isolation_by_location: pick(layers, BTreeMap::new(), |p| {
                p.isolation_by_location.clone()
            }),
            max_steps_per_process: max_steps(layers)?,
            max_memory_per_process: pick(layers, 0, |p| p.max_memory_per_process),
            trust_message_instance: pick(layers, false, |p| p.trust_message_instance),
            allow_locations: pick(layers, Vec::new(), |p| p.allow_locations.clone()),
            max_deliveries: pick(layers, 10, |p| p.max_deliveries),
            load_grace: pick(layers, 30, |p| p.load_grace).map(|s| Duration::from_secs(s.into())),
            starvation_guard: optional(layers, |p| p.starvation_guard)
                .map(|s| s.map_or(STARVATION_GUARD, |s| Duration::from_secs(s.into()))),
            s3_bucket: optional(layers, |p| p.s3_bucket_name.clone()),
            s3_endpoint_url: optional(layers, |p| p.s3_endpoint_url.clone()),
            webserver_url: optional(layers, |p| p.webserver_url.clone()),
            theme: pick(layers, "default".to_owned(), |p| p.theme.clone()),
            ring: pick(layers, Vec::new(), |p| p.ring.clone()),
            ring_for: pick(layers, AlarmKind::USUAL.to_vec(), |p| p.ring_for.clone()),
            read_only: pick(layers, false, |p| p.read_only),
            queue_url,
            endpoint_url,
            priority_bands: bands,
        })
    }
}

impl<T> Setting<T> {
    fn map<U>(self, convert: impl FnOnce(T) -> U) -> Setting<U> {
        Setting {
            value: convert(self.value),
            origin: self.origin,
        }
    }
}

/// The topmost layer's value, or the default.
fn pick<T>(
    layers: &[(Origin, Partial)],
    default: T,
    get: impl Fn(&Partial) -> Option<T>,
) -> Setting<T> {
    layers
        .iter()
        .rev()
        .find_map(|(origin, partial)| {
            get(partial).map(|value| Setting {
                value,
                origin: origin.clone(),
            })
        })
        .unwrap_or(Setting {
            value: default,
            origin: Origin::Default,
        })
}

fn optional<T>(
    layers: &[(Origin, Partial)],
    get: impl Fn(&Partial) -> Option<T>,
) -> Setting<Option<T>> {
    pick(layers, None, |partial| get(partial).map(Some))
}

fn queue_url(
    layers: &[(Origin, Partial)],
    endpoint: &Setting<Option<String>>,
    local_broker: bool,
) -> Result<Setting<String>, ConfigError> {
    let given = optional(layers, |p| p.queue_url.clone());
    match given.value {
        Some(url) if url.contains("://") => Ok(Setting {
            value: url,
            origin: given.origin,
        }),
        Some(_) => Err(bad(
            "queue_url",
            &given.origin,
            "it is not a URL; give the queue's full URL, as `aws sqs get-queue-url` prints it",
        )),
        None if local_broker => {
            let endpoint = endpoint.value.as_deref().unwrap_or(EMBEDDED_ENDPOINT);
            let value = format!(
                "{}/000000000000/{EMBEDDED_QUEUE}",
                endpoint.trim_end_matches('/')
            );
            Ok(Setting {
                value,
                origin: Origin::Default,
            })
        }
        None => Err(ConfigError::NoQueue {
            embedded: EMBEDDED_ENDPOINT,
        }),
    }
}

/// `region_name`, the region in the queue URL, `AWS_REGION`, `AWS_DEFAULT_REGION`, us-east-1: the
/// same order as on the Python side.
fn region(layers: &[(Origin, Partial)], queue_url: &str) -> Setting<String> {
    let given = optional(layers, |p| p.region_name.clone());
    if let Some(value) = given.value {
        return Setting {
            value,
            origin: given.origin,
        };
    }
    if let Some(region) = region_of_queue_url(queue_url) {
        return Setting {
            value: region.to_owned(),
            origin: Origin::Derived,
        };
    }
    ["AWS_REGION", "AWS_DEFAULT_REGION"]
        .into_iter()
        .find_map(variable)
        .map_or(
            Setting {
                value: "us-east-1".to_owned(),
                origin: Origin::Default,
            },
            |value| Setting {
                value,
                origin: Origin::Environment,
            },
        )
}

fn check_bands(bands: &Setting<Vec<Band>>) -> Result<(), ConfigError> {
    let bad_bands = |problem: &str| Err(bad("priority_bands", &bands.origin, problem));
    let Some((last, upper)) = bands.value.split_last() else {
        return Ok(());
    };
    if last.min.is_some() {
        return bad_bands("the last band takes all the rest: leave out its min");
    }
    if upper.iter().any(|band| band.min.is_none()) {
        return bad_bands("every band but the last needs a min");
    }
    if upper.windows(2).any(|pair| pair[0].min <= pair[1].min) {
        return bad_bands("list the bands from the highest min to the lowest");
    }
    if !bands.value.iter().any(|band| band.name == "normal") {
        return bad_bands("one band must be named normal: it is the base queue");
    }
    Ok(())
}

fn bad(name: &'static str, origin: &Origin, problem: &str) -> ConfigError {
    ConfigError::BadValue {
        name,
        origin: origin.to_string(),
        problem: problem.to_owned(),
    }
}

/// The variable that names the mode.
const ISOLATION_VARIABLE: &str = "DAGSTER_TASKIQ_ISOLATION";

/// The topmost layer's mode. The environment's is text that has not been looked at yet.
fn isolation(layers: &[(Origin, Partial)]) -> Result<Setting<Isolation>, ConfigError> {
    let given = optional(layers, |p| p.isolation.clone());
    let value = match given.value {
        None => Isolation::default(),
        Some(text) => text
            .parse()
            .map_err(|problem: String| bad("isolation", &given.origin, &problem))?,
    };
    Ok(Setting {
        value,
        origin: given.origin,
    })
}

fn max_steps(layers: &[(Origin, Partial)]) -> Result<Setting<u32>, ConfigError> {
    let steps = pick(layers, 100, |p| p.max_steps_per_process);
    if steps.value == 0 {
        return Err(bad(
            "max_steps_per_process",
            &steps.origin,
            "a process runs at least 1 step; use isolation: fresh for one that runs no other",
        ));
    }
    Ok(steps)
}

/// An environment variable; an empty one counts as absent, as for AWS's own tools.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The items of a list that is written with commas.
fn words(text: &str) -> Vec<String> {
    let words = text.split(',').map(str::trim);
    words
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The environment's layer.
#[must_use]
pub fn from_environment() -> Partial {
    Partial {
        queue_url: variable("DAGSTER_TASKIQ_SQS_QUEUE_URL"),
        endpoint_url: variable("DAGSTER_TASKIQ_SQS_ENDPOINT_URL"),
        s3_bucket_name: variable("DAGSTER_TASKIQ_S3_BUCKET_NAME"),
        s3_endpoint_url: variable("DAGSTER_TASKIQ_S3_ENDPOINT_URL"),
        dagster_home: variable("DAGSTER_HOME").map(PathBuf::from),
        webserver_url: variable("DAGSTER_TASKIQ_WEBSERVER_URL"),
        allow_locations: variable("DAGSTER_TASKIQ_ALLOW_LOCATIONS").map(|text| words(&text)),
        isolation: variable(ISOLATION_VARIABLE),
        ..Partial::default()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;

    fn layer(origin: Origin, yaml: &str) -> (Origin, Partial) {
        (origin, serde_yaml::from_str(yaml).unwrap())
    }

    #[test]
    fn a_higher_layer_wins_and_the_value_knows_where_it_came_from() {
        let layers = [
            layer(
                Origin::File("c.yaml".into()),
                "{queue_url: 'http://f/1/q', workers: 3}",
            ),
            layer(Origin::Environment, "{queue_url: 'http://e/1/q'}"),
            layer(Origin::Flags, "{workers: 7}"),
        ];
        let settings = Settings::merge(&layers, false).unwrap();
        assert_eq!(settings.queue_url.value, "http://e/1/q");
        assert_eq!(settings.queue_url.origin, Origin::Environment);
        assert_eq!(
            (settings.workers.value, settings.workers.origin),
            (7, Origin::Flags)
        );
        assert_eq!(settings.run_slots.origin, Origin::Default);
    }

    #[test]
    fn a_worker_without_a_queue_is_refused_unless_the_embedded_broker_is_asked_for() {
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
    fn a_mode_of_isolation_that_is_none_is_refused_with_the_known_ones() {
        let merge = |more: &str| {
            let yaml = format!("{{queue_url: 'http://f/1/q', {more}}}");
            Settings::merge(&[layer(Origin::Environment, &yaml)], false)
        };
        let settings = merge("isolation: reuse, isolation_by_location: {defs.py: fresh}").unwrap();
        assert_eq!(settings.isolation.value, Isolation::Reuse);
        assert_eq!(
            settings.isolation_by_location.value["defs.py"],
            Isolation::Fresh
        );
        let error = merge("isolation: spoon").unwrap_err().to_string();
        assert_eq!(
            error,
            "isolation from the environment cannot be used: \"spoon\" is none of auto, fork, reuse \
             and fresh"
        );
        assert!(merge("max_steps_per_process: 0").is_err());
    }

    #[test]
    fn the_region_comes_from_the_queue_url_unless_it_is_named() {
        let url = "{queue_url: 'https://sqs.eu-west-1.amazonaws.com/1/q'}";
        let settings = Settings::merge(&[layer(Origin::Flags, url)], false).unwrap();
        assert_eq!(settings.region.value, "eu-west-1");
        let layers = [
            layer(Origin::Environment, url),
            layer(Origin::Flags, "{region_name: us-west-2}"),
        ];
        assert_eq!(
            Settings::merge(&layers, false).unwrap().region.value,
            "us-west-2"
        );
    }

    #[test]
    fn bands_that_make_no_sense_are_refused_with_what_to_do() {
        let check = |bands: &str| {
            let yaml = format!("{{queue_url: 'http://q/1/t', priority_bands: {bands}}}");
            Settings::merge(&[layer(Origin::Flags, &yaml)], false).map(|s| s.prefetch.value)
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
    fn a_queue_url_that_is_only_a_name_says_what_to_give() {
        let layers = [layer(Origin::Flags, "{queue_url: dagster-tasks}")];
        let error = Settings::merge(&layers, false).unwrap_err().to_string();
        assert!(
            error.contains("the command line") && error.contains("full URL"),
            "{error}"
        );
    }
}
