//! `POST /_dtq/reset` with `{"queues": false, "account": "111111111111"}`, both optional. Removes
//! every message of every queue (of that account), and forgets deduplication ids and purges. With
//! `queues` it removes the queues as well and creates the declared ones anew. Without an account it
//! restores the faults of the configuration file. The clock is not changed.

use axum::body::Body;
use axum::http::{Response, StatusCode};
use serde::{Deserialize, Serialize};

use super::{failure, refuse, respond};
use crate::sqs_server::account;
use crate::sqs_server::http::App;

/// The path.
pub const RESET: &str = "/_dtq/reset";

/// Extent of a reset.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reset {
    /// Removes the queues as well as their messages.
    pub queues: bool,
    /// Restricts the reset to this account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
}

/// Result of a reset.
#[derive(Debug, Serialize, Deserialize)]
pub struct Gone {
    /// Number of removed queues.
    pub queues_removed: usize,
    /// Number of removed messages.
    pub messages_removed: usize,
}

/// Resets.
pub async fn answer(app: &App, body: &[u8]) -> Response<Body> {
    let body = if body.is_empty() { b"{}" } else { body };
    // Serde would also accept a list for a structure.
    let object = serde_json::from_slice::<serde_json::Map<_, _>>(body);
    let request = object.and_then(|object| serde_json::from_value::<Reset>(object.into()));
    let request = match request {
        Ok(request) => request,
        Err(error) => return refuse(&format!("send {{\"queues\": false}}: {error}")),
    };
    if request
        .account
        .as_deref()
        .is_some_and(|text| !account::is_account(text))
    {
        return refuse("account must be twelve digits");
    }
    if request.account.is_none() {
        app.faults.reset();
    }
    let declared = app.declared.clone();
    let gone = app.engine.run(move |broker, now| {
        let (queues_removed, messages_removed) =
            broker.reset(request.account.as_deref(), request.queues);
        declared.apply(broker, now)?;
        Ok(Gone {
            queues_removed,
            messages_removed,
        })
    });
    match gone.await {
        Ok(gone) => respond(StatusCode::OK, &gone),
        Err(error) => failure(&error),
    }
}
