//! What only the embedded broker can tell; it identifies itself, so that another server on its
//! port is not taken for it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

/// The name our server gives at `GET /`.
const SERVER: &str = "dagster-taskiq-tui";

/// On loopback an answer takes a millisecond; a server that takes longer is not ours to wait for.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Deserialize)]
struct Identity {
    server: String,
}

#[derive(Deserialize)]
struct Waiting {
    waiting: BTreeMap<String, u64>,
}

/// Whether the endpoint is our embedded broker.
pub(super) async fn is_ours(http: &reqwest::Client, endpoint: &str) -> bool {
    let Ok(answer) = http.get(endpoint).timeout(PATIENCE).send().await else {
        return false;
    };
    answer
        .json::<Identity>()
        .await
        .is_ok_and(|identity| identity.server == SERVER)
}

/// Exact waiting counts by priority, highest first; `None` where the broker does not tell.
pub(super) async fn waiting(
    http: &reqwest::Client,
    endpoint: &str,
    queue: &str,
) -> Option<Vec<(i64, u64)>> {
    let url = format!(
        "{}/_dtq/priorities?queue={queue}",
        endpoint.trim_end_matches('/')
    );
    let answer = http.get(url).timeout(PATIENCE).send().await.ok()?;
    let waiting: Waiting = answer.json().await.ok()?;
    let mut counts: Vec<(i64, u64)> = waiting
        .waiting
        .into_iter()
        .filter_map(|(p, n)| Some((p.parse().ok()?, n)))
        .collect();
    counts.sort_unstable_by_key(|(priority, _)| std::cmp::Reverse(*priority));
    Some(counts)
}
