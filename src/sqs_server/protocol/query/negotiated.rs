//! Answers of the query protocol to a client that accepts JSON, as AWS gives them (recorded in
//! `LocalStack`'s `test_sqs.py`, `test_marker_serialization_json_protocol` and `*_json_format`): the
//! XML's elements, with lists and maps as lists.

use serde_json::{Map, Value, json};

use super::message_of;
use super::xml::is_map;
use crate::sqs_server::actions::has_output;
use crate::sqs_server::error::SqsError;

/// An action's answer.
pub fn answer(action: &str, output: Value, request_id: &str) -> String {
    let mut response = Map::new();
    if has_output(action) {
        response.insert(format!("{action}Result"), listed(output));
    }
    let metadata = json!({ "RequestId": request_id });
    response.insert("ResponseMetadata".to_owned(), metadata);
    json!({ format!("{action}Response"): response }).to_string()
}

/// An error.
pub fn failure(error: &SqsError, request_id: &str) -> String {
    let fault = if error.is_sender_fault() {
        "Sender"
    } else {
        "Receiver"
    };
    let error = json!({
        "Type": fault,
        "Code": error.query_code(),
        "Message": message_of(error),
    });
    json!({ "Error": error, "RequestId": request_id }).to_string()
}

/// A value whose maps are lists of names (or keys) and values.
fn listed(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .map(|(name, member)| match member {
                Value::Object(map) if is_map(&name) => {
                    let key = if name == "Tags" { "Key" } else { "Name" };
                    let entries = map.into_iter();
                    let entries =
                        entries.map(|(name, value)| json!({ key: name, "Value": listed(value) }));
                    (name, entries.collect())
                }
                other => (renamed(name), listed(other)),
            })
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(entries) => entries.into_iter().map(listed).collect(),
        other => other,
    }
}

/// Renames the two lists that have another name here.
fn renamed(name: String) -> String {
    match name.as_str() {
        "Messages" => "messages".to_owned(),
        "QueueUrls" => "queueUrls".to_owned(),
        _ => name,
    }
}
