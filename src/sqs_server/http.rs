//! The HTTP side: detects the protocol of a request, and sets the headers of every answer.

mod base;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header};
use bytes::Bytes;
use uuid::Uuid;

use super::actions::{self, Context, Twist};
use super::declared::Declared;
use super::engine::Engine;
use super::error::{ErrorKind, SqsError};
use super::faults::{Faults, Verdict};
use super::folder::DataFolder;
use super::guard::{Guard, Reach, Refusal, cors};
use super::protocol::json;
use super::protocol::query::{self, Form};
use super::protocol::sigv4::{KeyPair, Signed, credential_of};
use super::receipt::ReceiptSealer;
use super::{account, admin};

/// The largest request body: a full batch whose every byte JSON escapes as `\u00xx`, and room for
/// names.
const MAX_BODY: usize = 16 << 20;
const SERVER: HeaderValue =
    HeaderValue::from_static(concat!("dagster-taskiq-tui/", env!("CARGO_PKG_VERSION")));

/// Shared state of all requests.
#[derive(Debug)]
pub struct App {
    /// The queues.
    pub engine: Engine,
    /// Makes and reads receipt handles.
    pub sealer: ReceiptSealer,
    /// Lock on the data folder, held as long as requests are answered.
    pub folder: DataFolder,
    /// Decides which requests are let in.
    pub guard: Guard,
    /// When set, requests must be signed with it.
    pub keys: Option<KeyPair>,
    /// The host for queue URLs when a client names none.
    pub address: String,
    /// The scheme of queue URLs when no proxy names one.
    pub scheme: &'static str,
    /// Content of the configuration file.
    pub declared: Arc<Declared>,
    /// Injected faults.
    pub faults: Faults,
}

/// An injected fault closes the connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("a fault that was asked for loses this answer")]
pub struct Lost;

/// Answers a request.
///
/// # Errors
/// An injected fault loses the answer.
pub async fn answer(app: Arc<App>, request: Request) -> Result<Response<Body>, Lost> {
    let request_id = Uuid::new_v4().to_string();
    let (method, uri, request_headers) = (request.method(), request.uri(), request.headers());
    let (mut response, page) = match app.guard.admit(method, uri, request_headers) {
        Ok(admission) => {
            let response = if method == Method::OPTIONS {
                cors::preflight(request_headers, admission.page.is_some())
            } else {
                route(&app, request, admission.reach, &request_id).await?
            };
            (response, admission.page)
        }
        Err(refusal) => (refuse(&refusal, &request, &request_id), None),
    };
    let headers = response.headers_mut();
    headers.insert(header::SERVER, SERVER);
    // A browser that displays an answer must not render a message in it as a page.
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
    Ok(response)
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

async fn route(
    app: &App,
    request: Request,
    mut reach: Reach,
    request_id: &str,
) -> Result<Response<Body>, Lost> {
    let (parts, body) = request.into_parts();
    let is_changing = matches!(parts.method, Method::POST | Method::DELETE);
    let target = target_of(&parts.headers);
    if !is_changing && target.is_none() && !is_query(&parts.uri) {
        return Ok(admin::answer(app, &parts.uri).await);
    }
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY).await else {
        let error = SqsError::new(
            ErrorKind::InvalidParameterValue,
            "The request's body cannot be read, or is larger than 16 MiB.",
        );
        let refused = json::failure(&error);
        return Ok(with_status(refused, StatusCode::PAYLOAD_TOO_LARGE));
    };
    let form = Form::of(&parts.headers);
    match app.keys.as_ref().map(|keys| keys.check(&parts, &body)) {
        // A presigned URL was made by a holder of the keys, who intended the action.
        Some(Ok(Signed::InUrl)) => reach = Reach::All,
        None | Some(Ok(Signed::InHeader)) => {}
        Some(Err(error)) => {
            return Ok(match target {
                Some(_) => json::failure(&error),
                None => query::failure(form, &error, request_id),
            });
        }
    }
    if is_changing && target.is_none() && parts.uri.path().starts_with(admin::PREFIX) {
        return Ok(admin::change(app, reach, &parts, &body).await);
    }
    let call = read_call(&parts, body);
    let credential = credential_of(&parts);
    let key_id = credential.split('/').next().unwrap_or_default();
    let mut ctx = Context {
        engine: &app.engine,
        sealer: &app.sealer,
        base: &base::of(&parts.headers, &parts.uri, app.scheme, &app.address),
        region: region_of(&credential).unwrap_or("us-east-1"),
        account: account::of_access_key(key_id),
        reach,
        trace: trace_of(&parts.headers),
        twist: Twist::default(),
    };
    let (outcome, lose) = match &call {
        Ok(call) => run(app, &mut ctx, call).await,
        Err(error) => (Err(error.clone()), false),
    };
    let action = call.as_ref().map_or("", |call| &call.action);
    let error = outcome.as_ref().err();
    app.engine.metrics().count_request(action, error);
    if lose {
        return Err(Lost);
    }
    Ok(match (target, outcome) {
        (Some(_), Ok(output)) => json::answer(output),
        (Some(_), Err(error)) => json::failure(&error),
        (None, Ok(output)) => query::answer(form, action, &output, request_id),
        (None, Err(error)) => query::failure(form, &error, request_id),
    })
}

