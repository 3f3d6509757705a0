//! Attributes as written in a YAML file.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

use crate::sqs_server::state::settings;

/// The name of an attribute that can be set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AttributeName(pub String);

impl<'de> Deserialize<'de> for AttributeName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(NameVisitor)
    }
}

/// Refuses a name while it is parsed, so that the error has its line.
struct NameVisitor;

impl Visitor<'_> for NameVisitor {
    type Value = AttributeName;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of an attribute")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<AttributeName, E> {
        if settings::can_be_set(name) {
            return Ok(AttributeName(name.to_owned()));
        }
        Err(E::custom(format!(
            "unknown attribute `{name}`, SQS has no such attribute of a queue that can be set"
        )))
    }
}

/// A value as SQS takes it: always text. A map or a list becomes JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributeValue(pub String);

impl<'de> Deserialize<'de> for AttributeValue {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self(match serde_json::Value::deserialize(from)? {
            serde_json::Value::String(text) => text,
            serde_json::Value::Null => {
                return Err(D::Error::invalid_type(Unexpected::Unit, &"a value"));
            }
            other => other.to_string(),
        }))
    }
}
