//! Writing answers of the query protocol.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::message_of;
use crate::sqs_server::actions::has_output;
use crate::sqs_server::error::SqsError;

const NAMESPACE: &str = "http://queue.amazonaws.com/doc/2012-11-05/";

/// An action's answer as XML.
pub fn answer(action: &str, output: &Value, request_id: &str) -> String {
    let mut out = format!("<?xml version=\"1.0\"?><{action}Response xmlns=\"{NAMESPACE}\">");
    if has_output(action) {
        match output.as_object().filter(|members| !members.is_empty()) {
            None => {
                let _ = write!(out, "<{action}Result/>");
            }
            Some(members) => {
                let _ = write!(out, "<{action}Result>");
                write_members(&mut out, action, members);
                let _ = write!(out, "</{action}Result>");
            }
        }
    }
    let _ = write!(
        out,
        "<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{action}Response>"
    );
    out
}

/// An error as XML.
pub fn failure(error: &SqsError, request_id: &str) -> String {
    let mut out = format!("<?xml version=\"1.0\"?><ErrorResponse xmlns=\"{NAMESPACE}\"><Error>");
    let fault = if error.is_sender_fault() {
        "Sender"
    } else {
        "Receiver"
    };
    write_element(&mut out, "Type", fault);
    write_element(&mut out, "Code", error.query_code());
    write_element(&mut out, "Message", message_of(error));
    out.push_str("<Detail/></Error>");
    write_element(&mut out, "RequestId", request_id);
    out.push_str("</ErrorResponse>");
    out
}

fn write_members(out: &mut String, action: &str, members: &Map<String, Value>) {
    for (name, value) in members {
        match value {
            Value::Array(entries) => {
                let element = entry_name(action, name);
                for entry in entries {
                    write_value(out, action, &element, entry);
                }
            }
            Value::Object(map) if is_map(name) => write_map(out, action, name, map),
            other => write_value(out, action, name, other),
        }
    }
}

fn write_value(out: &mut String, action: &str, element: &str, value: &Value) {
    match value {
        Value::Null => {}
        Value::Object(members) => {
            let _ = write!(out, "<{element}>");
            write_members(out, action, members);
            let _ = write!(out, "</{element}>");
        }
        Value::String(text) => write_element(out, element, text),
        other => write_element(out, element, &other.to_string()),
    }
}

/// Writes a map. Maps are flat: one element per entry.
fn write_map(out: &mut String, action: &str, name: &str, map: &Map<String, Value>) {
    let (element, key_name) = match name {
        "Tags" => ("Tag", "Key"),
        "MessageAttributes" => ("MessageAttribute", "Name"),
        _ => ("Attribute", "Name"),
    };
    for (key, value) in map {
        let _ = write!(out, "<{element}>");
        write_element(out, key_name, key);
        write_value(out, action, "Value", value);
        let _ = write!(out, "</{element}>");
    }
}

/// Whether a member is a map.
pub fn is_map(name: &str) -> bool {
    matches!(name, "Attributes" | "MessageAttributes" | "Tags")
}

/// Element name of a list's entry: lists are flat as well.
fn entry_name(action: &str, list: &str) -> String {
    match list {
        "QueueUrls" | "queueUrls" => "QueueUrl".to_owned(),
        "Messages" => "Message".to_owned(),
        "Results" => "ListMessageMoveTasksResultEntry".to_owned(),
        "Successful" => format!("{action}ResultEntry"),
        "Failed" => "BatchResultErrorEntry".to_owned(),
        other => other.to_owned(),
    }
}

fn write_element(out: &mut String, element: &str, text: &str) {
    let _ = write!(out, "<{element}>");
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // A parser would turn a bare carriage return into a line feed.
            '\r' => out.push_str("&#xD;"),
            // Characters that XML does not allow; only the text of an error can repeat one.
            c if c < ' ' && c != '\t' && c != '\n' => out.push('\u{FFFD}'),
            '\u{FFFE}' | '\u{FFFF}' => out.push('\u{FFFD}'),
            other => out.push(other),
        }
    }
    let _ = write!(out, "</{element}>");
}
