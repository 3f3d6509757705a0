//! A message attribute, in a form that can be kept in a file and sent again.

use std::collections::BTreeMap;

use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::MessageAttributeValue;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// Attribute of a dead-lettered message: the reason.
pub const REASON: &str = "dtq_reason";

/// Attribute of a dead-lettered message: the queue it came from.
pub const SOURCE_QUEUE: &str = "dtq_source_queue";

/// Attribute of a copy: number of receives of the messages before it.
pub const RECEIVES: &str = "dtq_receives";

/// A message's attributes by name.
pub type Attributes = BTreeMap<String, Attribute>;

/// One attribute, named as SQS's JSON names its members.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Attribute {
    /// `String`, `Number` or `Binary`, with an optional label after a dot.
    #[serde(default)]
    pub data_type: String,
    /// The value of a string or number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub string_value: Option<String>,
    /// The value of a binary, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binary_value: Option<String>,
}

impl Attribute {
    /// A string.
    #[must_use]
    pub fn text(value: &str) -> Self {
        Self {
            data_type: String::from("String"),
            string_value: Some(value.to_owned()),
            binary_value: None,
        }
    }

    /// The value for display: a binary as its base64.
    #[must_use]
    pub fn shown(&self) -> &str {
        let value = self.string_value.as_ref().or(self.binary_value.as_ref());
        value.map_or("", String::as_str)
    }

    /// The attribute as the SDK takes it; `None` if it has no type or its base64 is invalid.
    pub(super) fn to_sdk(&self) -> Option<MessageAttributeValue> {
        let binary = match &self.binary_value {
            Some(text) => Some(Blob::new(STANDARD.decode(text).ok()?)),
            None => None,
        };
        MessageAttributeValue::builder()
            .data_type(&self.data_type)
            .set_string_value(self.string_value.clone())
            .set_binary_value(binary)
            .build()
            .ok()
    }
}

impl From<&MessageAttributeValue> for Attribute {
    fn from(value: &MessageAttributeValue) -> Self {
        Self {
            data_type: value.data_type.clone(),
            string_value: value.string_value.clone(),
            binary_value: value
                .binary_value
                .as_ref()
                .map(|bytes| STANDARD.encode(bytes.as_ref())),
        }
    }
}
