//! 120,000 messages in flight, the most a standard queue may have. Nearly all of them are received
//! by the broker's own engine before the server is started; the last ones through the SDK.

use std::time::{Duration, Instant};

use aws_sdk_sqs::types::DeleteMessageBatchRequestEntry;

use crate::aged::url_of;
use crate::earlier::{self, ROOM, WAITING};
use crate::sqs::{on, refused};

const LIMIT: i64 = 120_000;

#[tokio::test]
async fn with_120000_in_flight_a_receive_is_over_the_limit_until_one_is_deleted() {
    let sqs = on(earlier::folder(&[earlier::full]));
    let url = url_of(&sqs, "full").await;
    assert_eq!((ROOM, WAITING), (12, 15));
    assert_eq!(sqs.counts(&url).await, [15, LIMIT - 12, 0]);
    let mut taken = sqs
        .receive_with(&url, |call| call.visibility_timeout(600))
        .await;
    assert_eq!(taken.len(), 10);
    let last = sqs
        .receive_with(&url, |call| call.visibility_timeout(600))
        .await;
    assert_eq!(last.len(), 2, "no more than there is room for");
    taken.extend(last);
    assert_eq!(sqs.counts(&url).await, [3, LIMIT, 0]);

    let receive = sqs.client.receive_message().queue_url(&url);
    let error = receive.clone().send().await;
    refused(error, "OverLimit", "in flight");
    let error = receive.clone().send().await.unwrap_err();
    assert!(error.into_service_error().is_over_limit());
    // A long poll is told when its time is over, as one that finds nothing is.
    let began = Instant::now();
    let poll = receive.clone().wait_time_seconds(1).send().await;
    assert_eq!(poll.unwrap().messages, None);
    assert!(began.elapsed() >= Duration::from_millis(900));
    // Sends are not limited.
    sqs.put(&url, "x").await;

    // A long poll that waits for room gets it.
    let waiting = tokio::spawn(receive.wait_time_seconds(20).send());
    let entries = taken.iter().take(2).enumerate().map(|(id, one)| {
        let entry = DeleteMessageBatchRequestEntry::builder().id(id.to_string());
        entry
            .receipt_handle(one.receipt_handle().unwrap())
            .build()
            .unwrap()
    });
    let call = sqs.client.delete_message_batch().queue_url(&url);
    let deleted = call
        .set_entries(Some(entries.collect()))
        .send()
        .await
        .unwrap();
    assert_eq!(deleted.successful().len(), 2);
    assert_eq!(waiting.await.unwrap().unwrap().messages().len(), 1);
    assert_eq!(sqs.counts(&url).await, [3, LIMIT - 1, 0]);
}
