//! One layer of settings: every value may be absent.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::domain::{AlarmKind, Isolation, Ring};
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A priority band: steps of at least `min` travel on a queue of their own.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Band {
    /// Name; the queue is `<base>-<name>`, and the band named `normal` is the base queue.
    pub name: String,
    /// Lowest priority (run plus step) that travels on it; the last band has none.
    #[serde(default)]
    pub min: Option<i64>,
}

/// What happens to a step whose worker is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerLost {
    /// The next attempt is started, whatever the step's own retry policy.
    #[default]
    Retry,
    /// The step fails.
    Fail,
}

/// One layer. The field names are the keys of the YAML file. `Debug` shows nothing of it: URLs and
/// `config_source` may hold secrets.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Partial {
    /// URL of the base queue.
    #[serde(deserialize_with = "string_source")]
    pub queue_url: Option<String>,
    /// AWS region.
    #[serde(deserialize_with = "string_source")]
    pub region_name: Option<String>,
    /// SQS endpoint other than AWS's own.
    #[serde(deserialize_with = "string_source")]
    pub endpoint_url: Option<String>,
    /// The queue name that stands for the base queue.
    #[serde(deserialize_with = "string_source")]
    pub default_queue: Option<String>,
    /// Named queues that steps can ask for by tag: name to URL.
    pub queues: Option<BTreeMap<String, String>>,
    /// Names of the queues (`queues`, or the base) this worker serves; absent: all of them.
    pub subscribe: Option<Vec<String>>,
    /// Priority bands, highest first.
    pub priority_bands: Option<Vec<Band>>,
    /// Steps that may run at once.
    pub workers: Option<u32>,
    /// Run workers that may run at once.
    pub run_slots: Option<u32>,
    /// Messages held beyond the free slots.
    pub prefetch: Option<u32>,
    /// The Python that runs the steps.
    pub python: Option<PathBuf>,
    /// Folder of `dagster.yaml`.
    pub dagster_home: Option<PathBuf>,
    /// Unique name of this worker.
    pub name: Option<String>,
    /// Seconds for which a received message is hidden; renewed while it is in hand.
    pub visibility_timeout: Option<u32>,
    /// What happens to a step whose worker is lost.
    pub on_worker_lost: Option<WorkerLost>,
    /// Attempts that may be lost with their worker, per step.
    pub max_worker_lost_retries: Option<u32>,
    /// Seconds between SIGINT and SIGTERM of a cancelled step; SIGKILL comes 5 s later.
    pub cancel_grace: Option<u32>,
    /// What kind of process a step gets.
    pub isolation: Option<String>,
    /// The same for single code locations: a module, or a file or the end of its path, to a mode.
    pub isolation_by_location: Option<BTreeMap<String, Isolation>>,
    /// Steps that a reused process runs before another takes its place.
    pub max_steps_per_process: Option<u32>,
    /// MiB that a reused process may hold after a step; 0: no limit.
    pub max_memory_per_process: Option<u32>,
    /// Whether a message's own instance reference is obeyed.
    pub trust_message_instance: Option<bool>,
    /// Module names and file globs that this worker may load; absent: all.
    pub allow_locations: Option<Vec<String>>,
    /// Executions of one attempt (of a run: its run workers) after which a message that still has
    /// no end is put away; 0: no limit.
    pub max_deliveries: Option<u32>,
    /// Seconds for which the tasks of a code location that has begun to fail to load are given back
    /// before they fail: it may be in the middle of a deployment.
    pub load_grace: Option<u32>,
    /// Seconds after which a queue that has not been asked because of higher bands is asked first.
    pub starvation_guard: Option<u32>,
    /// Bucket that results for senders of Python's `dagster-taskiq` are put into.
    #[serde(deserialize_with = "string_source")]
    pub s3_bucket_name: Option<String>,
    /// S3 endpoint other than AWS's own.
    #[serde(deserialize_with = "string_source")]
    pub s3_endpoint_url: Option<String>,
    /// Dagster's webserver, for launching runs from the console.
    #[serde(deserialize_with = "string_source")]
    pub webserver_url: Option<String>,
    /// Theme: the name of a built-in one or a file.
    pub theme: Option<String>,
    /// How the console calls for alarms: `bell`, `desktop` or both; none by default.
    pub ring: Option<Vec<Ring>>,
    /// The kinds of alarms it calls for.
    pub ring_for: Option<Vec<AlarmKind>>,
    /// Whether every command that changes something is refused.
    pub read_only: Option<bool>,
    /// Upstream's free-form broker options: accepted, so that its files load; nothing here uses it.
    pub config_source: Option<serde_yaml::Value>,
}

impl fmt::Debug for Partial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Partial").finish_non_exhaustive()
    }
}

/// Dagster's `StringSource`: a string, or `{env: NAME}`.
fn string_source<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    struct Source;
    impl<'de> Visitor<'de> for Source {
        type Value = Option<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string or {env: NAME}")
        }
        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok(Some(text.to_owned()))
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let entry: Option<(String, String)> = map.next_entry()?;
            match entry {
                Some((key, name)) if key == "env" => std::env::var(&name).map(Some).map_err(|_| {
                    de::Error::custom(format!("the environment variable {name} is not set"))
                }),
                _ => Err(de::Error::custom("expected a string or {env: NAME}")),
            }
        }
    }
    deserializer.deserialize_any(Source)
}
