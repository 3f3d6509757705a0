//! The query protocol of SDKs older than November 2023, and of `curl`: form parameters in, XML
//! out. Requests are turned into the JSON protocol's and answers back, so that both share the
//! actions.

mod xml;

use axum::body::Body;
use axum::http::{HeaderValue, Response, header};
use serde_json::{Map, Value};

use crate::local_broker::error::{ErrorKind, SqsError};

/// A request of the query protocol, as the JSON protocol would say it.
#[derive(Debug, PartialEq)]
pub struct QueryRequest {
    /// The action.
    pub action: String,
    /// Its input.
    pub input: Value,
}

/// Members of the JSON protocol whose numbered parameters bear another name:
/// `AttributeName.1` is the first of `AttributeNames`.
const LISTS: [(&str, &str); 9] = [
    ("AttributeName", "AttributeNames"),
    ("MessageAttributeName", "MessageAttributeNames"),
    ("MessageSystemAttributeName", "MessageSystemAttributeNames"),
    ("SendMessageBatchRequestEntry", "Entries"),
    ("DeleteMessageBatchRequestEntry", "Entries"),
    ("ChangeMessageVisibilityBatchRequestEntry", "Entries"),
    ("TagKey", "TagKeys"),
    ("AWSAccountId", "AWSAccountIds"),
    ("ActionName", "Actions"),
];

/// Maps: their parameters' name, the member's name, and what their keys and values are called.
const MAPS: [(&str, &str, &str); 4] = [
    ("Attribute", "Attributes", "Name"),
    ("MessageAttribute", "MessageAttributes", "Name"),
    ("MessageSystemAttribute", "MessageSystemAttributes", "Name"),
    ("Tag", "Tags", "Key"),
];

const INTEGERS: [&str; 6] = [
    "DelaySeconds",
    "MaxNumberOfMessages",
    "VisibilityTimeout",
    "WaitTimeSeconds",
    "MaxResults",
    "MaxNumberOfMessagesPerSecond",
];

/// Parameters deeper or more numerous than any action's are refused.
const MAX_DEPTH: usize = 8;
const MAX_PARAMETERS: usize = 4_096;

/// Reads a request from its parameters; the path names the queue when no parameter does.
///
/// # Errors
/// No action, or parameters that contradict each other.
pub fn parse(path: &str, parameters: &[u8]) -> Result<QueryRequest, SqsError> {
    let mut root = Node::default();
    let pairs = parameters
        .split(|byte| *byte == b'&')
        .filter(|pair| !pair.is_empty());
    for (index, pair) in pairs.enumerate() {
        let mut halves = pair.splitn(2, |byte| *byte == b'=');
        let name = decode(halves.next().unwrap_or_default())?;
        let value = decode(halves.next().unwrap_or_default())?;
        if index >= MAX_PARAMETERS || name.split('.').count() > MAX_DEPTH {
            return Err(malformed("There are too many parameters."));
        }
        root.put(&name, value);
    }
    let action = root
        .children
        .iter()
        .find(|(name, _)| name == "Action")
        .and_then(|(_, node)| node.value.clone())
        .ok_or_else(|| {
            let text = "The action or operation requested is missing.";
            SqsError::new(ErrorKind::InvalidAction, text)
        })?;
    let mut input = root.into_object();
    if !input.contains_key("QueueUrl") && path.len() > 1 {
        input.insert("QueueUrl".to_owned(), Value::from(path));
    }
    Ok(QueryRequest {
        action,
        input: Value::Object(input),
    })
}

/// The answer of an action, from its JSON.
#[must_use]
pub fn answer(action: &str, output: &[u8], request_id: &str) -> Response<Body> {
    let output = serde_json::from_slice(output).unwrap_or(Value::Null);
    respond(xml::answer(action, &output, request_id))
}

/// The answer of an action that failed.
#[must_use]
pub fn failure(error: &SqsError, request_id: &str) -> Response<Body> {
    let mut response = respond(xml::failure(error, request_id));
    *response.status_mut() = error.kind.status();
    response
}

fn respond(text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    response
}

/// Parameters by the parts of their dotted names, in the order they came.
#[derive(Debug, Default)]
struct Node {
    value: Option<String>,
    children: Vec<(String, Node)>,
}

impl Node {
    fn put(&mut self, name: &str, value: String) {
        let mut node = self;
        for part in name.split('.') {
            let index = node.children.iter().position(|(known, _)| known == part);
            let index = index.unwrap_or_else(|| {
                node.children.push((part.to_owned(), Self::default()));
                node.children.len() - 1
            });
            node = &mut node.children[index].1;
        }
        node.value = Some(value);
    }

