//! Whatever a client sends, the broker answers: never a panic, never an error of its own.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

#[path = "local_broker/decoding.rs"]
mod decoding;

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

fn members() -> impl Strategy<Value = Value> {
    let known = proptest::collection::vec((select(NAMES.to_vec()), value()), 0..6);
    (known, select(vec!["q", "q.fifo", ""])).prop_map(|(pairs, queue)| {
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

fn form() -> impl Strategy<Value = String> {
    let pair = (select(NAMES.to_vec()), text()).prop_map(|(name, text)| {
        let escaped: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
        format!("{name}={escaped}")
    });
    (harmless(), proptest::collection::vec(pair, 0..8)).prop_map(|(action, pairs)| {
        let escaped: String = action.bytes().map(|byte| format!("%{byte:02X}")).collect();
        format!("Action={escaped}&{}&WaitTimeSeconds=0", pairs.join("&"))
    })
}

#[test]
fn whatever_is_sent_is_answered_or_refused() {
    let decoders = Decoders::start();
    let config = ProptestConfig {
        cases: 1_500,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let request = prop_oneof![
        (action(), proptest::collection::vec(any::<u8>(), 0..300))
            .prop_map(|(action, bytes)| (Some(action), bytes)),
        (action(), value())
            .prop_map(|(action, value)| (Some(action), value.to_string().into_bytes())),
        (harmless(), members())
            .prop_map(|(action, value)| (Some(action), value.to_string().into_bytes())),
        proptest::collection::vec(any::<u8>(), 0..300).prop_map(|bytes| (None, bytes)),
        form().prop_map(|form| (None, form.into_bytes())),
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
        accepted > 30,
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
