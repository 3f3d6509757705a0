//! A queue's attributes: the checked values a client set, beside the typed values the state machine
//! uses. Defaults and limits are those of AWS.

mod encryption;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use encryption::{KMS_KEY, KMS_PERIOD, MANAGED};
use serde::Deserialize;

use crate::sqs_server::error::{ErrorKind, SqsError};

/// Maximum size of a message or a batch, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 1_048_576;
/// Maximum visibility timeout, in seconds.
pub const MAX_VISIBILITY_SECONDS: i64 = 43_200;

/// Attributes with an integer value: name, allowed values, default. All but the last are always
/// returned; the last only together with a KMS key.
const INTEGERS: [(&str, RangeInclusive<i64>, i64); 6] = [
    ("VisibilityTimeout", 0..=MAX_VISIBILITY_SECONDS, 30),
    ("DelaySeconds", 0..=900, 0),
    ("MessageRetentionPeriod", 60..=1_209_600, 345_600),
    ("ReceiveMessageWaitTimeSeconds", 0..=20, 0),
    ("MaximumMessageSize", 1_024..=1_048_576, 1_048_576),
    (KMS_PERIOD, 60..=86_400, 300),
];

/// Attributes only FIFO queues have: name, allowed values, default.
const FIFO_ONLY: [(&str, &[&str], &str); 3] = [
    ("ContentBasedDeduplication", &["true", "false"], "false"),
    ("DeduplicationScope", &["queue", "messageGroup"], "queue"),
    (
        "FifoThroughputLimit",
        &["perQueue", "perMessageGroupId"],
        "perQueue",
    ),
];

/// Attributes kept as they were given; an empty value removes them.
const TEXTS: [&str; 4] = ["Policy", "RedrivePolicy", "RedriveAllowPolicy", KMS_KEY];

/// Attributes that SQS computes; they can be requested but not set.
pub const COMPUTED: [&str; 6] = [
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
    "CreatedTimestamp",
    "LastModifiedTimestamp",
    "QueueArn",
];

/// A queue's attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    raw: BTreeMap<String, String>,
    /// Whether it is a FIFO queue.
    pub fifo: bool,
    /// Visibility timeout of a received message, in seconds.
    pub visibility: i64,
    /// Delay of a sent message, in seconds.
    pub delay: i64,
    /// Retention of a message, in seconds.
    pub retention: i64,
    /// Default wait time of a receive, in seconds.
    pub wait: i64,
    /// Maximum size of a message, in bytes.
    pub max_message_bytes: usize,
    /// Whether a missing deduplication id is computed from the body.
    pub content_based_deduplication: bool,
    /// Whether deduplication ids count within their group only.
    pub deduplicate_per_group: bool,
    /// Dead-letter policy: where messages go after too many receives.
    pub redrive: Option<RedrivePolicy>,
    /// Queues that may use this one as their dead-letter queue.
    pub redrive_allow: Option<RedriveAllowPolicy>,
}

/// The `RedrivePolicy` attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedrivePolicy {
    /// The dead-letter queue's ARN.
    pub target_arn: String,
    /// Number of receives after which a message is moved.
    pub max_receive_count: u32,
}

/// The `RedriveAllowPolicy` attribute.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RedriveAllowPolicy {
    /// `allowAll`, `denyAll` or `byQueue`.
    pub redrive_permission: String,
    /// The sources of `byQueue`.
    #[serde(default)]
    pub source_queue_arns: Vec<String>,
}

/// The queue's name in an ARN or in a URL's path.
#[must_use]
pub fn name_in_arn(arn: &str) -> &str {
    arn.rsplit(':').next().unwrap_or(arn)
}

impl Settings {
    /// Checks and reads attributes as a client gives them, for a queue of this kind.
    ///
    /// # Errors
    /// `InvalidAttributeName` and `InvalidAttributeValue`, or `InvalidParameterValue` for a
    /// malformed policy, as in SQS.
    pub fn parse(raw: BTreeMap<String, String>, fifo: bool) -> Result<Self, SqsError> {
        let mut settled = BTreeMap::new();
        for (name, value) in raw {
            let value = plain(&name, value);
            check(&name, &value, fifo)?;
            if !value.is_empty() {
                settled.insert(name, value);
            }
        }
        let raw = settled;
        let integer = |name: &str| {
            raw.get(name)
                .and_then(|value| value.parse().ok())
                .unwrap_or_else(|| default_of(name))
        };
        let is = |name: &str, value: &str| raw.get(name).is_some_and(|given| given == value);
        if is("FifoThroughputLimit", "perMessageGroupId")
            && !is("DeduplicationScope", "messageGroup")
        {
            return Err(SqsError::new(
                ErrorKind::InvalidAttributeValue,
                "The perMessageGroupId value of FifoThroughputLimit is allowed only when the value \
                 of DeduplicationScope is messageGroup.",
            ));
        }
        Ok(Self {
            fifo,
            visibility: integer("VisibilityTimeout"),
            delay: integer("DelaySeconds"),
            retention: integer("MessageRetentionPeriod"),
            wait: integer("ReceiveMessageWaitTimeSeconds"),
            max_message_bytes: usize::try_from(integer("MaximumMessageSize"))
                .unwrap_or(MAX_MESSAGE_BYTES),
            content_based_deduplication: is("ContentBasedDeduplication", "true"),
            deduplicate_per_group: is("DeduplicationScope", "messageGroup"),
            redrive: raw
                .get("RedrivePolicy")
                .map(|text| parse_redrive(text))
                .transpose()?,
            redrive_allow: raw
                .get("RedriveAllowPolicy")
                .map(|text| parse_redrive_allow(text))
                .transpose()?,
            raw,
        })
    }

