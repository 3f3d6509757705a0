//! Reading the headers that decide.

use axum::http::{HeaderMap, header};

use super::Refusal;

/// The value of a header that may be there at most once.
///
/// # Errors
/// It is there twice, or is no text: what reads it next might see something else.
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

/// Whether a request carries AWS's signature where only a program can put it: a page needs leave
/// for this header. The signature parameters of a URL are not taken, since without keys they are not
/// checked, and an image's URL can hold anything; a browser sends `Basic` by itself.
pub(super) fn is_signed(headers: &HeaderMap) -> Result<bool, Refusal> {
    let value = only(headers, header::AUTHORIZATION.as_str())?;
    Ok(value.is_some_and(|value| value.starts_with("AWS4-")))
}
