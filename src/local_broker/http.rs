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
use super::guard::{Guard, Reach, Refusal, cors};
use super::protocol::sigv4::KeyPair;
use super::protocol::{json, query};
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
    /// Decides which requests are let in.
    pub guard: Guard,
    /// When set, requests must be signed with it.
    pub keys: Option<KeyPair>,
    /// The host for queue URLs when a client names none.
    pub address: String,
}

/// The service.
pub fn router(app: Arc<App>) -> Router {
    Router::new().fallback(answer).with_state(app)
}

async fn answer(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    let request_id = Uuid::new_v4().to_string();
    let (method, uri, asked) = (request.method(), request.uri(), request.headers());
    let (mut response, page) = match app.guard.admit(method, uri, asked) {
        Ok(admission) => {
            let response = if method == Method::OPTIONS {
                cors::preflight(asked, admission.page.is_some())
            } else {
                route(&app, request, admission.reach, &request_id).await
            };
            (response, admission.page)
        }
        Err(refusal) => (refuse(&refusal, &request, &request_id), None),
    };
    let headers = response.headers_mut();
    headers.insert(header::SERVER, SERVER);
    // A browser that shows an answer must not take a message in it for a page.
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    if let Ok(id) = HeaderValue::try_from(request_id) {
        headers.insert("x-amzn-requestid", id);
    }
    if let Some(origin) = page {
        cors::let_read(headers, origin);
    }
    response
}

/// A refusal in the form in which the client expects its answer.
fn refuse(refusal: &Refusal, request: &Request, request_id: &str) -> Response<Body> {
    let error = SqsError::new(ErrorKind::AccessDenied, refusal.to_string());
    let headers = request.headers();
    let is_json = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/x-amz-json"));
    if is_json || target_of(headers).is_some() {
        json::failure(&error)
    } else if request.method() == Method::POST || is_query(request.uri()) {
        query::failure(&error, request_id)
    } else {
        admin::failure(&error)
    }
}

async fn route(app: &App, request: Request, reach: Reach, request_id: &str) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let target = target_of(&parts.headers);
    if parts.method != Method::POST && target.is_none() && !is_query(&parts.uri) {
        return admin::answer(app, &parts.uri).await;
    }
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY).await else {
        let error = SqsError::new(
            ErrorKind::InvalidParameterValue,
            "The request's body cannot be read, or is larger than 16 MiB.",
        );
        return with_status(json::failure(&error), StatusCode::PAYLOAD_TOO_LARGE);
    };
    if let Some(Err(error)) = app.keys.as_ref().map(|keys| keys.check(&parts, &body)) {
        return match target {
            Some(_) => json::failure(&error),
            None => query::failure(&error, request_id),
        };
    }
    let ctx = Context {
        engine: &app.engine,
        sealer: &app.sealer,
        host: host_of(&parts.headers, &parts.uri).unwrap_or(&app.address),
        region: region_of(&parts.headers).unwrap_or("us-east-1"),
        reach,
    };
    match target {
        Some(target) => match actions::dispatch(&ctx, json::action_of(target), &body).await {
            Ok(output) => json::answer(output),
            Err(error) => json::failure(&error),
        },
        None => answer_query(&ctx, &parts.uri, &body, request_id).await,
    }
}

/// The query protocol's parameters are in the body of a POST or in the URL.
async fn answer_query(
    ctx: &Context<'_>,
    uri: &Uri,
    body: &[u8],
    request_id: &str,
) -> Response<Body> {
    let in_url = uri.query().unwrap_or_default().as_bytes();
    let parameters = [body, in_url].join(&b'&');
    let outcome = match query::parse(uri.path(), &parameters) {
        Ok(request) => {
            actions::dispatch(ctx, &request.action, request.input.to_string().as_bytes())
                .await
                .map(|output| query::answer(&request.action, &output, request_id))
        }
        Err(error) => Err(error),
    };
    outcome.unwrap_or_else(|error| query::failure(&error, request_id))
}

fn target_of(headers: &HeaderMap) -> Option<&str> {
    headers.get("x-amz-target")?.to_str().ok()
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
