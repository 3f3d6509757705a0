//! Messages as they are sent: sums, attributes, sizes, characters.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::{
    MessageAttributeValue, MessageSystemAttributeName as System,
    MessageSystemAttributeNameForSends, MessageSystemAttributeValue, QueueAttributeName,
};
use md5::{Digest as _, Md5};

use crate::sqs::{bodies, receives, refused, shared, system, text};

const LIMIT: usize = 1_048_576;
const TRACE: &str = "Root=1-5759e988-bd862e3fe1be46a994272793";

/// The sum over attributes as AWS documents it: each part after its length, and a byte that tells
/// text from bytes.
fn sum(attributes: &[(&str, &str, u8, &[u8])]) -> String {
    let mut sum = Md5::new();
    for (name, kind, transport, value) in attributes {
        for part in [name.as_bytes(), kind.as_bytes()] {
            sum.update(u32::try_from(part.len()).unwrap().to_be_bytes());
            sum.update(part);
        }
        sum.update([*transport]);
        sum.update(u32::try_from(value.len()).unwrap().to_be_bytes());
        sum.update(value);
    }
    hex::encode(sum.finalize())
}

fn bytes(value: &[u8]) -> MessageAttributeValue {
    let value = MessageAttributeValue::builder().binary_value(Blob::new(value));
    value.data_type("Binary").build().unwrap()
}

fn three() -> HashMap<String, MessageAttributeValue> {
    HashMap::from([
        ("a.text".to_owned(), text("String", "wörter")),
        ("a.number".to_owned(), text("Number.int", "12")),
        ("bytes".to_owned(), bytes(&[0, 255])),
    ])
}

fn trace(kind: &str) -> MessageSystemAttributeValue {
    let value = MessageSystemAttributeValue::builder().string_value(TRACE);
    value.data_type(kind).build().unwrap()
}

#[tokio::test]
async fn a_send_answers_the_sums_of_body_attributes_and_trace_header() {
    let sqs = shared();
    let url = sqs.queue(&[]).await;
    let header = MessageSystemAttributeNameForSends::AwsTraceHeader;
    let call = sqs.send(&url, "bödy").set_message_attributes(Some(three()));
    let call = call.message_system_attributes(header, trace("String"));
    let sent = call.send().await.unwrap();
    let body = hex::encode(Md5::digest("bödy"));
    let attributes = sum(&[
        ("a.number", "Number.int", 1, b"12"),
        ("a.text", "String", 1, "wörter".as_bytes()),
        ("bytes", "Binary", 2, &[0, 255]),
    ]);
    let header = sum(&[("AWSTraceHeader", "String", 1, TRACE.as_bytes())]);
    assert_eq!(sent.md5_of_message_body(), Some(body.as_str()));
    assert_eq!(sent.md5_of_message_attributes(), Some(attributes.as_str()));
    assert_eq!(
        sent.md5_of_message_system_attributes(),
        Some(header.as_str())
    );
    assert_eq!(sent.sequence_number(), None, "standard queues have none");
    let ask = sqs.receive_with(&url, |call| call.message_attribute_names("All"));
    let message = ask.await.remove(0);
    assert_eq!(message.message_id(), sent.message_id());
    assert_eq!(message.body(), Some("bödy"));
    assert_eq!(message.md5_of_body(), Some(body.as_str()));
    assert_eq!(message.message_attributes(), Some(&three()));
    assert_eq!(
        message.md5_of_message_attributes(),
        Some(attributes.as_str())
    );
    assert_eq!(system(&message, &System::AwsTraceHeader).unwrap(), TRACE);
}

#[tokio::test]
async fn message_attributes_come_as_asked_for_with_the_sum_of_what_comes() {
    let sqs = shared();
    let url = sqs
        .queue(&[(QueueAttributeName::VisibilityTimeout, "0")])
        .await;
    let call = sqs.send(&url, "x").set_message_attributes(Some(three()));
    call.send().await.unwrap();
    let (all, some) = (
        vec!["a.number", "a.text", "bytes"],
        vec!["a.number", "a.text"],
    );
    for (asked, found) in [
        (vec!["All"], all.clone()),
        (vec![".*"], all),
        (vec!["a.*"], some),
        (vec!["bytes", "absent"], vec!["bytes"]),
        (vec![], vec![]),
    ] {
        let names = asked.iter().map(ToString::to_string).collect();
        let ask = sqs.receive_with(&url, |call| call.set_message_attribute_names(Some(names)));
        let message = ask.await.remove(0);
        let attributes = message.message_attributes.clone().unwrap_or_default();
        let mut names: Vec<_> = attributes.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, found, "{asked:?}");
        assert_eq!(
            message.md5_of_message_attributes.is_none(),
            found.is_empty()
        );
        if found == ["bytes"] {
            let expected = sum(&[("bytes", "Binary", 2, &[0, 255])]);
            assert_eq!(message.md5_of_message_attributes(), Some(expected.as_str()));
        }
    }
}

