//! Checks of AWS's Signature Version 4, in the `Authorization` header or in the URL's parameters
//! (presigned URLs).

mod canonical;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use sha2::{Digest, Sha256};

use crate::domain::secrets::Secret;
use crate::sqs_server::engine::wall_clock;
use crate::sqs_server::error::{ErrorKind, SqsError};
use canonical::{canonical, parameters};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// Maximum deviation of a client's clock, in seconds.
const CLOCK_SKEW: i64 = 15 * 60;
/// Maximum lifetime of a presigned URL, in seconds.
const LONGEST_LIFE: i64 = 7 * 24 * 60 * 60;

/// The one key pair the server accepts.
#[derive(Clone, Debug)]
pub struct KeyPair {
    /// The access key id.
    pub access_key: String,
    /// The secret access key.
    pub secret_key: Secret,
}

/// Location of a valid signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signed {
    /// In the `Authorization` header.
    InHeader,
    /// In the URL.
    InUrl,
}

/// Signature fields of a request.
struct Claim {
    place: Signed,
    access_key: String,
    /// `20260101/eu-west-1/sqs/aws4_request`.
    scope: String,
    signed_headers: String,
    signature: String,
    /// `20260101T120000Z`.
    date: String,
    /// Lifetime of a presigned URL, in seconds.
    life: Option<i64>,
}

impl KeyPair {
    /// Checks a request's signature.
    ///
    /// # Errors
    /// The signature is missing or wrong, its key is unknown, or its date is too far off.
    pub fn check(&self, parts: &Parts, body: &[u8]) -> Result<Signed, SqsError> {
        let claim = read_claim(parts).ok_or_else(|| refuse_unsigned(&parts.headers))?;
        if claim.access_key != self.access_key {
            return Err(SqsError::new(
                ErrorKind::InvalidClientTokenId,
                "The security token included in the request is invalid.",
            ));
        }
        check_date(&claim)?;
        let canonical = canonical(parts, &claim.signed_headers, body);
        let expected = self.signature(&claim, &canonical);
        if verify_slices_are_equal(expected.as_bytes(), claim.signature.as_bytes()).is_ok() {
            return Ok(claim.place);
        }
        Err(mismatch(
            "The request signature we calculated does not match the signature you provided. \
             Check your AWS Secret Access Key and signing method. Consult the service \
             documentation for details.",
        ))
    }

    /// Headers that sign a request of our own. The request has a `Host` header and a path without
    /// escapes.
    #[must_use]
    pub fn sign(&self, mut parts: Parts, body: &[u8]) -> [(&'static str, String); 2] {
        let date = jiff::Timestamp::now()
            .strftime("%Y%m%dT%H%M%SZ")
            .to_string();
        let day = date.split('T').next().unwrap_or_default();
        if let Ok(value) = HeaderValue::try_from(&date) {
            parts.headers.insert("x-amz-date", value);
        }
        let claim = Claim {
            place: Signed::InHeader,
            access_key: self.access_key.clone(),
            scope: format!("{day}/us-east-1/sqs/aws4_request"),
            signed_headers: "host;x-amz-date".to_owned(),
            signature: String::new(),
            date,
            life: None,
        };
        let canonical = canonical(&parts, &claim.signed_headers, body);
        let header = format!(
            "{ALGORITHM} Credential={}/{}, SignedHeaders={}, Signature={}",
            claim.access_key,
            claim.scope,
            claim.signed_headers,
            self.signature(&claim, &canonical)
        );
        [("authorization", header), ("x-amz-date", claim.date)]
    }

    fn signature(&self, claim: &Claim, canonical: &str) -> String {
        let digest = hex::encode(Sha256::digest(canonical));
        let text = format!("{ALGORITHM}\n{}\n{}\n{digest}", claim.date, claim.scope);
        let secret = format!("AWS4{}", self.secret_key.reveal());
        let key = claim
            .scope
            .split('/')
            .fold(secret.into_bytes(), |key, part| {
                keyed_hash(&key, part).as_ref().to_vec()
            });
        hex::encode(keyed_hash(&key, &text))
    }
}

/// The credential that signed a request: `KEY/20260101/eu-west-1/sqs/aws4_request`; empty if it is
/// unsigned.
#[must_use]
pub fn credential_of(parts: &Parts) -> String {
    let header = text_of(&parts.headers, "authorization");
    if let Some(credential) = field_of(&header, "Credential") {
        return credential.to_owned();
    }
    let mut parameters = parameters(parts).into_iter();
    let found = parameters.find(|(name, _)| name == "X-Amz-Credential");
    found.map(|(_, credential)| credential).unwrap_or_default()
}

/// A field of an `Authorization` header.
fn field_of<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    let fields = header.strip_prefix(ALGORITHM)?;
    fields
        .split(',')
        .find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='))
}

