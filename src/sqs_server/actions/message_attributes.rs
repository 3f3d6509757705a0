//! Checks of message attributes, and of the characters of bodies.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::sqs_server::error::{ErrorKind, SqsError};
use crate::sqs_server::state::message::AttributeValue;

const MAX_ATTRIBUTES: usize = 10;
/// Maximum length of a name or a type, in bytes.
const MAX_NAME: usize = 256;

/// Checks user attributes; returns their size in bytes as SQS counts it: name, type and value.
pub fn check(attributes: &BTreeMap<String, AttributeValue>) -> Result<usize, SqsError> {
    if attributes.len() > MAX_ATTRIBUTES {
        return Err(refuse(format!(
            "Number of message attributes [{}] exceeds the allowed maximum [{MAX_ATTRIBUTES}].",
            attributes.len()
        )));
    }
    attributes
        .iter()
        .map(|(name, value)| check_one(name, value))
        .sum()
}

/// Reads the only system attribute that a sender can set.
pub fn trace_header(
    attributes: Option<BTreeMap<String, AttributeValue>>,
) -> Result<Option<String>, SqsError> {
    let mut trace = None;
    for (name, value) in attributes.unwrap_or_default() {
        if name != "AWSTraceHeader" {
            return Err(refuse(format!(
                "Message system attribute name '{name}' is invalid."
            )));
        }
        if value.data_type.as_deref() != Some("String") {
            return Err(refuse(format!(
                "The message system attribute '{name}' must be of type String."
            )));
        }
        check_one(&name, &value)?;
        trace = value.string_value;
    }
    Ok(trace)
}

/// Refuses characters that XML 1.0 does not allow.
pub fn check_characters(text: &str) -> Result<(), SqsError> {
    // Most bodies are plain ASCII. A chunk is checked without a branch, many bytes at a time.
    let is_plain = |chunk: &[u8]| {
        let each = chunk.iter().map(|byte| matches!(byte, b' '..=b'~'));
        each.fold(true, |all, one| all & one)
    };
    if text.as_bytes().chunks(64).all(is_plain) {
        return Ok(());
    }
    match text.chars().find(|c| !is_allowed(*c)) {
        None => Ok(()),
        Some(c) => Err(SqsError::new(
            ErrorKind::InvalidMessageContents,
            format!(
                "Invalid binary character '#x{:X}' was found in the message body, the set of \
                 allowed characters is #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | \
                 #x10000 to #x10FFFF",
                u32::from(c)
            ),
        )),
    }
}

fn is_allowed(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{FFFD}' | '\u{10000}'..)
}

fn check_one(name: &str, value: &AttributeValue) -> Result<usize, SqsError> {
    check_name(name)?;
    if value.string_list_values || value.binary_list_values {
        return Err(SqsError::new(
            ErrorKind::UnsupportedOperation,
            "Message attribute list values in SendMessage operation are not supported.",
        ));
    }
    let data_type = value.data_type.as_deref().unwrap_or_default();
    if data_type.is_empty() {
        return Err(refuse(format!(
            "The message attribute '{name}' must contain non-empty message attribute type."
        )));
    }
    if data_type.len() > MAX_NAME {
        return Err(refuse(
            "Message (user) attribute types must be shorter than 256 Bytes".to_owned(),
        ));
    }
    let base = data_type.split('.').next().unwrap_or_default();
    let empty = || {
        refuse(format!(
            "Message (user) attribute '{name}' must contain a non-empty value of type '{base}'."
        ))
    };
    let text = value
        .string_value
        .as_deref()
        .filter(|text| !text.is_empty());
    let value_size = match base {
        "String" => {
            let text = text.ok_or_else(empty)?;
            if !text.chars().all(is_allowed) {
                return Err(refuse(format!(
                    "The message attribute '{name}' contains a character that is not allowed."
                )));
            }
            text.len()
        }
        "Number" => {
            let text = text.ok_or_else(empty)?;
            let is_number = text.parse::<f64>().is_ok_and(f64::is_finite);
            if !is_number {
                return Err(refuse(format!(
                    "Can't cast the value of message (user) attribute '{name}' to a number."
                )));
            }
            text.len()
        }
        "Binary" => {
            let encoded = value.binary_value.as_deref().ok_or_else(empty)?;
            let bytes = STANDARD.decode(encoded).map_err(|_| {
                SqsError::new(
                    ErrorKind::Serialization,
                    format!("The value of message attribute '{name}' is not base64."),
                )
            })?;
            if bytes.is_empty() {
                return Err(empty());
            }
            bytes.len()
        }
        _ => {
            return Err(refuse(format!(
                "The type of message (user) attribute '{name}' is invalid. You must use only the \
                 following supported type prefixes: Binary, Number, String."
            )));
        }
    };
    Ok(name.len() + data_type.len() + value_size)
}

fn check_name(name: &str) -> Result<(), SqsError> {
    if name.is_empty() {
        return Err(refuse(
            "The request must contain non-empty message attribute name.".to_owned(),
        ));
    }
    // Letters of any script are allowed (recorded).
    let is_plain = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    let lower = name.to_ascii_lowercase();
    let problem = if name.len() > MAX_NAME {
        "must be 1 to 256 characters long"
    } else if !name.chars().all(is_plain) {
        "can contain alphanumeric characters, hyphens, underscores and periods only"
    } else if name.starts_with('.') || name.ends_with('.') || name.contains("..") {
        "cannot start or end with a period or have two in a row"
    } else if lower.starts_with("aws.") || lower.starts_with("amazon.") {
        return Err(refuse(
            "You can't use message attribute names beginning with 'AWS.' or 'Amazon.'. These \
             strings are reserved for internal use. Additionally, they cannot start or end with \
             '.'."
                .to_owned(),
        ));
    } else {
        return Ok(());
    };
    Err(refuse(format!(
        "Invalid message attribute name '{name}': it {problem}."
    )))
}

fn refuse(message: String) -> SqsError {
    SqsError::new(ErrorKind::InvalidParameterValue, message)
}
