//! `/_dtq/faults`: POST adds a fault, GET lists them, DELETE removes one (`/_dtq/faults/ID`) or all.

use axum::body::Body;
use axum::http::{Method, Response, StatusCode, Uri};
use serde_json::json;

use super::{parameter, refuse, respond};
use crate::sqs_server::faults::Fault;
use crate::sqs_server::http::App;

/// The path.
pub const FAULTS: &str = "/_dtq/faults";

/// Lists them.
pub fn list(app: &App) -> Response<Body> {
    respond(StatusCode::OK, &json!({ "faults": app.faults.shown() }))
}

/// Adds or removes.
pub fn change(app: &App, method: &Method, uri: &Uri, body: &[u8]) -> Response<Body> {
    if method == Method::DELETE {
        return remove(app, uri);
    }
    if uri.path() != FAULTS {
        return super::nothing_at(uri);
    }
    match serde_json::from_slice::<Fault>(body) {
        Err(error) => refuse(&format!(
            "send a fault such as {{\"kind\": \"throttle\", \"action\": \"SendMessage\"}}: {error}"
        )),
        Ok(fault) => match app.faults.add(fault) {
            Ok(shown) => respond(StatusCode::OK, &shown),
            Err(error) => refuse(&error),
        },
    }
}

fn remove(app: &App, uri: &Uri) -> Response<Body> {
    let in_path = uri.path().strip_prefix(FAULTS).unwrap_or_default();
    let named = match in_path.strip_prefix('/') {
        Some(id) if !id.is_empty() => Some(id),
        _ => parameter(uri, "id"),
    };
    let Ok(id) = named.map(str::parse::<u64>).transpose() else {
        return refuse("name a fault by its number: DELETE /_dtq/faults/1");
    };
    let removed = app.faults.remove(id);
    if id.is_some() && removed == 0 {
        let error = "there is no fault of this number";
        return respond(StatusCode::NOT_FOUND, &json!({ "error": error }));
    }
    respond(StatusCode::OK, &json!({ "removed": removed }))
}
