//! Queries that only the embedded broker answers. It identifies itself, so another server on its
//! port is not mistaken for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::attribute::Attributes;
use super::delivery::{Delivery, OFFLOADED, Receipt, source};
use super::queue_set::Queue;
use crate::domain::{MessageStage, is_loopback};

/// The name that our server reports at `GET /`.
const SERVER: &str = "dagster-taskiq-tui";

/// Timeout of a query. On loopback an answer takes a millisecond; a server that takes longer is not
/// ours.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Maximum size of an answer in bytes. A page of messages is 4 MiB of text, each byte of which JSON
/// may escape as `\u00xx`. The limit guards against another server at this address.
const MAX_ANSWER: usize = 32 << 20;

#[derive(Deserialize)]
struct Identity {
    server: String,
}

/// A page of messages without receiving them.
#[derive(Deserialize)]
struct Lying {
    messages: Vec<Message>,
    next: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(
    clippy::struct_field_names,
    reason = "these are the names of SQS's members"
)]
struct Message {
    message_id: String,
    body: String,
    stage: MessageStage,
    attributes: BTreeMap<String, String>,
    message_attributes: Attributes,
}

/// A page of messages, and the position of the next one.
pub(super) struct Page {
    pub messages: Vec<Delivery>,
    pub next: Option<i64>,
}

#[derive(Deserialize)]
struct WaitingAnswer {
    waiting: BTreeMap<String, u64>,
    #[serde(default)]
    oldest_sent_at: Option<i64>,
}

/// Exact counts of the waiting messages of a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Number of messages by priority, highest first.
    pub counts: Vec<(i64, u64)>,
    /// Sent time of the oldest of them.
    pub oldest: Option<Timestamp>,
}

/// The client for these queries. It follows no redirects: our server sends none, and another server
/// must not choose the target.
pub(super) fn client(endpoint: Option<&str>) -> reqwest::Client {
    let mut http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    if endpoint.is_some_and(is_loopback) {
        http = http.no_proxy();
    }
    http.build().unwrap_or_default()
}

/// Whether the endpoint is our embedded broker.
pub(super) async fn is_ours(http: &reqwest::Client, endpoint: &str) -> bool {
    let Ok(answer) = http.get(endpoint).timeout(ANSWER_TIMEOUT).send().await else {
        return false;
    };
    let identity = read::<Identity>(answer).await;
    identity.is_ok_and(|identity| identity.server == SERVER)
}

/// Reads an answer of a bounded size.
async fn read<T: DeserializeOwned>(mut answer: Response) -> Result<T, String> {
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(|error| error.to_string())? {
        if body.len() + part.len() > MAX_ANSWER {
            return Err(format!("its answer is larger than {MAX_ANSWER} bytes"));
        }
        body.extend_from_slice(&part);
    }
    serde_json::from_slice(&body).map_err(|error| error.to_string())
}

/// The queue's name in these queries: with its account, if its URL has one.
fn place(queue: &Queue) -> String {
    let account = queue.url.rsplit('/').nth(1).unwrap_or_default();
    let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    if is_account {
        format!("{account}/{}", queue.name)
    } else {
        queue.name.clone()
    }
}

/// Exact waiting counts; `None` if the broker does not provide them.
pub(super) async fn waiting(
    http: &reqwest::Client,
    endpoint: &str,
    queue: &Queue,
) -> Option<Waiting> {
    let url = format!(
        "{}/_dtq/priorities?queue={}",
        endpoint.trim_end_matches('/'),
        place(queue)
    );
    let answer = http.get(url).timeout(ANSWER_TIMEOUT).send().await.ok()?;
    let waiting: WaitingAnswer = read(answer).await.ok()?;
    let mut counts: Vec<(i64, u64)> = waiting
        .waiting
        .into_iter()
        .filter_map(|(p, n)| Some((p.parse().ok()?, n)))
        .collect();
    counts.sort_unstable_by_key(|(priority, _)| std::cmp::Reverse(*priority));
    let oldest = waiting.oldest_sent_at;
    Some(Waiting {
        counts,
        oldest: oldest.and_then(|ms| Timestamp::from_millisecond(ms).ok()),
    })
}

/// Messages after a position, without receiving them; `None` if the broker does not show them
/// because it requires signed requests or is an older version.
pub(super) async fn peek(
    http: &reqwest::Client,
    endpoint: &str,
    queue: &Arc<Queue>,
    after: Option<i64>,
) -> Result<Option<Page>, String> {
    let (endpoint, name) = (endpoint.trim_end_matches('/'), place(queue));
    let place = after.map_or_else(String::new, |after| format!("&after={after}"));
    let url = format!("{endpoint}/_dtq/peek?queue={name}{place}");
    // Up to 4 MiB of bodies are read from disk.
    let request = http.get(url).timeout(ANSWER_TIMEOUT * 5);
    let answer = request.send().await.map_err(|error| error.to_string())?;
    if matches!(
        answer.status(),
        StatusCode::FORBIDDEN | StatusCode::NOT_FOUND
    ) {
        return Ok(None);
    }
    let answer = answer.error_for_status().map_err(|e| e.to_string())?;
    let page: Lying = read(answer).await?;
    Ok(Some(Page {
        messages: page
            .messages
            .into_iter()
            .map(|message| delivery(queue, message))
            .collect(),
        next: page.next,
    }))
}

/// A peek is not a receive: there is no receipt handle.
fn delivery(queue: &Arc<Queue>, message: Message) -> Delivery {
    let number = |name: &str| message.attributes.get(name)?.parse::<i64>().ok();
    let arn = message.attributes.get("DeadLetterQueueSourceArn");
    Delivery {
        queue: Arc::clone(queue),
        receipt: Receipt::default(),
        offloaded: message.message_attributes.contains_key(OFFLOADED),
        receive_count: number("ApproximateReceiveCount")
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or(0),
        sent_at: number("SentTimestamp").and_then(|ms| Timestamp::from_millisecond(ms).ok()),
        received_at: Timestamp::now(),
        group: message.attributes.get("MessageGroupId").cloned(),
        source: source(&message.message_attributes, arn.map(String::as_str)),
        attributes: message.message_attributes,
        stage: message.stage,
        message_id: message.message_id,
        body: message.body,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Starts a server that answers every request with this, then with spaces for as long as they
    /// are read.
    async fn serve(head: String, endless: bool) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 4_096]).await;
                let _ = stream.write_all(head.as_bytes()).await;
                let part = [b' '; 4_096];
                while endless && stream.write_all(&part).await.is_ok() {}
            }
        });
        endpoint
    }

    #[tokio::test]
    async fn a_server_that_points_at_ours_is_not_ours() {
        let identity = r#"{"server": "dagster-taskiq-tui"}"#;
        let length = identity.len();
        let ours = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{identity}");
        let ours = serve(ours, false).await;
        let http = client(Some(&ours));
        assert!(is_ours(&http, &ours).await);
        let other = format!("HTTP/1.1 302 Found\r\nLocation: {ours}\r\nContent-Length: 0\r\n\r\n");
        assert!(!is_ours(&http, &serve(other, false).await).await);
    }

    #[tokio::test]
    async fn an_answer_without_an_end_is_given_up() {
        let endless = serve("HTTP/1.1 200 OK\r\n\r\n".to_owned(), true).await;
        let answer = client(Some(&endless)).get(&endless).send().await.unwrap();
        let error = read::<Identity>(answer).await.err().unwrap();
        assert!(error.contains("larger than"), "{error}");
    }
}
