//! Contexts: several deployments in one file, of which a flag, a variable or the console chooses
//! one by its name.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::ConfigError;
use super::merge::{Layer, topmost};
use super::rows::{Check, Flaw};
use super::table::{Partial, Settings};
use super::urls::{check_endpoint, check_http_url, check_queue_url};
use super::values::{SettingValue, one_of};

/// A deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Context {
    /// URL of its base queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_url: Option<String>,
    /// SQS endpoint other than AWS's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_url: Option<String>,
    /// AWS region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region_name: Option<String>,
    /// URL of its Dagster webserver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webserver_url: Option<String>,
    /// Folder of its `dagster.yaml`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dagster_home: Option<PathBuf>,
    /// Hosts of its workers, as ssh takes them; none: its workers run on this host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Folder of the workers' control sockets, if it is not the user's runtime folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_dir: Option<PathBuf>,
    /// Colour of its name in the console's head line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub colour: Option<ContextColour>,
}

/// Colour of a context's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum ContextColour {
    Red,
    Yellow,
    Green,
    Cyan,
    Blue,
    Magenta,
}

impl ContextColour {
    const ALL: [Self; 6] = [
        Self::Red,
        Self::Yellow,
        Self::Green,
        Self::Cyan,
        Self::Blue,
        Self::Magenta,
    ];
}

impl SettingValue for Context {
    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {
                "queue_url": String::schema(),
                "endpoint_url": String::schema(),
                "region_name": String::schema(),
                "webserver_url": String::schema(),
                "dagster_home": PathBuf::schema(),
                "hosts": Vec::<String>::schema(),
                "runtime_dir": PathBuf::schema(),
                "colour": one_of(&ContextColour::ALL),
            },
            "additionalProperties": false,
        })
    }
}

impl Settings {
    /// The chosen context, with its name.
    #[must_use]
    pub fn chosen_context(&self) -> Option<(&str, &Context)> {
        let name = self.context.value.as_deref()?;
        Some((name, self.contexts.value.get(name)?))
    }
}

pub(super) fn check_contexts(value: &Value) -> Vec<Flaw> {
    let checks: [(&str, Check); 3] = [
        ("queue_url", check_queue_url),
        ("endpoint_url", check_endpoint),
        ("webserver_url", check_http_url),
    ];
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let mut flaws = Vec::new();
    for (name, context) in value.as_object().into_iter().flatten() {
        if name.is_empty() || !name.chars().all(is_plain) {
            let text = "the names of contexts have letters, digits, `-`, `_` and `.` only";
            flaws.push(Flaw::new(name.as_str(), text));
        }
        for (key, check) in checks {
            let found = check(&context[key]).into_iter();
            flaws.extend(found.map(|flaw| flaw.within(key).within(name)));
        }
    }
    flaws
}

/// The layers with the chosen context between the environment and the flags. Where a queue or a
/// webserver is, only the context says then: anything else may be of another deployment.
pub(super) fn applied(layers: &[Layer]) -> Result<Cow<'_, [Layer]>, ConfigError> {
    let Some(chosen) = topmost(layers, "context", |values| values.context.clone()) else {
        return Ok(Cow::Borrowed(layers));
    };
    let name = chosen.value;
    let known = topmost(layers, "contexts", |values| values.contexts.clone());
    let known: BTreeMap<String, Context> = known.map(|known| known.value).unwrap_or_default();
    let Some(context) = known.get(&name) else {
        let names: Vec<&str> = known.keys().map(String::as_str).collect();
        return Err(ConfigError::UnknownContext {
            name,
            origin: chosen.origin,
            known: if names.is_empty() {
                String::from("the settings name none; give their file with -y")
            } else {
                format!("the settings name {}", names.join(", "))
            },
        });
    };
    let (flags, below): (Vec<&Layer>, Vec<&Layer>) =
        layers.iter().partition(|layer| layer.is_of_flags());
    if let Some(flag) = flags.iter().find_map(|layer| second(&layer.values)) {
        return Err(ConfigError::BesideContext { flag, name });
    }
    let mut all: Vec<Layer> = below.into_iter().cloned().collect();
    for layer in &mut all {
        forget(&mut layer.values);
    }
    all.push(Layer::context(&name, values(context)));
    all.extend(flags.into_iter().cloned());
    Ok(Cow::Owned(all))
}

