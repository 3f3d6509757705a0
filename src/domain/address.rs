//! URLs: whether one means this machine, and their escapes.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::{Host, Url};

/// All characters but RFC 3986's unreserved ones.
const RESERVED: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Whether a URL's host is this machine's loopback.
#[must_use]
pub fn is_loopback(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    })
}

/// A text with all but RFC 3986's unreserved characters escaped.
#[must_use]
pub fn percent_encoded(text: &str) -> String {
    utf8_percent_encode(text, &RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_recognised_by_name_and_by_both_address_families() {
        for (url, expected) in [
            ("http://localhost:9324", true),
            ("http://127.0.0.1:1/x", true),
            ("http://[::1]:9324", true),
            ("https://sqs.us-east-1.amazonaws.com/1/q", false),
            ("http://10.0.0.1:9324", false),
            ("nonsense", false),
        ] {
            assert_eq!(is_loopback(url), expected, "{url}");
        }
    }
}
