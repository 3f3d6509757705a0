#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod properties;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use super::address::{Host, Origin};
use super::{Admission, Allowed, Guard, Reach, Refusal};

/// A guard of a server on this address, which allows these hosts and origins.
fn guard(bound: &str, hosts: &[&str], origins: &[&str]) -> Guard {
    let allowed = Allowed {
        hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
        origins: origins.iter().map(|page| page.parse().unwrap()).collect(),
    };
    Guard::new(bound.parse().unwrap(), allowed)
}

fn loopback() -> Guard {
    guard("127.0.0.1:9324", &[], &[])
}

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        map.append(name, HeaderValue::from_str(value).unwrap());
    }
    map
}

/// A request to `/` with these headers.
fn admit(guard: &Guard, method: &str, lines: &[(&str, &str)]) -> Result<Admission, Refusal> {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    guard.admit(&method, &Uri::from_static("/"), &headers(lines))
}

/// A POST whose only header is this host.
fn host(guard: &Guard, host: &str) -> Result<Admission, Refusal> {
    admit(guard, "POST", &[("host", host)])
}

/// A request to the usual host with these headers too.
fn browser(method: &str, lines: &[(&str, &str)]) -> Result<Admission, Refusal> {
    let lines: Vec<_> = [("host", "127.0.0.1:9324")]
        .into_iter()
        .chain(lines.iter().copied())
        .collect();
    admit(&loopback(), method, &lines)
}

fn reach(admission: Result<Admission, Refusal>) -> Reach {
    admission.unwrap().reach
}

const EVERYTHING: Admission = Admission {
    reach: Reach::All,
    page: None,
};

#[test]
fn every_way_to_write_loopback_is_let_in() {
    for name in [
        "127.0.0.1:9324",
        "127.0.0.1",
        "127.8.9.10:9324",
        "127.0.0.1.:9324",
        "localhost:9324",
        "LocalHost:9324",
        "localhost.:9324",
        "sqs.us-east-1.localhost:9324",
        "[::1]:9324",
        "[::1]",
        "[0:0:0:0:0:0:0:1]:9324",
        "[::ffff:127.0.0.1]:9324",
        // A forwarded port.
        "127.0.0.1:1",
    ] {
        assert_eq!(host(&loopback(), name), Ok(EVERYTHING), "{name}");
    }
}

#[test]
fn a_name_that_was_pointed_here_is_refused() {
    for bound in ["127.0.0.1:9324", "0.0.0.0:9324", "[::]:9324", "10.1.2.3:80"] {
        let guard = guard(bound, &[], &[]);
        for name in [
            "evil.example:9324",
            "localhost.evil.example",
            "127.0.0.1.evil.example:9324",
            "notlocalhost:9324",
            "broker:9324",
            // Browsers convert these to 127.0.0.1 before they send them.
            "2130706433:9324",
            "0x7f000001:9324",
            "0177.0.0.1:9324",
            "127.1:9324",
        ] {
            let refusal = host(&guard, name).unwrap_err();
            assert!(
                matches!(refusal, Refusal::ForeignHost(_)),
                "{bound} {name}: {refusal}"
            );
        }
    }
    let refusal = host(&loopback(), "Broker:9324").unwrap_err().to_string();
    assert!(
        refusal.ends_with("start the broker with --allow-host broker"),
        "{refusal}"
    );
}

#[test]
fn an_address_is_let_in_where_the_server_is_reachable_by_one() {
    let others = ["10.9.8.7:9324", "[2001:db8::1]:9324", "0.0.0.0:9324"];
    for other in others {
        assert!(host(&loopback(), other).is_err(), "{other}");
        for bound in ["0.0.0.0:9324", "[::]:9324", "10.1.2.3:9324"] {
            assert_eq!(host(&guard(bound, &[], &[]), other), Ok(EVERYTHING));
        }
    }
    let allowed = guard("127.0.0.1:9324", &["10.9.8.7", "::2"], &[]);
    assert_eq!(host(&allowed, "10.9.8.7:9324"), Ok(EVERYTHING));
    assert_eq!(host(&allowed, "[::2]:9324"), Ok(EVERYTHING));
}

