//! Checks of AWS's Signature Version 4 in the `Authorization` header.

use axum::http::HeaderMap;
use axum::http::request::Parts;
use sha2::{Digest, Sha256};

use crate::domain::secrets::Secret;
use crate::local_broker::engine::wall_clock;
use crate::local_broker::error::{ErrorKind, SqsError};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// How far a client's clock may be off, in seconds.
const CLOCK_SKEW: i64 = 15 * 60;

/// The one key pair the server accepts.
#[derive(Clone, Debug)]
pub struct KeyPair {
    /// The access key id.
    pub access_key: String,
    /// The secret access key.
    pub secret_key: Secret,
}

/// The parts of an `Authorization` header.
struct Claim<'a> {
    access_key: &'a str,
    /// `20260101/eu-west-1/sqs/aws4_request`.
    scope: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

impl KeyPair {
    /// Checks a request's signature.
    ///
    /// # Errors
    /// No signature, another key, a date that is too far off, or a signature that does not match.
    pub fn check(&self, parts: &Parts, body: &[u8]) -> Result<(), SqsError> {
        let header = text_of(&parts.headers, "authorization");
        let claim = read_claim(&header).ok_or_else(|| {
            SqsError::new(
                ErrorKind::MissingAuthenticationToken,
                "Request is missing Authentication Token",
            )
        })?;
        if claim.access_key != self.access_key {
            return Err(SqsError::new(
                ErrorKind::InvalidClientTokenId,
                "The security token included in the request is invalid.",
            ));
        }
        let date = text_of(&parts.headers, "x-amz-date");
        check_date(&date, claim.scope)?;
        let expected = self.signature(&claim, &date, &canonical(parts, &claim, body));
        if is_equal(expected.as_bytes(), claim.signature.as_bytes()) {
            return Ok(());
        }
        Err(mismatch(
            "The request signature we calculated does not match the signature you provided. \
             Check your AWS Secret Access Key and signing method. Consult the service \
             documentation for details.",
        ))
    }

    fn signature(&self, claim: &Claim<'_>, date: &str, canonical: &str) -> String {
        let digest = hex(&Sha256::digest(canonical));
        let text = format!("{ALGORITHM}\n{date}\n{}\n{digest}", claim.scope);
        let secret = format!("AWS4{}", self.secret_key.reveal());
        let key = claim
            .scope
            .split('/')
            .fold(secret.into_bytes(), |key, part| {
                hmac(&key, part.as_bytes()).to_vec()
            });
        hex(&hmac(&key, text.as_bytes()))
    }
}

fn read_claim(header: &str) -> Option<Claim<'_>> {
    let fields = header.strip_prefix(ALGORITHM)?;
    let field = |name: &str| {
        fields
            .split(',')
            .find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='))
    };
    let (access_key, scope) = field("Credential")?.split_once('/')?;
    Some(Claim {
        access_key,
        scope,
        signed_headers: field("SignedHeaders")?,
        signature: field("Signature")?,
    })
}

/// The request in the form that is signed.
fn canonical(parts: &Parts, claim: &Claim<'_>, body: &[u8]) -> String {
    let mut query: Vec<_> = parts
        .uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            if pair.contains('=') {
                pair.to_owned()
            } else {
                format!("{pair}=")
            }
        })
        .collect();
    query.sort();
    let mut headers = String::new();
    for name in claim.signed_headers.split(';') {
        let value = text_of(&parts.headers, name);
        let folded = value.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        headers.extend([name, ":", &folded, "\n"]);
    }
    format!(
        "{}\n{}\n{}\n{headers}\n{}\n{}",
        parts.method,
        parts.uri.path(),
        query.join("&"),
        claim.signed_headers,
        hex(&Sha256::digest(body))
    )
}

/// `20260101T120000Z`, near the present and of the scope's day.
fn check_date(date: &str, scope: &str) -> Result<(), SqsError> {
    let signed_at = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", date)
        .and_then(|at| jiff::tz::TimeZone::UTC.to_timestamp(at))
        .map_err(|_| mismatch("Date must be in ISO-8601 'basic format'."))?
        .as_second();
    if !date.starts_with(scope.split('/').next().unwrap_or_default()) {
        return Err(mismatch(
            "Date in Credential scope does not match the request's date.",
        ));
    }
    if (wall_clock() / 1_000 - signed_at).abs() > CLOCK_SKEW {
        return Err(mismatch(&format!(
            "Signature expired: {date} is too far from the time here."
        )));
    }
    Ok(())
}

fn mismatch(text: &str) -> SqsError {
    SqsError::new(ErrorKind::SignatureDoesNotMatch, text)
}

fn text_of(headers: &HeaderMap, name: &str) -> String {
    let values = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok());
    values.collect::<Vec<_>>().join(",")
}

/// HMAC-SHA256 (RFC 2104).
fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut block = [0; 64];
    if key.len() > block.len() {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new()
        .chain_update(block.map(|byte| byte ^ 0x36))
        .chain_update(text);
    let outer = Sha256::new().chain_update(block.map(|byte| byte ^ 0x5c));
    outer.chain_update(inner.finalize()).finalize().into()
}

/// Compares without telling by the time it takes where the difference is.
fn is_equal(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len()
        && left
            .iter()
            .zip(right)
            .fold(0, |difference, (l, r)| difference | (l ^ r))
            == 0
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::{hex, hmac};

    #[test]
    fn the_keyed_hash_is_that_of_rfc_4231() {
        let sum = hex(&hmac(b"Jefe", b"what do ya want for nothing?"));
        assert_eq!(
            sum,
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }
}
