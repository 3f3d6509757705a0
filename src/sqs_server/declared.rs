//! Declarations of a configuration file: queues that exist from the start, templates of queues that
//! are created on first use, and faults.

mod values;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use super::error::{ErrorKind, SqsError};
use super::faults::Fault;
use super::state::Broker;
use super::state::message::Millis;
use super::state::settings::Settings;
use super::{account, pattern};
use values::{AttributeName, AttributeValue};

const REDRIVE: &str = "RedrivePolicy";
const REDRIVE_ALLOW: &str = "RedriveAllowPolicy";

/// A configuration file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Declared {
    queues: BTreeMap<String, Option<Declaration>>,
    templates: BTreeMap<String, Option<Declaration>>,
    faults: Vec<Fault>,
}

/// A queue, or a template of one.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Declaration {
    attributes: BTreeMap<AttributeName, AttributeValue>,
    redrive: Option<Redrive>,
    tags: BTreeMap<String, AttributeValue>,
}

/// Dead-letter policy: where messages go after too many receives.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Redrive {
    queue: String,
    max_receive_count: u32,
}

impl Declared {
    /// The faults.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        self.faults.clone()
    }

    /// Whether queues may be created on first use.
    #[must_use]
    pub fn has_templates(&self) -> bool {
        !self.templates.is_empty()
    }

    /// Checks that every template makes a valid queue; declared queues are created at once anyway.
    ///
    /// # Errors
    /// The first invalid template, and why.
    pub fn check(&self) -> Result<(), String> {
        for (pattern, template) in &self.templates {
            let key = key_of(&pattern.replace('*', "x"));
            let mut template = template.clone().unwrap_or_default();
            // The queue that the ARN names may already be in the data folder.
            template.attributes.retain(|name, _| name.0 != REDRIVE);
            let mut broker = Broker::default();
            make(&mut broker, 0, &key, &template, "x")
                .map_err(|error| format!("the template {pattern}: {}", error.message))?;
        }
        Ok(())
    }

    /// Creates the declared queues. An existing queue gets the attributes and tags of the file; it
    /// keeps its messages and everything the file does not name.
    ///
    /// # Errors
    /// Those of SQS, with the queue's name.
    pub fn apply(&self, broker: &mut Broker, now: Millis) -> Result<(), SqsError> {
        let named = |name: &str, error: SqsError| {
            SqsError::new(error.kind, format!("the queue {name}: {}", error.message))
        };
        // Dead-letter queues must exist before the queues that name them, and may need attributes.
        for policies in [false, true] {
            for (name, declaration) in &self.queues {
                let declaration = declaration.clone().unwrap_or_default();
                let key = key_of(name);
                if policies {
                    make(broker, now, &key, &declaration, "")
                } else {
                    settle(
                        broker,
                        now,
                        &key,
                        declaration.plain(&key),
                        declaration.tags(),
                    )
                }
                .map_err(|error| named(name, error))?;
            }
        }
        Ok(())
    }

    /// Creates a missing queue from the template that matches its name best, which is the longest;
    /// `false` if no template matches.
    ///
    /// # Errors
    /// Those of SQS.
    pub fn make_by_template(
        &self,
        broker: &mut Broker,
        now: Millis,
        key: &str,
    ) -> Result<bool, SqsError> {
        if broker.queue(key).is_ok() {
            return Ok(true);
        }
        let (account, name) = account::split(key);
        let full = format!("{account}/{name}");
        let fits = |pattern: &str| pattern::fits(pattern, name) || pattern::fits(pattern, &full);
        let best = self
            .templates
            .iter()
            .filter(|(pattern, _)| fits(pattern))
            .max_by_key(|(pattern, _)| pattern.len());
        let Some((pattern, template)) = best else {
            return Ok(false);
        };
        let matched = matched(pattern.rsplit('/').next().unwrap_or(pattern), name);
        let template = template.clone().unwrap_or_default();
        make(broker, now, key, &template, matched)?;
        Ok(true)
    }
}

