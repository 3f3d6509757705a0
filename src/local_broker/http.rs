//! The HTTP side: which protocol a request speaks, and what every answer carries.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header};
use uuid::Uuid;

use super::actions::{self, Context};
use super::admin;
use super::engine::Engine;
use super::error::{ErrorKind, SqsError};
use super::folder::DataFolder;
use super::protocol::json;
use super::receipt::ReceiptSealer;

/// The largest request body: a full batch whose every byte JSON escapes as `\u00xx`, and room for
/// names.
const MAX_BODY: usize = 16 << 20;
const SERVER: HeaderValue =
    HeaderValue::from_static(concat!("dagster-taskiq-tui/", env!("CARGO_PKG_VERSION")));

/// What every request has at hand.
#[derive(Debug)]
pub struct App {
    /// The queues.
    pub engine: Engine,
    /// Makes and reads receipt handles.
    pub sealer: ReceiptSealer,
    /// Held as long as requests are answered.
    pub folder: DataFolder,
    /// The host for queue URLs when a client names none.
    pub address: String,
}

/// The service.
pub fn router(app: Arc<App>) -> Router {
    Router::new().fallback(answer).with_state(app)
}

async fn answer(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    let request_id = Uuid::new_v4().to_string();
    let mut response = route(&app, request, &request_id).await;
    let headers = response.headers_mut();
    headers.insert(header::SERVER, SERVER);
    if let Ok(id) = HeaderValue::try_from(request_id) {
        headers.insert("x-amzn-requestid", id);
    }
    response
}

async fn route(app: &App, request: Request, request_id: &str) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let target = parts
        .headers
        .get("x-amz-target")
        .and_then(|value| value.to_str().ok());
    if parts.method == Method::GET && target.is_none() && !is_query(&parts.uri) {
        return admin::answer(app, &parts.uri).await;
    }
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY).await else {
        let error = SqsError::new(
            ErrorKind::InvalidParameterValue,
            "The request's body cannot be read, or is larger than 16 MiB.",
        );
        return with_status(json::failure(&error), StatusCode::PAYLOAD_TOO_LARGE);
    };
    let ctx = Context {
        engine: &app.engine,
        sealer: &app.sealer,
        host: host_of(&parts.headers, &parts.uri).unwrap_or(&app.address),
        region: region_of(&parts.headers).unwrap_or("us-east-1"),
    };
    let Some(target) = target else {
        let _ = request_id;
        return json::failure(&SqsError::new(
            ErrorKind::InvalidAction,
            "No action was named.",
        ));
    };
    match actions::dispatch(&ctx, json::action_of(target), &body).await {
        Ok(body) => json::answer(body),
        Err(error) => json::failure(&error),
    }
}

fn is_query(uri: &Uri) -> bool {
    uri.query()
        .is_some_and(|query| query.split('&').any(|pair| pair.starts_with("Action=")))
}

fn host_of<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    let named = headers
        .get(header::HOST)
        .and_then(|value| value.to_str().ok());
    named.or_else(|| uri.authority().map(axum::http::uri::Authority::as_str))
}

/// The region in the credential scope a client signed with:
/// `Credential=KEY/20260101/eu-west-1/sqs/aws4_request`.
fn region_of(headers: &HeaderMap) -> Option<&str> {
    let authorization = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let scope = authorization
        .split("Credential=")
        .nth(1)?
        .split(',')
        .next()?;
    scope.split('/').nth(2).filter(|region| !region.is_empty())
}

fn with_status(mut response: Response<Body>, status: StatusCode) -> Response<Body> {
    *response.status_mut() = status;
    response
}
