//! Clients of a FIFO queue under load: they do what they like, and note it in a ledger.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::SdkError;
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName};

use crate::clients::{VISIBILITY, random, receive_all_of};
use crate::group_ledger::{GroupLedger, number_of};
use crate::sdk::counts;

/// Sends one group's messages one by one until the broker is killed.
pub async fn send_in_order(client: Client, url: String, ledger: Arc<GroupLedger>, group: String) {
    for number in ledger.unanswered(&group).. {
        ledger.sending(&group, number);
        if !send_numbered(&client, &url, &ledger, &group, number).await {
            return;
        }
    }
}

pub async fn send_numbered(
    client: &Client,
    url: &str,
    ledger: &GroupLedger,
    group: &str,
    number: u32,
) -> bool {
    let call = client
        .send_message()
        .queue_url(url)
        .message_group_id(group)
        .message_deduplication_id(format!("{group}-{number}"))
        .message_body(number.to_string());
    let Ok(sent) = call.send().await else {
        return false;
    };
    ledger.sent(group, number, sent.message_id());
    true
}

/// Sends what was last answered, and what was not, once more.
pub async fn send_again(client: &Client, url: &str, ledger: &GroupLedger, groups: &[String]) {
    for group in groups {
        let unanswered = ledger.unanswered(group);
        if let Some(answered) = unanswered.checked_sub(1) {
            let before: i64 = counts(client, url).await.iter().sum();
            assert!(send_numbered(client, url, ledger, group, answered).await);
            let after: i64 = counts(client, url).await.iter().sum();
            assert_eq!(before, after, "{group} {answered} was put in once more");
        }
        ledger.sending(group, unanswered);
        assert!(send_numbered(client, url, ledger, group, unanswered).await);
    }
}

pub async fn consume_groups(client: Client, url: String, ledger: Arc<GroupLedger>) {
    while consume_once(&client, &url, &ledger, false).await {}
}

/// Receives, and deletes, gives back or keeps what came; `false` when the broker is gone.
pub async fn consume_once(client: &Client, url: &str, ledger: &GroupLedger, all: bool) -> bool {
    let asked = Instant::now();
    let Some(batch) = receive_all_of(client, url, 1).await else {
        return false;
    };
    let mut groups: BTreeMap<&str, Vec<&Message>> = BTreeMap::new();
    for message in &batch {
        let attributes = message.attributes().unwrap();
        let group = &attributes[&MessageSystemAttributeName::MessageGroupId];
        groups.entry(group).or_default().push(message);
    }
    for (group, messages) in groups {
        if !ledger.received(group, &messages, asked, VISIBILITY) {
            continue;
        }
        for message in messages {
            let number = number_of(message);
            let handle = message.receipt_handle().unwrap();
            let choice = if all { 9 } else { random(10) };
            let is_alive = match choice {
                0 => true,
                1 => {
                    ledger.giving_back(group, number);
                    let call = client.change_message_visibility().queue_url(url);
                    let call = call.receipt_handle(handle).visibility_timeout(0);
                    answered(&call.send().await).is_some()
                }
                _ => {
                    ledger.deleting(group, number);
                    let call = client.delete_message().queue_url(url);
                    let outcome = answered(&call.receipt_handle(handle).send().await);
                    if let Some(is_deleted) = outcome {
                        ledger.answered(group, number, is_deleted);
                    }
                    outcome.is_some()
                }
            };
            if !is_alive {
                return false;
            }
        }
    }
    true
}

/// Whether a call succeeded; `None` when the broker did not answer it.
pub fn answered<T, E, R>(outcome: &Result<T, SdkError<E, R>>) -> Option<bool> {
    match outcome {
        Ok(_) => Some(true),
        Err(SdkError::ServiceError(_)) => Some(false),
        Err(_) => None,
    }
}
