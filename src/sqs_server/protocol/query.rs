//! The query protocol of SDKs older than November 2023, and of `curl`: form parameters in, XML
//! out. Requests are turned into the JSON protocol's and answers back, so that both share the
//! actions.

mod negotiated;
mod xml;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value, json};

use crate::sqs_server::error::{ErrorKind, SqsError};

/// A request of the query protocol, converted to the JSON protocol.
#[derive(Debug, PartialEq)]
pub struct QueryRequest {
    /// The action.
    pub action: String,
    /// Its input.
    pub input: Value,
}

/// Lists: the names of their parameters, and the member of the JSON protocol. `AttributeName.1` is
/// the first of `AttributeNames`.
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

/// Maps: the names of their parameters, the member of the JSON protocol, and the name of their
/// keys.
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

/// Maximum depth of parameter names. Deeper or more numerous parameters than any action has are
/// refused.
const MAX_DEPTH: usize = 8;
const MAX_PARAMETERS: usize = 4_096;

/// Parses a request from its parameters; the path names the queue when no parameter does.
///
/// # Errors
/// The action is missing, or the parameters contradict each other.
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
    // Recorded: a queue's own URL serves the actions on queues that exist.
    if names_a_queue(path) && matches!(action.as_str(), "CreateQueue" | "ListQueues") {
        return Err(SqsError::unknown_action(&action));
    }
    let mut input = root.into_object();
    let is_named = input.get("QueueUrl").is_some_and(|url| url != "");
    if !is_named && path.len() > 1 {
        input.insert("QueueUrl".to_owned(), Value::from(path));
    }
    Ok(QueryRequest {
        action,
        input: Value::Object(input),
    })
}

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// XML, as SDKs expect it.
    Xml,
    /// JSON with the same elements, for `Accept: application/json`.
    Json,
}

impl Form {
    /// The form a request asks for.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let accept = headers.get(header::ACCEPT).map(HeaderValue::as_bytes);
        if accept.is_some_and(|accept| accept.starts_with(b"application/json")) {
            Self::Json
        } else {
            Self::Xml
        }
    }
}

/// The answer of an action, from its JSON.
#[must_use]
pub fn answer(form: Form, action: &str, output: &[u8], request_id: &str) -> Response<Body> {
    let output = serde_json::from_slice(output).unwrap_or(Value::Null);
    match form {
        Form::Xml => respond(TEXT_XML, xml::answer(action, &output, request_id)),
        Form::Json => respond(JSON, negotiated::answer(action, output, request_id)),
    }
}

/// The answer of an action that failed.
#[must_use]
pub fn failure(form: Form, error: &SqsError, request_id: &str) -> Response<Body> {
    let mut response = match form {
        Form::Xml => respond(TEXT_XML, xml::failure(error, request_id)),
        Form::Json => respond(JSON, negotiated::failure(error, request_id)),
    };
    *response.status_mut() = error.status();
    response
}

/// The message of an error in this protocol. One message differs from the JSON protocol, and
/// clients compare it.
fn message_of(error: &SqsError) -> &str {
    match error.kind {
        ErrorKind::QueueDoesNotExist => "The specified queue does not exist for this wsdl version.",
        _ => &error.message,
    }
}