#[test]
fn an_allowed_host_is_that_name_and_no_other() {
    let guard = guard("0.0.0.0:9324", &["Broker", "sqs.example.com."], &[]);
    for name in ["broker:9324", "BROKER", "broker.", "sqs.example.com:80"] {
        assert_eq!(host(&guard, name), Ok(EVERYTHING), "{name}");
    }
    for name in ["broker.evil.example", "a.broker", "example.com", "broke"] {
        assert!(host(&guard, name).is_err(), "{name}");
    }
}

#[test]
fn what_is_no_host_is_refused() {
    for name in [
        "",
        ":9324",
        ".",
        "user@127.0.0.1:9324",
        "127.0.0.1:9324@evil.example",
        "127.0.0.1:",
        "127.0.0.1:x",
        "127.0.0.1:99999",
        "127.0.0.1:9324:9324",
        "::1",
        "[::1",
        "[::1]x",
        "[fe80::1%25eth0]:9324",
        "[127.0.0.1]:9324",
        "localhost..",
        "local host",
        "localhost/",
        "http://localhost",
        "*",
    ] {
        assert_eq!(host(&loopback(), name), Err(Refusal::BadHost), "{name}");
    }
    assert_eq!(admit(&loopback(), "POST", &[]), Err(Refusal::NoHost));
    let two = [("host", "127.0.0.1"), ("host", "127.0.0.1")];
    assert_eq!(
        admit(&loopback(), "GET", &two),
        Err(Refusal::Header("host"))
    );
}

#[test]
fn a_host_in_the_request_line_is_checked_too() {
    let here = headers(&[("host", "127.0.0.1:9324")]);
    let there = headers(&[("host", "evil.example")]);
    let admit = |uri: &str, headers: &HeaderMap| {
        loopback().admit(&Method::GET, &uri.parse().unwrap(), headers)
    };
    assert!(admit("http://localhost:9324/", &here).is_ok());
    assert!(admit("http://evil.example/", &here).is_err());
    assert!(admit("http://localhost:9324/", &there).is_err());
    assert_eq!(
        admit("http://user:word@localhost/", &here),
        Err(Refusal::BadHost)
    );
}

#[test]
fn a_page_of_another_site_is_refused_whatever_it_sends() {
    for origin in [
        "https://evil.example",
        "http://evil.example:9324",
        "http://localhost:3000",
        "http://localhost:9324",
        "https://127.0.0.1:9324",
        "null",
        "",
        "file://",
        "chrome-extension://abcdefgh",
        "http://127.0.0.1:9324/",
        "http://127.0.0.1:9324 http://evil.example",
        "http://user@127.0.0.1:9324",
    ] {
        for method in ["GET", "HEAD", "POST", "OPTIONS"] {
            let admission = browser(method, &[("origin", origin)]);
            assert!(admission.is_err(), "{method} {origin}");
        }
    }
    let two = [("origin", "http://127.0.0.1:9324"); 2];
    assert_eq!(browser("POST", &two), Err(Refusal::Header("origin")));
    let refusal = browser("POST", &[("origin", "https://app.example")]);
    let refusal = refusal.unwrap_err().to_string();
    assert!(
        refusal.ends_with("--allow-origin https://app.example"),
        "{refusal}"
    );
}

#[test]
fn a_site_that_is_not_the_servers_own_is_refused_without_an_origin() {
    for site in ["cross-site", "same-site", "", "other", "Cross-Site"] {
        for method in ["GET", "HEAD", "POST"] {
            let admission = browser(method, &[("sec-fetch-site", site)]);
            assert_eq!(admission, Err(Refusal::UnknownPage), "{method} {site}");
        }
    }
    // A redirect through another site.
    let own = ("origin", "http://127.0.0.1:9324");
    assert!(browser("POST", &[own, ("sec-fetch-site", "cross-site")]).is_err());
}

#[test]
fn an_earlier_browser_gives_itself_away_by_the_page_it_names() {
    for page in [
        "https://evil.example/page?x=http://127.0.0.1:9324/",
        "http://127.0.0.1:9324@evil.example/",
        "http://127.0.0.1:3000/",
        "about:blank",
        "",
    ] {
        assert!(browser("POST", &[("referer", page)]).is_err(), "{page}");
        assert!(browser("GET", &[("referer", page)]).is_err(), "{page}");
    }
    for page in ["http://127.0.0.1:9324", "http://127.0.0.1:9324/a/b?c#d"] {
        assert_eq!(browser("POST", &[("referer", page)]), Ok(EVERYTHING));
    }
}