impl Declaration {
    /// The attributes as SQS takes them, without those that refer to other queues.
    fn plain(&self, key: &str) -> BTreeMap<String, String> {
        let given = self.attributes.iter();
        let mut attributes: BTreeMap<_, _> = given
            .map(|(name, value)| (name.0.clone(), value.0.clone()))
            .filter(|(name, _)| name != REDRIVE && name != REDRIVE_ALLOW)
            .collect();
        if key.strip_suffix(".fifo").is_some() {
            attributes.insert("FifoQueue".to_owned(), "true".to_owned());
        }
        attributes
    }

    fn tags(&self) -> BTreeMap<String, String> {
        let tags = self.tags.iter();
        tags.map(|(key, value)| (key.clone(), value.0.clone()))
            .collect()
    }

    fn attribute(&self, name: &str) -> Option<String> {
        let mut given = self.attributes.iter();
        let found = given.find(|(known, _)| known.0 == name)?;
        Some(found.1.0.clone())
    }
}

/// Creates a queue and the dead-letter queue it names, or updates its attributes. A `*` in the name
/// of the dead-letter queue stands for `matched`.
fn make(
    broker: &mut Broker,
    now: Millis,
    key: &str,
    declaration: &Declaration,
    matched: &str,
) -> Result<(), SqsError> {
    let mut policies = BTreeMap::new();
    if let Some(redrive) = &declaration.redrive {
        if declaration.attribute(REDRIVE).is_some() {
            return Err(SqsError::new(
                ErrorKind::InvalidAttributeValue,
                "give either redrive or the attribute RedrivePolicy",
            ));
        }
        let name = redrive.queue.replace('*', matched);
        let target = account::sibling(key, &name);
        if broker.queue(&target).is_err() {
            let plain = Declaration::default().plain(&target);
            settle(broker, now, &target, plain, BTreeMap::new())?;
        }
        let (account, name) = account::split(&target);
        let policy = json!({
            "deadLetterTargetArn": format!("arn:aws:sqs:us-east-1:{account}:{name}"),
            "maxReceiveCount": redrive.max_receive_count,
        });
        policies.insert(REDRIVE.to_owned(), policy.to_string());
    }
    for name in [REDRIVE, REDRIVE_ALLOW] {
        if let Some(policy) = declaration.attribute(name) {
            policies.insert(name.to_owned(), policy);
        }
    }
    settle(broker, now, key, declaration.plain(key), declaration.tags())?;
    if policies.is_empty() {
        return Ok(());
    }
    settle(broker, now, key, policies, BTreeMap::new())
}

/// Creates a queue, or updates the attributes and tags that differ.
fn settle(
    broker: &mut Broker,
    now: Millis,
    key: &str,
    attributes: BTreeMap<String, String>,
    tags: BTreeMap<String, String>,
) -> Result<(), SqsError> {
    let Ok(queue) = broker.queue(key) else {
        return broker.create_queue(now, key, attributes, tags);
    };
    let known: &Settings = &queue.settings;
    let is_tagged = tags
        .iter()
        .all(|(key, value)| queue.tags.get(key) == Some(value));
    if known.with(attributes.clone())? != *known {
        broker.set_attributes(now, key, attributes)?;
    }
    if is_tagged {
        return Ok(());
    }
    broker.tag(key, tags)
}

/// `NAME`, or `ACCOUNT/NAME`.
fn key_of(text: &str) -> String {
    let (account, name) = account::split(text);
    account::key(account, name)
}

/// The part of a matching name that the first `*` of the pattern stands for.
fn matched<'a>(pattern: &str, name: &'a str) -> &'a str {
    let Some((before, after)) = pattern.split_once('*') else {
        return "";
    };
    let rest = name.strip_prefix(before).unwrap_or(name);
    rest.strip_suffix(after).unwrap_or(rest)
}