/// An action and its input in the form of the JSON protocol.
struct Call {
    action: String,
    input: Bytes,
}

fn read_call(parts: &Parts, body: Bytes) -> Result<Call, SqsError> {
    if let Some(target) = target_of(&parts.headers) {
        let action = json::action_of(target).to_owned();
        return Ok(Call {
            action,
            input: body,
        });
    }
    // The query protocol's parameters are in the body of a POST or in the URL.
    let in_url = parts.uri.query().unwrap_or_default().as_bytes();
    let request = query::parse(parts.uri.path(), &[&body, in_url].join(&b'&'))?;
    Ok(Call {
        action: request.action,
        input: Bytes::from(request.input.to_string()),
    })
}

/// Runs an action under the active faults, and creates the queue it needs if a template matches.
/// Also returns whether its answer is to be lost.
async fn run(app: &App, ctx: &mut Context<'_>, call: &Call) -> (Result<Bytes, SqsError>, bool) {
    let mut lose = false;
    if !app.faults.is_empty() {
        let verdict = judge(app, ctx, call);
        if !verdict.delay.is_zero() {
            tokio::time::sleep(verdict.delay).await;
        }
        if let Some(error) = verdict.error {
            return (Err(error), verdict.lose_answer);
        }
        ctx.twist = Twist {
            duplicate: verdict.duplicate,
            empty: verdict.empty,
        };
        lose = verdict.lose_answer;
    }
    let mut outcome = actions::dispatch(ctx, &call.action, &call.input).await;
    let is_missing = |error: &SqsError| {
        matches!(error.kind, ErrorKind::QueueDoesNotExist) && ctx.reach == Reach::All
    };
    if outcome.as_ref().is_err_and(is_missing)
        && app.declared.has_templates()
        && call.action != "DeleteQueue"
        && let Some(queue) = ctx.queue_of_input(&call.input)
    {
        let declared = app.declared.clone();
        let make = move |broker: &mut _, now| declared.make_by_template(broker, now, &queue);
        if matches!(app.engine.run(make).await, Ok(true)) {
            outcome = actions::dispatch(ctx, &call.action, &call.input).await;
        }
    }
    (outcome, lose)
}

fn judge(app: &App, ctx: &Context<'_>, call: &Call) -> Verdict {
    let queue = ctx.queue_of_input(&call.input);
    let metrics = app.engine.metrics();
    app.faults.judge(&call.action, queue.as_deref(), &|effect| {
        metrics.count_fault(*effect);
    })
}

fn target_of(headers: &HeaderMap) -> Option<&str> {
    headers.get("x-amz-target")?.to_str().ok()
}

fn is_query(uri: &Uri) -> bool {
    uri.query()
        .is_some_and(|query| query.split('&').any(|pair| pair.starts_with("Action=")))
}

/// The trace that a request belongs to. SQS passes it on with the messages sent.
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
