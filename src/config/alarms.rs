//! Settings of alarms: what raises one, and where it is sent.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};
use url::Url;

use super::rows::Flaw;
use super::urls::http_url;
use super::values::{SettingValue, named};
use crate::domain::secrets::REDACTED;
use crate::domain::{AlarmKind, QueueRole, Severity};

/// Thresholds of the alarms; times in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlarmSettings {
    /// Kinds that are not judged.
    pub disabled: Vec<AlarmKind>,
    /// Time that an alarm must have stood, or been gone, before hooks and history learn of it.
    pub hold: u64,
    /// Age of the oldest waiting message of a queue.
    pub old_message: u64,
    /// The same for single queues, by name or by their name in `queues`.
    pub old_message_by_queue: BTreeMap<String, u64>,
    /// Share of a job's steps that failed within the window, in percent.
    pub failure_percent: u64,
    /// Smallest number of failed steps of the job within the window.
    pub failure_count: u64,
    /// The window.
    pub failure_window: u64,
    /// Time for which a failed run is an alarm, unless a later run of its job succeeds.
    pub failed_run: u64,
    /// Free space of a disk, in MiB.
    pub disk_free: u64,
    /// Folders whose disks are watched besides the state folder's and `dagster_home`'s.
    pub disk_folders: Vec<PathBuf>,
    /// Difference between this host's clock and the broker's.
    pub clock: u64,
    /// Silence of one of Dagster's daemons.
    pub daemon: u64,
    /// Time that a received message is held without a slot.
    pub held: u64,
}

impl Default for AlarmSettings {
    fn default() -> Self {
        Self {
            disabled: Vec::new(),
            hold: 15,
            old_message: 900,
            old_message_by_queue: BTreeMap::new(),
            failure_percent: 50,
            failure_count: 10,
            failure_window: 600,
            failed_run: 3600,
            disk_free: 1024,
            disk_folders: Vec::new(),
            clock: 5,
            daemon: 300,
            held: 300,
        }
    }
}

impl AlarmSettings {
    /// Age of the oldest message of a queue that is an alarm, in seconds.
    #[must_use]
    pub fn old_message_of(&self, queue: &str, role: &QueueRole) -> u64 {
        let alias = match role {
            QueueRole::Named(alias) => Some(alias.as_str()),
            _ => None,
        };
        let mut own = [Some(queue), alias].into_iter().flatten();
        own.find_map(|name| self.old_message_by_queue.get(name))
            .copied()
            .unwrap_or(self.old_message)
    }

    /// Whether a kind of alarm is judged.
    #[must_use]
    pub fn judges(&self, kind: AlarmKind) -> bool {
        !self.disabled.contains(&kind)
    }
}

fn seconds(meaning: &str) -> Value {
    json!({"type": "integer", "format": "seconds", "minimum": 1, "maximum": u32::MAX,
        "description": meaning})
}

impl SettingValue for AlarmSettings {
    fn schema() -> Value {
        let percent = json!({"type": "integer", "minimum": 1, "maximum": 100,
            "description": "Share of a job's steps that failed within `failure_window`, in percent."});
        let count = json!({"type": "integer", "minimum": 1, "maximum": 500,
            "description": "Smallest number of failed steps of the job within `failure_window`."});
        let free = json!({"type": "integer", "minimum": 1, "maximum": u32::MAX,
            "description": "Free space of a disk, in MiB."});
        let hold = json!({"type": "integer", "format": "seconds", "minimum": 0, "maximum": 3600,
            "description": "How long an alarm must have stood, or been gone, before hooks and history learn of it."});
        json!({
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "disabled": <Vec<AlarmKind>>::schema(),
                "hold": hold,
                "old_message": seconds("Age of the oldest waiting message of a queue."),
                "old_message_by_queue": {"type": "object",
                    "additionalProperties": seconds("Age of the oldest waiting message of this queue.")},
                "failure_percent": percent,
                "failure_count": count,
                "failure_window": seconds("Time within which failed steps count."),
                "failed_run": seconds("How long a failed run is an alarm, unless a later run of its job succeeds."),
                "disk_free": free,
                "disk_folders": <Vec<PathBuf>>::schema(),
                "clock": seconds("Difference between this host's clock and the broker's."),
                "daemon": seconds("Silence of one of Dagster's daemons."),
                "held": seconds("How long a received message is held without a slot."),
            },
        })
    }
}

/// Form of the request of a hook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HookTemplate {
    /// The alarm as JSON.
    #[default]
    Generic,
    /// A message for an incoming webhook of Slack.
    Slack,
    /// An event of `PagerDuty`'s Events API v2.
    Pagerduty,
}

/// A destination of alarms. `Debug` and serialization hide what may be a secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlarmHook {
    /// Its name in logs and alarms.
    pub name: String,
    /// Command to run, with its arguments; without a shell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// URL to which the alarm is posted.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "hide_path"
    )]
    pub url: Option<String>,
    /// Form of the request.
    #[serde(default)]
    pub template: HookTemplate,
    /// `PagerDuty`'s integration key.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "hide"
    )]
    pub routing_key: Option<String>,
    /// Headers of the request.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        serialize_with = "hide_values"
    )]
    pub headers: BTreeMap<String, String>,
    /// The mildest alarms that are sent.
    #[serde(default = "mildest")]
    pub min_severity: Severity,
    /// The kinds that are sent; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<AlarmKind>,
    /// Time limit of one try, in seconds.
    #[serde(default = "patience")]
    pub timeout: u64,
}

fn mildest() -> Severity {
    Severity::Warning
}

fn patience() -> u64 {
    10
}

fn hide<T, S: Serializer>(_: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(REDACTED)
}

