//! The canonical form of a request, which is signed.

use axum::http::request::Parts;
use percent_encoding::percent_decode_str;
use sha2::{Digest, Sha256};

use super::text_of;
use crate::domain::percent_encoded;

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
        .map(|(name, value)| (percent_encoded(&name), percent_encoded(&value)))
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
        hex::encode(Sha256::digest(body))
    )
}

/// Decodes the escapes of a URL. Invalid escapes stay as they are and then do not match the
/// signature.
fn decode(text: &str) -> String {
    let text = text.replace('+', " ");
    percent_decode_str(&text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::decode;
    use crate::domain::percent_encoded;

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
            assert_eq!(percent_encoded(&decode(given)), canonical, "{given}");
        }
    }
}
