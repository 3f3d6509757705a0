//! Answers that let a browser send requests for an allowed page and show it the results: the CORS
//! protocol of the Fetch standard.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST");
/// Headers that an SDK reads besides the body.
const EXPOSED: HeaderValue =
    HeaderValue::from_static("x-amzn-requestid, x-amzn-query-error, content-type");
/// Time for which a browser may cache a preflight, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");
const PRIVATE_NETWORK: &str = "access-control-request-private-network";

/// Lets a page read an answer. `origin` is copied from the request, because a browser compares it
/// literally.
pub fn let_read(answer: &mut HeaderMap, origin: HeaderValue) {
    answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    answer.append(header::VARY, HeaderValue::from_static("origin"));
}

/// Answers `OPTIONS`. An allowed page may send any headers it requests: the set an SDK needs
/// changes with its version.
#[must_use]
pub fn preflight(request: &HeaderMap, is_page: bool) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(
        header::ALLOW,
        HeaderValue::from_static("GET, HEAD, POST, OPTIONS"),
    );
    if !is_page {
        return response;
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    if let Some(requested) = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, requested.clone());
    }
    if request.contains_key(PRIVATE_NETWORK) {
        // Chromium requires this for servers on loopback and in private networks.
        let allow = HeaderValue::from_static("true");
        headers.insert("access-control-allow-private-network", allow);
    }
    response
}