/// The path of a webhook's URL is its secret.
fn hide_path<'a, T, S: Serializer>(value: &'a T, serializer: S) -> Result<S::Ok, S::Error>
where
    &'a T: IntoIterator<Item = &'a String>,
{
    let url = value.into_iter().next();
    serializer.serialize_str(&host_of(url.map_or("", String::as_str)))
}

fn hide_values<S: Serializer>(
    value: &BTreeMap<String, String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(value.keys().map(|key| (key, REDACTED)))
}

/// Scheme and host of a URL, for display.
fn host_of(url: &str) -> String {
    let Ok(url) = Url::parse(url) else {
        return REDACTED.to_owned();
    };
    format!("{}/{REDACTED}", url.origin().ascii_serialization())
}

impl fmt::Debug for AlarmHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlarmHook")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl AlarmHook {
    /// The headers of its request.
    ///
    /// # Errors
    /// The name of one that cannot be sent.
    pub fn header_map(&self) -> Result<HeaderMap, String> {
        let header = |(name, value): (&String, &String)| {
            let header = HeaderName::from_bytes(name.as_bytes()).ok();
            let value = HeaderValue::from_str(value).ok();
            header.zip(value).ok_or_else(|| name.clone())
        };
        self.headers.iter().map(header).collect()
    }

    /// The first reason why it could not send anything.
    fn flaw(&self) -> Option<Flaw> {
        let name = &self.name;
        let pagerduty = self.template == HookTemplate::Pagerduty;
        match (&self.url, self.command.first()) {
            (Some(_), Some(_)) => {
                let text = format!("the hook {name} has a `command` or a `url`, not both");
                return Some(Flaw::new("", text));
            }
            (None, None) if !pagerduty => {
                let text = format!("the hook {name} needs a `command` or a `url`");
                return Some(Flaw::new("", text));
            }
            (Some(url), _) => {
                if let Err(problem) = http_url(url) {
                    return Some(Flaw::new("url", format!("the hook {name}: {problem}")));
                }
            }
            (None, Some(program)) if program.is_empty() || pagerduty => {
                let text =
                    format!("the `command` of the hook {name} is a program and its arguments");
                return Some(Flaw::new("command", text));
            }
            _ => {}
        }
        if pagerduty && self.routing_key.is_none() {
            let text =
                format!("the hook {name} has the template `pagerduty` and needs a `routing_key`");
            return Some(Flaw::new("", text));
        }
        if let Some((key, reason)) = self.unused() {
            return Some(Flaw::new(key, format!("the hook {name} {reason}")));
        }
        let header = self.header_map().err()?;
        let text = format!(
            "the hook {name} cannot send it: the name of a header has no spaces, and its value no \
             line ends and only letters of ASCII"
        );
        Some(Flaw::new(header.escape_debug().to_string(), text).within("headers"))
    }

    /// A key that has no effect beside the others, and why.
    fn unused(&self) -> Option<(&'static str, &'static str)> {
        let of_url = "has a `command`, and this is for a `url`: leave it out";
        let is_command = !self.command.is_empty();
        if is_command && self.template != HookTemplate::Generic {
            Some(("template", of_url))
        } else if is_command && !self.headers.is_empty() {
            Some(("headers", of_url))
        } else if self.routing_key.is_some() && self.template != HookTemplate::Pagerduty {
            let of_template = "needs the `template: pagerduty` for it: set that, or leave it out";
            Some(("routing_key", of_template))
        } else {
            None
        }
    }

    /// Whether an alarm is sent by it.
    #[must_use]
    pub fn takes(&self, kind: AlarmKind, severity: Severity) -> bool {
        severity <= self.min_severity && (self.kinds.is_empty() || self.kinds.contains(&kind))
    }
}

impl SettingValue for AlarmHook {
    fn unhidden(&self) -> Value {
        let mut shown = self.to_json();
        shown["headers"] = json!(self.headers);
        // Absent ones stay absent: null is no text.
        for (key, secret) in [("url", &self.url), ("routing_key", &self.routing_key)] {
            if let Some(secret) = secret {
                shown[key] = secret.as_str().into();
            }
        }
        shown
    }

    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {
                "name": {"type": "string", "description": "Its name in logs and alarms."},
                "command": {"type": "array", "items": String::schema(),
                    "description": "Command to run, with its arguments; no shell."},
                "url": String::schema(),
                "template": {"type": "string", "enum": ["generic", "slack", "pagerduty"]},
                "routing_key": String::schema(),
                "headers": {"type": "object", "additionalProperties": String::schema()},
                "min_severity": {"type": "string", "enum": ["critical", "warning"]},
                "kinds": <Vec<AlarmKind>>::schema(),
                "timeout": {"type": "integer", "format": "seconds", "minimum": 1, "maximum": 300},
            },
            "required": ["name"],
            "additionalProperties": false,
        })
    }
}

/// The check that a schema cannot express.
pub(super) fn check_hooks(value: &Value) -> Vec<Flaw> {
    // It fits the schema.
    let hooks: Vec<AlarmHook> = serde_json::from_value(value.clone()).unwrap_or_default();
    let mut flaws = Vec::new();
    for (index, hook) in hooks.iter().enumerate() {
        let is_again = hooks[..index].iter().any(|other| other.name == hook.name);
        let flaw = match named(&hook.name) {
            Err(problem) => Some(Flaw::new(
                "name",
                format!("{problem}; each hook needs a `name` of its own"),
            )),
            Ok(()) if is_again => Some(Flaw::new("name", "each hook needs a `name` of its own")),
            Ok(()) => hook.flaw(),
        };
        flaws.extend(flaw.map(|flaw| flaw.within(&format!("[{index}]"))));
    }
    flaws
}
