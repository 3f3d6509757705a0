//! The guard against headers of any form.

use axum::http::{HeaderValue, Method, Uri};
use proptest::prelude::*;

use super::{guard, headers, host, loopback};
use crate::sqs_server::guard::Reach;
use crate::sqs_server::guard::address::{Authority, Origin};

fn header_value() -> impl Strategy<Value = HeaderValue> {
    let bytes = proptest::collection::vec(any::<u8>(), 0..40);
    bytes.prop_filter_map("a header's value", |bytes| {
        HeaderValue::from_bytes(&bytes).ok()
    })
}

/// Something like a host: digits, letters and what separates them.
const HOSTISH: &str = "[a-z0-9.:@\\[\\]/%_-]{0,24}";

proptest! {
    #[test]
    fn a_page_is_let_in_only_if_it_is_the_servers_own_or_allowed(
        origin in header_value(),
        method in prop_oneof![Just("GET"), Just("HEAD"), Just("POST"), Just("OPTIONS")],
    ) {
        let mut map = headers(&[("host", "127.0.0.1:9324")]);
        map.insert("origin", origin);
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        prop_assert!(loopback().admit(&method, &Uri::from_static("/"), &map).is_err());
    }

    #[test]
    fn no_other_site_is_let_in_without_an_origin(site in header_value(), referer in header_value()) {
        let known = ["none", "same-origin"];
        prop_assume!(!known.iter().any(|name| site == *name));
        let mut map = headers(&[("host", "127.0.0.1:9324")]);
        map.insert("sec-fetch-site", site);
        map.insert("referer", referer);
        prop_assert!(loopback().admit(&Method::POST, &Uri::from_static("/"), &map).is_err());
    }

    #[test]
    fn a_host_that_is_let_in_is_loopback(text in HOSTISH) {
        if host(&loopback(), &text).is_ok() {
            let host = Authority::parse(&text).unwrap().host;
            prop_assert!(host.is_loopback(), "{text}");
        }
    }

    #[test]
    fn a_name_is_never_let_in_that_was_not_allowed(
        name in "[a-z]{1,8}(\\.[a-z]{1,8}){0,3}",
        bound in prop_oneof![Just("0.0.0.0:1"), Just("[::]:1"), Just("127.0.0.1:1")],
    ) {
        prop_assume!(name != "localhost" && !name.ends_with(".localhost"));
        prop_assert!(host(&guard(bound, &["broker.internal.example"], &[]), &name).is_err()
            || name == "broker.internal.example");
    }

    #[test]
    fn an_authority_is_read_as_it_is_written(text in HOSTISH) {
        if let Some(Authority { host, port }) = Authority::parse(&text) {
            let port = port.map_or_else(String::new, |port| format!(":{port}"));
            let again = Authority::parse(&format!("{host}{port}")).unwrap();
            prop_assert_eq!(again.host, host);
        }
    }

    #[test]
    fn an_origin_is_the_same_when_read_again(text in "(http|https)://[a-zA-Z0-9.:\\[\\]-]{0,24}") {
        if let Some(origin) = Origin::parse(&text) {
            prop_assert_eq!(Origin::parse(&origin.to_string()), Some(origin));
        }
    }

    #[test]
    fn a_get_without_a_signature_only_reads(value in header_value(), uri in "/[a-zA-Z0-9?&=%.]{0,60}") {
        prop_assume!(!value.as_bytes().starts_with(b"AWS4-"));
        let mut map = headers(&[("host", "127.0.0.1:9324")]);
        map.insert("authorization", value);
        let uri = uri.parse().unwrap();
        if let Ok(admission) = loopback().admit(&Method::GET, &uri, &map) {
            prop_assert_eq!(admission.reach, Reach::Reading);
        }
    }
}