    fn take(&mut self, name: &str) -> Option<Self> {
        let index = self.children.iter().position(|(known, _)| known == name)?;
        Some(self.children.remove(index).1)
    }

    /// The numbered children in the order of their numbers.
    fn into_entries(mut self) -> Vec<Self> {
        self.children
            .sort_by_key(|(number, _)| number.parse::<u32>().unwrap_or(u32::MAX));
        self.children.into_iter().map(|(_, node)| node).collect()
    }

    /// The entries of a map. A single one needs no number: `Attribute.Name=...&Attribute.Value=...`.
    fn into_entries_of(self, key: &str) -> Vec<Self> {
        if self.children.iter().any(|(name, _)| name == key) {
            return vec![self];
        }
        self.into_entries()
    }

    fn into_object(mut self) -> Map<String, Value> {
        let mut object = Map::new();
        for (parameter, member) in LISTS {
            if let Some(list) = self.take(parameter) {
                let entries = list
                    .into_entries()
                    .into_iter()
                    .map(|node| node.into_value(""));
                object.insert(member.to_owned(), entries.collect());
            }
        }
        for (parameter, member, key) in MAPS {
            if let Some(map) = self.take(parameter) {
                let entries = map
                    .into_entries_of(key)
                    .into_iter()
                    .filter_map(|mut entry| {
                        let key = entry.take(key)?.value?;
                        Some((key, entry.take("Value")?.into_value("")))
                    });
                object.insert(member.to_owned(), Value::Object(entries.collect()));
            }
        }
        for (name, node) in self.children {
            let value = node.into_value(&name);
            object.insert(name, value);
        }
        object
    }

    fn into_value(self, name: &str) -> Value {
        if !self.children.is_empty() {
            return Value::Object(self.into_object());
        }
        let text = self.value.unwrap_or_default();
        match text.parse::<i64>() {
            Ok(number) if INTEGERS.contains(&name) => Value::from(number),
            _ => Value::from(text),
        }
    }
}

/// Undoes the escapes of a form: `+` for a space, `%41` for a byte.
fn decode(text: &[u8]) -> Result<String, SqsError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let byte = after
                    .get(..2)
                    .and_then(|digits| std::str::from_utf8(digits).ok())
                    .and_then(|digits| u8::from_str_radix(digits, 16).ok())
                    .ok_or_else(|| malformed("A % is not followed by two hexadecimal digits."))?;
                bytes.push(byte);
                rest = &after[2..];
            }
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).map_err(|_| malformed("A parameter is not UTF-8."))
}

fn malformed(text: &str) -> SqsError {
    SqsError::new(ErrorKind::Serialization, text)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

    use proptest::prelude::*;
    use serde_json::json;

    use super::parse;

    #[test]
    fn numbered_parameters_become_lists_and_maps() {
        let request = parse(
            "/000000000000/q",
            b"Action=SendMessageBatch&Version=2012-11-05\
              &SendMessageBatchRequestEntry.2.Id=b&SendMessageBatchRequestEntry.2.MessageBody=x%2By\
              &SendMessageBatchRequestEntry.1.Id=a&SendMessageBatchRequestEntry.1.MessageBody=1+2\
              &SendMessageBatchRequestEntry.1.DelaySeconds=5\
              &SendMessageBatchRequestEntry.1.MessageAttribute.1.Name=k\
              &SendMessageBatchRequestEntry.1.MessageAttribute.1.Value.DataType=String\
              &SendMessageBatchRequestEntry.1.MessageAttribute.1.Value.StringValue=v",
        )
        .unwrap();
        assert_eq!(request.action, "SendMessageBatch");
        assert_eq!(
            request.input["Entries"],
            json!([
                {
                    "Id": "a", "MessageBody": "1 2", "DelaySeconds": 5,
                    "MessageAttributes": {"k": {"DataType": "String", "StringValue": "v"}},
                },
                {"Id": "b", "MessageBody": "x+y"},
            ])
        );
        assert_eq!(request.input["QueueUrl"], "/000000000000/q");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse("/", &bytes);
        }

        #[test]
        fn any_dotted_names_are_read_or_refused(text in "(Action=A&)?([A-Z]{1,2}|Tag|Attribute|[0-9.]{1,4}|Value|Name|=|&|\\.){0,40}") {
            let _ = parse("/q", text.as_bytes());
        }
    }
}