#[test]
fn the_servers_own_pages_and_programs_may_do_everything() {
    let own = ("origin", "http://127.0.0.1:9324");
    assert_eq!(browser("POST", &[own]), Ok(EVERYTHING));
    let site = ("sec-fetch-site", "same-origin");
    assert_eq!(browser("POST", &[own, site]), Ok(EVERYTHING));
    assert_eq!(browser("POST", &[]), Ok(EVERYTHING));
    // Node's fetch sends this one alone.
    let mode = ("sec-fetch-mode", "cors");
    assert_eq!(browser("POST", &[mode]), Ok(EVERYTHING));
}

#[test]
fn a_link_a_typed_address_and_an_unsigned_get_may_only_read() {
    let typed = ("sec-fetch-site", "none");
    let link = ("sec-fetch-mode", "navigate");
    let signed = (
        "authorization",
        "AWS4-HMAC-SHA256 Credential=k/d/r/sqs/aws4_request",
    );
    for lines in [vec![], vec![typed], vec![typed, link], vec![link, signed]] {
        assert_eq!(reach(browser("GET", &lines)), Reach::Reading, "{lines:?}");
        assert_eq!(reach(browser("HEAD", &lines)), Reach::Reading, "{lines:?}");
    }
    assert_eq!(reach(browser("POST", &[typed])), Reach::Reading);
    assert_eq!(reach(browser("POST", &[link])), Reach::Reading);
    assert_eq!(reach(browser("GET", &[signed])), Reach::All);
    let basic = ("authorization", "Basic dXNlcjp3b3Jk");
    assert_eq!(reach(browser("GET", &[basic])), Reach::Reading);
}

#[test]
fn a_signature_in_a_url_is_none_because_an_image_can_have_it() {
    let uri = "/q?Action=PurgeQueue&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=0";
    let headers = headers(&[("host", "127.0.0.1:9324")]);
    let admitted = loopback().admit(&Method::GET, &uri.parse().unwrap(), &headers);
    assert_eq!(reach(admitted), Reach::Reading);
}

#[test]
fn an_allowed_page_may_do_everything_under_its_own_name() {
    let guard = guard(
        "127.0.0.1:9324",
        &[],
        &["http://localhost:3000", "https://a.example"],
    );
    let host = ("host", "127.0.0.1:9324");
    for origin in ["http://localhost:3000", "https://a.example"] {
        for site in ["same-site", "cross-site"] {
            let lines = [host, ("origin", origin), ("sec-fetch-site", site)];
            let admitted = admit(&guard, "POST", &lines).unwrap();
            assert_eq!(admitted.reach, Reach::All);
            assert_eq!(admitted.page.unwrap(), origin);
        }
    }
    for origin in [
        "https://localhost:3000",
        "http://localhost:3001",
        "http://localhost",
        "https://a.example:444",
        "https://b.a.example",
        "null",
    ] {
        assert!(admit(&guard, "POST", &[host, ("origin", origin)]).is_err());
    }
    // The host is checked for a page as for every other client.
    let elsewhere = [("host", "evil.example"), ("origin", "https://a.example")];
    assert!(admit(&guard, "POST", &elsewhere).is_err());
}

#[test]
fn other_methods_are_refused() {
    for method in ["PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "post", "X"] {
        let refusal = browser(method, &[]).unwrap_err();
        assert!(matches!(refusal, Refusal::Method(_)), "{method}");
    }
}

#[test]
fn a_flag_takes_one_host_or_one_origin() {
    for bad in [
        "",
        "*",
        "*.example",
        "http://broker",
        "broker:9324",
        "a/b",
        "[::1]:1",
    ] {
        assert!(bad.parse::<Host>().is_err(), "{bad}");
    }
    for bad in [
        "",
        "*",
        "null",
        "localhost:3000",
        "http://",
        "http://a/",
        "ftp://a",
        "file://",
    ] {
        assert!(bad.parse::<Origin>().is_err(), "{bad}");
    }
    let page: Origin = "HTTPS://App.Example:443".parse().unwrap();
    assert_eq!(page.to_string(), "https://app.example");
    assert_eq!("http://a".parse::<Origin>(), "http://a:80".parse());
}
