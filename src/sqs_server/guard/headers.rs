//! Reading the headers that decide.

use axum::http::{HeaderMap, header};

use super::Refusal;

/// The value of a header that may occur at most once.
///
/// # Errors
/// It occurs twice, or is not text: another reader might see a different value.
pub(super) fn only<'a>(
    headers: &'a HeaderMap,
    name: &'static str,
) -> Result<Option<&'a str>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else {
        return Ok(None);
    };
    match (first.to_str(), values.next()) {
        (Ok(text), None) => Ok(Some(text)),
        _ => Err(Refusal::Header(name)),
    }
}

/// Whether a request carries an AWS signature where only a program can put it: a page needs
/// permission for this header. Signature parameters in a URL do not count, because they are not
/// checked without keys and an image's URL can contain anything. `Basic` does not count, because a
/// browser sends it by itself.
pub(super) fn is_signed(headers: &HeaderMap) -> Result<bool, Refusal> {
    let value = only(headers, header::AUTHORIZATION.as_str())?;
    Ok(value.is_some_and(|value| value.starts_with("AWS4-")))
}
