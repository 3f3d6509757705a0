//! The scheme and host by which a client reached this server. Queue URLs must lead back the same
//! way, also through a proxy that ends TLS.

use axum::http::{HeaderMap, Uri, header};

use crate::sqs_server::guard::address::Authority;

/// Scheme, host and port for the URLs of an answer: `https://sqs.example:8443`. The headers of a
/// proxy (`X-Forwarded-Proto`, `-Host` and `-Port`, or `Forwarded`) take precedence over the
/// request's own. `scheme` is this server's own, and `address` is used when a request names no
/// host.
///
/// A client that sends these headers affects only its own answer: they do not decide which requests
/// are admitted, and a web page cannot send them.
pub fn of(headers: &HeaderMap, uri: &Uri, scheme: &'static str, address: &str) -> String {
    let scheme = first(headers, "x-forwarded-proto")
        .or_else(|| forwarded(headers, "proto"))
        .and_then(|named| {
            ["http", "https"]
                .into_iter()
                .find(|s| named.eq_ignore_ascii_case(s))
        })
        .unwrap_or(scheme);
    let host = first(headers, "x-forwarded-host")
        .or_else(|| forwarded(headers, "host"))
        .filter(|host| Authority::parse(host).is_some())
        .or_else(|| first(headers, header::HOST.as_str()))
        .or_else(|| uri.authority().map(axum::http::uri::Authority::as_str))
        .unwrap_or(address);
    let default = if scheme == "https" { 443 } else { 80 };
    let port = first(headers, "x-forwarded-port")
        .and_then(|port| port.parse::<u16>().ok())
        .filter(|port| *port != default)
        .filter(|_| Authority::parse(host).is_some_and(|host| host.port.is_none()));
    match port {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    }
}

/// The first value of a header to which each proxy on the path adds its own: the one nearest the
/// client.
fn first<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let values = headers.get(name)?.to_str().ok()?;
    let value = values.split(',').next().unwrap_or_default().trim();
    (!value.is_empty()).then_some(value)
}

/// A parameter of the first element of a `Forwarded` header (RFC 7239).
fn forwarded<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    first(headers, "forwarded")?.split(';').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        let value = value.trim().trim_matches('"');
        key.trim().eq_ignore_ascii_case(name).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn base(lines: &[(&'static str, &'static str)]) -> String {
        let headers = lines
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::try_from(*name).unwrap(),
                    HeaderValue::from_static(value),
                )
            })
            .collect();
        of(&headers, &Uri::from_static("/"), "http", "127.0.0.1:9324")
    }

    #[test]
    fn urls_lead_back_on_the_way_the_client_came() {
        let host = ("Host", "inner:9324");
        assert_eq!(base(&[]), "http://127.0.0.1:9324");
        assert_eq!(base(&[host]), "http://inner:9324");
        let https = ("X-Forwarded-Proto", "https");
        assert_eq!(base(&[host, https]), "https://inner:9324");
        assert_eq!(
            base(&[host, ("X-Forwarded-Proto", "HTTPS, http")]),
            "https://inner:9324"
        );
        let outer = ("X-Forwarded-Host", "sqs.example, inner");
        assert_eq!(base(&[host, https, outer]), "https://sqs.example");
        assert_eq!(base(&[host, outer]), "http://sqs.example");
        for (port, url) in [
            ("443", "https://sqs.example"),
            ("8443", "https://sqs.example:8443"),
            ("x", "https://sqs.example"),
        ] {
            let port = ("X-Forwarded-Port", port);
            assert_eq!(base(&[host, https, outer, port]), url);
        }
        let other = (
            "Forwarded",
            "for=10.0.0.1;host=\"sqs.example:8443\";Proto=https, for=x",
        );
        assert_eq!(base(&[host, other]), "https://sqs.example:8443");
    }

    #[test]
    fn what_is_no_scheme_or_host_is_ignored() {
        let host = ("Host", "inner:9324");
        for line in [
            ("X-Forwarded-Proto", "javascript"),
            ("X-Forwarded-Proto", ""),
            ("X-Forwarded-Host", "a/b"),
            ("X-Forwarded-Host", "user@host"),
            ("X-Forwarded-Host", " "),
            ("Forwarded", "host"),
        ] {
            assert_eq!(base(&[host, line]), "http://inner:9324", "{line:?}");
        }
    }
}
