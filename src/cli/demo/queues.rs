//! Creating the demo's queues on the embedded broker, through its HTTP interface.

use serde::Deserialize;
use serde_json::json;

/// Dead-letter queue of the queues below, after as many receives as `queue create` configures.
const DEAD: &str = "dagster-tasks-dead";
const MAX_RECEIVES: u32 = 100;

/// The base queue, the other bands, and the queue of runs.
const NAMES: [&str; 4] = [
    "dagster-tasks",
    "dagster-tasks-high",
    "dagster-tasks-low",
    "dagster-tasks-runs",
];

/// A queue could not be created.
#[derive(Debug, thiserror::Error)]
#[error("cannot create the queue {name} at {endpoint}: {detail}")]
pub struct QueueError {
    name: &'static str,
    endpoint: String,
    detail: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Created {
    queue_url: String,
}

/// Creates the queues; returns the base queue's URL.
pub(super) async fn create(endpoint: &str) -> Result<String, QueueError> {
    // A proxy must not be used on loopback.
    let client = reqwest::Client::builder().no_proxy().build();
    let client = client.map_err(|error| failed(NAMES[0], endpoint, &error))?;
    let mut base = None;
    let policy = json!({
        "deadLetterTargetArn": format!("arn:aws:sqs:us-east-1:000000000000:{DEAD}"),
        "maxReceiveCount": MAX_RECEIVES,
    });
    create_one(&client, endpoint, DEAD, &json!({ "QueueName": DEAD })).await?;
    for name in NAMES {
        let attributes = json!({ "RedrivePolicy": policy.to_string() });
        let request = json!({ "QueueName": name, "Attributes": attributes });
        let created = create_one(&client, endpoint, name, &request).await?;
        base.get_or_insert(created.queue_url);
    }
    Ok(base.unwrap_or_default())
}

async fn create_one(
    client: &reqwest::Client,
    endpoint: &str,
    name: &'static str,
    request: &serde_json::Value,
) -> Result<Created, QueueError> {
    let answer = client
        .post(endpoint)
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amz-target", "AmazonSQS.CreateQueue")
        .body(request.to_string())
        .send()
        .await
        .and_then(reqwest::Response::error_for_status)
        .map_err(|error| failed(name, endpoint, &error))?;
    answer
        .json()
        .await
        .map_err(|error| failed(name, endpoint, &error))
}

fn failed(name: &'static str, endpoint: &str, error: &reqwest::Error) -> QueueError {
    QueueError {
        name,
        endpoint: endpoint.to_owned(),
        detail: error.to_string(),
    }
}
