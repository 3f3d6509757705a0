//! Clients of a standard queue under load: they do what they like, and note it in a ledger.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, Message,
    MessageAttributeValue, MessageSystemAttributeName, SendMessageBatchRequestEntry,
};

use crate::ledger::Ledger;

/// For how long what they receive is hidden.
pub const VISIBILITY: Duration = Duration::from_secs(2);

pub fn random(below: u128) -> u32 {
    u32::try_from(uuid::Uuid::new_v4().as_u128() % below).unwrap()
}

/// Sends until the broker is killed: one by one and in batches, with delays now and then.
pub async fn send_on(client: Client, url: String, ledger: Arc<Ledger>, name: String) {
    for call in 0.. {
        let size = 1 + random(10);
        let delay = u64::from(random(4) / 3);
        let bodies: Vec<_> = (0..size).map(|n| format!("{name}-{call}-{n}")).collect();
        let entries = bodies.iter().enumerate().map(|(id, body)| {
            ledger.sending(body, Duration::from_secs(delay));
            let attribute = MessageAttributeValue::builder().data_type("String");
            SendMessageBatchRequestEntry::builder()
                .id(id.to_string())
                .message_body(body)
                .delay_seconds(i32::try_from(delay).unwrap())
                .message_attributes("body", attribute.string_value(body).build().unwrap())
                .build()
                .unwrap()
        });
        let call = client.send_message_batch().queue_url(&url);
        let Ok(sent) = call.set_entries(Some(entries.collect())).send().await else {
            return;
        };
        for one in sent.successful() {
            let body = &bodies[one.id().parse::<usize>().unwrap()];
            ledger.sent(body, Some(one.message_id()));
        }
    }
}

/// Receives until the broker is killed, and deletes, gives back, hides for longer or just keeps.
pub async fn consume_on(client: Client, url: String, ledger: Arc<Ledger>) {
    while let Some(batch) = receive_noted(&client, &url, &ledger, 1).await {
        let kept = batch.into_iter().filter(|_| random(5) > 0);
        let (first, second): (Vec<_>, Vec<_>) = kept.partition(|_| random(3) > 0);
        let is_alive = delete(&client, &url, &ledger, &first).await
            && change_visibility(&client, &url, &ledger, &second).await;
        if !is_alive {
            return;
        }
    }
}

/// One receive, checked; `None` when the broker is gone.
pub async fn receive_noted(
    client: &Client,
    url: &str,
    ledger: &Ledger,
    wait: i32,
) -> Option<Vec<Message>> {
    let asked = Instant::now();
    let received = receive_all_of(client, url, wait).await?;
    let news = |one: &Message| ledger.received(one, asked, VISIBILITY);
    Some(received.into_iter().filter(news).collect())
}

pub async fn receive_all_of(client: &Client, url: &str, wait: i32) -> Option<Vec<Message>> {
    let call = client
        .receive_message()
        .queue_url(url)
        .max_number_of_messages(10)
        .wait_time_seconds(wait)
        .visibility_timeout(i32::try_from(VISIBILITY.as_secs()).unwrap())
        .message_attribute_names("All")
        .message_system_attribute_names(MessageSystemAttributeName::All);
    let answer = call.send().await.ok()?;
    Some(answer.messages.unwrap_or_default())
}

pub async fn delete(client: &Client, url: &str, ledger: &Ledger, batch: &[Message]) -> bool {
    if batch.is_empty() {
        return true;
    }
    let entries = batch.iter().enumerate().map(|(id, message)| {
        ledger.deleting(message.body().unwrap());
        DeleteMessageBatchRequestEntry::builder()
            .id(id.to_string())
            .receipt_handle(message.receipt_handle().unwrap())
            .build()
            .unwrap()
    });
    let call = client.delete_message_batch().queue_url(url);
    let Ok(answer) = call.set_entries(Some(entries.collect())).send().await else {
        return false;
    };
    for one in answer.successful() {
        ledger.deleted(batch[one.id().parse::<usize>().unwrap()].body().unwrap());
    }
    true
}

pub async fn change_visibility(
    client: &Client,
    url: &str,
    ledger: &Ledger,
    batch: &[Message],
) -> bool {
    if batch.is_empty() {
        return true;
    }
    let longer = random(2) == 0;
    let hidden = if longer { 3 } else { 0 };
    let asked = Instant::now();
    let entries = batch.iter().enumerate().map(|(id, message)| {
        if !longer {
            ledger.giving_back(message.body().unwrap());
        }
        ChangeMessageVisibilityBatchRequestEntry::builder()
            .id(id.to_string())
            .receipt_handle(message.receipt_handle().unwrap())
            .visibility_timeout(hidden)
            .build()
            .unwrap()
    });
    let call = client.change_message_visibility_batch().queue_url(url);
    let Ok(answer) = call.set_entries(Some(entries.collect())).send().await else {
        return false;
    };
    for one in answer.successful().iter().filter(|_| longer) {
        let body = batch[one.id().parse::<usize>().unwrap()].body().unwrap();
        ledger.hidden(body, asked + Duration::from_secs(3));
    }
    true
}

/// Receives and gives back at once, as a consumer that cannot do its work.
pub async fn refuse_some(client: &Client, url: &str) -> Option<()> {
    let call = client.receive_message().queue_url(url);
    let call = call.max_number_of_messages(10).wait_time_seconds(1);
    call.visibility_timeout(0).send().await.ok().map(drop)
}
