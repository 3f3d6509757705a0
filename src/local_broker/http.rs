//! The HTTP side: which protocol a request speaks, and what every answer carries.

mod base;

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
use super::protocol::json;
use super::protocol::query::{self, Form};
use super::protocol::sigv4::{KeyPair, Signed, credential_of};
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
        query::failure(Form::of(headers), &error, request_id)
    } else {
        admin::failure(&error)
    }
}

async fn route(app: &App, request: Request, mut reach: Reach, request_id: &str) -> Response<Body> {
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
    let form = Form::of(&parts.headers);
    match app.keys.as_ref().map(|keys| keys.check(&parts, &body)) {
        // Whoever made this URL has the keys, and meant what it says.
        Some(Ok(Signed::InUrl)) => reach = Reach::All,
        None | Some(Ok(Signed::InHeader)) => {}
        Some(Err(error)) => {
            return match target {
                Some(_) => json::failure(&error),
                None => query::failure(form, &error, request_id),
            };
        }
    }
    if target.is_none() && parts.method == Method::POST && parts.uri.path() == admin::CLOCK {
        return admin::move_clock(app, reach, &body).await;
    }
    let credential = credential_of(&parts);
    let ctx = Context {
        engine: &app.engine,
        sealer: &app.sealer,
        base: &base::of(&parts.headers, &parts.uri, &app.address),
        region: region_of(&credential).unwrap_or("us-east-1"),
        reach,
        trace: trace_of(&parts.headers),
    };
    match target {
        Some(target) => match actions::dispatch(&ctx, json::action_of(target), &body).await {
            Ok(output) => json::answer(output),
            Err(error) => json::failure(&error),
        },
        None => answer_query(&ctx, form, &parts.uri, &body, request_id).await,
    }
}

/// The query protocol's parameters are in the body of a POST or in the URL.
async fn answer_query(
    ctx: &Context<'_>,
    form: Form,
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
                .map(|output| query::answer(form, &request.action, &output, request_id))
        }
        Err(error) => Err(error),
    };
    outcome.unwrap_or_else(|error| query::failure(form, &error, request_id))
}

fn target_of(headers: &HeaderMap) -> Option<&str> {
    headers.get("x-amz-target")?.to_str().ok()
}

fn is_query(uri: &Uri) -> bool {
    uri.query()
        .is_some_and(|query| query.split('&').any(|pair| pair.starts_with("Action=")))
}

/// The trace that a request is part of. SQS passes it on with the messages sent.
fn trace_of(headers: &HeaderMap) -> Option<&str> {
    headers.get("x-amzn-trace-id")?.to_str().ok()
}

/// The region in the credential a client signed with: `KEY/20260101/eu-west-1/sqs/aws4_request`.
fn region_of(credential: &str) -> Option<&str> {
    let region = credential.split('/').nth(2)?;
    (!region.is_empty()).then_some(region)
}

fn with_status(mut response: Response<Body>, status: StatusCode) -> Response<Body> {
    *response.status_mut() = status;
    response
}
