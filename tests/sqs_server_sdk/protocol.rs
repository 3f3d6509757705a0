//! What every request and answer have in common.

use std::collections::HashSet;

use aws_sdk_sqs::operation::RequestId as _;

use crate::sqs::shared;

#[tokio::test]
async fn every_answer_carries_a_request_id_of_its_own() {
    let sqs = shared();
    let url = sqs.queue(&[]).await;
    let mut ids = HashSet::new();
    for _ in 0..3 {
        let sent = sqs.put(&url, "x").await;
        ids.insert(sent.request_id().unwrap().to_owned());
        let missing = sqs.send(&format!("{url}-not"), "x").send().await;
        let error = missing.unwrap_err().into_service_error();
        ids.insert(error.meta().request_id().unwrap().to_owned());
    }
    assert_eq!(ids.len(), 6);
}

#[tokio::test]
async fn any_credentials_are_accepted() {
    let sqs = shared();
    let url = sqs.queue(&[]).await;
    for (key, secret) in [("any", "thing"), ("AKIAIOSFODNN7EXAMPLE", "x")] {
        let client = sqs.server.client_with(key, secret);
        let call = client.send_message().queue_url(&url).message_body("x");
        call.send().await.unwrap();
    }
    assert_eq!(sqs.counts(&url).await, [2, 0, 0]);
}

#[tokio::test]
async fn only_the_path_of_a_queues_url_decides() {
    let sqs = shared();
    let url = sqs.queue(&[]).await;
    let name = url.rsplit('/').next().unwrap();
    for (number, host) in ["https://sqs.eu-west-1.amazonaws.com", "http://elsewhere:1"]
        .into_iter()
        .enumerate()
    {
        sqs.put(&format!("{host}/123456789012/{name}"), "x").await;
        let sent = i64::try_from(number).unwrap() + 1;
        assert_eq!(sqs.counts(&url).await, [sent, 0, 0]);
    }
}