    /// The attributes of a new queue.
    ///
    /// # Errors
    /// As [`Settings::parse`], or both kinds of encryption are requested.
    pub fn new(mut attributes: BTreeMap<String, String>, fifo: bool) -> Result<Self, SqsError> {
        encryption::choose(&mut attributes)?;
        Self::parse(attributes, fifo)
    }

    /// These attributes with some replaced; an empty value removes one.
    ///
    /// # Errors
    /// As [`Settings::new`].
    pub fn with(&self, mut changes: BTreeMap<String, String>) -> Result<Self, SqsError> {
        encryption::choose(&mut changes)?;
        let mut raw = self.raw.clone();
        raw.extend(changes);
        Self::parse(raw, self.fifo)
    }

    /// The first attribute here that differs in an existing queue.
    #[must_use]
    pub fn first_difference(&self, existing: &Self) -> Option<&str> {
        let shown = existing.shown();
        let has = |name: &str, value: &str| {
            let known = shown.get(name).copied();
            known
                .or_else(|| existing.raw.get(name).map(String::as_str))
                .is_some_and(|known| known == value || is_same_json(known, value))
        };
        let mut given = self.raw.iter();
        let other = given.find(|(name, value)| !has(name, value));
        other.map(|(name, _)| name.as_str())
    }

    /// The attributes as they were set.
    #[must_use]
    pub fn raw(&self) -> &BTreeMap<String, String> {
        &self.raw
    }

    /// Every attribute that is returned for this queue, except computed ones, with its value or
    /// default.
    #[must_use]
    pub fn shown(&self) -> BTreeMap<&str, &str> {
        let mut shown = BTreeMap::from([
            ("VisibilityTimeout", "30"),
            ("DelaySeconds", "0"),
            ("MessageRetentionPeriod", "345600"),
            ("ReceiveMessageWaitTimeSeconds", "0"),
            ("MaximumMessageSize", "1048576"),
            (MANAGED, "true"),
        ]);
        if self.fifo {
            shown.insert("FifoQueue", "true");
            shown.extend(FIFO_ONLY.iter().map(|(name, _, default)| (*name, *default)));
        }
        if self.raw.contains_key(KMS_KEY) {
            shown.insert(KMS_PERIOD, "300");
        }
        shown.extend(
            self.raw
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        );
        if self.raw.contains_key(KMS_KEY) {
            shown.insert(MANAGED, "false");
        } else {
            shown.remove(KMS_PERIOD);
        }
        shown
    }
}

/// Whether an attribute of this name can be requested.
#[must_use]
pub fn is_known(name: &str) -> bool {
    COMPUTED.contains(&name)
        || TEXTS.contains(&name)
        || INTEGERS.iter().any(|(known, ..)| *known == name)
        || FIFO_ONLY.iter().any(|(known, ..)| *known == name)
        || matches!(name, "All" | "FifoQueue" | MANAGED)
}

/// Whether an attribute of this name can be set.
#[must_use]
pub fn can_be_set(name: &str) -> bool {
    is_known(name) && name != "All" && !COMPUTED.contains(&name)
}

fn default_of(name: &str) -> i64 {
    INTEGERS
        .iter()
        .find(|(known, ..)| *known == name)
        .map_or(0, |(.., default)| *default)
}

/// A value as SQS returns it: numbers without leading zeros, booleans in lower case however a
/// client writes them (Python's are `True` and `False`), the number in a redrive policy as a
/// number.
fn plain(name: &str, value: String) -> String {
    let text = value.trim_ascii();
    if INTEGERS.iter().any(|(known, ..)| *known == name) {
        return text
            .parse()
            .map_or(value.clone(), |number: i64| number.to_string());
    }
    match name {
        "FifoQueue" | "ContentBasedDeduplication" | MANAGED => text.to_ascii_lowercase(),
        "RedrivePolicy" => plain_redrive(text).unwrap_or(value),
        _ => value,
    }
}