const TEXT_XML: HeaderValue = HeaderValue::from_static("text/xml");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The answer to a GET that names no action (recorded).
#[must_use]
pub fn no_operation() -> Response<Body> {
    let mut response = respond(TEXT_XML, "<UnknownOperationException/>\n".to_owned());
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

fn respond(kind: HeaderValue, text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
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

    /// The entries of a list or map in the order of their numbers, in any of the accepted forms:
    /// `Name.1=...`, `Name.member.1=...` (`entry` in maps), or without a number (`Name=...`,
    /// `Name.Member=...`). An empty value is an empty list.
    fn into_entries(mut self) -> Vec<Self> {
        let mut entries = Vec::new();
        for wrapper in ["member", "entry"] {
            if let Some(wrapped) = self.take(wrapper) {
                entries.extend(wrapped.into_entries());
            }
        }
        let (mut numbered, named): (Vec<_>, Vec<_>) = std::mem::take(&mut self.children)
            .into_iter()
            .partition(|(name, _)| name.parse::<u32>().is_ok());
        numbered.sort_by_key(|(number, _)| number.parse::<u32>().unwrap_or(u32::MAX));
        entries.extend(numbered.into_iter().map(|(_, node)| node));
        self.children = named;
        let has_value = self.value.as_ref().is_some_and(|value| !value.is_empty());
        if has_value || !self.children.is_empty() {
            entries.insert(0, self);
        }
        entries
    }

    /// Takes a list or map by the name of its parameters or by its name in the JSON protocol, which
    /// old clients use for an empty one. An empty one counts as absent.
    fn take_entries(&mut self, parameter: &str, member: &str) -> Option<Vec<Self>> {
        let found = [self.take(parameter), self.take(member)];
        let entries: Vec<_> = found
            .into_iter()
            .flatten()
            .flat_map(Self::into_entries)
            .collect();
        (!entries.is_empty()).then_some(entries)
    }

    fn into_object(mut self) -> Map<String, Value> {
        let mut object = Map::new();
        for (parameter, member) in LISTS {
            if let Some(entries) = self.take_entries(parameter, member) {
                let entries = entries.into_iter().map(|node| node.into_value(""));
                object.insert(member.to_owned(), entries.collect());
            }
        }
        for (parameter, member, key) in MAPS {
            if let Some(entries) = self.take_entries(parameter, member) {
                let entries = entries.into_iter().filter_map(|mut entry| {
                    let (name, value) = (entry.take(key), entry.take("Value"));
                    if parameter == "MessageAttribute" {
                        // What is missing is refused, never left out of what is sent.
                        let name = name.and_then(|node| node.value).unwrap_or_default();
                        let value = value.map_or_else(|| json!({}), |node| node.into_value(""));
                        return Some((name, value));
                    }
                    Some((name?.value?, value?.into_value("")))
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
            _ if !INTEGERS.contains(&name) => Value::from(text),
            Ok(number) => Value::from(number),
            // Counts as absent.
            Err(_) if text.is_empty() => Value::Null,
            Err(_) => Value::from(text),
        }
    }
}

/// Whether a path is that of a queue's URL: `/ACCOUNT/NAME`.
fn names_a_queue(path: &str) -> bool {
    let mut parts = path.split('/').skip(1);
    parts.next().is_some_and(|account| !account.is_empty())
        && parts.next().is_some_and(|name| !name.is_empty())
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

    #[test]
    fn a_list_is_read_in_every_way_it_can_be_written() {
        let input = |parameters: &str| {
            let text = format!("Action=GetQueueAttributes&{parameters}");
            parse("/0/q", text.as_bytes()).unwrap().input
        };
        for (written, read) in [
            ("AttributeName.1=a&AttributeName.2=b", json!(["a", "b"])),
            ("AttributeName.2=b&AttributeName.1=a", json!(["a", "b"])),
            ("AttributeName.10=b&AttributeName.9=a", json!(["a", "b"])),
            (
                "AttributeName.member.1=a&AttributeName.member.2=b",
                json!(["a", "b"]),
            ),
            (
                "AttributeNames.member.1=a&AttributeNames.member.2=b",
                json!(["a", "b"]),
            ),
            ("AttributeNames.1=a", json!(["a"])),
            ("AttributeName=a", json!(["a"])),
            ("AttributeName.member=a", json!(["a"])),
            ("AttributeName=", json!(null)),
            ("AttributeNames=", json!(null)),
            ("AttributeNames.member=", json!(null)),
            ("", json!(null)),
        ] {
            assert_eq!(input(written)["AttributeNames"], read, "{written}");
        }
    }

    #[test]
    fn entries_and_maps_are_read_in_every_way_they_can_be_written() {
        let input = |parameters: &str| {
            let text = format!("Action=SendMessageBatch&{parameters}");
            parse("/0/q", text.as_bytes()).unwrap().input
        };
        let name = "SendMessageBatchRequestEntry";
        for entry in [
            format!("{name}.1.Id=a&{name}.1.MessageBody=b"),
            format!("{name}.member.1.Id=a&{name}.member.1.MessageBody=b"),
            format!("{name}.Id=a&{name}.MessageBody=b"),
            "Entries.member.1.Id=a&Entries.member.1.MessageBody=b".to_owned(),
        ] {
            let read = json!([{"Id": "a", "MessageBody": "b"}]);
            assert_eq!(input(&entry)["Entries"], read, "{entry}");
        }
        for map in [
            "Attribute.1.Name=k&Attribute.1.Value=v",
            "Attribute.Name=k&Attribute.Value=v",
            "Attribute.entry.1.Name=k&Attribute.entry.1.Value=v",
            "Attributes.1.Name=k&Attributes.1.Value=v",
        ] {
            assert_eq!(input(map)["Attributes"], json!({"k": "v"}), "{map}");
        }
        assert_eq!(input("Entries=").get("Entries"), None);
        assert_eq!(
            input("VisibilityTimeout=")["VisibilityTimeout"],
            json!(null)
        );
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
