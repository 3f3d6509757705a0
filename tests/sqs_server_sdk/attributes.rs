//! Queue attributes: defaults, limits, what can be set, policies and permissions.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_sdk_sqs::types::QueueAttributeName as Name;
use serde_json::{Value, json};

use crate::sqs::{refused, shared};

#[tokio::test]
async fn defaults_are_awss() {
    let sqs = shared();
    let url = sqs.queue(&[]).await;
    let mut found = sqs.attributes(&url).await;
    let arn = found.remove(&Name::QueueArn).unwrap();
    let name = url.rsplit('/').next().unwrap();
    assert_eq!(arn, format!("arn:aws:sqs:us-east-1:000000000000:{name}"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    for name in [Name::CreatedTimestamp, Name::LastModifiedTimestamp] {
        let seconds: u64 = found.remove(&name).unwrap().parse().unwrap();
        assert!(now.as_secs().abs_diff(seconds) < 60, "{name}: {seconds}");
    }
    let expected = [
        (Name::VisibilityTimeout, "30"),
        (Name::MaximumMessageSize, "1048576"),
        (Name::MessageRetentionPeriod, "345600"),
        (Name::DelaySeconds, "0"),
        (Name::ReceiveMessageWaitTimeSeconds, "0"),
        (Name::SqsManagedSseEnabled, "true"),
        (Name::ApproximateNumberOfMessages, "0"),
        (Name::ApproximateNumberOfMessagesNotVisible, "0"),
        (Name::ApproximateNumberOfMessagesDelayed, "0"),
    ];
    assert_eq!(
        found,
        expected
            .map(|(name, value)| (name, value.to_owned()))
            .into()
    );
}

#[tokio::test]
async fn fifo_queues_have_more_attributes() {
    let sqs = shared();
    let found = sqs
        .attributes(&sqs.queue(&[(Name::FifoQueue, "true")]).await)
        .await;
    for (name, value) in [
        (Name::FifoQueue, "true"),
        (Name::ContentBasedDeduplication, "false"),
        (Name::DeduplicationScope, "queue"),
        (Name::FifoThroughputLimit, "perQueue"),
    ] {
        assert_eq!(found[&name], value, "{name}");
    }
}

#[tokio::test]
async fn numbers_have_awss_limits() {
    let sqs = shared();
    let url = sqs.queue(&[(Name::KmsMasterKeyId, "k")]).await;
    for (name, low, high) in [
        (Name::VisibilityTimeout, 0, 43_200),
        (Name::DelaySeconds, 0, 900),
        (Name::MessageRetentionPeriod, 60, 1_209_600),
        (Name::ReceiveMessageWaitTimeSeconds, 0, 20),
        (Name::MaximumMessageSize, 1_024, 1_048_576),
        (Name::KmsDataKeyReusePeriodSeconds, 60, 86_400),
    ] {
        for good in [low, high] {
            let value = good.to_string();
            sqs.set(&url, &[(name.clone(), &value)]).await.unwrap();
            assert_eq!(sqs.attributes(&url).await[&name], value);
        }
        for bad in [
            &(low - 1).to_string(),
            &(high + 1).to_string(),
            "1.5",
            "ten",
        ] {
            let set = sqs.set(&url, &[(name.clone(), bad)]).await;
            refused(set, "InvalidAttributeValue", name.as_str());
        }
    }
}

#[tokio::test]
async fn what_cannot_be_set_or_asked_for_is_named_and_changes_nothing() {
    let sqs = shared();
    let url = sqs.queue(&[]).await;
    for name in [
        Name::from("Nonsense"),
        Name::QueueArn,
        Name::ContentBasedDeduplication,
        Name::All,
    ] {
        let both = [(Name::DelaySeconds, "7"), (name.clone(), "true")];
        let set = sqs.set(&url, &both).await;
        refused(set, "InvalidAttributeName", name.as_str());
    }
    assert_eq!(sqs.attributes(&url).await[&Name::DelaySeconds], "0");
    let get = sqs.client.get_queue_attributes().queue_url(&url);
    let nonsense = get.clone().attribute_names(Name::from("Nonsense"));
    refused(nonsense.send().await, "InvalidAttributeName", "Nonsense");
    assert_eq!(get.clone().send().await.unwrap().attributes, None);
    let one = get.attribute_names(Name::DelaySeconds).send().await;
    let one = one.unwrap().attributes.unwrap();
    assert_eq!(one, [(Name::DelaySeconds, "0".to_owned())].into());
}

#[tokio::test]
async fn policies_and_keys_are_stored_and_removed() {
    let sqs = shared();
    let policy = r#"{"Version":"2012-10-17","Statement":[]}"#;
    let url = sqs.queue(&[(Name::Policy, policy)]).await;
    sqs.set(&url, &[(Name::KmsMasterKeyId, "alias/aws/sqs")])
        .await
        .unwrap();
    let found = sqs.attributes(&url).await;
    assert_eq!(found[&Name::Policy], policy);
    assert_eq!(found[&Name::KmsMasterKeyId], "alias/aws/sqs");
    assert_eq!(found[&Name::KmsDataKeyReusePeriodSeconds], "300");
    assert_eq!(found[&Name::SqsManagedSseEnabled], "false");
    let bad = sqs.set(&url, &[(Name::Policy, "no policy")]).await;
    refused(bad, "InvalidAttributeValue", "Policy");
    sqs.set(&url, &[(Name::Policy, "")]).await.unwrap();
    assert!(!sqs.attributes(&url).await.contains_key(&Name::Policy));
}

#[tokio::test]
async fn permissions_become_statements_of_the_policy() {
    let sqs = shared();
    let url = sqs.queue(&[]).await;
    let add = sqs.client.add_permission().queue_url(&url);
    let add = add.aws_account_ids("111111111111").actions("SendMessage");
    add.clone().label("l").send().await.unwrap();
    let found = &sqs.attributes(&url).await[&Name::Policy];
    let found: Value = serde_json::from_str(found).unwrap();
    let expected = json!([{
        "Sid": "l",
        "Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::111111111111:root"},
        "Action": "SQS:SendMessage",
        "Resource": sqs.arn(&url).await,
    }]);
    assert_eq!(found["Statement"], expected);
    let again = add.clone().label("l").send().await;
    refused(again, "InvalidParameterValue", "Already exists");
    let many = add
        .label("m")
        .set_actions(Some(vec!["SendMessage".into(); 8]));
    refused(many.send().await, "OverLimit", "7");
    let remove = sqs.client.remove_permission().queue_url(&url).label("l");
    remove.clone().send().await.unwrap();
    assert!(!sqs.attributes(&url).await.contains_key(&Name::Policy));
    refused(remove.send().await, "InvalidParameterValue", "label");
}