fn plain_redrive(text: &str) -> Option<String> {
    let mut policy: serde_json::Value = serde_json::from_str(text).ok()?;
    let count: u32 = policy["maxReceiveCount"].as_str()?.trim().parse().ok()?;
    policy["maxReceiveCount"] = count.into();
    Some(policy.to_string())
}

/// Whether two policies are equal as JSON, however they are formatted.
fn is_same_json(left: &str, right: &str) -> bool {
    let read = |text: &str| {
        let value = serde_json::from_str::<serde_json::Value>(text).ok();
        value.filter(serde_json::Value::is_object)
    };
    read(left).is_some_and(|left| Some(left) == read(right))
}

fn check(name: &str, value: &str, fifo: bool) -> Result<(), SqsError> {
    let allowed = if let Some((_, range, _)) = INTEGERS.iter().find(|(known, ..)| *known == name) {
        value
            .parse()
            .is_ok_and(|number: i64| range.contains(&number))
    } else if let Some((_, values, _)) = FIFO_ONLY.iter().find(|(known, ..)| *known == name) {
        if !fifo && name == "ContentBasedDeduplication" {
            return Err(SqsError::unknown_attribute(name));
        }
        if !fifo {
            return Err(SqsError::new(
                ErrorKind::InvalidAttributeName,
                format!("You can specify the {name} only when FifoQueue is set to true."),
            ));
        }
        values.contains(&value)
    } else if name == "Policy" {
        value.is_empty() || is_json_object(value)
    } else if TEXTS.contains(&name) {
        true
    } else {
        match name {
            "FifoQueue" if fifo && value != "true" => {
                return Err(SqsError::new(
                    ErrorKind::InvalidAttributeValue,
                    "Invalid value for the parameter FifoQueue. Reason: Modifying queue type is \
                     not supported.",
                ));
            }
            "FifoQueue" if fifo => true,
            MANAGED => matches!(value, "true" | "false"),
            _ => return Err(SqsError::unknown_attribute(name)),
        }
    };
    if allowed {
        Ok(())
    } else {
        Err(SqsError::invalid_attribute(name))
    }
}

fn is_json_object(text: &str) -> bool {
    serde_json::from_str(text).is_ok_and(|value: serde_json::Value| value.is_object())
}

fn parse_redrive(text: &str) -> Result<RedrivePolicy, SqsError> {
    let refuse = |reason: &str| SqsError::invalid("RedrivePolicy", text, reason);
    let policy: serde_json::Value = serde_json::from_str(text)
        .map_err(|_| refuse("Redrive policy is not a valid JSON map."))?;
    if !policy.is_object() {
        return Err(refuse("Redrive policy is not a valid JSON map."));
    }
    let target_arn = policy["deadLetterTargetArn"].as_str().ok_or_else(|| {
        refuse("Redrive policy does not contain mandatory attribute: deadLetterTargetArn.")
    })?;
    if target_arn.split(':').count() != 6 || !target_arn.starts_with("arn:") {
        return Err(refuse("Invalid value for deadLetterTargetArn."));
    }
    let count = match &policy["maxReceiveCount"] {
        serde_json::Value::Null => {
            let reason = "Redrive policy does not contain mandatory attribute: maxReceiveCount.";
            return Err(refuse(reason));
        }
        serde_json::Value::String(digits) => digits.parse().ok(),
        number => number.as_u64(),
    };
    let max_receive_count = count
        .and_then(|count| u32::try_from(count).ok())
        .filter(|count| (1..=1_000).contains(count))
        .ok_or_else(|| {
            refuse(&format!(
                "Invalid value for maxReceiveCount: {}, valid values are from 1 to 1000 both \
                 inclusive.",
                policy["maxReceiveCount"]
            ))
        })?;
    Ok(RedrivePolicy {
        target_arn: target_arn.to_owned(),
        max_receive_count,
    })
}

fn parse_redrive_allow(text: &str) -> Result<RedriveAllowPolicy, SqsError> {
    let refuse = |reason: &str| SqsError::invalid("RedriveAllowPolicy", text, reason);
    let policy: RedriveAllowPolicy = serde_json::from_str(text).map_err(|_| {
        refuse(
            "Amazon SQS can't create the redrive allow policy, as it's in an unsupported format.",
        )
    })?;
    let sources = policy.source_queue_arns.len();
    match policy.redrive_permission.as_str() {
        "allowAll" | "denyAll" if sources == 0 => Ok(policy),
        "byQueue" if (1..=10).contains(&sources) => Ok(policy),
        "byQueue" => Err(refuse("byQueue needs 1 to 10 sourceQueueArns.")),
        "allowAll" | "denyAll" => Err(refuse("Only byQueue takes sourceQueueArns.")),
        _ => Err(refuse(
            "redrivePermission must be allowAll, denyAll or byQueue.",
        )),
    }
}
