//! The canonical form of a request, which is signed.

use std::fmt::Write as _;

use axum::http::request::Parts;
use sha2::{Digest, Sha256};

use super::{hex, text_of};

/// The parameter that is never part of the signed form.
const SIGNATURE: &str = "X-Amz-Signature";

/// The parameters of a request's URL, decoded.
pub fn parameters(parts: &Parts) -> Vec<(String, String)> {
    let query = parts.uri.query().unwrap_or_default();
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

/// The canonical request: parameters and headers sorted, escapes normalized.
pub fn canonical(parts: &Parts, signed_headers: &str, body: &[u8]) -> String {
    let mut pairs: Vec<_> = parameters(parts)
        .into_iter()
        .filter(|(name, _)| name != SIGNATURE)
        .map(|(name, value)| (encode(&name), encode(&value)))
        .collect();
    pairs.sort();
    let query: Vec<_> = pairs
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let mut headers = String::new();
    for name in signed_headers.split(';') {
        let value = text_of(&parts.headers, name);
        let folded = value.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        headers.extend([name, ":", &folded, "\n"]);
    }
    format!(
        "{}\n{}\n{}\n{headers}\n{signed_headers}\n{}",
        parts.method,
        parts.uri.path(),
        query.join("&"),
        hex(&Sha256::digest(body))
    )
}

/// Decodes the escapes of a URL. Invalid escapes stay as they are and then do not match the
/// signature.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while let Some(byte) = bytes.get(index) {
        let digits = text.get(index + 1..index + 3).filter(|_| *byte == b'%');
        let escaped = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(match (escaped, byte) {
            (Some(escaped), _) => escaped,
            (None, b'+') => b' ',
            (None, other) => *other,
        });
        index += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// Escapes all but RFC 3986's unreserved characters.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};

    #[test]
    fn escapes_are_written_in_one_way() {
        for (given, canonical) in [
            ("a b", "a%20b"),
            ("a+b", "a%20b"),
            ("a%2bb", "a%2Bb"),
            ("http://h/q", "http%3A%2F%2Fh%2Fq"),
            ("~-_.", "~-_."),
            ("%zz%", "%25zz%25"),
            ("%C3%A4", "%C3%A4"),
            ("\u{e4}", "%C3%A4"),
        ] {
            assert_eq!(encode(&decode(given)), canonical, "{given}");
        }
    }
}