#[tokio::test]
async fn system_attributes_come_by_either_parameter_and_only_if_asked_for() {
    let sqs = shared();
    let url = sqs
        .queue(&[(QueueAttributeName::VisibilityTimeout, "0")])
        .await;
    sqs.put(&url, "x").await;
    let message = sqs.receive(&url).await.remove(0);
    let found = message.attributes().unwrap();
    let mut names: Vec<_> = found.keys().map(System::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "ApproximateFirstReceiveTimestamp",
            "ApproximateReceiveCount",
            "SenderId",
            "SentTimestamp"
        ]
    );
    let at = |name: &System| found[name].parse::<u128>().unwrap();
    let (sent, first) = (
        at(&System::SentTimestamp),
        at(&System::ApproximateFirstReceiveTimestamp),
    );
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    assert!(sent <= first && now.as_millis().abs_diff(sent) < 60_000);
    assert_eq!(receives(&message), 1);
    let ask = || sqs.client.receive_message().queue_url(&url);
    #[expect(deprecated, reason = "older clients ask by this name")]
    let old = ask().attribute_names(QueueAttributeName::All);
    let old = old.send().await.unwrap().messages.unwrap().remove(0);
    assert_eq!(receives(&old), 2);
    let one = ask().message_system_attribute_names(System::SenderId);
    let one = one.send().await.unwrap().messages.unwrap().remove(0);
    assert_eq!(one.attributes().unwrap().len(), 1);
    let none = ask().send().await.unwrap().messages.unwrap().remove(0);
    assert_eq!(none.attributes(), None);
}

#[tokio::test]
async fn bad_attributes_are_refused() {
    let sqs = shared();
    let url = sqs.queue(&[]).await;
    let bare = MessageAttributeValue::builder().data_type("String");
    for bad in [
        text("Text", "x"),
        text("Number", "x"),
        text("Number", ""),
        text("String", ""),
        text("String", "\0"),
        text("", "x"),
        text("Binary", "x"),
        bytes(&[]),
        bare.build().unwrap(),
    ] {
        let call = sqs.send(&url, "x").message_attributes("k", bad);
        refused(call.send().await, "InvalidParameterValue", "'k'");
    }
    let longest = "x".repeat(256);
    let good = sqs
        .send(&url, "x")
        .message_attributes(&longest, text("String", "v"));
    good.send().await.unwrap();
    for bad in [
        "",
        ".a",
        "a.",
        "a..b",
        "a b",
        "AWS.x",
        "amazon.x",
        "§",
        &format!("{longest}x"),
    ] {
        let call = sqs
            .send(&url, "x")
            .message_attributes(bad, text("String", "v"));
        refused(call.send().await, "InvalidParameterValue", "attribute name");
    }
    let many = |n| {
        (0..n)
            .map(|n| (format!("k{n}"), text("String.own", "v")))
            .collect()
    };
    let ten = sqs.send(&url, "x").set_message_attributes(Some(many(10)));
    ten.send().await.unwrap();
    let eleven = sqs.send(&url, "x").set_message_attributes(Some(many(11)));
    refused(eleven.send().await, "InvalidParameterValue", "10");
    for (name, kind) in [("Other", "String"), ("AWSTraceHeader", "Number")] {
        let call = sqs
            .send(&url, "x")
            .message_system_attributes(name.into(), trace(kind));
        refused(
            call.send().await,
            "InvalidParameterValue",
            "system attribute",
        );
    }
    assert_eq!(sqs.counts(&url).await, [2, 0, 0]);
}

#[tokio::test]
async fn sizes_are_counted_in_bytes_with_attributes() {
    let sqs = shared();
    let url = sqs.queue(&[]).await;
    let body = "ä".repeat(LIMIT / 2);
    sqs.put(&url, &body).await;
    let limit = LIMIT.to_string();
    let longer = sqs.send(&url, &format!("{body}x")).send().await;
    refused(longer, "InvalidParameterValue", &limit);
    let header = MessageSystemAttributeNameForSends::AwsTraceHeader;
    let attributed = |body: String| {
        // The name has 4 bytes, the type 6, the value 90; a system attribute counts for nothing.
        let call = sqs
            .send(&url, &body)
            .message_attributes("name", text("String", &"x".repeat(90)));
        call.message_system_attributes(header.clone(), trace("String"))
            .send()
    };
    attributed("b".repeat(LIMIT - 100)).await.unwrap();
    let longer = attributed("b".repeat(LIMIT - 99)).await;
    refused(longer, "InvalidParameterValue", &limit);
    let small = sqs
        .queue(&[(QueueAttributeName::MaximumMessageSize, "1024")])
        .await;
    sqs.put(&small, &"x".repeat(1_024)).await;
    let longer = sqs.send(&small, &"x".repeat(1_025)).send().await;
    refused(longer, "InvalidParameterValue", "1024");
    refused(
        sqs.send(&url, "").send().await,
        "MissingParameter",
        "MessageBody",
    );
    assert_eq!(sqs.counts(&url).await, [2, 0, 0]);
}

#[tokio::test]
async fn characters_xml_has_no_place_for_are_refused_and_all_others_arrive() {
    let sqs = shared();
    let url = sqs.queue(&[]).await;
    for bad in ['\0', '\u{8}', '\u{b}', '\u{1f}', '\u{fffe}', '\u{ffff}'] {
        let send = sqs.send(&url, &format!("a{bad}b")).send().await;
        let error = send.unwrap_err().into_service_error();
        assert!(error.is_invalid_message_contents(), "{error:?}");
    }
    let all = "\t\n\r \u{7f}\u{85}\u{d7ff}\u{e000}\u{fffd}\u{10000}\u{10ffff}<&>\"'";
    sqs.put(&url, all).await;
    assert_eq!(bodies(&sqs.receive(&url).await), [all]);
}
