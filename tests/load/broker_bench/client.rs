//! A client that costs little: on a machine of two processors it competes with what it measures.
//! It speaks AWS JSON over connections that are kept, sends bodies that were made beforehand and
//! reads of an answer only what it needs.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;

use super::Failure;

/// The size of every message's body, in bytes.
pub const BODY: usize = 1_024;
/// Messages per batch.
pub const BATCH: usize = 10;
/// A call that takes longer fails.
const PATIENCE: Duration = Duration::from_mins(2);

/// A client of one endpoint.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    endpoint: String,
}

/// What is read of a received message.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Message<'a> {
    #[serde(borrow)]
    receipt_handle: Cow<'a, str>,
    #[serde(borrow)]
    body: Cow<'a, str>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Messages<'a> {
    #[serde(borrow, default)]
    messages: Vec<Message<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Outcomes {
    successful: Vec<serde::de::IgnoredAny>,
}

/// A received message: its handle, and the number its body begins with.
#[derive(Debug)]
pub struct Received {
    pub handle: String,
    pub number: u64,
}

/// A request to send a batch, made once and sent many times.
#[derive(Debug, Clone)]
pub struct Batch(Bytes);

impl Batch {
    /// Ten messages for a queue.
    pub fn new(queue: &str) -> Self {
        let entries: Vec<_> = (0..BATCH)
            .map(|id| serde_json::json!({"Id": id.to_string(), "MessageBody": body(0)}))
            .collect();
        let request = serde_json::json!({"QueueUrl": queue, "Entries": entries});
        Self(Bytes::from(request.to_string()))
    }
}

/// A body that begins with a number.
fn body(number: u64) -> String {
    format!("{number:020} {}", "x".repeat(BODY - 21))
}

impl Client {
    /// A client for an endpoint; nothing is signed.
    pub fn new(endpoint: &str) -> Result<Self, Failure> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .tcp_nodelay(true)
            .timeout(PATIENCE)
            .build()?;
        Ok(Self {
            http,
            endpoint: endpoint.trim_end_matches('/').to_owned(),
        })
    }

    /// Makes a queue of a new name; answers its URL.
    pub async fn make_queue(&self) -> Result<String, Failure> {
        let name = format!("load-{}", uuid::Uuid::new_v4());
        let request = serde_json::json!({ "QueueName": name });
        let answer = self.call("CreateQueue", request.to_string()).await?;
        let answer: serde_json::Value = serde_json::from_slice(&answer)?;
        let url = answer["QueueUrl"].as_str().ok_or("no queue URL")?;
        Ok(url.to_owned())
    }

    /// Removes a queue.
    pub async fn delete_queue(&self, queue: &str) -> Result<(), Failure> {
        let request = serde_json::json!({ "QueueUrl": queue });
        self.call("DeleteQueue", request.to_string()).await?;
        Ok(())
    }

    /// Sends one message whose body begins with this number.
    pub async fn send(&self, queue: &str, number: u64) -> Result<(), Failure> {
        let request = serde_json::json!({"QueueUrl": queue, "MessageBody": body(number)});
        self.call("SendMessage", request.to_string()).await?;
        Ok(())
    }

    /// Sends a batch, all of which must be taken.
    pub async fn send_batch(&self, batch: &Batch) -> Result<(), Failure> {
        let answer = self.call("SendMessageBatch", batch.0.clone()).await?;
        all_succeeded(&answer, BATCH)
    }

    /// Receives up to ten messages, waiting for the first.
    pub async fn receive(&self, queue: &str, wait: Duration) -> Result<Vec<Received>, Failure> {
        let request = format!(
            r#"{{"QueueUrl":"{queue}","MaxNumberOfMessages":{BATCH},"WaitTimeSeconds":{}}}"#,
            wait.as_secs()
        );
        let answer = self.call("ReceiveMessage", request).await?;
        let answer: Messages<'_> = serde_json::from_slice(&answer)?;
        answer
            .messages
            .into_iter()
            .map(|one| {
                let number = one.body.get(..20).ok_or("a body is too short")?.parse()?;
                let handle = one.receipt_handle.into_owned();
                Ok(Received { handle, number })
            })
            .collect()
    }

    /// Deletes what was received, all of which must succeed.
    pub async fn delete_batch(&self, queue: &str, received: &[Received]) -> Result<(), Failure> {
        let mut request = format!(r#"{{"QueueUrl":"{queue}","Entries":["#);
        for (id, one) in received.iter().enumerate() {
            let comma = if id == 0 { "" } else { "," };
            let entry = format!(r#"{comma}{{"Id":"{id}","ReceiptHandle":"{}"}}"#, one.handle);
            request.push_str(&entry);
        }
        request.push_str("]}");
        let answer = self.call("DeleteMessageBatch", request).await?;
        all_succeeded(&answer, received.len())
    }

    async fn call(
        &self,
        action: &str,
        request: impl Into<reqwest::Body>,
    ) -> Result<Bytes, Failure> {
        let call = self
            .http
            .post(&self.endpoint)
            .header("x-amz-target", format!("AmazonSQS.{action}"))
            .header("content-type", "application/x-amz-json-1.0")
            .body(request);
        let answer = call.send().await?;
        let status = answer.status();
        let answer = answer.bytes().await?;
        if status.is_success() {
            return Ok(answer);
        }
        Err(format!(
            "{action} was answered {status}: {}",
            String::from_utf8_lossy(&answer)
        )
        .into())
    }
}

fn all_succeeded(answer: &[u8], entries: usize) -> Result<(), Failure> {
    let outcomes: Outcomes = serde_json::from_slice(answer)?;
    if outcomes.successful.len() == entries {
        return Ok(());
    }
    Err(format!(
        "a batch failed in part: {}",
        String::from_utf8_lossy(answer)
    )
    .into())
}
