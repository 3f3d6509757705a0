//! Whatever a client sends, the broker answers: never a panic, never an error of its own.

use crate::decoding;

use decoding::{ACTIONS, Decoders};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

/// Names the decoders know, so that random requests get past the first look.
const NAMES: [&str; 24] = [
    "QueueUrl",
    "QueueName",
    "Attributes",
    "AttributeNames",
    "Attribute.1.Name",
    "Attribute.1.Value",
    "Attribute.Name",
    "MessageBody",
    "MessageAttributes",
    "MessageAttribute.1.Value.DataType",
    "MessageGroupId",
    "DelaySeconds",
    "Entries",
    "Id",
    "SendMessageBatchRequestEntry.1.Id",
    "ReceiptHandle",
    "VisibilityTimeout",
    "MaxNumberOfMessages",
    "WaitTimeSeconds",
    "SourceArn",
    "TaskHandle",
    "tags",
    "Tag.1.Key",
    "NextToken",
];

fn action() -> impl Strategy<Value = String> {
    prop_oneof![8 => select(ACTIONS.to_vec()).prop_map(str::to_owned), 1 => any::<String>()]
}

/// Any action that leaves the queues in place, for the requests that follow.
fn harmless() -> impl Strategy<Value = String> {
    action().prop_filter("it deletes a queue", |action| {
        !action.contains("DeleteQueue")
    })
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        select(vec![
            "q",
            "q.fifo",
            "http://h/0/q",
            "http://h/0/q.fifo",
            "All",
            "0",
            "-1",
            "99999999999999999999"
        ])
        .prop_map(str::to_owned),
        select(vec![
            "arn:aws:sqs:us-east-1:0:q",
            "e30=",
            "AAAA",
            "{\"redrivePermission\":5}"
        ])
        .prop_map(str::to_owned),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-2..25_i64).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 6, |inner| {
        let name = prop_oneof![select(NAMES.to_vec()).prop_map(str::to_owned), text()];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::vec((name, inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// A member with a value of the type it should have.
fn fitting() -> impl Strategy<Value = (&'static str, Value)> {
    let texts = select(vec![
        "QueueName",
        "MessageBody",
        "MessageGroupId",
        "ReceiptHandle",
        "Id",
    ]);
    let numbers = select(vec![
        "DelaySeconds",
        "VisibilityTimeout",
        "MaxNumberOfMessages",
    ]);
    let attribute = (
        select(vec!["String", "Number", "Binary", "String.x"]),
        text(),
        text(),
    );
    let attribute = attribute.prop_map(|(kind, text, binary)| {
        json!({"DataType": kind, "StringValue": text, "BinaryValue": binary})
    });
    let entry = ("[a-z]{1,3}", text(), 0..9_i64).prop_map(|(id, text, number)| {
        json!({
            "Id": id, "MessageBody": text, "ReceiptHandle": text,
            "DelaySeconds": number, "VisibilityTimeout": number,
        })
    });
    prop_oneof![
        (texts, text()).prop_map(|(name, text)| (name, json!(text))),
        (numbers, -1..12_i64).prop_map(|(name, number)| (name, json!(number))),
        ("[a-z.]{1,4}", attribute).prop_map(|(k, v)| ("MessageAttributes", json!({k: v}))),
        proptest::collection::vec(entry, 0..4).prop_map(|list| ("Entries", json!(list))),
        (text(), text()).prop_map(|(k, v)| ("Attributes", json!({k: v}))),
        (text(), text()).prop_map(|(k, v)| ("Tags", json!({k: v}))),
        text().prop_map(|text| ("AttributeNames", json!([text]))),
    ]
}

fn members() -> impl Strategy<Value = Value> {
    let member = prop_oneof![6 => fitting(), 1 => (select(NAMES.to_vec()), value())];
    let known = proptest::collection::vec(member, 0..6);
    (known, select(vec!["q", "q.fifo", "q", ""])).prop_map(|(pairs, queue)| {
        let mut members: serde_json::Map<_, _> = pairs
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        if !queue.is_empty() {
            members.insert("QueueUrl".to_owned(), json!(queue));
        }
        // A long poll would only make the test long.
        members.insert("WaitTimeSeconds".to_owned(), json!(0));
        Value::Object(members)
    })
}

fn escape(text: &str) -> String {
    let bytes: Vec<_> = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
    bytes.concat()
}

fn form() -> impl Strategy<Value = String> {
    let pair = (select(NAMES.to_vec()), text()).prop_map(|(name, text)| {
        let escaped = escape(&text);
        format!("{name}={escaped}")
    });
    (harmless(), proptest::collection::vec(pair, 0..8)).prop_map(|(action, pairs)| {
        let escaped = escape(&action);
        format!("Action={escaped}&{}&WaitTimeSeconds=0", pairs.join("&"))
    })
}

#[test]
fn whatever_is_sent_is_answered_or_refused() {
    let decoders = Decoders::start();
    let config = ProptestConfig {
        cases: 3_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let request = prop_oneof![
        1 => (action(), proptest::collection::vec(any::<u8>(), 0..300))
            .prop_map(|(action, bytes)| (Some(action), bytes)),
        1 => (action(), value())
            .prop_map(|(action, value)| (Some(action), value.to_string().into_bytes())),
        5 => (harmless(), members())
            .prop_map(|(action, value)| (Some(action), value.to_string().into_bytes())),
        1 => proptest::collection::vec(any::<u8>(), 0..300).prop_map(|bytes| (None, bytes)),
        2 => form().prop_map(|form| (None, form.into_bytes())),
    ];
    let accepted = std::cell::Cell::new(0);
    let mut runner = proptest::test_runner::TestRunner::new(config);
    runner
        .run(&request, |(action, body)| {
            let outcome = match action {
                Some(action) => decoders.json(&action, &body),
                None => decoders.form(&body),
            };
            let is_accepted = outcome.map_err(TestCaseError::fail)?;
            accepted.set(accepted.get() + u32::from(is_accepted));
            Ok(())
        })
        .unwrap();
    decoders.still_work();
    let accepted = accepted.get();
    assert!(
        accepted > 100,
        "only {accepted} requests got past the decoders"
    );
}

#[test]
fn a_good_request_has_its_effect_in_either_protocol() {
    let decoders = Decoders::start();
    let sent = decoders.json("SendMessage", br#"{"QueueUrl":"q","MessageBody":"x"}"#);
    assert_eq!(sent, Ok(true));
    let sent = decoders.form(b"Action=SendMessage&QueueUrl=q&MessageBody=%41");
    assert_eq!(sent, Ok(true));
    assert_eq!(decoders.waiting("q"), 2);
}
