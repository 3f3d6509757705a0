//! `POST /_dtq/clock` with `{"advance_seconds": N}` moves the broker's clock N seconds ahead, so
//! that tests of hours take seconds. Delays, visibility and retention, deduplication, open long
//! polls and the pauses after a purge or a deletion follow it. The clock never goes back, and a
//! restart keeps it: a message written at a later time would otherwise stay hidden for that much
//! longer. Signatures are checked by the machine's clock, as clients sign by theirs.

use axum::body::{Body, Bytes};
use axum::http::{Response, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::{failure, refuse, respond};
use crate::sqs_server::error::SqsError;
use crate::sqs_server::http::App;

/// The path.
pub const CLOCK: &str = "/_dtq/clock";

/// Maximum seconds in one request: longer than any time in SQS.
const MOST: i64 = 31 * 24 * 3_600;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    advance_seconds: i64,
}

/// Moves the clock; returns its offset ahead of the machine's.
pub async fn answer(app: &App, body: &Bytes) -> Response<Body> {
    let request = serde_json::from_slice::<Advance>(body).map_err(|error| error.to_string());
    let seconds = match request {
        Ok(Advance { advance_seconds }) if (1..=MOST).contains(&advance_seconds) => advance_seconds,
        Ok(_) => return refuse(&format!("advance_seconds must be 1 to {MOST}")),
        Err(problem) => return refuse(&format!("send {{\"advance_seconds\": N}}: {problem}")),
    };
    let moved: Result<i64, SqsError> = app
        .engine
        .run(move |broker, _| {
            broker.advance(seconds * 1_000);
            Ok(broker.ahead())
        })
        .await;
    match moved {
        Ok(ahead) => respond(StatusCode::OK, &json!({ "ahead_seconds": ahead / 1_000 })),
        Err(error) => failure(&error),
    }
}