/// The flag that names a second deployment.
fn second(flags: &Partial) -> Option<&'static str> {
    let given = [
        (flags.queue_url.is_some(), "--queue-url"),
        (flags.endpoint_url.is_some(), "--endpoint-url"),
        (flags.webserver_url.is_some(), "--webserver-url"),
    ];
    given.into_iter().find_map(|(is, flag)| is.then_some(flag))
}

fn forget(values: &mut Partial) {
    values.queue_url = None;
    values.endpoint_url = None;
    values.region_name = None;
    values.webserver_url = None;
    values.queues = None;
    values.subscribe = None;
}

fn values(context: &Context) -> Partial {
    let context = context.clone();
    Partial {
        queue_url: context.queue_url,
        endpoint_url: context.endpoint_url,
        region_name: context.region_name,
        webserver_url: context.webserver_url,
        dagster_home: context.dagster_home,
        ..Partial::default()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use std::path::Path;

    use super::super::Origin;
    use super::super::file::parse;
    use super::*;

    const FILE: &str = "\
queue_url: http://base/1/q
webserver_url: http://base:3000
queues: {slow: 'http://base/1/slow'}
prefetch: 3
contexts:
  production: {queue_url: 'http://prod/1/q', hosts: [ann@etl-1], colour: red}
  staging: {webserver_url: 'http://staging:3000'}
";

    fn layer(yaml: &str) -> Layer {
        parse(Path::new("c.yaml"), yaml).unwrap().layer
    }

    fn merged(flags: &str) -> Result<Settings, ConfigError> {
        let flags = Layer::flags(layer(flags).values);
        Settings::merge(&[layer(FILE), flags], true)
    }

    #[test]
    fn a_chosen_context_alone_states_where_queue_and_webserver_are() {
        let settings = merged("context: production").unwrap();
        assert_eq!(settings.queue_url.value, "http://prod/1/q");
        let origin = Origin::Context(String::from("production"));
        assert_eq!(settings.queue_url.origin, origin);
        assert_eq!(settings.webserver_url.value, None);
        assert!(settings.queues.value.is_empty());
        assert_eq!(settings.prefetch.value, 3, "what is no place stays");
        let (name, context) = settings.chosen_context().unwrap();
        assert_eq!(
            (name, context.colour),
            ("production", Some(ContextColour::Red))
        );

        let settings = merged("context: staging").unwrap();
        assert!(
            settings.queue_url.value.contains("127.0.0.1"),
            "{settings:?}"
        );
        let settings = merged("{}").unwrap();
        assert_eq!(settings.queue_url.value, "http://base/1/q");
        assert!(settings.chosen_context().is_none());
    }

    #[test]
    fn an_unknown_context_and_a_second_deployment_are_refused() {
        let expected = |flags: &str| merged(flags).unwrap_err().to_string();
        let unknown = expected("context: prod");
        assert!(
            unknown.contains("the settings name production, staging"),
            "{unknown}"
        );
        let second = expected("{context: staging, queue_url: 'http://e/1/q'}");
        assert!(second.contains("--queue-url"), "{second}");
        let names = expected("contexts: {'a b': {}}");
        assert!(names.contains("letters, digits"), "{names}");
        let colour = parse(Path::new("c.yaml"), "contexts: {a: {colour: pink}}");
        let colour = colour.unwrap_err().to_string();
        assert!(colour.contains("must be one of red, yellow"), "{colour}");
    }
}
