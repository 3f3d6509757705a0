//! Receives of FIFO queues that are repeated by their attempt id.

use aws_sdk_sqs::types::Message;

use crate::sqs::{Sqs, bodies, receives, refused, shared};

async fn attempt(sqs: &Sqs, url: &str, id: &str, visibility: i32) -> Vec<Message> {
    let ask = sqs.receive_with(url, |call| {
        let call = call.max_number_of_messages(2).wait_time_seconds(2);
        call.receive_request_attempt_id(id)
            .visibility_timeout(visibility)
    });
    ask.await
}

#[tokio::test]
async fn an_attempt_is_answered_with_the_same_messages_and_hides_them_anew() {
    let sqs = shared();
    let url = sqs.fifo(&[]).await;
    sqs.put_in(&url, "g", &["1", "2", "3"]).await;
    let first = attempt(&sqs, &url, "one", 5).await;
    let again = attempt(&sqs, &url, "one", 600).await;
    assert_eq!(bodies(&first), ["1", "2"]);
    assert_eq!(first, again);
    let ask = sqs
        .receive_with(&url, |call| call.wait_time_seconds(6))
        .await;
    assert!(ask.is_empty(), "the first timeout no longer counts");
    for one in &again {
        sqs.delete(&url, one).await.unwrap();
    }
    assert_eq!(bodies(&attempt(&sqs, &url, "two", 600).await), ["3"]);
}

#[tokio::test]
async fn an_attempt_whose_messages_were_touched_cannot_be_repeated() {
    let sqs = shared();
    for seconds in [None, Some(600), Some(0)] {
        let url = sqs.fifo(&[]).await;
        sqs.put_in(&url, "g", &["1", "2"]).await;
        let taken = attempt(&sqs, &url, "one", 300).await;
        match seconds {
            None => drop(sqs.delete(&url, &taken[0]).await.unwrap()),
            Some(seconds) => drop(sqs.hide(&url, &taken[0], seconds).await.unwrap()),
        }
        let call = sqs.client.receive_message().queue_url(&url);
        let again = call.receive_request_attempt_id("one").send().await;
        refused(again, "InvalidParameterValue", "not retryable");
    }
}

#[tokio::test]
async fn an_attempt_that_expired_or_found_nothing_is_a_new_receive() {
    let sqs = shared();
    let url = sqs.fifo(&[]).await;
    assert!(attempt(&sqs, &url, "one", 600).await.is_empty());
    sqs.put_in(&url, "g", &["x"]).await;
    let first = attempt(&sqs, &url, "one", 0).await;
    let second = attempt(&sqs, &url, "one", 600).await;
    assert_eq!((receives(&first[0]), receives(&second[0])), (1, 2));
    assert_ne!(first[0].receipt_handle(), second[0].receipt_handle());
}