/// The error of a request without a complete signature; over JSON it is another one (recorded).
fn refuse_unsigned(headers: &HeaderMap) -> SqsError {
    if text_of(headers, "authorization").starts_with(ALGORITHM) {
        return SqsError::new(
            ErrorKind::IncompleteSignature,
            "The Authorization header is not a Signature Version 4: Credential, SignedHeaders, \
             Signature and the header X-Amz-Date are needed.",
        );
    }
    let kind = if headers.contains_key("x-amz-target") {
        ErrorKind::AccessDenied
    } else {
        ErrorKind::MissingAuthenticationToken
    };
    SqsError::new(kind, "Request is missing Authentication Token")
}

fn read_claim(parts: &Parts) -> Option<Claim> {
    let header = text_of(&parts.headers, "authorization");
    if !header.is_empty() {
        let field = |name| field_of(&header, name);
        let date = text_of(&parts.headers, "x-amz-date");
        return claim(Signed::InHeader, field, date, None);
    }
    let given = parameters(parts);
    let field = |name: &str| {
        let is_named = |(known, _): &&(String, String)| known.strip_prefix("X-Amz-") == Some(name);
        given.iter().find(is_named).map(|(_, value)| value.as_str())
    };
    if field("Algorithm")? != ALGORITHM {
        return None;
    }
    let life = field("Expires")?.parse().ok()?;
    claim(Signed::InUrl, field, field("Date")?.to_owned(), Some(life))
}

fn claim<'a>(
    place: Signed,
    field: impl Fn(&'static str) -> Option<&'a str>,
    date: String,
    life: Option<i64>,
) -> Option<Claim> {
    let (access_key, scope) = field("Credential")?.split_once('/')?;
    Some(Claim {
        place,
        access_key: access_key.to_owned(),
        scope: scope.to_owned(),
        signed_headers: field("SignedHeaders")?.to_owned(),
        signature: field("Signature")?.to_owned(),
        date,
        life,
    })
}

/// Checks that the date is near the present and on the scope's day; for a presigned URL, that its
/// lifetime is not over.
fn check_date(claim: &Claim) -> Result<(), SqsError> {
    let date = &claim.date;
    let signed_at = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", date)
        .and_then(|at| jiff::tz::TimeZone::UTC.to_timestamp(at))
        .map_err(|_| mismatch("Date must be in ISO-8601 'basic format'."))?
        .as_second();
    if !date.starts_with(claim.scope.split('/').next().unwrap_or_default()) {
        return Err(mismatch(
            "Date in Credential scope does not match the request's date.",
        ));
    }
    let age = wall_clock() / 1_000 - signed_at;
    let longest = match claim.life {
        None => CLOCK_SKEW,
        Some(life) if (1..=LONGEST_LIFE).contains(&life) => life,
        Some(_) => return Err(mismatch("X-Amz-Expires must be between 1 and 604800.")),
    };
    if age > longest || age < -CLOCK_SKEW {
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
fn keyed_hash(key: &[u8], text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
}
